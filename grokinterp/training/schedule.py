"""Which epochs are checkpointed and logged."""

from typing import Final


# About five to a decade; a run's first hundred epochs change as much as the next thousands.
EARLY: Final = (0, 1, 2, 4, 6, 10, 16, 25, 40, 63)


def is_checkpoint(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch is saved: those of `EARLY` below `every`, then each `every`, and the last.

    Examples:
        >>> [epoch for epoch in range(251) if is_checkpoint(epoch, every=100, last=250)]
        [0, 1, 2, 4, 6, 10, 16, 25, 40, 63, 100, 200, 250]
    """
    return epoch == last or epoch % every == 0 or (epoch < every and epoch in EARLY)


def is_logged(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch has an entry in the metrics: each `every`, from 0 on, and the last."""
    return epoch == last or epoch % every == 0
