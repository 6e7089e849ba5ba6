"""How many training pairs the parameters' dtype can learn no more from, though losses are reported in float64."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from grokinterp import labels, losses
from grokinterp.measures import measure
from grokinterp.monitors.gradients import train_logits
from grokinterp.snapshots import Snapshot, kept


@measure("softmax_collapse", version=1)
def softmax_collapse(snapshot: Snapshot) -> xr.DataArray:
    """The share of training pairs whose softmax is all one logit's in the parameters' dtype, 0 to 1.

    The other logits are so far below that adding their exponentials changes nothing: in float32 by about 17 nats.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, softmax collapse.
    """
    return _share(
        snapshot, losses.softmax_collapse(_logits(snapshot)).item(), "softmax_collapse", "share of collapsed softmaxes"
    )


@measure("zero_losses", version=1)
def zero_losses(snapshot: Snapshot) -> xr.DataArray:
    """The share of training pairs whose cross-entropy is exactly 0 in the parameters' dtype, 0 to 1.

    A run that computes its loss in that dtype has no gradient from them. One that computes it in float64, as is the
    default here, has.

    Source:
        Prieto et al. 2025, arXiv:2501.04697.

    Examples:
        >>> import grokinterp as gi
        >>> zero_losses(gi.testing.planted_snapshot(7, keys=(1, 3), amplitude=400.0)).item()
        1.0
    """
    answers = snapshot.task.table[snapshot.mask("train")]
    return _share(
        snapshot, losses.zero_losses(_logits(snapshot), answers).item(), "zero_losses", "share of losses that are 0"
    )


@kept
def _logits(snapshot: Snapshot) -> Float[Tensor, "batch c"]:
    with torch.no_grad():
        return train_logits(snapshot, snapshot.params)


def _share(snapshot: Snapshot, value: float, name: str, long_name: str) -> xr.DataArray:
    dtype = str(_logits(snapshot).dtype).removeprefix("torch.")
    return labels.array(value, name=name, units="", long_name=f"{long_name}, {dtype}", dtype=dtype, split="train")
