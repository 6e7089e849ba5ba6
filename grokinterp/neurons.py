"""What each neuron computes: its frequency, its phase, and how much of it they explain."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.basis import Basis, project, task_basis
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, as_snapshot, kept


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronFit:
    """Each neuron by its best single frequency.

    Attributes:
        frequency: The block that explains most of the neuron's variance over all pairs.
        fve: The share that it explains, 0 to 1; 0 for a neuron that never varies.
        phase: Of the neuron as a function of the product s: its part at that frequency peaks where
            w_k s equals the phase; radians, -pi to pi; NaN where the task's group is not cyclic.
    """

    frequency: Int[Tensor, " neuron"]
    fve: Float64[Tensor, " neuron"]
    phase: Float64[Tensor, " neuron"]


def block_power(
    x: Float[Tensor, "a b neuron"], basis_a: Basis, basis_b: Basis
) -> Float64[Tensor, "block block neuron"]:
    """The power of functions of (a, b) in each pair of blocks of the two-dimensional basis."""
    coefficients = torch.einsum("ia,abn->ibn", basis_a.matrix.to(x.dtype), x)
    coefficients = torch.einsum("jb,ibn->ijn", basis_b.matrix.to(x.dtype), coefficients)
    rows = torch.zeros(len(basis_a.block_names), *coefficients.shape[1:], dtype=torch.float64)
    rows.index_add_(0, basis_a.block, coefficients.double() ** 2)
    power = torch.zeros(len(rows), len(basis_b.block_names), rows.shape[2], dtype=torch.float64)
    return power.index_add_(1, basis_b.block, rows)


def frequency_fve(x: Float[Tensor, "a b neuron"], basis_a: Basis, basis_b: Basis) -> Float64[Tensor, "neuron block"]:
    """The share of each function's variance that one block of both inputs explains, 0 to 1.

    For frequency k these are the 8 terms made of const, cos k and sin k in a and in b, without const const.
    Blocks are those of `basis_a.blocks`, in order; a function that does not vary has 0.
    """
    power = block_power(x, basis_a, basis_b)
    explained = power[0, 1:] + power[1:, 0] + power[1:, 1:].diagonal().T
    total = power.sum(dim=(0, 1)) - power[0, 0]
    # Below this a neuron's variance is rounding of its mean: a dead neuron, or one that is constant.
    floor = 1e-10 * power[0, 0] + torch.finfo(torch.float64).tiny
    return torch.where(total > floor, explained / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0).T


@kept
def _shares(snapshot: Snapshot) -> Float64[Tensor, "neuron block"]:
    task = snapshot.task
    return frequency_fve(snapshot.neurons, task_basis(task, task.a_tokens), task_basis(task, task.b_tokens))


@kept
def _fit(snapshot: Snapshot) -> NeuronFit:
    best, place = _shares(snapshot).max(dim=1)
    return NeuronFit(frequency=torch.tensor(snapshot.basis.blocks)[place], fve=best, phase=_phase(snapshot, place))


def _phase(snapshot: Snapshot, place: Int[Tensor, " neuron"]) -> Float64[Tensor, " neuron"]:
    task, basis = snapshot.task, snapshot.basis
    group, _ = task.require_group()
    if group.logarithm is None:
        return torch.full((len(place),), torch.nan, dtype=torch.float64)
    waves = basis.matrix @ _product_means(snapshot, snapshot.neurons)
    names = {name: row for row, name in enumerate(basis.names)}
    # Frequency n/2 has no sine; its phase is 0 or pi.
    zeros = torch.zeros(len(place), dtype=torch.float64)
    cos = torch.stack([waves[names[f"cos {k}"]] for k in basis.blocks])
    sin = torch.stack([waves[names[f"sin {k}"]] if f"sin {k}" in names else zeros for k in basis.blocks])
    neuron = torch.arange(len(place))
    return torch.atan2(sin[place, neuron], cos[place, neuron])


def fit(model: object) -> NeuronFit:
    """Frequency, phase and FVE of every neuron of the last layer.

    Args:
        model: A Snapshot or a TransformerLens model, of a task that has a group.

    Returns:
        The fit; computed once per snapshot.

    Raises:
        ValueError: If the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4 and the code's `calculate_key_freqs`. Differs: theirs
        tries frequencies below (p-1)/2 only, ours includes it.

    Examples:
        >>> import grokinterp as gi
        >>> fit(gi.testing.planted_snapshot(7, keys=(1, 3))).frequency.unique().tolist()
        [1, 3]
    """
    return _fit(as_snapshot(model))


def clusters(model: object, *, threshold: float = 0.85) -> dict[int, list[int]]:
    """The neurons of each frequency.

    Args:
        model: A Snapshot or a TransformerLens model, of a task that has a group.
        threshold: A neuron is in the cluster of its best frequency if that explains at least this share of it;
            else it is in none.

    Returns:
        Numbers of neurons by frequency; frequencies without any are left out.

    Raises:
        ValueError: If the threshold is not from 0 to 1, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4: clusters of neurons, those below .85 in none.

    Examples:
        >>> import grokinterp as gi
        >>> found = clusters(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))
        >>> {k: len(neurons) for k, neurons in found.items()}
        {1: 64, 3: 64}
    """
    threshold = arguments.fraction(threshold, "threshold")
    found = fit(model)
    clear = found.fve >= threshold
    frequencies = found.frequency[clear].unique().tolist()
    return {k: (clear & (found.frequency == k)).nonzero().flatten().tolist() for k in frequencies}


def polynomials(
    model: object, *, threshold: float = 0.85, terms: Literal["all", "sum"] = "all"
) -> Float64[Tensor, "a b neuron"]:
    """The neurons over all pairs, each in a cluster replaced by its part at its own frequency.

    Args:
        model: A Snapshot or a TransformerLens model, of a task that has a group.
        threshold: A neuron is replaced if its best frequency explains at least this share of it; others stay.
        terms: `all`: the neuron becomes a polynomial of degree 2 in cos and sin of w_k a and w_k b, made of the nine
            products of 1, cos and sin of each. `sum`: its mean and its part along cos and sin(w_k(a+b)) alone.

    Returns:
        Activations, to take the place of `snapshot.neurons`.

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
    part = {"all": _polynomial_part, "sum": _sum_part}[arguments.one_of(terms, ("all", "sum"), "terms")]
    threshold = arguments.fraction(threshold, "threshold")
    snapshot = as_snapshot(model)
    x = snapshot.neurons.double()
    replaced = x.clone()
    for k, neurons in clusters(snapshot, threshold=threshold).items():
        replaced[..., neurons] = part(snapshot, x[..., neurons], k)
    return replaced


def _polynomial_part(snapshot: Snapshot, x: Float64[Tensor, "a b neuron"], k: int) -> Float64[Tensor, "a b neuron"]:
    task = snapshot.task
    of_a, of_b = (task_basis(task, tokens).rows((0, k)) for tokens in (task.a_tokens, task.b_tokens))
    return project_pairs(x, of_a, of_b)


def project_pairs(
    x: Float64[Tensor, "a b neuron"], of_a: Float64[Tensor, "component a"], of_b: Float64[Tensor, "block b"]
) -> Float64[Tensor, "a b neuron"]:
    """The part of functions of (a, b) that lies in the products of some rows over a with some over b."""
    coefficients = torch.einsum("jb,ibn->ijn", of_b, torch.einsum("ia,abn->ibn", of_a, x))
    return torch.einsum("ia,ibn->abn", of_a, torch.einsum("jb,ijn->ibn", of_b, coefficients))


def _sum_part(snapshot: Snapshot, x: Float64[Tensor, "a b neuron"], k: int) -> Float64[Tensor, "a b neuron"]:
    means = project(_product_means(snapshot, x).T, snapshot.basis, (k,)).T
    return x.mean(dim=(0, 1)) + means[snapshot.task.table]


def _product_means(snapshot: Snapshot, x: Float[Tensor, "a b neuron"]) -> Float64[Tensor, "s neuron"]:
    """The mean of functions of (a, b) over the pairs of each product; zero for a product that no pair has."""
    products = snapshot.task.table.flatten()
    sums = torch.zeros(snapshot.task.n_outputs, x.shape[2], dtype=torch.float64)
    sums.index_add_(0, products, x.flatten(0, 1).double())
    return sums / products.bincount(minlength=len(sums)).clamp(min=1)[:, None]


@measure("neuron_spectrum", version=1)
def spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The share of each neuron's variance that each frequency explains, 0 to 1; dims (neuron, frequency).

    What is missing to 1 is in products of two frequencies.
    """
    return labels.array(
        _shares(snapshot),
        ("neuron", "frequency"),
        name="shares",
        units="",
        long_name="FVE of the neuron",
        coords={"frequency": snapshot.basis.blocks},
    )


@measure("neuron_frequency", version=1)
def frequency(snapshot: Snapshot) -> xr.DataArray:
    """The best single frequency of each neuron; dims (neuron,)."""
    return labels.array(_fit(snapshot).frequency, ("neuron",), name="f", units="", long_name="frequency of the neuron")


@measure("neuron_fve", version=1)
def fve(snapshot: Snapshot) -> xr.DataArray:
    """The share of each neuron's variance that its best frequency explains, 0 to 1; dims (neuron,)."""
    return labels.array(
        _fit(snapshot).fve, ("neuron",), name="f", units="", long_name="FVE of the neuron by its frequency"
    )


@measure("neuron_phase", version=1)
def phase(snapshot: Snapshot) -> xr.DataArray:
    """The phase of each neuron as a function of the product, radians; dims (neuron,)."""
    return labels.array(_fit(snapshot).phase, ("neuron",), name="f", units="rad", long_name="phase of the neuron")


def counts(*, threshold: float = 0.85) -> Measure:
    """How many neurons each frequency has.

    Args:
        threshold: A neuron counts for its best frequency if that explains at least this share of it.

    Returns:
        Measure giving `neurons_per_frequency`, dims (frequency,), whole numbers.

    Raises:
        ValueError: If the threshold is not from 0 to 1; when applied, if the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217: clusters of neurons, those below .85 in none.
    """
    threshold = arguments.fraction(threshold, "threshold")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        found = _fit(snapshot)
        blocks = snapshot.basis.blocks
        clear = found.frequency[found.fve >= threshold]
        return labels.array(
            clear.bincount(minlength=max(blocks) + 1)[list(blocks)],
            ("frequency",),
            name="counts",
            units="",
            long_name="neurons",
            coords={"frequency": blocks},
        )

    return Measure(name="neurons_per_frequency", compute=compute, version=1, arguments={"threshold": threshold})


def activations(neurons: Iterable[int]) -> Measure:
    """The activations of some neurons over all pairs.

    Args:
        neurons: Which, by number.

    Returns:
        Measure giving `neurons`, dims (neuron, a, b).

    Raises:
        ValueError: If a number is not that of a neuron.
    """
    wanted = list(arguments.integers(neurons, "neurons", minimum=0, in_order=False))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        arguments.integers(wanted, "neurons of this model", minimum=0, maximum=snapshot.config.d_mlp - 1)
        return labels.array(
            snapshot.neurons[:, :, wanted].permute(2, 0, 1),
            ("neuron", "a", "b"),
            name="neurons",
            units="",
            long_name="activation of the neuron",
            coords={"neuron": wanted, "a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens},
        )

    return Measure(name="neurons", compute=compute, version=1, arguments={"neurons": wanted})
