"""Memory that a training step frees is kept for the next one."""

import ctypes
import sys


# glibc's names for what mallopt sets.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed in place of handing it back to the kernel; up to 1 GB.

    A full-batch step frees some 50 MB and asks for them again at once. Where each round goes through the kernel,
    page faults take a tenth of the step or more.

    Returns:
        Whether it was done: under Linux with glibc, and nowhere else.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, 1 << 30))
