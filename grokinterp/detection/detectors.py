"""Detectors: signals over a run's checkpoints, each with the direction that indicates grokking."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels, phases
from grokinterp.detection import measures
from grokinterp.measures import Measure
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.monitors import MONITORS
from grokinterp.progress import weight_norm
from grokinterp.runs.run import AnyRun, load_run
from grokinterp.trajectories import trajectory


# All thresholds were calibrated with this value. It is shorter than `phases.SUSTAINED`, to be early.
SUSTAINED: Final = 3
RULE: Final = phases.rules(sustained=SUSTAINED)["memorized"]


def _identity(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.values


def _fall(values: xr.DataArray, has_memorized: np.ndarray) -> np.ndarray:
    """The relative decrease of the sum of squared weights from its maximum since memorization, 0 to 1."""
    total = values.sum("parameter").values
    largest = np.maximum.accumulate(np.where(has_memorized, total, 0.0))
    return 1 - total / np.where(largest > 0, largest, total)


def _of_embedding(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.sel(parameter="embed.W_E").values


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A signal and the direction that indicates grokking.

    Attributes:
        name: The signal's name.
        measure: A measure evaluated at every checkpoint; it reads no test labels.
        signal: Maps the measure over epochs, and a mask of the epochs after memorization, to the signal over epochs.
        rises: True if high values indicate grokking, False if low values do.
        meaning: Description of the signal.
    """

    name: str
    measure: Measure
    signal: Callable[[xr.DataArray, np.ndarray], np.ndarray] = _identity
    rises: bool = True
    meaning: str


_ALL: Final = (
    Detector(
        name="embedding Gini", measure=measures.embedding_gini, meaning="Gini coefficient of W_E's frequency norms"
    ),
    Detector(name="readout Gini", measure=measures.readout_gini, meaning="Gini coefficient of W_L's frequency norms"),
    Detector(
        name="spectral concentration",
        measure=measures.concentration,
        meaning="fraction of W_E's squared norm in its five largest frequencies",
    ),
    Detector(
        name="product Gini",
        measure=measures.product_gini,
        meaning="Gini coefficient of the logits' frequency norms over a∘b",
    ),
    Detector(
        name="excluded loss",
        measure=measures.excluded,
        meaning="increase of the train loss, over log p, without the five largest frequencies of W_E at that epoch",
    ),
    Detector(
        name="restricted loss",
        measure=measures.restricted,
        meaning="1 - train loss / log p with only these five frequencies",
    ),
    Detector(
        name="weight decay",
        measure=weight_norm,
        signal=_fall,
        meaning="relative decrease of the sum of squared weights from its maximum after memorization",
    ),
    Detector(
        name="alignment",
        measure=MONITORS["alignment"],
        meaning="cosine similarity between the negative gradient and the weights",
    ),
    Detector(
        name="effective rank",
        measure=MONITORS["effective_rank"],
        signal=_of_embedding,
        rises=False,
        meaning="effective rank of W_E",
    ),
)
DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType({detector.name: detector for detector in _ALL})


def signals(run: AnyRun, names: Sequence[str] = tuple(DETECTORS), *, progress: bool = True) -> xr.Dataset:
    """Detector signals at each checkpoint of a run.

    Args:
        run: A run or its path. The checkpoint spacing limits the resolution of alarms.
        names: Keys of `DETECTORS`.
        progress: Whether to show a progress bar.

    Returns:
        Dataset over `epoch`: one variable per detector, and `has_memorized`, True from the epoch at which train
        accuracy has been at least `phases.MEMORIZED` for three consecutive metrics entries.

    Raises:
        ValueError: If there is no such detector, or the model or the task is not supported.

    Examples:
        >>> import grokinterp as gi
        >>> ds = signals(gi.load_run("nanda2023"), ["weight decay"], progress=False)
        >>> float(ds["weight decay"].sel(epoch=40000)) > 0.6
        True
    """
    run = load_run(run)
    names = arguments.some_of(names, DETECTORS, "names")
    if not isinstance(run.config.model, TransformerConfig):
        kind = run.config.model.kind
        msg = f"detectors support transformers only, on which they were benchmarked, got a model of kind {kind!r}."
        raise ValueError(msg)
    chosen = [DETECTORS[name] for name in names]
    needed = {detector.measure.name: detector.measure for detector in chosen}
    ds = trajectory(run, list(needed.values()), progress=progress)
    epochs = ds.epoch.values
    has_memorized = epochs >= memorized_epoch(run)

    def over_epochs(values: np.ndarray, name: str, long_name: str, **attrs: str) -> xr.DataArray:
        coords = {"epoch": epochs}
        return labels.array(values, ("epoch",), name=name, units="", long_name=long_name, coords=coords, **attrs)

    variables = {
        detector.name: over_epochs(
            detector.signal(ds[detector.measure.name], has_memorized), detector.name, detector.meaning
        )
        for detector in chosen
    }
    mask = over_epochs(has_memorized, "has_memorized", "whether the run has memorized", rule=RULE)
    return xr.Dataset({**variables, "has_memorized": mask}, attrs=ds.attrs)


def memorized_epoch(run: AnyRun) -> float:
    """The epoch at which `RULE` is fulfilled: the last of the consecutive entries; NaN if it never is."""
    metrics = load_run(run).metrics
    holds = metrics.accuracy.sel(split="train").values >= phases.MEMORIZED
    return last_sustained(metrics.epoch.values, holds, SUSTAINED)


def last_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """The last epoch of the first `sustained` consecutive ones at which a condition holds; NaN if there are none.

    Examples:
        >>> last_sustained(np.arange(6), np.array([True, False, True, True, True, False]), 3)
        4.0
    """
    start = phases.first_sustained(epochs, holds, sustained)
    return start if np.isnan(start) else float(epochs[np.searchsorted(epochs, start) + sustained - 1])
