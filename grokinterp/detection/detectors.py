"""The detectors: a signal over the checkpoints of a run, and on which side of a threshold it speaks of grokking."""

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


# The benchmark's own, with which all thresholds were set. It is shorter than `phases.SUSTAINED`, to be early.
SUSTAINED: Final = 3
RULE: Final = phases.rules(sustained=SUSTAINED)["memorized"]


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A signal, and its side.

    Attributes:
        name: Of the signal.
        measure: Taken at every checkpoint; it reads no test answer.
        signal: From the measure over epochs, and which of these come after memorization, to the signal over epochs.
        rises: Whether high values speak of grokking, else low ones.
        meaning: The signal in words.
    """

    name: str
    measure: Measure
    signal: Callable[[xr.DataArray, np.ndarray], np.ndarray]
    rises: bool
    meaning: str


def _as_it_is(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.values


def _fall(values: xr.DataArray, has_memorized: np.ndarray) -> np.ndarray:
    """How much of the largest sum of squared weights since memorization is gone, 0 to 1."""
    total = values.sum("parameter").values
    largest = np.maximum.accumulate(np.where(has_memorized, total, 0.0))
    return 1 - total / np.where(largest > 0, largest, total)


def _of_embedding(values: xr.DataArray, _: np.ndarray) -> np.ndarray:
    return values.sel(parameter="embed.W_E").values


_ALL: Final = (
    Detector(
        name="embedding Gini",
        measure=measures.embedding_gini,
        signal=_as_it_is,
        rises=True,
        meaning="Gini coefficient of W_E's frequencies",
    ),
    Detector(
        name="readout Gini",
        measure=measures.readout_gini,
        signal=_as_it_is,
        rises=True,
        meaning="Gini coefficient of W_L's frequencies",
    ),
    Detector(
        name="spectral concentration",
        measure=measures.concentration,
        signal=_as_it_is,
        rises=True,
        meaning="share of W_E in its five strongest frequencies",
    ),
    Detector(
        name="product Gini",
        measure=measures.product_gini,
        signal=_as_it_is,
        rises=True,
        meaning="Gini coefficient of the logits' frequencies over a∘b",
    ),
    Detector(
        name="excluded loss",
        measure=measures.excluded,
        signal=_as_it_is,
        rises=True,
        meaning="rise of the train loss, over log p, without the five frequencies of W_E that are strongest then",
    ),
    Detector(
        name="restricted loss",
        measure=measures.restricted,
        signal=_as_it_is,
        rises=True,
        meaning="1 - train loss / log p by these five frequencies alone",
    ),
    Detector(
        name="weight decay",
        measure=weight_norm,
        signal=_fall,
        rises=True,
        meaning="share of the squared weights that is gone since their maximum after memorization",
    ),
    Detector(
        name="alignment",
        measure=MONITORS["alignment"],
        signal=_as_it_is,
        rises=True,
        meaning="cosine of negative gradient and weights",
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
    """The signals of detectors over a run's checkpoints.

    Args:
        run: With checkpoints as close as alarms are to be told apart; or its path.
        names: Of `DETECTORS`.
        progress: Whether to show a progress bar.

    Returns:
        Dataset over `epoch`: a variable per detector, and `has_memorized`, True from where it is known that train
        accuracy is at `phases.MEMORIZED` or above for three logged entries in a row.

    Raises:
        ValueError: If there is no such detector, or the model or the task is one that early detection cannot read.

    Examples:
        >>> import grokinterp as gi
        >>> found = signals(gi.load_run("nanda2023"), ["weight decay"], progress=False)
        >>> float(found["weight decay"].sel(epoch=40000)) > 0.6
        True
    """
    run = load_run(run)
    names = arguments.some_of(names, DETECTORS, "names")
    if not isinstance(run.config.model, TransformerConfig):
        kind = run.config.model.kind
        msg = f"detectors read transformers, and their record is of these alone, got a model of kind {kind!r}."
        raise ValueError(msg)
    chosen = [DETECTORS[name] for name in names]
    taken = list(dict.fromkeys(detector.measure.name for detector in chosen))
    by_name = {detector.measure.name: detector.measure for detector in chosen}
    ds = trajectory(run, [by_name[name] for name in taken], progress=progress)
    has_memorized = ds.epoch.values >= memorized_epoch(run)
    coords = {"epoch": ds.epoch.values}
    variables = {
        detector.name: labels.array(
            detector.signal(ds[detector.measure.name], has_memorized),
            ("epoch",),
            name=detector.name,
            units="",
            long_name=detector.meaning,
            coords=coords,
        )
        for detector in chosen
    }
    memory = labels.array(
        has_memorized,
        ("epoch",),
        name="memory",
        units="",
        long_name="whether it has memorized",
        coords=coords,
        rule=RULE,
    )
    return xr.Dataset({**variables, "has_memorized": memory}, attrs=ds.attrs)


def memorized_epoch(run: AnyRun) -> float:
    """When it is known that a run has memorized by `RULE`: the last of the entries in a row; NaN if it has not."""
    metrics = load_run(run).metrics
    has = metrics.accuracy.sel(split="train").values >= phases.MEMORIZED
    return last_sustained(metrics.epoch.values, has, SUSTAINED)


def last_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """When it is first known that something holds for some entries in a row, the last of these; NaN if there is none.

    Examples:
        >>> last_sustained(np.arange(6), np.array([True, False, True, True, True, False]), 3)
        4.0
    """
    start = phases.first_sustained(epochs, holds, sustained)
    return start if np.isnan(start) else float(epochs[np.searchsorted(epochs, start) + sustained - 1])
