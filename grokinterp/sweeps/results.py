"""The runs of a sweep as labelled data over the swept axes and the seed."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from grokinterp import labels, phases
from grokinterp.runs.run import Run
from grokinterp.sweeps.axes import axes_of, dimension_of, fields_of, is_told_by, word
from grokinterp.sweeps.outcomes import SPLITS, Place, outcomes, places_in, places_of
from grokinterp.sweeps.scheduler import Sweep


Source = str | Path | Sweep | Iterable[Run | str | Path]


def collect(
    source: Source,
    *,
    memorized: float = phases.MEMORIZED,
    grokked: float = phases.GROKKED,
    sustained: int = phases.SUSTAINED,
) -> xr.Dataset:
    """What each run of a sweep came to, over every swept axis and the seed.

    An axis is a field that differs between the configs. Its dimension has the last part of the field's name
    (`optim.weight_decay`: `weight_decay`), or all of it with underscores where another field of the config ends so
    (`optim.name`: `optim_name`). Its coordinate is numbers in order, or else strings in the order of their first run
    (`none` for None), with the field's name in `attrs["config"]`. A field that changes together with one axis is a
    coordinate along it. Axes come in the config's order; `seed` is always there, after them.

    Args:
        source: A sweep's root, what `sweep` gave, or runs or their directories.
        memorized: Train accuracy, 0 to 1, as in `phases.grokking_times`.
        grokked: Test accuracy, 0 to 1.
        sustained: Entries of the metrics for which they have to hold, at least 1.

    Returns:
        Dataset of float64, NaN where there is no finished run. Over (axes, seed, split: train, test), of the last
        epoch: `loss` (nats) and `accuracy`. Over (axes, seed), as `phases.grokking_times` has them:
        `memorized_epoch` and `grokked_epoch` (epoch; NaN too where that was not seen; attrs have the `rule`),
        `delay` and `ratio` of them, `is_grokked` and `is_censored` (1 or 0, one the other's opposite), and `time`,
        the epoch of grokking or else the last at which it could be seen (NaN too where a run has fewer entries than
        `sustained`): `survival.kaplan_meier` takes these two. Besides, `last_epoch`, `squared_weight_norm`
        (weight^2) of it, `seconds` trained, and `run`, the name of the directory ("" where there is none). attrs:
        `grokinterp`, its version, and `source`, the root.

    Raises:
        RunError: If there is no run, or one cannot be read.
        ValueError: If two runs have one config, a threshold is no number from 0 to 1, or `sustained` is not a positive
            integer.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> small = gi.TransformerConfig(d_model=8, n_heads=1, d_mlp=16)
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), model=small, epochs=3)
        >>> configs = gi.grid(config, {"optim.lr": [1e-3, 1e-2], "seed": range(3)})
        >>> found = collect(gi.sweep(configs, tempfile.mkdtemp(), progress=False))
        >>> found.is_grokked.sum("seed").sel(lr=1e-3).item()
        0.0
    """
    places = _places(source)
    table = outcomes(places, memorized=memorized, grokked=grokked, sustained=sustained)
    return _over_axes(table, places, source)


def curves(source: Source) -> xr.Dataset:
    """The curves of each run of a sweep, over every swept axis, the seed and the epoch.

    Args:
        source: A sweep's root, what `sweep` gave, or runs or their directories.

    Returns:
        Dataset of `loss` (nats) and `accuracy` over (axes, seed, epoch, split: train, test) and
        `squared_weight_norm` (weight^2) over (axes, seed, epoch), with axes, `run` and attrs as in `collect`. The
        epochs are all that a run has logged, and NaN is where this one has not; a run that is not finished has
        those that it has reached.

    Raises:
        RunError: If there is no run, or one cannot be read.
        ValueError: If two runs have one config.
    """
    places = _places(source)
    logged = [place.run.metrics if place.run.layout.metrics.exists() else None for place in places]
    epochs = np.unique(np.concatenate([np.empty(0, int), *(ds.epoch.values for ds in logged if ds is not None)]))
    coords = {"epoch": epochs, "split": SPLITS}
    found = {}
    for name, units, long_name, own in (
        ("loss", "nats", "loss", ("split",)),
        ("accuracy", "", "accuracy", ("split",)),
        ("squared_weight_norm", "weight^2", "sum of squared weights", ()),
    ):
        dims = ("epoch", *own)
        values = np.full((len(places), *(len(coords[dim]) for dim in dims)), np.nan)
        for row, ds in zip(values, logged, strict=True):
            if ds is not None:
                row[np.searchsorted(epochs, ds.epoch.values)] = ds[name].values
        of_dims = {dim: coords[dim] for dim in dims}
        found[name] = labels.array(values, ("run", *dims), name=name, units=units, long_name=long_name, coords=of_dims)
    return _over_axes(xr.Dataset(found), places, source)


def _places(source: Source) -> list[Place]:
    if isinstance(source, Sweep):
        paths = {*(run.path for run in source.runs), *source.failed}
        return [place for place in places_in(source.root) if place.run.path in paths]
    return places_in(Path(source)) if isinstance(source, (str, Path)) else places_of(source)


def _over_axes(table: xr.Dataset, places: Sequence[Place], source: Source) -> xr.Dataset:
    """What is over `run`, over the axes in its place."""
    rows = [fields_of(place.config) for place in places]
    names = dict.fromkeys(name for row in rows for name in row)
    axes = axes_of([place.config for place in places])
    dims = {axis: dimension_of(axis, names) for axis in axes}
    marks = {name: _marks(name, rows) for name in names}
    order = {axis: _in_order(marks[axis]) for axis in axes}
    where = tuple(np.array([order[axis].index(mark) for mark in marks[axis]]) for axis in axes)
    _refuse_twins(where, places)

    def spread(data: xr.DataArray) -> xr.Variable:
        empty = np.nan if data.dtype.kind == "f" else ""
        full = np.full((*(len(order[axis]) for axis in axes), *data.shape[1:]), empty, dtype=data.dtype)
        full[where] = data.values
        return xr.Variable((*dims.values(), *data.dims[1:]), full, data.attrs)

    coords = {str(name): data.variable for name, data in table.coords.items() if name != "run"}
    coords |= {dims[axis]: _coordinate(axis, dims[axis], order[axis]) for axis in axes}
    for name in names:
        along = next((axis for axis in axes[:-1] if is_told_by(name, [axis], rows)), None)
        if along is not None and name not in axes and not is_told_by(name, [], rows):
            told = dict(zip(marks[along], marks[name], strict=True))
            coords[dimension_of(name, names)] = _coordinate(name, dims[along], [told[mark] for mark in order[along]])
    run = labels.array(
        np.array([place.name for place in places]), ("run",), name="run", units="", long_name="run directory"
    )
    variables = {str(name): spread(data) for name, data in {**table, "run": run}.items()}
    root = source.root if isinstance(source, Sweep) else source if isinstance(source, (str, Path)) else ""
    return xr.Dataset(variables, coords, {"grokinterp": version("grokinterp"), "source": str(root)})


def _marks(name: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """A field's value in each config: numbers as they are if all of them are, else words."""
    values = [row.get(name) for row in rows]
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return values if are_numbers else [word(value) for value in values]


def _in_order(marks: Sequence[Any]) -> list[Any]:
    different = list(dict.fromkeys(marks))
    return different if isinstance(different[0], str) else sorted(different)


def _coordinate(name: str, dim: str, marks: Sequence[Any]) -> xr.Variable:
    attrs = {"config": name, "long_name": name.rpartition(".")[2].replace("_", " "), "units": ""}
    return xr.Variable((dim,), np.asarray(marks), attrs)


def _refuse_twins(where: tuple[np.ndarray, ...], places: Sequence[Place]) -> None:
    seen: dict[tuple[int, ...], Place] = {}
    for place, *point in zip(places, *where, strict=True):
        other = seen.setdefault(tuple(map(int, point)), place)
        if other is not place:
            msg = f"{other.run.path} and {place.run.path} have one config; collect one of them."
            raise ValueError(msg)
