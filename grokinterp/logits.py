"""The logits as a sum of cosine components cos w_k(a+b-c), and the variance that they explain.

Everything is computed from the product means M[s, c]: the inner product of the logits with a direction that depends on
a and b only through their product is the inner product with M, times the number of pairs per product.
"""

import math
from collections.abc import Iterable
from typing import Literal, get_args

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.basis import coefficients as coefficients_in
from grokinterp.basis import pair_coefficients, project, task_basis
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, as_snapshot, cached


Centering = Literal["class", "mean", "none"]


def project_products(snapshot: Snapshot, blocks: Iterable[int]) -> Float64[Tensor, "s c"]:
    """The logits projected onto blocks of functions of the product s, for each class c.

    The row of a pair's product is the paper's projection onto cos and sin(w_k(a+b)).
    """
    return project(snapshot.product_means.T, snapshot.basis, blocks).T


@cached
def cosine_coefficients(snapshot: Snapshot) -> Float64[Tensor, " block"]:
    """<C_k, L> for the unit vectors C_k proportional to cos(w_k(a+b-c)) over all (a, b, c).

    For a group that is not cyclic, C_k is the normalized character chi(s c^-1) of the irreps in the block.
    """
    basis = snapshot.basis
    # The kernel sum_r r(s) r(c) of a block is the cosine of s - c; its squared norm is the number of rows.
    by_row = torch.einsum("rs,sc,rc->r", basis.matrix, snapshot.product_means, basis.matrix)
    sums = torch.zeros(len(basis.block_names), dtype=torch.float64).index_add_(0, basis.block, by_row)
    rows = basis.block.bincount(minlength=len(sums))
    return (sums * (_pairs_per_product(snapshot) / rows).sqrt())[1:]


def cosine_fit(snapshot: Snapshot, keys: Iterable[int]) -> Float64[Tensor, "s c"]:
    """sum_k v_k C_k over the keys, by product s and class c: the fit of the logits by cos(w_k(a+b-c))."""
    basis = snapshot.basis
    coefficient = dict(zip(basis.blocks, cosine_coefficients(snapshot), strict=True))
    total = torch.zeros_like(snapshot.product_means)
    for k in basis.check(arguments.keys(keys)):
        rows = basis.rows([k])
        total += coefficient[k] / (len(rows) * _pairs_per_product(snapshot)).sqrt() * rows.T @ rows
    return total


@measure("logit_coefficient", version=1)
def coefficients(snapshot: Snapshot) -> xr.DataArray:
    """The coefficient v_k of each normalized cos(w_k(a+b-c)) in the logits; dims (frequency,), logits.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, the code's `get_cos_coeffs`: v_k.
    """
    return _by_frequency(snapshot, cosine_coefficients(snapshot), "logit", "coefficient of cos(w_k(a+b-c))")


def fve(*, centering: Centering = "class") -> Measure:
    """The fraction of logit variance explained by each cos(w_k(a+b-c)), 0 to 1.

    The components are orthogonal, so the fraction explained by several keys is the sum of their fractions.

    Args:
        centering: Mean to subtract before the variance is taken: `class` for the mean of each class over all pairs,
            `mean` for the mean of all logits, `none` for no mean.

    Returns:
        Measure giving `logit_fve`, dims (frequency,).

    Raises:
        ValueError: If `centering` is unknown; when applied, if the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: "95% of the variance", by least squares, which is projection
        for orthogonal components. The paper does not say which mean it subtracts, so it is an argument.

    Examples:
        >>> import grokinterp as gi
        >>> fve()(gi.testing.planted_snapshot(7, keys=(1, 3))).values.round(6).tolist()
        [0.5, 0.0, 0.5]
    """
    centering = arguments.one_of(centering, get_args(Centering), "centering")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        explained = cosine_coefficients(snapshot) ** 2 / _variance(snapshot, centering)
        return _by_frequency(snapshot, explained, "", "FVE of the logits by cos(w_k(a+b-c))")

    return Measure(name="logit_fve", compute=compute, version=1, arguments={"centering": centering})


@measure("product_fve", version=1)
def product_fve(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of logit variance in functions of the product at each frequency, 0 to 1; dims (frequency,).

    Unlike `fve`, it allows any dependence on the class. The mean of each class is subtracted.
    """
    return _by_frequency(snapshot, product_fractions(snapshot), "", "FVE of the logits by cos and sin(w_k(a+b))")


@cached
def product_fractions(snapshot: Snapshot) -> Float64[Tensor, " block"]:
    """The values of `product_fve`."""
    basis = snapshot.basis
    squared = (basis.matrix @ snapshot.product_means).square().sum(dim=1)
    power = torch.zeros(len(basis.block_names), dtype=torch.float64).index_add_(0, basis.block, squared)
    return _pairs_per_product(snapshot) * power[1:] / _variance(snapshot, "class")


def readout_fve(keys: Iterable[int]) -> Measure:
    """The fraction of variance of u_k^T MLP(a, b) and v_k^T MLP(a, b) explained by cos and sin(w_k(a+b)), 0 to 1.

    u_k and v_k are the directions in neuron space that W_L maps to cos(w_k c) and sin(w_k c).

    Args:
        keys: Frequencies with a cosine and a sine.

    Returns:
        Measure giving `readout_fve`, dims (frequency, axis: cos and sin).

    Raises:
        ValueError: If a key has no cosine and sine in the task's basis, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2 and table 1.

    Examples:
        >>> import grokinterp as gi
        >>> readout_fve([1, 3])(gi.testing.planted_snapshot(7, keys=(1, 3))).values.round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    wanted = list(arguments.keys(keys))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        rows = [snapshot.basis.rows([k]) for k in wanted]
        if any(len(row) != 2 for row in rows):
            msg = f"keys must be frequencies with a cosine and a sine, got {wanted} for {snapshot.task.name}."
            raise ValueError(msg)
        components = torch.cat(rows)
        read = snapshot.neurons.double() @ (snapshot.W_L.double() @ components.T)
        read = read - read.mean(dim=(0, 1))
        components = components[:, snapshot.task.table].permute(1, 2, 0)
        inner = (read * components).sum(dim=(0, 1)) ** 2
        norms = read.square().sum(dim=(0, 1)) * components.square().sum(dim=(0, 1))
        explained = (inner / norms.clamp(min=torch.finfo(torch.float64).tiny)).reshape(-1, 2)
        coords = {"frequency": wanted, "axis": ("cos", "sin")}
        return labels.array(explained, tuple(coords), long_name="FVE of the MLP along u_k and v_k", coords=coords)

    return Measure(name="readout_fve", compute=compute, version=1, arguments={"key_frequencies": wanted})


def readout_components(neurons: Iterable[int]) -> Measure:
    """The rows of W_L = W_out W_U of the given neurons, in the basis of the classes.

    Args:
        neurons: Neuron indices.

    Returns:
        Measure giving `readout_components`, dims (neuron, component).

    Raises:
        ValueError: If an index is invalid; when applied, if the model has no such neuron or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 5b: F W_L for the neurons of one frequency.
    """
    wanted = list(arguments.integers(neurons, "neurons", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "neurons of this model", minimum=0, maximum=snapshot.config.d_mlp - 1)
        values = coefficients_in(snapshot.W_L[wanted], snapshot.basis)
        coords = {"neuron": wanted, "component": snapshot.basis.names}
        return labels.array(values, tuple(coords), units="weight", long_name="weight of the component", coords=coords)

    return Measure(name="readout_components", compute=compute, version=1, arguments={"neurons": wanted})


@measure("logit_components", version=1)
def components(snapshot: Snapshot) -> xr.DataArray:
    """The logits' coefficient in each product of an a and a b component, norm over classes; dims (component, row).

    `component` is over a, `row` over b. The entry of const and const holds the mean of each class over the pairs.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 4c.
    """
    task = snapshot.task
    of_a, of_b = (task_basis(task, tokens) for tokens in (task.a_tokens, task.b_tokens))
    norms = pair_coefficients(snapshot.logits, of_a.matrix, of_b.matrix).norm(dim=2)
    coords = {"component": of_a.names, "row": of_b.names}
    return labels.array(norms, tuple(coords), units="logit", long_name="norm over classes", coords=coords)


def over_inputs(classes: Iterable[int]) -> Measure:
    """The logits of the given classes over all pairs.

    Args:
        classes: Output classes.

    Returns:
        Measure giving `logits`, dims (c, a, b).

    Raises:
        ValueError: If a class is invalid; when applied, if the task has no such class.
    """
    wanted = list(arguments.integers(classes, "classes", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "classes", minimum=0, maximum=snapshot.task.n_outputs - 1)
        values = snapshot.logits[:, :, wanted].permute(2, 0, 1)
        coords = {"c": wanted, "a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens}
        return labels.array(values, tuple(coords), units="logit", long_name="logit", coords=coords)

    return Measure(name="logits", compute=compute, version=1, arguments={"classes": wanted})


def variance_explained(model: object, keys: Iterable[int], *, centering: Centering = "class") -> float:
    """The fraction of logit variance that the cos(w_k(a+b-c)) of all given keys explain, 0 to 1.

    Raises:
        ValueError: If a key is not a frequency of the task, or the task has no group.

    Examples:
        >>> import grokinterp as gi
        >>> round(variance_explained(gi.testing.planted_snapshot(7, keys=(1, 3)), (1, 3)), 6)
        1.0
    """
    wanted, by_frequency, snapshot = arguments.keys(keys), fve(centering=centering), as_snapshot(model)
    return float(by_frequency(snapshot).sel(frequency=snapshot.basis.check(wanted)).sum())


def _by_frequency(snapshot: Snapshot, values: Tensor, units: str, long_name: str) -> xr.DataArray:
    coords = {"frequency": snapshot.basis.blocks}
    return labels.array(values, tuple(coords), units=units, long_name=long_name, coords=coords)


def _pairs_per_product(snapshot: Snapshot) -> Tensor:
    """The number of pairs per product, which must be the same for all products."""
    _, elements = snapshot.task.require_group()
    counts = snapshot.task.table.flatten().bincount(minlength=snapshot.task.n_outputs)[elements]
    if not (counts == counts[0]).all():
        msg = (
            f"each group element must be the answer to the same number of pairs of {snapshot.task.name}, "
            f"got {int(counts.min())} to {int(counts.max())}; give the task all pairs of elements, or no group."
        )
        raise ValueError(msg)
    return counts[0].double()


@cached
def _variances(snapshot: Snapshot) -> dict[Centering, float]:
    logits = snapshot.logits.flatten(0, 1)
    squares = logits.square().sum().item()
    return {
        "class": squares - len(logits) * logits.mean(dim=0).square().sum().item(),
        "mean": squares - logits.numel() * logits.mean().item() ** 2,
        "none": squares,
    }


def _variance(snapshot: Snapshot, centering: Centering) -> float:
    variances = _variances(snapshot)
    # A variance below this is rounding error of the mean: the logits do not depend on the pair.
    floor = 1e-12 * variances["none"]
    return variances[centering] if variances[centering] > floor else math.inf
