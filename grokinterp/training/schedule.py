"""Which epochs are checkpointed and logged."""

import math


def is_checkpoint(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch is saved: five to a decade up to `every`, then each `every`, and the last.

    A run's first hundred epochs change as much as the next thousands.

    Examples:
        >>> [epoch for epoch in range(251) if is_checkpoint(epoch, every=100, last=250)]
        [0, 1, 2, 3, 4, 6, 10, 16, 25, 40, 63, 100, 200, 250]
    """
    return epoch == last or epoch % every == 0 or (epoch < every and _is_log_spaced(epoch))


def _is_log_spaced(epoch: int) -> bool:
    """Whether an epoch is 10^(i/5), rounded, for some i."""
    i = 5 * math.log10(epoch)
    return epoch in (round(10 ** (math.floor(i) / 5)), round(10 ** (math.ceil(i) / 5)))


def is_logged(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch has an entry in the metrics: each `every`, from 0 on, and the last."""
    return epoch == last or epoch % every == 0
