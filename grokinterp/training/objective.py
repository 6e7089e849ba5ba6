"""The loss that an update lowers, as a config asks for it."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.config import LossConfig
from grokinterp.losses import cross_entropy, cross_entropy_by_log1p, log_stable, stablemax_cross_entropy


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
