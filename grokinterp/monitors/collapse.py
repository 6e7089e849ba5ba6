"""Training pairs whose loss or gradient is lost in the parameters' dtype, though losses are reported in float64."""

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
    """The fraction of training pairs whose softmax saturates to one-hot in the parameters' dtype, 0 to 1.

    All other logits are so much smaller that adding their exponentials changes nothing: in float32 by about 17 nats.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, softmax collapse.
    """
    return _fraction(_logits(snapshot), losses.softmax_collapse(_logits(snapshot)), "fraction of collapsed softmaxes")


@measure("zero_losses", version=1)
def zero_losses(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of training pairs whose cross-entropy is exactly 0 in the parameters' dtype, 0 to 1.

    If a run computes its loss in that dtype, these pairs have no gradient; in float64, the default here, they do.

    Source:
        Prieto et al. 2025, arXiv:2501.04697.

    Examples:
        >>> import grokinterp as gi
        >>> zero_losses(gi.testing.planted_snapshot(7, keys=(1, 3), amplitude=400.0)).item()
        1.0
    """
    answers = snapshot.task.table[snapshot.mask("train")]
    return _fraction(_logits(snapshot), losses.zero_losses(_logits(snapshot), answers), "fraction of zero losses")


@kept
def _logits(snapshot: Snapshot) -> Float[Tensor, "batch c"]:
    with torch.no_grad():
        return train_logits(snapshot, snapshot.params)


def _fraction(logits: Tensor, value: Tensor, long_name: str) -> xr.DataArray:
    dtype = str(logits.dtype).removeprefix("torch.")
    return labels.array(value, long_name=f"{long_name}, {dtype}", dtype=dtype, split="train")
