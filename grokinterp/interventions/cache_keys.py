"""Names that determine what they name, for cache keys: calls as text, and digests of tensors."""

import hashlib
from collections.abc import Sequence
from typing import Final

from torch import Tensor

from grokinterp.snapshots import Snapshot


# Longer sequences are shortened to their count and digest.
_MOST_NUMBERS: Final = 8


def call(function: str, *arguments: object, **keywords: object) -> str:
    """A call as Python source.

    Examples:
        >>> call("frequency", 1, 3, at="logits")
        "frequency(1, 3, at='logits')"
    """
    words = [str(argument) for argument in arguments]
    words += [f"{key}={value!r}" for key, value in keywords.items()]
    return f"{function}({', '.join(words)})"


def of_numbers(numbers: Sequence[int]) -> str:
    """The numbers in brackets; for many numbers, their count and digest.

    Examples:
        >>> of_numbers([0, 4]), of_numbers(range(100))
        ('[0, 4]', '100 of digest 51f2696d83d6')
    """
    if len(numbers) <= _MOST_NUMBERS:
        return str(list(numbers))
    return f"{len(numbers)} of digest {_hash(str(list(numbers)).encode())}"


def of_tensors(*tensors: Tensor) -> str:
    """A digest of the shapes, dtypes and values of tensors.

    Examples:
        >>> import torch
        >>> of_tensors(torch.zeros(2)) == of_tensors(torch.zeros(2)) != of_tensors(torch.zeros(3))
        True
    """
    kinds = str([(t.dtype, tuple(t.shape)) for t in tensors]).encode()
    return _hash(kinds + b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors))


def of_snapshot(snapshot: Snapshot) -> str:
    """A digest of a snapshot's weights, with its epoch if known."""
    weights = of_tensors(*snapshot.params.values())
    return weights if snapshot.epoch is None else f"epoch {snapshot.epoch}, {weights}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
