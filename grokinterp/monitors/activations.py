"""Activations by hook point: their mean, spread, size, and how many of them are zero."""

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import labels
from grokinterp.measures import measure
from grokinterp.snapshots import Snapshot, kept
from grokinterp.tasks import all_pairs


@measure("activation_mean", version=1)
def mean(snapshot: Snapshot) -> xr.DataArray:
    """The mean activation at each hook point; dims (hook,).

    Here as in the others of this module, activations are those at the last position of all pairs, trained on or not;
    of a pattern, the attention from that position. An MLP has no positions.
    """
    return _by_hook(snapshot, 0, "activation_mean", "mean activation")


@measure("activation_deviation", version=1)
def deviation(snapshot: Snapshot) -> xr.DataArray:
    """The standard deviation of the activations at each hook point, over pairs and units alike; dims (hook,)."""
    return _by_hook(snapshot, 1, "activation_deviation", "standard deviation of activations")


@measure("activation_sparsity", version=1)
def sparsity(snapshot: Snapshot) -> xr.DataArray:
    """The share of activations that are exactly zero at each hook point, 0 to 1; dims (hook,).

    Examples:
        >>> import grokinterp as gi
        >>> found = sparsity(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))
        >>> 0.3 < found.sel(hook="blocks.0.mlp.hook_post").item() < 0.7
        True
    """
    return _by_hook(snapshot, 2, "activation_sparsity", "share of activations that are zero")


@measure("activation_norm", version=1)
def norm(snapshot: Snapshot) -> xr.DataArray:
    """The mean over pairs of the Euclidean norm of the activations at each hook point, heads joined; dims (hook,)."""
    return _by_hook(snapshot, 3, "activation_norm", "norm of the activations")


def _by_hook(snapshot: Snapshot, place: int, name: str, long_name: str) -> xr.DataArray:
    names = snapshot.config.hook_names()
    values = _statistics(snapshot)[:, place]
    return labels.array(values, ("hook",), name=name, units="", long_name=long_name, coords={"hook": names})


@kept
def _statistics(snapshot: Snapshot) -> Float64[Tensor, "hook statistic"]:
    """All four at every hook point, from one forward pass that keeps no activation."""
    found: dict[str, Tensor] = {}

    def see(name: str, activation: Tensor) -> Tensor:
        activation = activation if snapshot.hook is None else snapshot.hook(name, activation)
        last = snapshot.config.at_answer(name, activation)
        found[name] = _of_one(last.flatten(1).double())
        return activation

    with torch.no_grad():
        snapshot.config.logits(snapshot.params, *all_pairs(snapshot.task), see)
    return torch.stack([found[name] for name in snapshot.config.hook_names()])


def _of_one(x: Float64[Tensor, "batch rest"]) -> Float64[Tensor, " statistic"]:
    return torch.stack([x.mean(), x.std(correction=0), (x == 0).double().mean(), x.norm(dim=1).mean()])
