"""The logits as a sum of waves of the answer: the cos w_k(a+b-c) directions and what they explain.

Everything is computed from the product means M[s, c]: a direction that depends on a and b through their
product alone has the same inner product with them as with the logits of all pairs, up to the number of pairs.
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
from grokinterp.basis import project, task_basis
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, as_snapshot, kept


Centering = Literal["class", "mean", "none"]


def project_products(snapshot: Snapshot, blocks: Iterable[int]) -> Float64[Tensor, "s c"]:
    """The part of the logits that lies in blocks of functions of the product, by product s and class c.

    At the pair (a, b) it is the row of their product: the paper's projection on cos and sin(w_k(a+b)).
    """
    return project(snapshot.product_means.T, snapshot.basis, blocks).T


@kept
def wave_coefficients(snapshot: Snapshot) -> Float64[Tensor, " block"]:
    """<C_k, L> for the unit vectors C_k proportional to cos(w_k(a+b-c)) over all (a, b, c).

    For a group that is not cyclic C_k is the character of the irreps in the block, chi(s c^-1), normalised.
    """
    basis = snapshot.basis
    means = snapshot.product_means
    # The kernel sum_r r(s) r(c) of a block is its wave of s - c; its squared norm is the number of rows.
    by_row = torch.einsum("rs,sc,rc->r", basis.matrix, means, basis.matrix)
    sums = torch.zeros(len(basis.block_names), dtype=torch.float64).index_add_(0, basis.block, by_row)
    rows = basis.block.bincount(minlength=len(sums))
    return (sums * (_pairs_per_product(snapshot) / rows).sqrt())[1:]


def wave_logits(snapshot: Snapshot, keys: Iterable[int]) -> Float64[Tensor, "s c"]:
    """sum_k v_k C_k over some keys, by product s and class c: the logits' fit by cos(w_k(a+b-c))."""
    basis = snapshot.basis
    coefficient = dict(zip(basis.blocks, wave_coefficients(snapshot), strict=True))
    total = torch.zeros_like(snapshot.product_means)
    for k in basis.check(arguments.keys(keys)):
        rows = basis.rows([k])
        total += coefficient[k] / (len(rows) * _pairs_per_product(snapshot)).sqrt() * rows.T @ rows
    return total


@measure("logit_coefficient", version=1)
def coefficients(snapshot: Snapshot) -> xr.DataArray:
    """The coefficient v_k of each normalised cos(w_k(a+b-c)) in the logits; dims (frequency,), logits.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, the code's `get_cos_coeffs`: v_k.
    """
    return _by_frequency(snapshot, wave_coefficients(snapshot), "logit", "coefficient of cos(w_k(a+b-c))")


def fve(*, centering: Centering = "class") -> Measure:
    """The share of the logits' variance that each cos(w_k(a+b-c)) explains, 0 to 1.

    The waves are orthogonal, so the share of a set of keys is the sum of theirs.

    Args:
        centering: Which mean the variance leaves out: `class` that of each class over all pairs, `mean` the
            one mean of all logits, `none` nothing.

    Returns:
        Measure giving `logit_fve`, dims (frequency,).

    Raises:
        ValueError: If `centering` is unknown; when applied, if the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: "95% of the variance", by least squares, which for
        orthogonal waves is projection. Which mean they take out is not known; hence the argument.

    Examples:
        >>> import grokinterp as gi
        >>> fve()(gi.testing.planted_snapshot(7, keys=(1, 3))).values.round(6).tolist()
        [0.5, 0.0, 0.5]
    """
    centering = arguments.one_of(centering, get_args(Centering), "centering")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        share = wave_coefficients(snapshot) ** 2 / _variance(snapshot, centering)
        return _by_frequency(snapshot, share, "", "FVE of the logits by cos(w_k(a+b-c))")

    return Measure(name="logit_fve", compute=compute, version=1, arguments={"centering": centering})


@measure("product_fve", version=1)
def product_fve(snapshot: Snapshot) -> xr.DataArray:
    """The share of the logits' variance in functions of the product at each frequency, 0 to 1; dims (frequency,).

    Unlike `fve` it asks nothing of how the logits depend on the class. Each class has its mean left out.
    """
    return _by_frequency(snapshot, product_shares(snapshot), "", "FVE of the logits by cos and sin(w_k(a+b))")


@kept
def product_shares(snapshot: Snapshot) -> Float64[Tensor, " block"]:
    """The values of `product_fve`."""
    basis = snapshot.basis
    squared = (basis.matrix @ snapshot.product_means).square().sum(dim=1)
    power = torch.zeros(len(basis.block_names), dtype=torch.float64).index_add_(0, basis.block, squared)
    return _pairs_per_product(snapshot) * power[1:] / _variance(snapshot, "class")


def readout_fve(keys: Iterable[int]) -> Measure:
    """How much of the MLP, read along u_k and v_k, is cos and sin(w_k(a+b)), 0 to 1.

    u_k and v_k are the directions over neurons in which W_L holds cos and sin(w_k c): the logits' waves of c are
    u_k^T MLP(a, b) and v_k^T MLP(a, b).

    Args:
        keys: Frequencies with a cos and a sin.

    Returns:
        Measure giving `readout_fve`, dims (frequency, axis: cos and sin).

    Raises:
        ValueError: If a key has no cos and sin in the task's basis, or the task has no group.

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
            msg = f"keys must be frequencies with a cos and a sin, got {wanted} for {snapshot.task.name}."
            raise ValueError(msg)
        waves = torch.cat(rows)
        read = snapshot.neurons.double() @ (snapshot.W_L.double() @ waves.T)
        read = read - read.mean(dim=(0, 1))
        waves = waves[:, snapshot.task.table].permute(1, 2, 0)
        inner = (read * waves).sum(dim=(0, 1)) ** 2
        norms = read.square().sum(dim=(0, 1)) * waves.square().sum(dim=(0, 1))
        return labels.array(
            (inner / norms.clamp(min=torch.finfo(torch.float64).tiny)).reshape(-1, 2),
            ("frequency", "axis"),
            name="fve",
            units="",
            long_name="FVE of the MLP along u_k and v_k",
            coords={"frequency": wanted, "axis": ("cos", "sin")},
        )

    return Measure(name="readout_fve", compute=compute, version=1, arguments={"key_frequencies": wanted})


def readout_components(neurons: Iterable[int]) -> Measure:
    """What some neurons write into the logits, in the basis of the classes.

    Args:
        neurons: Which, by number.

    Returns:
        Measure giving `readout_components`, dims (neuron, component): their rows of W_L = W_out W_U.

    Raises:
        ValueError: If a number is not that of a neuron, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 5b: F W_L for the neurons of one frequency.
    """
    wanted = list(arguments.integers(neurons, "neurons", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "neurons of this model", minimum=0, maximum=snapshot.config.d_mlp - 1)
        return labels.array(
            coefficients_in(snapshot.W_L[wanted], snapshot.basis),
            ("neuron", "component"),
            name="components",
            units="weight",
            long_name="weight of the component",
            coords={"neuron": wanted, "component": snapshot.basis.names},
        )

    return Measure(name="readout_components", compute=compute, version=1, arguments={"neurons": wanted})


@measure("logit_components", version=1)
def components(snapshot: Snapshot) -> xr.DataArray:
    """The norm over classes of each product of a component of a with one of b in the logits; dims (component, row).

    `component` is of a, `row` of b; each class has its mean over the pairs in const const.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 4c.
    """
    task = snapshot.task
    of_a, of_b = (task_basis(task, tokens) for tokens in (task.a_tokens, task.b_tokens))
    # One input after the other: in one go the product of both bases would be made first, p^4 numbers.
    by_a = torch.einsum("ia,abc->ibc", of_a.matrix, snapshot.logits)
    return labels.array(
        torch.einsum("jb,ibc->ijc", of_b.matrix, by_a).norm(dim=2),
        ("component", "row"),
        name="components",
        units="logit",
        long_name="norm over classes",
        coords={"component": of_a.names, "row": of_b.names},
    )


def over_inputs(classes: Iterable[int]) -> Measure:
    """The logits of some classes over all pairs.

    Args:
        classes: Which, by number.

    Returns:
        Measure giving `logits`, dims (c, a, b).

    Raises:
        ValueError: If a number is not that of a class.
    """
    wanted = list(arguments.integers(classes, "classes", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "classes", minimum=0, maximum=snapshot.task.n_outputs - 1)
        return labels.array(
            snapshot.logits[:, :, wanted].permute(2, 0, 1),
            ("c", "a", "b"),
            name="logits",
            units="logit",
            long_name="logit",
            coords={"c": wanted, "a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens},
        )

    return Measure(name="logits", compute=compute, version=1, arguments={"classes": wanted})


def variance_explained(model: object, keys: Iterable[int], *, centering: Centering = "class") -> float:
    """The share of the logits' variance that cos(w_k(a+b-c)) of some keys explain together, 0 to 1.

    Raises:
        ValueError: If a key is no frequency of the task, or the task has no group.

    Examples:
        >>> import grokinterp as gi
        >>> round(variance_explained(gi.testing.planted_snapshot(7, keys=(1, 3)), (1, 3)), 6)
        1.0
    """
    wanted, share, snapshot = arguments.keys(keys), fve(centering=centering), as_snapshot(model)
    return float(share(snapshot).sel(frequency=snapshot.basis.check(wanted)).sum())


def _by_frequency(snapshot: Snapshot, values: Tensor, units: str, long_name: str) -> xr.DataArray:
    return labels.array(
        values,
        ("frequency",),
        name="values",
        units=units,
        long_name=long_name,
        coords={"frequency": snapshot.basis.blocks},
    )


def _pairs_per_product(snapshot: Snapshot) -> Tensor:
    """How many pairs have each group element as their product: the same number for all of them."""
    _, elements = snapshot.task.require_group()
    counts = snapshot.task.table.flatten().bincount(minlength=snapshot.task.n_outputs)[elements]
    if not (counts == counts[0]).all():
        msg = (
            f"each group element must be the answer to as many pairs of {snapshot.task.name}, "
            f"got {int(counts.min())} to {int(counts.max())}; give the task all pairs of elements, or no group."
        )
        raise ValueError(msg)
    return counts[0].double()


@kept
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
    # Below this the variance is rounding of the mean: logits that do not depend on the pair have no shares.
    floor = 1e-12 * variances["none"]
    return variances[centering] if variances[centering] > floor else math.inf
