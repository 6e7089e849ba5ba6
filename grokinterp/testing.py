"""Snapshots of models whose mechanism is known, for tests."""

from collections.abc import Iterable
from typing import Literal

from grokinterp.models import planted
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import operation, uniform_split


def planted_snapshot(
    p: int,
    keys: Iterable[int],
    *,
    act_fn: Literal["quadratic", "relu"] = "quadratic",
    amplitude: float = 1.0,
    fraction: float = 0.3,
    seed: int = 0,
) -> Snapshot:
    """A snapshot of the transformer of `models.planted`, which adds modulo p with the given frequencies.

    Args:
        p: The modulus.
        keys: The key frequencies.
        act_fn: `quadratic` for logits sum_k cos(w_k(a+b-c)) up to rounding, `relu` for an approximation.
        amplitude: Amplitude of each frequency in the logits.
        fraction: Fraction of the pairs that are marked as training pairs.
        seed: Seed of the train/test split.

    Returns:
        An ordinary snapshot, with float64 parameters.

    Examples:
        >>> planted_snapshot(7, keys=(1, 3)).logits.argmax(dim=-1)[3, 5].item()
        1
    """
    params, config = planted.transformer(p, keys, act_fn=act_fn, amplitude=amplitude)
    task = operation("addition", p)
    return Snapshot(params=params, config=config, task=task, is_train=uniform_split(task, fraction, seed=seed))
