"""Spectra of the embedding W_E and of the neuron-logit map W_L, and the key frequencies."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64
from torch import Tensor

from grokinterp import arguments, labels, neurons
from grokinterp import logits as logits_
from grokinterp.basis import Basis, coefficients, power, project
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, as_snapshot


Rule = Literal["logits", "neurons", "W_E", "W_L"]

# What a rule takes as key where no threshold is given; each is described in `key_frequencies`.
THRESHOLDS: Final[dict[Rule, float]] = {"logits": 0.01, "neurons": 0.0, "W_E": 0.25, "W_L": 0.25}
MATRICES: Final = ("W_E", "W_L")
Vector = Float[Tensor, " n"] | Float[np.ndarray, " n"] | Sequence[float]


def component_norms(x: Float[Tensor, "rest n"], basis: Basis) -> Float64[Tensor, " component"]:
    """The norm of each component of a matrix whose last axis is the tokens or the classes.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.1: the norm over d_model of each component of W_E.
    """
    return coefficients(x, basis).norm(dim=0)


def frequency_norms(x: Float[Tensor, "rest n"], basis: Basis) -> Float64[Tensor, " block"]:
    """The norm of each frequency (cos and sin together) of a matrix, the background left out."""
    return power(x, basis).sum(dim=0)[1:].sqrt()


def gini_coefficient(x: Vector) -> float:
    """How unequally a vector's absolute values are spread: 0 if all are equal, 1 - 1/n if one holds everything.

    That of zeros, which are equal too, is 0.

    Source:
        Hurley and Rickard 2009, arXiv:0811.4706: 1 - 2 sum_i (x_i / |x|_1) (n - i + 1/2) / n, x ascending.

    Examples:
        >>> gini_coefficient(torch.ones(4)), gini_coefficient(torch.tensor([0.0, 0.0, 0.0, 9.0]))
        (0.0, 0.75)
    """
    ordered = arguments.tensor(x, "x", ndim=1).double().abs().sort().values
    n = len(ordered)
    if not ordered.any():
        return 0.0
    weights = (n - torch.arange(1, n + 1) + 0.5) / n
    return float(1 - 2 * (ordered / ordered.sum() * weights).sum())


def participation(x: Vector) -> float:
    """The inverse participation ratio sum x^4 / (sum x^2)^2: 1/n if all are equal, 1 if one holds everything.

    Examples:
        >>> participation(torch.ones(4)), participation(torch.tensor([0.0, 0.0, 0.0, 9.0]))
        (0.25, 1.0)
    """
    squared = arguments.tensor(x, "x", ndim=1).double() ** 2
    return float(squared.square().sum() / squared.sum().square().clamp(min=torch.finfo(torch.float64).tiny))


def _matrices(snapshot: Snapshot) -> dict[str, Tensor]:
    """W_E with tokens last, W_L with classes last."""
    return {"W_E": snapshot.W_E.T, "W_L": snapshot.W_L}


@measure("components", version=1)
def components(snapshot: Snapshot) -> xr.DataArray:
    """The norm of each component of W_E (over tokens) and of W_L (over classes); dims (matrix, component).

    W_E's tokens leave '=' out, W_L's classes too. Components are const, cos 1, sin 1, ...

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figures 3a and 3b.
    """
    basis = snapshot.basis
    return labels.array(
        torch.stack([component_norms(x, basis) for x in _matrices(snapshot).values()]),
        ("matrix", "component"),
        name="components",
        units="weight",
        long_name="norm of the component",
        coords={"matrix": MATRICES, "component": basis.names},
    )


@measure("spectrum", version=1)
def spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The norm of each frequency of W_E and of W_L, cos and sin together; dims (matrix, frequency).

    Examples:
        >>> import grokinterp as gi
        >>> spectrum(gi.testing.planted_snapshot(7, keys=(1, 3))).sel(matrix="W_E").values.round(3).tolist()
        [2.646, 0.0, 2.646]
    """
    basis = snapshot.basis
    return labels.array(
        torch.stack([frequency_norms(x, basis) for x in _matrices(snapshot).values()]),
        ("matrix", "frequency"),
        name="spectrum",
        units="weight",
        long_name="norm of the frequency",
        coords={"matrix": MATRICES, "frequency": basis.blocks},
    )


@measure("gini", version=1)
def gini(snapshot: Snapshot) -> xr.DataArray:
    """The Gini coefficient of the norms of W_E's and W_L's frequencies, 0 to 1; dims (matrix,).

    Near 0 while the spectrum is flat, near 1 once few frequencies hold it.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.1: "the Gini coefficient of the norms of the Fourier
        components". Whether they join cos and sin, and keep the constant, is not known: we join them and
        leave it out.
    """
    return _per_matrix(snapshot, gini_coefficient, "Gini coefficient of the spectrum")


@measure("ipr", version=1)
def ipr(snapshot: Snapshot) -> xr.DataArray:
    """The inverse participation ratio of the norms of W_E's and W_L's frequencies, 0 to 1; dims (matrix,).

    Its inverse is the effective number of frequencies.

    Source:
        Doshi et al. 2023, arXiv:2310.13061, there of a neuron's Fourier spectrum.
    """
    return _per_matrix(snapshot, participation, "inverse participation ratio of the spectrum")


def outside(keys: Iterable[int]) -> Measure:
    """The share of each matrix' squared norm that the key frequencies do not hold, 0 to 1.

    A W_L that is made of the cos and sin directions of five keys has rank 10, and next to nothing outside.

    Args:
        keys: Frequencies, or irreps.

    Returns:
        Measure giving `outside_keys`, dims (matrix,).

    Raises:
        ValueError: If a key is no block of the task's basis, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: the residual of W_L in Frobenius norm, below 0.55 %. Whether
        the norm is squared is not said; squared, ours is the same size.

    Examples:
        >>> import grokinterp as gi
        >>> outside([1, 3])(gi.testing.planted_snapshot(7, keys=(1, 3))).values.round(9).tolist()
        [0.0, 0.0]
    """
    wanted = list(arguments.keys(keys))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        inside = {name: project(x, snapshot.basis, wanted) for name, x in _matrices(snapshot).items()}
        return labels.array(
            [
                1 - (inside[name].square().sum() / x.double().square().sum()).item()
                for name, x in _matrices(snapshot).items()
            ],
            ("matrix",),
            name="shares",
            units="",
            long_name="share of the squared norm outside the key frequencies",
            coords={"matrix": MATRICES},
        )

    return Measure(name="outside_keys", compute=compute, version=1, arguments={"key_frequencies": wanted})


@measure("singular_values", version=1)
def singular_values(snapshot: Snapshot) -> xr.DataArray:
    """The singular values of W_E and of W_L, largest first; dims (matrix, rank), zero beyond a matrix' own number.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: W_L is approximately of rank 10, two for each key.
    """
    values = [torch.linalg.svdvals(x.double()) for x in _matrices(snapshot).values()]
    longest = max(map(len, values))
    return labels.array(
        torch.stack([torch.nn.functional.pad(x, (0, longest - len(x))) for x in values]),
        ("matrix", "rank"),
        name="singular_values",
        units="weight",
        long_name="singular value",
        coords={"matrix": MATRICES, "rank": range(1, longest + 1)},
    )


def embedding_circles(keys: Iterable[int]) -> Measure:
    """The embeddings seen in the plane of each key's cos and sin directions.

    The plane is spanned by what W_E holds of cos k and sin k (orthonormalised in this order), so a model
    that uses k shows the residues on a circle, residue x at the angle w_k x.

    Args:
        keys: Frequencies with a cos and a sin.

    Returns:
        Measure giving `embedding_circle`, dims (frequency, axis: cos and sin, p).

    Raises:
        ValueError: If a key is no frequency of the task's basis, or has no sin, as p/2 for even p.
    """
    wanted = list(arguments.keys(keys))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        basis = snapshot.basis
        flat = [k for k in wanted if len(basis.rows([k])) != 2]
        if flat:
            msg = f"keys must be frequencies with a cos and a sin, which span a plane, got {flat}."
            raise ValueError(msg)
        W_E = snapshot.W_E.double()
        planes = [torch.linalg.qr((basis.rows([k]) @ W_E).T) for k in wanted]
        # The signs of Q R are free; those that make R's diagonal positive keep cos to the right and sin up.
        points = [(W_E @ (q * r.diagonal().sign())).T for q, r in planes]
        return labels.array(
            torch.stack(points),
            ("frequency", "axis", "p"),
            name="embedding_circle",
            units="weight",
            long_name="embedding in the plane of the frequency",
            coords={"frequency": wanted, "axis": ("cos", "sin")},
        )

    return Measure(name="embedding_circle", compute=compute, version=1, arguments={"key_frequencies": wanted})


def key_frequencies(model: object, rule: Rule = "logits", threshold: float | None = None) -> tuple[int, ...]:
    """The frequencies that a model computes with.

    The rules agree on a model that has grokked and been cleaned up, and part ways on others: name the rule
    with the result.

    Args:
        model: A Snapshot or a TransformerLens model, ours or not. A model from `run.model()` knows its task; a bare one
            is taken for addition modulo d_vocab - 1, with a warning if it answers fewer than half of the pairs
            correctly. For another task, pass `gi.snapshot(model, task=...)`.
        rule: `logits`: the functions of the product at this frequency hold more than `threshold` (0.01) of
            the logits' variance. `neurons`: it is the best frequency of a neuron of which it explains at
            least `threshold` (0.0: any neuron). `W_E`, `W_L`: its norm is above `threshold` (0.25) of the
            largest one.
        threshold: In place of the rule's own.

    Returns:
        Frequencies in order; for a group that is not cyclic, numbers of irreps in the task's basis.

    Raises:
        ValueError: If the rule is unknown, the threshold is not from 0 to 1, or the task has no group.

    Source:
        `neurons` is the rule of the code of Nanda et al. 2023, arXiv:2301.05217 (its default is taken before
        their .85 cut); `W_E` that of TransformerLens' Grokking_Demo; `W_L` the DFT of appendix C.2, which
        states no threshold; `logits` is ours: in the paper's model each key holds 11 to 30 % and the next
        frequency 0.03 %.

    Examples:
        >>> import grokinterp as gi
        >>> key_frequencies(gi.testing.planted_snapshot(113, keys=(14, 56)))
        (14, 56)
    """
    default = THRESHOLDS[arguments.one_of(rule, THRESHOLDS, "rule")]
    limit = default if threshold is None else arguments.fraction(threshold, "threshold")
    snapshot = as_snapshot(model)
    blocks = torch.tensor(snapshot.basis.blocks)
    if rule == "logits":
        keys = blocks[logits_.product_shares(snapshot) > limit]
    elif rule == "neurons":
        fit = neurons.fit(snapshot)
        keys = fit.frequency[(fit.fve >= limit) & (fit.fve > 0)].unique()
    else:
        matrix = _matrices(snapshot)[rule]
        norms = frequency_norms(matrix, snapshot.basis)
        # A matrix whose columns are all alike has no frequencies but those of its rounding.
        keys = blocks[(norms > limit * norms.max()) & (norms > 1e-6 * matrix.norm())]
    return tuple(sorted(keys.tolist()))


def _per_matrix(snapshot: Snapshot, of: Callable[[Tensor], float], long_name: str) -> xr.DataArray:
    return labels.array(
        [of(frequency_norms(x, snapshot.basis)) for x in _matrices(snapshot).values()],
        ("matrix",),
        name="values",
        units="",
        long_name=long_name,
        coords={"matrix": MATRICES},
    )
