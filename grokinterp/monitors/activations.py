"""Mean, standard deviation, sparsity and norm of the activations at each hook point.

Activations are at the last position, for all pairs, train and test. An attention pattern is the row of that query
position. An MLP has no positions.
"""

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import labels
from grokinterp.measures import measure
from grokinterp.models.architecture import chain
from grokinterp.snapshots import Snapshot, cached
from grokinterp.tasks import all_pairs


@measure("activation_mean", version=1)
def mean(snapshot: Snapshot) -> xr.DataArray:
    """The mean activation at each hook point, over pairs and units; dims (hook,)."""
    return _by_hook(snapshot, 0, "mean activation")


@measure("activation_std", version=1)
def std(snapshot: Snapshot) -> xr.DataArray:
    """The standard deviation of the activations at each hook point, over pairs and units; dims (hook,)."""
    return _by_hook(snapshot, 1, "standard deviation of activations")


@measure("activation_sparsity", version=1)
def sparsity(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of activations that are exactly zero at each hook point, 0 to 1; dims (hook,).

    Examples:
        >>> import grokinterp as gi
        >>> by_hook = sparsity(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))
        >>> 0.3 < by_hook.sel(hook="blocks.0.mlp.hook_post").item() < 0.7
        True
    """
    return _by_hook(snapshot, 2, "fraction of zero activations")


@measure("activation_norm", version=1)
def norm(snapshot: Snapshot) -> xr.DataArray:
    """The Euclidean norm of the activations at each hook point, heads concatenated, mean over pairs; dims (hook,)."""
    return _by_hook(snapshot, 3, "norm of the activations")


def _by_hook(snapshot: Snapshot, statistic: int, long_name: str) -> xr.DataArray:
    values = _statistics(snapshot)[:, statistic]
    return labels.array(values, ("hook",), long_name=long_name, coords={"hook": snapshot.config.hook_names()})


@cached
def _statistics(snapshot: Snapshot) -> Float64[Tensor, "hook statistic"]:
    """All four statistics at every hook point, from one forward pass that stores no activation."""
    statistics: dict[str, Tensor] = {}

    def record(name: str, activation: Tensor) -> Tensor:
        x = snapshot.config.at_answer(name, activation).flatten(1).double()
        is_zero = (x == 0).double()
        statistics[name] = torch.stack([x.mean(), x.std(correction=0), is_zero.mean(), x.norm(dim=1).mean()])
        return activation

    with torch.no_grad():
        snapshot.config.logits(snapshot.params, *all_pairs(snapshot.task), chain(snapshot.hook, record))
    return torch.stack([statistics[name] for name in snapshot.config.hook_names()])
