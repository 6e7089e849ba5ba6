"""Weight matrices: three measures of rank, sparsity, and the entries themselves."""

from typing import Final

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, cached


# Axes of a weight, by the last part of its name.
_AXES: Final = {
    "W_E": ("d_vocab", "d_model"),
    "W_pos": ("pos", "d_model"),
    "W_Q": ("head", "d_model", "d_head"),
    "W_K": ("head", "d_model", "d_head"),
    "W_V": ("head", "d_model", "d_head"),
    "W_O": ("head", "d_head", "d_model"),
    "W_in": ("d_model", "d_mlp"),
    "W_out": ("d_mlp", "d_model"),
    "W_U": ("d_model", "d_vocab_out"),
}


@measure("spectral_entropy", version=1)
def spectral_entropy(snapshot: Snapshot) -> xr.DataArray:
    """The entropy of each matrix's singular values, normalized to sum to 1; dims (parameter,), nats.

    As in `effective_rank` and `stable_rank`, per-head weights are averaged over heads, biases and normalization weights
    are left out, and an all-zero matrix gives 0.

    Source:
        Roy and Vetterli 2007, "The effective rank"; DeMoss et al. 2024, arXiv:2412.09810, who penalize it.
    """
    values = {name: _entropy(sigma).mean().item() for name, sigma in _singular_values(snapshot).items()}
    return _by_matrix(values, "entropy of the singular values", units="nats")


@measure("effective_rank", version=1)
def effective_rank(snapshot: Snapshot) -> xr.DataArray:
    """Exp of the spectral entropy of each matrix; dims (parameter,).

    From 1, for a single nonzero singular value, to the number of singular values, if all are equal.

    Source:
        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    Examples:
        >>> import grokinterp as gi
        >>> ranks = effective_rank(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> round(ranks.sel(parameter="embed.W_E").item(), 6)
        4.0
    """
    values = {
        name: torch.where(sigma.sum(dim=-1) > 0, _entropy(sigma).exp(), 0.0).mean().item()
        for name, sigma in _singular_values(snapshot).items()
    }
    return _by_matrix(values, "effective rank")


@measure("stable_rank", version=1)
def stable_rank(snapshot: Snapshot) -> xr.DataArray:
    """The sum of each matrix's squared singular values divided by the largest one; dims (parameter,).

    Source:
        Rudelson and Vershynin 2007, "Sampling from large matrices": |W|_F^2 / |W|_2^2, called "numerical rank" there.
    """
    values = {
        name: (sigma.square().sum(dim=-1) / _nonzero(sigma.square().amax(dim=-1))).mean().item()
        for name, sigma in _singular_values(snapshot).items()
    }
    return _by_matrix(values, "stable rank")


def weight_sparsity(threshold: float = 1e-3) -> Measure:
    """The fraction of each parameter's entries whose absolute value is below a threshold.

    Args:
        threshold: Absolute threshold; it does not account for the scale of a matrix.

    Returns:
        Measure giving `weight_sparsity`, 0 to 1, dims (parameter,).

    Raises:
        ValueError: If the threshold is not positive.
    """
    threshold = arguments.number(threshold, "threshold", above=0)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        values = {name: (x.abs() < threshold).double().mean().item() for name, x in snapshot.params.items()}
        return _by_matrix(values, f"fraction of weights below {threshold:g}")

    return Measure(name="weight_sparsity", compute=compute, version=1, arguments={"threshold": threshold})


def matrix(parameter: str) -> Measure:
    """The entries of a weight matrix, e.g. for a heatmap.

    Args:
        parameter: TransformerLens name, e.g. `embed.W_E` or `blocks.0.attn.W_Q`.

    Returns:
        Measure giving `weight`, over the axes of the matrix: (head, d_model, d_head) for W_Q.

    Raises:
        ValueError: If the model has no such weight matrix.

    Examples:
        >>> import grokinterp as gi
        >>> matrix("blocks.0.attn.W_O")(gi.testing.planted_snapshot(7, keys=(1,))).dims
        ('head', 'd_head', 'd_model')
    """

    def compute(snapshot: Snapshot) -> xr.DataArray:
        known = [name for name in snapshot.params if name.rsplit(".", 1)[-1] in _AXES]
        short = arguments.one_of(parameter, known, "parameter").rsplit(".", 1)[-1]
        return labels.array(snapshot.params[parameter], _AXES[short], units="weight", long_name=f"entry of {short}")

    return Measure(name="weight", compute=compute, version=1, arguments={"parameter": parameter})


@cached
def _singular_values(snapshot: Snapshot) -> dict[str, Float64[Tensor, "*rest rank"]]:
    """The singular values of every weight matrix, per head if it has heads."""
    matrices = {name: x for name, x in snapshot.params.items() if "W_" in name}
    return {name: torch.linalg.svdvals(x.double()) for name, x in matrices.items()}


def _entropy(sigma: Float64[Tensor, "*rest rank"]) -> Float64[Tensor, "*rest"]:
    return torch.special.entr(sigma / _nonzero(sigma.sum(dim=-1, keepdim=True))).sum(dim=-1)


def _nonzero(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(torch.float64).tiny)


def _by_matrix(values: dict[str, float], long_name: str, units: str = "") -> xr.DataArray:
    names = [parameter.removeprefix("blocks.0.") for parameter in values]
    return labels.array(
        [*values.values()], ("parameter",), units=units, long_name=long_name, coords={"parameter": names}
    )
