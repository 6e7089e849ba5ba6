"""The loss that training minimizes, and a warning if float32 precision stops it from learning."""

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
    """The mean loss over pairs, as a function of logits [batch, c] and labels [batch].

    In float64 the losses are those of `grokinterp.losses`; in float32 they are the same to 1e-6, by log1p; in
    torch_float32 they are torch's on float32 logits, with all that these round to 0.

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


# A test accuracy that has risen by more than this is on no plateau.
_RISES: Final = 0.02


def float32_warning(
    zero_losses: Sequence[float],
    test_accuracy: Sequence[float],
    *,
    dtype: str,
    share: float = 0.5,
    grokked: float = GROKKED,
    sustained: int = SUSTAINED,
) -> str | None:
    """A line of warning where float32 is likely what holds a run on its plateau; else None.

    It is if the loss is computed in float32 and, in each of the last entries, at least `share` of the training pairs
    have a loss of exactly 0, so that nothing is learned from them, while test accuracy is below `grokked` and has not
    risen by more than 0.02 over these entries.

    Args:
        zero_losses: Share of float32 losses of training pairs that are exactly 0, 0 to 1, by entry.
        test_accuracy: 0 to 1, by entry.
        dtype: In which the run computes its loss.
        share: Of zero losses.
        grokked: Test accuracy from which on there is no plateau.
        sustained: Entries in a row for which this has to hold.

    Returns:
        The warning, or None.

    Raises:
        ValueError: If the two are not of one length.

    Source:
        Prieto et al. 2025, arXiv:2501.04697: softmax collapse in float32 keeps models from grokking. The thresholds
        are ours.

    Examples:
        >>> float32_warning([0.9] * 5, [0.2] * 5, dtype="float64") is None
        True
        >>> float32_warning([0.9] * 5, [0.2] * 5, dtype="torch_float32")
        "90 % of the training losses are exactly 0 in float32 while test accuracy stays at 0.20: nothing is learned ..."
    """
    if len(zero_losses) != len(test_accuracy):
        msg = f"zero_losses and test_accuracy must be of one length, got {len(zero_losses)} and {len(test_accuracy)}."
        raise ValueError(msg)
    zeros, accuracies = zero_losses[-sustained:], test_accuracy[-sustained:]
    if dtype != "torch_float32" or len(zeros) < sustained:
        return None
    if min(zeros) < share or max(accuracies) >= grokked or accuracies[-1] - min(accuracies) > _RISES:
        return None
    return (
        f"{zeros[-1]:.0%} of the training losses are exactly 0 in float32 while test accuracy stays at "
        f"{accuracies[-1]:.2f}: nothing is learned from these pairs; use LossConfig(dtype='float64')."
    ).replace("%", " %", 1)


class Float32Monitor:
    """Warns, once, if a run that computes its loss in float32 has come to a plateau for that reason."""

    def __init__(self, dtype: str) -> None:
        self._dtype, self._has_warned = dtype, False
        self._entries: deque[dict[str, Any]] = deque(maxlen=5)

    def look(self, entry: dict[str, Any]) -> None:
        """Take note of an entry of the metrics."""
        if self._dtype != "torch_float32" or self._has_warned:
            return
        self._entries.append(entry)
        zeros, accuracies = [], []
        for known in self._entries:
            zeros.append(known["zero_losses"])
            accuracies.append(known["accuracy"]["test"])
        warning = float32_warning(zeros, accuracies, dtype=self._dtype)
        if warning is not None:
            self._has_warned = True
            warnings.warn(f"epoch {entry['epoch']}: {warning}", RuntimeWarning, stacklevel=2)
