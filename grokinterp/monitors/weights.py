"""The weight matrices: their rank by three measures, how many of their entries are small, and their entries."""

from typing import Final

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, kept


# Axes of a weight by the last part of its name.
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
    """The entropy of each matrix's singular values, as shares of their sum; dims (parameter,), nats.

    Here as in the two ranks, a weight with heads has a matrix for each, and the mean over them is taken; biases and
    norms have no rank and are left out; a matrix of zeros has 0.

    Source:
        Roy and Vetterli 2007, "The effective rank"; DeMoss et al. 2024, arXiv:2412.09810, who penalise it.
    """
    values = {name: _entropy(sigma).mean().item() for name, sigma in _singular_values(snapshot).items()}
    return _by_matrix(values, "spectral_entropy", "nats", "entropy of the singular values")


@measure("effective_rank", version=1)
def effective_rank(snapshot: Snapshot) -> xr.DataArray:
    """Exp of the entropy of each matrix's singular values, as shares of their sum; dims (parameter,).

    From 1, for a single singular value, to the number of them, where all are equal.

    Source:
        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    Examples:
        >>> import grokinterp as gi
        >>> found = effective_rank(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> round(found.sel(parameter="embed.W_E").item(), 6)
        4.0
    """
    values = {
        name: torch.where(sigma.sum(dim=-1) > 0, _entropy(sigma).exp(), 0.0).mean().item()
        for name, sigma in _singular_values(snapshot).items()
    }
    return _by_matrix(values, "effective_rank", "", "effective rank")


@measure("stable_rank", version=1)
def stable_rank(snapshot: Snapshot) -> xr.DataArray:
    """The sum of each matrix's squared singular values over the largest of them; dims (parameter,).

    Source:
        Rudelson and Vershynin 2007, "Sampling from large matrices": |W|_F^2 / |W|_2^2, there "numerical rank".
    """
    values = {
        name: (sigma.square().sum(dim=-1) / _nonzero(sigma.square().amax(dim=-1))).mean().item()
        for name, sigma in _singular_values(snapshot).items()
    }
    return _by_matrix(values, "stable_rank", "", "stable rank")


def weight_sparsity(threshold: float = 1e-3) -> Measure:
    """The share of each parameter's entries that are smaller than a threshold, whatever their sign.

    Args:
        threshold: Absolute, and so not of much meaning where matrices differ in scale.

    Returns:
        Measure giving `weight_sparsity`, 0 to 1, dims (parameter,).

    Raises:
        ValueError: If the threshold is not positive.
    """
    threshold = arguments.number(threshold, "threshold", above=0)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        values = {name: (x.abs() < threshold).double().mean().item() for name, x in snapshot.params.items()}
        return _by_matrix(values, "weight_sparsity", "", f"share of weights below {threshold:g}")

    return Measure(name="weight_sparsity", compute=compute, version=1, arguments={"threshold": threshold})


def matrix(parameter: str) -> Measure:
    """The entries of a weight matrix, for a picture of it.

    Args:
        parameter: TransformerLens name, such as `embed.W_E` or `blocks.0.attn.W_Q`.

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
        values = snapshot.params[parameter]
        return labels.array(values, _AXES[short], name="weight", units="weight", long_name=f"entry of {short}")

    return Measure(name="weight", compute=compute, version=1, arguments={"parameter": parameter})


@kept
def _singular_values(snapshot: Snapshot) -> dict[str, Float64[Tensor, "*rest rank"]]:
    """Those of every weight with two axes, and those of each head of one with three."""
    matrices = {name: x for name, x in snapshot.params.items() if "W_" in name}
    return {name: torch.linalg.svdvals(x.double()) for name, x in matrices.items()}


def _entropy(sigma: Float64[Tensor, "*rest rank"]) -> Float64[Tensor, "*rest"]:
    shares = sigma / _nonzero(sigma.sum(dim=-1, keepdim=True))
    return torch.special.entr(shares).sum(dim=-1)


def _nonzero(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(torch.float64).tiny)


def _by_matrix(values: dict[str, float], name: str, units: str, long_name: str) -> xr.DataArray:
    return labels.array(
        list(values.values()),
        ("parameter",),
        name=name,
        units=units,
        long_name=long_name,
        coords={"parameter": [parameter.removeprefix("blocks.0.") for parameter in values]},
    )
