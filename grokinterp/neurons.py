"""Neurons as functions of (a, b): their best frequency, its phase, and the fraction of variance it explains."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.basis import Basis, pair_coefficients, product_means, project, project_pairs, task_basis
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, as_snapshot, cached


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronFit:
    """The best single frequency of each neuron.

    Attributes:
        frequency: The block that explains most of the neuron's variance over all pairs.
        fve: Fraction of variance explained by it, 0 to 1; 0 for a neuron that never varies.
        phase: Phase of the neuron as a function of the product s: its component at that frequency peaks at w_k s =
            phase; radians, -pi to pi; NaN if the task's group is not cyclic.
    """

    frequency: Int[Tensor, " neuron"]
    fve: Float64[Tensor, " neuron"]
    phase: Float64[Tensor, " neuron"]


def block_power(
    x: Float[Tensor, "a b neuron"], basis_a: Basis, basis_b: Basis
) -> Float64[Tensor, "block block neuron"]:
    """The power of functions of (a, b) in each pair of blocks."""
    coefficients = pair_coefficients(x, basis_a.matrix.to(x.dtype), basis_b.matrix.to(x.dtype))
    rows = torch.zeros(len(basis_a.block_names), *coefficients.shape[1:], dtype=torch.float64)
    rows.index_add_(0, basis_a.block, coefficients.double() ** 2)
    power = torch.zeros(len(rows), len(basis_b.block_names), rows.shape[2], dtype=torch.float64)
    return power.index_add_(1, basis_b.block, rows)


def frequency_fve(x: Float[Tensor, "a b neuron"], basis_a: Basis, basis_b: Basis) -> Float64[Tensor, "neuron block"]:
    """The fraction of each function's variance explained by each frequency, 0 to 1; 0 for a constant function.

    Frequency k has 8 terms: the products of const, cos k and sin k in a and in b, without const const. Frequencies are
    `basis_a.blocks`, in order.
    """
    power = block_power(x, basis_a, basis_b)
    explained = power[0, 1:] + power[1:, 0] + power[1:, 1:].diagonal().T
    total = power.sum(dim=(0, 1)) - power[0, 0]
    # A variance below this is rounding error of the mean: the neuron is dead or constant.
    floor = 1e-10 * power[0, 0] + torch.finfo(torch.float64).tiny
    return torch.where(total > floor, explained / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0).T


@cached
def _fve(snapshot: Snapshot) -> Float64[Tensor, "neuron block"]:
    task = snapshot.task
    return frequency_fve(snapshot.neurons, task_basis(task, task.a_tokens), task_basis(task, task.b_tokens))


@cached
def _fit(snapshot: Snapshot) -> NeuronFit:
    best_fve, best = _fve(snapshot).max(dim=1)
    return NeuronFit(frequency=torch.tensor(snapshot.basis.blocks)[best], fve=best_fve, phase=_phase(snapshot, best))


def _phase(snapshot: Snapshot, best: Int[Tensor, " neuron"]) -> Float64[Tensor, " neuron"]:
    basis = snapshot.basis
    group, _ = snapshot.task.require_group()
    if group.logarithm is None:
        return torch.full((len(best),), torch.nan, dtype=torch.float64)
    coefficients = basis.matrix @ product_means(snapshot.neurons, snapshot.task)
    rows = {name: coefficients[i] for i, name in enumerate(basis.names)}
    # Frequency n/2 has no sine; its phase is 0 or pi.
    zeros = torch.zeros(len(best), dtype=torch.float64)
    cos = torch.stack([rows[f"cos {k}"] for k in basis.blocks])
    sin = torch.stack([rows.get(f"sin {k}", zeros) for k in basis.blocks])
    neuron = torch.arange(len(best))
    return torch.atan2(sin[best, neuron], cos[best, neuron])


def fit(model: object) -> NeuronFit:
    """The frequency, phase and FVE of every neuron of the last layer.

    Args:
        model: A Snapshot or a TransformerLens model. Its task must have a group.

    Returns:
        The fit, computed once per snapshot.

    Raises:
        ValueError: If the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4 and the code's `calculate_key_freqs`. Differs: their code
        leaves out the frequency (p-1)/2.

    Examples:
        >>> import grokinterp as gi
        >>> fit(gi.testing.planted_snapshot(7, keys=(1, 3))).frequency.unique().tolist()
        [1, 3]
    """
    return _fit(as_snapshot(model))


def clusters(model: object, *, threshold: float = 0.85) -> dict[int, list[int]]:
    """The neurons of each frequency.

    Args:
        model: A Snapshot or a TransformerLens model. Its task must have a group.
        threshold: Minimum FVE: a neuron belongs to the cluster of its best frequency if that explains at least this
            fraction of its variance, and otherwise to no cluster.

    Returns:
        Neuron indices by frequency; frequencies without neurons are left out.

    Raises:
        ValueError: If the threshold is not from 0 to 1, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4: clusters of neurons, at a threshold of 0.85.

    Examples:
        >>> import grokinterp as gi
        >>> by_frequency = clusters(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))
        >>> {k: len(neurons) for k, neurons in by_frequency.items()}
        {1: 64, 3: 64}
    """
    threshold = arguments.fraction(threshold, "threshold")
    fitted = fit(model)
    is_above = fitted.fve >= threshold
    frequencies = fitted.frequency[is_above].unique().tolist()
    return {k: (is_above & (fitted.frequency == k)).nonzero().flatten().tolist() for k in frequencies}


def polynomials(
    model: object, *, threshold: float = 0.85, terms: Literal["all", "sum"] = "all"
) -> Float64[Tensor, "a b neuron"]:
    """The neurons over all pairs, with each neuron in a cluster replaced by its projection onto its own frequency.

    Args:
        model: A Snapshot or a TransformerLens model. Its task must have a group.
        threshold: Minimum FVE of a neuron's best frequency for the neuron to be replaced.
        terms: `all` projects onto polynomials of degree 2 in cos and sin of w_k a and w_k b: the nine products of 1,
            cos and sin of each. `sum` keeps only the mean and the cos and sin(w_k(a+b)) components.

    Returns:
        Activations in the shape of `snapshot.neurons`.

    Raises:
        ValueError: If the threshold is not from 0 to 1, `terms` is unknown, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4: 433 neurons replaced by polynomials of degree 2.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(3,))
        >>> (polynomials(snap, threshold=0.0) - snap.neurons).abs().max().item() > 0.1  # the double frequency is gone
        True
    """
    terms = arguments.one_of(terms, ("all", "sum"), "terms")
    threshold = arguments.fraction(threshold, "threshold")
    snapshot = as_snapshot(model)
    task, x = snapshot.task, snapshot.neurons.double()
    replaced = x.clone()
    for k, neurons in clusters(snapshot, threshold=threshold).items():
        own = x[..., neurons]
        if terms == "all":
            rows_a, rows_b = (task_basis(task, tokens).rows((0, k)) for tokens in (task.a_tokens, task.b_tokens))
            replaced[..., neurons] = project_pairs(own, rows_a, rows_b)
        else:
            means = project(product_means(own, task).T, snapshot.basis, (k,)).T
            replaced[..., neurons] = own.mean(dim=(0, 1)) + means[task.table]
    return replaced


@measure("neuron_spectrum", version=1)
def spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of each neuron's variance that each frequency explains, 0 to 1; dims (neuron, frequency).

    The fractions can sum to less than 1: the rest is in products of two different frequencies.
    """
    coords = {"frequency": snapshot.basis.blocks}
    return labels.array(_fve(snapshot), ("neuron", "frequency"), long_name="FVE of the neuron", coords=coords)


@measure("neuron_frequency", version=1)
def frequency(snapshot: Snapshot) -> xr.DataArray:
    """The best single frequency of each neuron; dims (neuron,)."""
    return labels.array(_fit(snapshot).frequency, ("neuron",), long_name="frequency of the neuron")


@measure("neuron_fve", version=1)
def fve(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of each neuron's variance that its best frequency explains, 0 to 1; dims (neuron,)."""
    return labels.array(_fit(snapshot).fve, ("neuron",), long_name="FVE of the neuron by its frequency")


@measure("neuron_phase", version=1)
def phase(snapshot: Snapshot) -> xr.DataArray:
    """The phase of each neuron as a function of the product, radians; dims (neuron,)."""
    return labels.array(_fit(snapshot).phase, ("neuron",), units="rad", long_name="phase of the neuron")


def counts(*, threshold: float = 0.85) -> Measure:
    """The number of neurons per frequency.

    Args:
        threshold: Minimum FVE for a neuron to count toward its best frequency.

    Returns:
        Measure giving `neurons_per_frequency`, dims (frequency,), integers.

    Raises:
        ValueError: If the threshold is not from 0 to 1; when applied, if the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4: clusters of neurons, at a threshold of 0.85.
    """
    threshold = arguments.fraction(threshold, "threshold")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        blocks, fitted = snapshot.basis.blocks, _fit(snapshot)
        values = fitted.frequency[fitted.fve >= threshold].bincount(minlength=max(blocks) + 1)[list(blocks)]
        return labels.array(values, ("frequency",), long_name="neurons", coords={"frequency": blocks})

    return Measure(name="neurons_per_frequency", compute=compute, version=1, arguments={"threshold": threshold})


def activations(neurons: Iterable[int]) -> Measure:
    """The activations of the given neurons over all pairs.

    Args:
        neurons: Neuron indices.

    Returns:
        Measure giving `neurons`, dims (neuron, a, b).

    Raises:
        ValueError: If an index is invalid; when applied, if the model has no such neuron.
    """
    wanted = list(arguments.integers(neurons, "neurons", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "neurons of this model", minimum=0, maximum=snapshot.config.d_mlp - 1)
        values = snapshot.neurons[:, :, wanted].permute(2, 0, 1)
        coords = {"neuron": wanted, "a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens}
        return labels.array(values, tuple(coords), long_name="activation of the neuron", coords=coords)

    return Measure(name="neurons", compute=compute, version=1, arguments={"neurons": wanted})
