"""What each run of a sweep came to, one after the other: what `collect` and the summary are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import labels, phases
from grokinterp.config import RunConfig
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run
from grokinterp.sweeps.directories import known_configs


SPLITS: Final = ("train", "test")
# Units, long name and, if it is of the parts of the pairs, that.
_ABOUT: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "loss": ("nats", "loss", ("split",)),
    "accuracy": ("", "accuracy", ("split",)),
    "memorized_epoch": ("epoch", "epoch of memorization", ()),
    "grokked_epoch": ("epoch", "epoch of grokking", ()),
    "delay": ("epoch", "memorized to grokked", ()),
    "ratio": ("", "grokked over memorized", ()),
    "is_grokked": ("", "share of runs that grokked", ()),
    "is_censored": ("", "share of runs that have not grokked by their horizon", ()),
    "time": ("epoch", "epoch of grokking, or the last at which it could be seen", ()),
    "last_epoch": ("epoch", "epochs trained", ()),
    "squared_weight_norm": ("weight^2", "sum of squared weights", ()),
    "seconds": ("s", "time trained", ()),
}


# The event whose rule decides each.
_RULED: Final[Mapping[str, str]] = {
    "memorized_epoch": "memorized",
    "grokked_epoch": "grokked",
    "is_grokked": "grokked",
    "is_censored": "grokked",
    "time": "grokked",
}


@dataclass(frozen=True)
class Place:
    """A directory of a sweep and whose it is; its run may not have been begun.

    Attributes:
        run: The run.
        config: Its config.
    """

    run: Run
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.run.path.name


def places_in(root: Path) -> list[Place]:
    """The directories of a sweep's root.

    Raises:
        RunError: If there is none, or sweep.json is broken.
    """
    places = [Place(Run(root / name), config) for name, config in known_configs(root).items()]
    if not places:
        msg = f"there is no run in {root}; gi.sweep makes them."
        raise RunError(msg)
    return places


def places_of(runs: Iterable[Run | str | Path]) -> list[Place]:
    """The directories of runs.

    Raises:
        RunError: If there is none, or a config cannot be read.
    """
    handles = [run if isinstance(run, Run) else Run(Path(run)) for run in runs]
    if not handles:
        msg = "collecting needs at least one run, got none."
        raise RunError(msg)
    return [Place(run, run.config) for run in handles]


def outcomes(places: Sequence[Place], **thresholds: Any) -> xr.Dataset:
    """What each run came to: the variables of `collect` over `run`, whose coordinate is the directory's name.

    Args:
        places: The runs.
        **thresholds: `memorized`, `grokked` and `sustained`, as in `phases.grokking_times`.

    Raises:
        ValueError: If a threshold is none.
    """
    words = phases.rules(**thresholds)
    ends = [_end(place.run.metrics, **thresholds) if place.run.is_finished else {} for place in places]
    missing = {(): np.nan, ("split",): [np.nan, np.nan]}
    coords = {"run": [place.name for place in places], "split": SPLITS}
    found = {}
    for name, (units, long_name, own) in _ABOUT.items():
        values = np.array([end.get(name, missing[own]) for end in ends], dtype=float)
        dims = ("run", *own)
        attrs = {"rule": words[_RULED[name]]} if name in _RULED else {}
        of_dims = {dim: coords[dim] for dim in dims}
        found[name] = labels.array(values, dims, name=name, units=units, long_name=long_name, coords=of_dims, **attrs)
    return xr.Dataset(found)


def _end(metrics: xr.Dataset, **thresholds: Any) -> dict[str, Any]:
    """What a finished run came to, by variable."""
    last = metrics.isel(epoch=-1)
    end = {
        "loss": last.loss.sel(split=list(SPLITS)).values,
        "accuracy": last.accuracy.sel(split=list(SPLITS)).values,
        "is_grokked": False,
        "is_censored": True,
        "last_epoch": last.epoch.item(),
        "squared_weight_norm": last.squared_weight_norm.item(),
        "seconds": last.seconds.item(),
    }
    if metrics.sizes["epoch"] < thresholds.get("sustained", phases.SUSTAINED):
        # Nothing could have been seen in it: it was watched for no time at all.
        return end
    times = phases.grokking_times(metrics, **thresholds)
    return end | {
        "memorized_epoch": times.memorized.item(),
        "grokked_epoch": times.grokked.item(),
        "delay": times.delay.item(),
        "ratio": times.ratio.item(),
        "is_grokked": not times.is_censored.item(),
        "is_censored": times.is_censored.item(),
        "time": times.time.item(),
    }
