"""What measures gave of a run, kept in its analysis/ folder."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import xarray as xr

from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.labels import DIMENSIONS
from grokinterp.measures import AnyMeasure
from grokinterp.runs.layout import write_atomically
from grokinterp.runs.run import Run, is_bundled
from grokinterp.snapshots import Measure, Snapshot


# Raised with every change that the changelog marks **numbers**: what was kept before is not used any more.
NUMBERS: Final = 1


class KeptMeasure:
    """The results of one measure by epoch, and the file that keeps them."""

    def __init__(self, run: Run, measure: AnyMeasure, *, cache: bool) -> None:
        self.measure = measure
        self.results: dict[int, xr.DataArray] = {}
        self.is_changed = False
        self.made_by = _origin(run, measure)
        self.is_read_only = is_bundled(run) or not os.access(run.path, os.W_OK)
        # Only the library's own measures have a number by which to tell that they would give the same.
        is_own = isinstance(measure, Measure) and measure.compute.__module__.startswith("grokinterp.")
        self.path = _path(run, measure) if cache and is_own and isinstance(measure, Measure) else None
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            with xr.open_dataarray(path, engine="h5netcdf") as stored:
                kept = stored.load()
        except (OSError, ValueError):
            return  # A file that cannot be read is computed and written anew.
        if _of_this_version(kept.attrs.pop("made_by", "null")) == self.made_by:
            self.results = {int(epoch): kept.sel(epoch=epoch, drop=True) for epoch in kept.epoch.values}

    def add(self, epoch: int, snapshot: Snapshot) -> None:
        """Compute the measure of one more epoch."""
        try:
            self.results[epoch] = self.measure(snapshot)
        except Exception as error:
            error.add_note(f"at epoch {epoch}, computing {self.measure}")
            raise
        self.is_changed = True

    def save(self) -> None:
        """Write what is new."""
        if self.path is None or not self.is_changed or self.is_read_only:
            return
        stacked = self.over(sorted(self.results)).assign_attrs(made_by=json.dumps(self.made_by, sort_keys=True))
        write_atomically(self.path, lambda temporary: stacked.to_netcdf(temporary, engine="h5netcdf") and None)
        self.is_changed = False

    def over(self, epochs: Sequence[int]) -> xr.DataArray:
        """The results of some epochs as one array over `epoch`."""
        coordinate = xr.DataArray(list(epochs), dims="epoch", name="epoch", attrs={"long_name": DIMENSIONS["epoch"]})
        first = self.results[epochs[0]]
        stacked = xr.concat(
            [self.results[epoch] for epoch in epochs], dim=coordinate, coords="minimal", compat="override"
        )
        return stacked.rename(first.name).assign_attrs(first.attrs)


def _origin(run: Run, measure: AnyMeasure) -> dict[str, Any]:
    """What a cached result depends on: the library's numbers, the run's config and the measure's arguments."""
    config = to_dict(replace(run.config, epochs=1))
    arguments = dict(measure.arguments) if isinstance(measure, Measure) else {}
    # Restrictions of tasks such as multiplication, whose zero is no group element, had a different background before.
    is_recent = run.task.elements is not None and len(run.task.elements) < run.task.n_outputs
    origin = {"numbers": NUMBERS + is_recent, "arguments": arguments, "config": config}
    # Two quantities may be given one name, one after the other, and have the same arguments.
    renamed = measure.renamed_from if isinstance(measure, Measure) else None
    return origin if renamed is None else origin | {"measure": renamed}


def _of_this_version(made_by: str) -> dict[str, Any] | None:
    """The origin of a kept result, with those fields of the config that came later; none if it cannot be read."""
    try:
        origin = json.loads(made_by)
        config = from_dict(RunConfig, {**origin["config"], "epochs": 1}, is_older=True)
    except (KeyError, TypeError, ValueError):
        return None
    return origin | {"config": to_dict(config)}


def _path(run: Run, measure: Measure) -> Path:
    """The cache's file: the measure's name and, where it has any, its arguments."""
    words = [measure.name]
    for key, value in measure.arguments.items():
        text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append(f"{key}={text}")
    name = ",".join(words)
    if len(name) > 150:
        name = f"{measure.name},{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return run.layout.analysis / f"{name}.nc"
