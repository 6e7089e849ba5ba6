"""The training loss, and a warning if float32 precision stops a run from learning."""

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.config import LossConfig
from grokinterp.losses import cross_entropy, cross_entropy_by_log1p, log_stable, stablemax_cross_entropy
from grokinterp.phases import GROKKED, SUSTAINED


Objective = Callable[[Tensor, Tensor], Tensor]


def objective(config: LossConfig) -> Objective:
    """The mean training loss, as a function of logits [batch, c] and labels [batch].

    With dtype `float64` it is the loss in `grokinterp.losses`; `float32` agrees with it to a relative 1e-6, by log1p;
    `torch_float32` is torch's loss on float32 logits, in which small losses are rounded to 0.

    Examples:
        >>> import torch
        >>> logits, labels = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
        >>> for dtype in ("float64", "float32", "torch_float32"):
        ...     print(f"{objective(LossConfig(dtype=dtype))(logits, labels).item():.2e}")
        2.06e-09
        2.06e-09
        0.00e+00
    """
    smoothing = config.label_smoothing

    def exact(logits: Float[Tensor, "batch c"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        if config.name == "stablemax":
            return stablemax_cross_entropy(logits, labels)
        return cross_entropy(logits, labels, smoothing)

    def single(logits: Float[Tensor, "batch c"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        logits = log_stable(logits.float()) if config.name == "stablemax" else logits.float()
        if config.dtype == "float32":
            return cross_entropy_by_log1p(logits, labels, smoothing)
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)

    return exact if config.dtype == "float64" else single


# A test accuracy that rises by more than this is not on a plateau.
_PLATEAU_RISE: Final = 0.02


def float32_warning(
    zero_losses: Sequence[float],
    test_accuracy: Sequence[float],
    *,
    dtype: str,
    fraction: float = 0.5,
    grokked: float = GROKKED,
    sustained: int = SUSTAINED,
) -> str | None:
    """A warning if float32 precision probably keeps a run from grokking, else None.

    The condition: the loss is torch's in float32 and, in each of the last `sustained` entries, at least `fraction` of
    the training pairs have a loss of exactly 0 and test accuracy is below `grokked` and rises by at most 0.02.

    Args:
        zero_losses: Fraction of training pairs with a float32 loss of exactly 0, 0 to 1, per logged entry.
        test_accuracy: Test accuracy, 0 to 1, per logged entry.
        dtype: The run's `LossConfig.dtype`.
        fraction: Minimum fraction of zero losses.
        grokked: Test accuracy at which a run has grokked.
        sustained: Number of consecutive entries that must meet the condition.

    Raises:
        ValueError: If the two sequences differ in length.

    Source:
        Prieto et al. 2025, arXiv:2501.04697: softmax collapse in float32 prevents grokking. The thresholds are our own.

    Examples:
        >>> float32_warning([0.9] * 5, [0.2] * 5, dtype="float64") is None
        True
        >>> float32_warning([0.9] * 5, [0.2] * 5, dtype="torch_float32")
        "90 % of the training losses are exactly 0 in float32 while test accuracy stays at 0.20: nothing is learned ..."
    """
    if len(zero_losses) != len(test_accuracy):
        msg = f"zero_losses and test_accuracy must have equal lengths, got {len(zero_losses)} and {len(test_accuracy)}."
        raise ValueError(msg)
    zeros, accuracies = zero_losses[-sustained:], test_accuracy[-sustained:]
    if dtype != "torch_float32" or len(zeros) < sustained:
        return None
    if min(zeros) < fraction or max(accuracies) >= grokked or accuracies[-1] - min(accuracies) > _PLATEAU_RISE:
        return None
    return (
        f"{100 * zeros[-1]:.0f} % of the training losses are exactly 0 in float32 while test accuracy stays at "
        f"{accuracies[-1]:.2f}: nothing is learned from these pairs; use LossConfig(dtype='float64')."
    )


class Float32Monitor:
    """Issues the `float32_warning` of a run, at most once."""

    def __init__(self, dtype: str) -> None:
        self._dtype, self._has_warned = dtype, False
        self._history: deque[tuple[float, float]] = deque(maxlen=SUSTAINED)

    def update(self, entry: dict[str, Any]) -> None:
        """Check a new entry of the metrics."""
        if self._dtype != "torch_float32" or self._has_warned:
            return
        self._history.append((entry["zero_losses"], entry["accuracy"]["test"]))
        zeros, accuracies = zip(*self._history, strict=True)
        warning = float32_warning(zeros, accuracies, dtype=self._dtype)
        if warning is not None:
            self._has_warned = True
            warnings.warn(f"epoch {entry['epoch']}: {warning}", RuntimeWarning, stacklevel=2)
