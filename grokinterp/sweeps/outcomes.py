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
from grokinterp.sweeps.places import known_configs


SPLITS: Final = ("train", "test")
# Units, long name and, if it is of the parts of the pairs, that.
_ABOUT: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "loss": ("nats", "loss", ("split",)),
    "accuracy": ("", "accuracy", ("split",)),
    "memorised_epoch": ("epoch", "epoch of memorisation", ()),
    "grokked_epoch": ("epoch", "epoch of grokking", ()),
    "delay": ("epoch", "memorised to grokked", ()),
    "is_grokked": ("", "share of runs that grokked", ()),
    "last_epoch": ("epoch", "epochs trained", ()),
    "squared_weight_norm": ("weight^2", "sum of squared weights", ()),
    "seconds": ("s", "time trained", ()),
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


def outcomes(places: Sequence[Place], **rules: Any) -> xr.Dataset:
    """What each run came to: the variables of `collect` over `run`, whose coordinate is the directory's name.

    Args:
        places: The runs.
        **rules: Of `phases.detect`.
    """
    ends = [_end(place.run.metrics, **rules) if place.run.is_finished else {} for place in places]
    missing = {(): np.nan, ("split",): [np.nan, np.nan]}
    coords = {"run": [place.name for place in places], "split": SPLITS}
    found = {}
    for name, (units, long_name, own) in _ABOUT.items():
        values = np.array([end.get(name, missing[own]) for end in ends], dtype=float)
        dims = ("run", *own)
        rule = next((end["rules"][name] for end in ends if name in end.get("rules", ())), None)
        attrs = {} if rule is None else {"rule": rule}
        of_dims = {dim: coords[dim] for dim in dims}
        found[name] = labels.array(values, dims, name=name, units=units, long_name=long_name, coords=of_dims, **attrs)
    return xr.Dataset(found)


def _end(metrics: xr.Dataset, **rules: Any) -> dict[str, Any]:
    """What a finished run came to, by variable, and by what rules."""
    last, found = metrics.isel(epoch=-1), phases.detect(metrics, **rules)
    memorised, grokked = (found.sel(event=event) for event in ("memorised", "grokked"))
    return {
        "loss": last.loss.sel(split=list(SPLITS)).values,
        "accuracy": last.accuracy.sel(split=list(SPLITS)).values,
        "memorised_epoch": memorised.event_epoch.item(),
        "grokked_epoch": grokked.event_epoch.item(),
        "delay": found.delay.item(),
        "is_grokked": not np.isnan(grokked.event_epoch.item()),
        "last_epoch": last.epoch.item(),
        "squared_weight_norm": last.squared_weight_norm.item(),
        "seconds": last.seconds.item(),
        "rules": {
            "memorised_epoch": memorised.rule.item(),
            "grokked_epoch": grokked.rule.item(),
            "is_grokked": grokked.rule.item(),
        },
    }
