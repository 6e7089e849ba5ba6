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

# Default threshold of each rule; see `key_frequencies`.
THRESHOLDS: Final[dict[Rule, float]] = {"logits": 0.01, "neurons": 0.0, "W_E": 0.25, "W_L": 0.25}
MATRICES: Final = ("W_E", "W_L")
Vector = Float[Tensor, " n"] | Float[np.ndarray, " n"] | Sequence[float]


def component_norms(x: Float[Tensor, "rest n"], basis: Basis) -> Float64[Tensor, " component"]:
    """The norm of each basis component of a matrix whose last axis is tokens or classes.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.1: the norm over d_model of each component of W_E.
    """
    return coefficients(x, basis).norm(dim=0)


def frequency_norms(x: Float[Tensor, "rest n"], basis: Basis) -> Float64[Tensor, " block"]:
    """The norm of each frequency (cos and sin together) in a matrix, without the background."""
    return power(x, basis).sum(dim=0)[1:].sqrt()


def gini_coefficient(x: Vector) -> float:
    """The Gini coefficient of a vector's absolute values: 0 if all are equal, 1 - 1/n if only one is nonzero.

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
    """The inverse participation ratio sum x^4 / (sum x^2)^2: 1/n if all |x| are equal, 1 if only one is nonzero.

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
    """The norm of each component of W_E (over tokens) and W_L (over classes), without '='; dims (matrix, component).

    Components are const, cos 1, sin 1, ...

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figures 3a and 3b.
    """
    norms = torch.stack([component_norms(x, snapshot.basis) for x in _matrices(snapshot).values()])
    coords = {"matrix": MATRICES, "component": snapshot.basis.names}
    return labels.array(norms, tuple(coords), units="weight", long_name="norm of the component", coords=coords)


@measure("spectrum", version=1)
def spectrum(snapshot: Snapshot) -> xr.DataArray:
    """The norm of each frequency of W_E and W_L, cos and sin together; dims (matrix, frequency).

    Examples:
        >>> import grokinterp as gi
        >>> spectrum(gi.testing.planted_snapshot(7, keys=(1, 3))).sel(matrix="W_E").values.round(3).tolist()
        [2.646, 0.0, 2.646]
    """
    norms = torch.stack([frequency_norms(x, snapshot.basis) for x in _matrices(snapshot).values()])
    coords = {"matrix": MATRICES, "frequency": snapshot.basis.blocks}
    return labels.array(norms, tuple(coords), units="weight", long_name="norm of the frequency", coords=coords)


@measure("gini", version=1)
def gini(snapshot: Snapshot) -> xr.DataArray:
    """The Gini coefficient of the frequency norms of W_E and W_L, 0 to 1; dims (matrix,).

    Near 0 for a flat spectrum, near 1 if a few frequencies dominate.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.1: "the Gini coefficient of the norms of the Fourier
        components". The paper does not say whether it joins cos and sin or includes the constant; we join them and
        leave the constant out.
    """
    return _per_spectrum(snapshot, gini_coefficient, "Gini coefficient of the spectrum")


@measure("ipr", version=1)
def ipr(snapshot: Snapshot) -> xr.DataArray:
    """The inverse participation ratio of the frequency norms of W_E and W_L, 0 to 1; dims (matrix,).

    Its inverse is the effective number of frequencies.

    Source:
        Doshi et al. 2023, arXiv:2310.13061, for the Fourier spectrum of a neuron.
    """
    return _per_spectrum(snapshot, participation, "inverse participation ratio of the spectrum")


def outside(keys: Iterable[int]) -> Measure:
    """The fraction of each matrix's squared norm outside the key frequencies, 0 to 1.

    If W_L consists of the cos and sin directions of five keys, its rank is 10 and this fraction is near 0.

    Args:
        keys: Frequencies, or irreps.

    Returns:
        Measure giving `outside_keys`, dims (matrix,).

    Raises:
        ValueError: If a key is invalid; when applied, if a key is not a block of the task's basis, or the task has no
            group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: the residual of W_L in Frobenius norm, below 0.55%. The paper
        does not say whether the norm is squared; the squared value of our run has the same size.

    Examples:
        >>> import grokinterp as gi
        >>> outside([1, 3])(gi.testing.planted_snapshot(7, keys=(1, 3))).values.round(9).tolist()
        [0.0, 0.0]
    """
    wanted = list(arguments.keys(keys))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        def fraction_outside(x: Tensor) -> float:
            inside = project(x, snapshot.basis, wanted).square().sum()
            return 1 - (inside / x.double().square().sum()).item()

        return _per_matrix(snapshot, fraction_outside, "fraction of the squared norm outside the key frequencies")

    return Measure(name="outside_keys", compute=compute, version=1, arguments={"key_frequencies": wanted})


@measure("singular_values", version=1)
def singular_values(snapshot: Snapshot) -> xr.DataArray:
    """The singular values of W_E and W_L, largest first, zero-padded to a common length; dims (matrix, rank).

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: W_L is approximately rank 10, two per key frequency.
    """
    values = [torch.linalg.svdvals(x.double()) for x in _matrices(snapshot).values()]
    longest = max(map(len, values))
    padded = torch.stack([torch.nn.functional.pad(x, (0, longest - len(x))) for x in values])
    coords = {"matrix": MATRICES, "rank": range(1, longest + 1)}
    return labels.array(padded, tuple(coords), units="weight", long_name="singular value", coords=coords)


def embedding_circles(keys: Iterable[int]) -> Measure:
    """The embeddings projected onto the plane of each key's cos and sin directions.

    The plane is spanned by W_E's coefficients of cos k and sin k, orthonormalized in this order. If the model uses k,
    the residues lie on a circle, residue x at angle w_k x.

    Args:
        keys: Frequencies with a cosine and a sine.

    Returns:
        Measure giving `embedding_circle`, dims (frequency, axis: cos and sin, p).

    Raises:
        ValueError: If a key is invalid; when applied, if a key is not a frequency of the task's basis or has no sine
            (p/2 for even p).
    """
    wanted = list(arguments.keys(keys))

    def compute(snapshot: Snapshot) -> xr.DataArray:
        basis = snapshot.basis
        flat = [k for k in wanted if len(basis.rows([k])) != 2]
        if flat:
            msg = f"keys must be frequencies with a cosine and a sine, which span a plane, got {flat}."
            raise ValueError(msg)
        W_E = snapshot.W_E.double()
        planes = [torch.linalg.qr((basis.rows([k]) @ W_E).T) for k in wanted]
        # QR leaves the signs open; a positive diagonal of R puts cos to the right and sin up.
        points = [(W_E @ (q * r.diagonal().sign())).T for q, r in planes]
        dims, coords = ("frequency", "axis", "p"), {"frequency": wanted, "axis": ("cos", "sin")}
        long_name = "embedding in the plane of the frequency"
        return labels.array(torch.stack(points), dims, units="weight", long_name=long_name, coords=coords)

    return Measure(name="embedding_circle", compute=compute, version=1, arguments={"key_frequencies": wanted})


def key_frequencies(model: object, rule: Rule = "logits", threshold: float | None = None) -> tuple[int, ...]:
    """The key frequencies of a model.

    The rules agree on models that have grokked and completed cleanup, but differ on others: state the rule with the
    result.

    Args:
        model: A Snapshot or a TransformerLens model. A model from `run.model()` knows its task; any other model is
            assumed to compute addition modulo d_vocab - 1, with a warning if its accuracy over all pairs is below 0.5.
            For a different task, pass `gi.snapshot(model, task=...)`.
        rule: `logits`: functions of the product at this frequency explain more than `threshold` (0.01) of the logit
            variance. `neurons`: it is the best frequency of a neuron and explains at least `threshold` (0.0: any
            neuron) of that neuron's variance. `W_E`, `W_L`: its norm exceeds `threshold` (0.25) times the largest norm.
        threshold: Overrides the rule's default threshold.

    Returns:
        Frequencies in ascending order; for a non-cyclic group, indices of irreps in the task's basis.

    Raises:
        ValueError: If the rule is unknown, the threshold is not from 0 to 1, or the task has no group.

    Source:
        `neurons`: the code of Nanda et al. 2023, arXiv:2301.05217 (the default is before their cut at 0.85). `W_E`:
        TransformerLens' Grokking_Demo. `W_L`: the DFT of appendix C.2, which states no threshold. `logits` is our rule:
        in the paper's model each key explains 11 to 30%, the next frequency 0.03%.

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
        keys = blocks[logits_.product_fractions(snapshot) > limit]
    elif rule == "neurons":
        fitted = neurons.fit(snapshot)
        keys = fitted.frequency[(fitted.fve >= limit) & (fitted.fve > 0)].unique()
    else:
        matrix = _matrices(snapshot)[rule]
        norms = frequency_norms(matrix, snapshot.basis)
        # The frequencies of a matrix with equal columns are rounding error.
        keys = blocks[(norms > limit * norms.max()) & (norms > 1e-6 * matrix.norm())]
    return tuple(sorted(keys.tolist()))


def _per_spectrum(snapshot: Snapshot, statistic: Callable[[Tensor], float], long_name: str) -> xr.DataArray:
    return _per_matrix(snapshot, lambda x: statistic(frequency_norms(x, snapshot.basis)), long_name)


def _per_matrix(snapshot: Snapshot, statistic: Callable[[Tensor], float], long_name: str) -> xr.DataArray:
    values = [statistic(x) for x in _matrices(snapshot).values()]
    return labels.array(values, ("matrix",), long_name=long_name, coords={"matrix": MATRICES})
