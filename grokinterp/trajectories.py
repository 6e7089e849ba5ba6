"""Measures over training time: one forward pass per checkpoint, kept in the run directory."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import xarray as xr
from tqdm.auto import tqdm

from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.labels import DIMENSIONS
from grokinterp.runs.layout import RunError, write_atomically
from grokinterp.runs.run import Run, is_bundled
from grokinterp.snapshots import Measure, Snapshot


AnyMeasure = Measure | Callable[[Snapshot], xr.DataArray]
# Raised with every change that the changelog marks **numbers**: what was kept before is not used any more.
NUMBERS: Final = 1
# Seconds of work that a killed trajectory can lose.
_SAVE_EVERY: Final = 20.0


def trajectory(
    run: Run,
    measures: Sequence[AnyMeasure],
    *,
    epochs: Iterable[int] | None = None,
    cache: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Measures over the checkpoints of a run.

    What the library's own measures give is kept in the run's `analysis/` folder, so that a second call, or one
    after an interruption, computes only what is missing. Functions of your own are computed anew each time.

    Args:
        run: Finished or not.
        measures: Measures, or functions from a Snapshot to a named DataArray.
        epochs: Which; default: those of `known_epochs`, every checkpoint among them.
        cache: Whether to read and write `analysis/`. That of a bundled run, or in a folder that cannot be
            written, is only read.
        progress: Whether to show a progress bar.

    Returns:
        Dataset with a variable per measure, over `epoch` and the measure's own dimensions.

    Raises:
        ValueError: If two measures give the same name (rename one with `Measure.named`), or `epochs` is empty.
        RunError: If a checkpoint is missing or broken, or there is none.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> ds = trajectory(run, [gi.progress.losses], epochs=[0], progress=False)
        >>> ds.loss.sel(epoch=0, split="train").item()
        4.755...
    """
    _refuse_twice([measure.name for measure in measures if isinstance(measure, Measure)])
    stores = [_Store(run, measure, cache=cache) for measure in measures]
    wanted = _known(run, stores) if epochs is None else list(epochs)
    if not wanted and epochs is None:
        msg = f"{run.path} has no checkpoint yet; train it first."
        raise RunError(msg)
    if not wanted:
        msg = f"epochs must name at least one checkpoint of {run.path}, got none."
        raise ValueError(msg)
    todo = [(epoch, [store for store in stores if epoch not in store.results]) for epoch in wanted]
    todo = [(epoch, missing) for epoch, missing in todo if missing]
    saved = time.monotonic()
    try:
        for epoch, missing in tqdm(todo, desc="checkpoints", disable=not progress or not todo, dynamic_ncols=True):
            snapshot = run.snapshot(epoch)
            for store in missing:
                store.add(epoch, snapshot)
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(stores)
                saved = time.monotonic()
    finally:
        _save(stores)
    variables = [store.over(wanted) for store in stores]
    names = [str(variable.name) for variable in variables]
    _refuse_twice(names)
    attrs = {"run": run.path.name, "task": run.task.name, "grokinterp": version("grokinterp")}
    return xr.Dataset(dict(zip(names, variables, strict=True)), attrs=attrs)


def known_epochs(run: Run, measures: Sequence[AnyMeasure]) -> list[int]:
    """The epochs at which measures can be had: those with a checkpoint, and those whose results are all kept.

    So a run may lose checkpoints, and keep its curves: the bundled run has.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> len(known_epochs(run, [gi.progress.losses])) > len(run.epochs)
        True
    """
    return _known(run, [_Store(run, measure, cache=True) for measure in measures])


def _known(run: Run, stores: Sequence["_Store"]) -> list[int]:
    kept = [set(store.results) for store in stores]
    return sorted(set(run.epochs).union(set.intersection(*kept) if kept else set()))


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two measures give {twice[0]!r}; rename one, as in excluded_loss(keys).named('another_name')."
        raise ValueError(msg)


class _Store:
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
    origin = {"numbers": NUMBERS, "arguments": arguments, "config": config}
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


def _save(stores: Sequence[_Store]) -> None:
    for store in stores:
        store.save()
