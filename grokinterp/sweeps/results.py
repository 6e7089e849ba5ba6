"""The results of a sweep: what each run reached, and labeled data over the swept axes and the seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import labels, phases
from grokinterp.config import RunConfig
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import Run
from grokinterp.sweeps.directories import axes_of, dimension_of, fields_of, is_determined_by, known_configs, word


SPLITS: Final = ("train", "test")
# Units, long name, the dimensions besides `run`, and the event whose rule decides the value.
_VARIABLES: Final[Mapping[str, tuple[str, str, tuple[str, ...], str | None]]] = {
    "loss": ("nats", "loss", ("split",), None),
    "accuracy": ("", "accuracy", ("split",), None),
    "memorized_epoch": ("epoch", "epoch of memorization", (), "memorized"),
    "grokked_epoch": ("epoch", "epoch of grokking", (), "grokked"),
    "delay": ("epoch", "memorized to grokked", (), None),
    "ratio": ("", "grokked over memorized", (), None),
    "is_grokked": ("", "fraction of runs that grokked", (), "grokked"),
    "is_censored": ("", "fraction of runs that have not grokked by their horizon", (), "grokked"),
    "time": ("epoch", "epoch of grokking or of censoring", (), "grokked"),
    "last_epoch": ("epoch", "epochs trained", (), None),
    "squared_weight_norm": ("weight^2", "sum of squared weights", (), None),
    "seconds": ("s", "training time", (), None),
}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The result of `sweep`.

    Attributes:
        root: The sweep directory.
        runs: The finished runs, in the order of their configs.
        failed: Why each other run is not finished, in one line, by run directory.
    """

    root: Path
    runs: tuple[Run, ...]
    failed: Mapping[Path, str]


@dataclass(frozen=True)
class Entry:
    """A run directory of a sweep and its config; the run may not have started.

    Attributes:
        run: The run.
        config: Its config.
    """

    run: Run
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.run.path.name


Source = str | Path | Sweep | Iterable[Run | str | Path]


def entries_of(source: Source) -> list[Entry]:
    """The runs of a sweep's root, of a `Sweep`, or the given ones.

    Raises:
        RunError: If there are none, or a config or sweep.json cannot be read.
    """
    if isinstance(source, Sweep):
        paths = {*(run.path for run in source.runs), *source.failed}
        return [entry for entry in entries_of(source.root) if entry.run.path in paths]
    if isinstance(source, (str, Path)):
        root = Path(source)
        entries = [Entry(Run(root / name), config) for name, config in known_configs(root).items()]
        missing = f"there is no run in {root}; gi.sweep makes them."
    else:
        runs = [run if isinstance(run, Run) else Run(Path(run)) for run in source]
        entries = [Entry(run, run.config) for run in runs]
        missing = "collecting needs at least one run, got none."
    if not entries:
        raise RunError(missing)
    return entries


def collect(
    source: Source,
    *,
    memorized: float = phases.MEMORIZED,
    grokked: float = phases.GROKKED,
    sustained: int = phases.SUSTAINED,
) -> xr.Dataset:
    """The final losses and accuracies and the grokking times of a sweep, over every swept axis and the seed.

    Each field that differs between the configs is an axis. Its dimension is the last part of the field's name
    (`optim.weight_decay`: `weight_decay`), or the whole name with underscores if a different field ends the same way
    (`optim.name`: `optim_name`). Its coordinate is sorted numbers, or strings in the order of their first run (`none`
    for None), with the field's name in `attrs["config"]`. A field that changes together with one axis is a coordinate
    along it. Axes are in the config's order; `seed` is always the last.

    Args:
        source: A sweep's root, the result of `sweep`, or runs or their directories.
        memorized: Train accuracy threshold, 0 to 1, as in `phases.grokking_times`.
        grokked: Test accuracy threshold, 0 to 1.
        sustained: Number of consecutive metrics entries for which the threshold must hold, at least 1.

    Returns:
        Dataset of float64, NaN if there is no finished run. Over (axes, seed, split: train, test), at the last epoch:
        `loss` (nats) and `accuracy`. Over (axes, seed), as in `phases.grokking_times`: `memorized_epoch` and
        `grokked_epoch` (epoch; also NaN if not observed; attrs have the `rule`), their `delay` and `ratio`,
        `is_grokked` and its complement `is_censored` (1 or 0), and `time`, the epoch of grokking or of censoring (also
        NaN if a run has fewer than `sustained` entries): `survival.kaplan_meier` takes the last two. Also `last_epoch`,
        `squared_weight_norm` (weight^2) at the last epoch, `seconds` of training, and `run`, the name of the run
        directory ("" if there is no run). attrs: `grokinterp`, the version, and `source`, the root.

    Raises:
        RunError: If there is no run, or a run cannot be read.
        ValueError: If two runs have the same config, a threshold is not a number from 0 to 1, or `sustained` is not a
            positive integer.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> small = gi.TransformerConfig(d_model=8, n_heads=1, d_mlp=16)
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), model=small, epochs=3)
        >>> configs = gi.grid(config, {"optim.lr": [1e-3, 1e-2], "seed": range(3)})
        >>> ds = collect(gi.sweep(configs, tempfile.mkdtemp(), progress=False))
        >>> ds.is_grokked.sum("seed").sel(lr=1e-3).item()
        0.0
    """
    entries = entries_of(source)
    table = outcomes(entries, memorized=memorized, grokked=grokked, sustained=sustained)
    return _over_axes(table, entries, source)


def curves(source: Source) -> xr.Dataset:
    """The training curves of a sweep, over every swept axis, the seed and the epoch.

    Args:
        source: A sweep's root, the result of `sweep`, or runs or their directories.

    Returns:
        Dataset of `loss` (nats) and `accuracy` over (axes, seed, epoch, split: train, test) and
        `squared_weight_norm` (weight^2) over (axes, seed, epoch), with axes, `run` and attrs as in `collect`. Epochs
        are all those logged by any run, with NaN for a run that has not logged one; unfinished runs are included.

    Raises:
        RunError: If there is no run, or a run cannot be read.
        ValueError: If two runs have the same config.
    """
    entries = entries_of(source)
    logged = [entry.run.metrics if entry.run.layout.metrics.exists() else None for entry in entries]
    epochs = np.unique(np.concatenate([np.empty(0, int), *(ds.epoch.values for ds in logged if ds is not None)]))
    coords = {"epoch": epochs, "split": SPLITS}
    variables = {}
    for name in ("loss", "accuracy", "squared_weight_norm"):
        units, long_name, extra, _ = _VARIABLES[name]
        dims = ("epoch", *extra)
        values = np.full((len(entries), *(len(coords[dim]) for dim in dims)), np.nan)
        for row, ds in zip(values, logged, strict=True):
            if ds is not None:
                row[np.searchsorted(epochs, ds.epoch.values)] = ds[name].values
        along = {dim: coords[dim] for dim in dims}
        variables[name] = labels.array(
            values, ("run", *dims), name=name, units=units, long_name=long_name, coords=along
        )
    return _over_axes(xr.Dataset(variables), entries, source)


def outcomes(entries: Sequence[Entry], **thresholds: Any) -> xr.Dataset:
    """The variables of `collect` over `run`, whose coordinate is the name of the run directory.

    Args:
        entries: The runs.
        **thresholds: `memorized`, `grokked` and `sustained`, as in `phases.grokking_times`.

    Raises:
        ValueError: If a threshold is invalid.
    """
    rules = phases.rules(**thresholds)
    rows = [_outcome(entry.run.metrics, **thresholds) if entry.run.is_finished else {} for entry in entries]
    missing = {(): np.nan, ("split",): [np.nan, np.nan]}
    coords = {"run": [entry.name for entry in entries], "split": SPLITS}
    variables = {}
    for name, (units, long_name, extra, event) in _VARIABLES.items():
        values = np.array([row.get(name, missing[extra]) for row in rows], dtype=float)
        dims = ("run", *extra)
        rule = {} if event is None else {"rule": rules[event]}
        along = {dim: coords[dim] for dim in dims}
        variables[name] = labels.array(values, dims, name=name, units=units, long_name=long_name, coords=along, **rule)
    return xr.Dataset(variables)


def _outcome(metrics: xr.Dataset, **thresholds: Any) -> dict[str, Any]:
    """The variables of a finished run."""
    last = metrics.isel(epoch=-1)
    outcome = {
        **{name: last[name].sel(split=list(SPLITS)).values for name in ("loss", "accuracy")},
        "last_epoch": last.epoch.item(),
        **{name: last[name].item() for name in ("squared_weight_norm", "seconds")},
    }
    if metrics.sizes["epoch"] < thresholds.get("sustained", phases.SUSTAINED):
        # Too few entries to see grokking: censored without a time.
        return outcome | {"is_grokked": False, "is_censored": True}
    times = phases.grokking_times(metrics, **thresholds)
    return outcome | {
        "memorized_epoch": times.memorized.item(),
        "grokked_epoch": times.grokked.item(),
        "is_grokked": not times.is_censored.item(),
        **{name: times[name].item() for name in ("delay", "ratio", "is_censored", "time")},
    }


def _over_axes(table: xr.Dataset, entries: Sequence[Entry], source: Source) -> xr.Dataset:
    """The table with its dimension `run` replaced by the swept axes."""
    rows = [fields_of(entry.config) for entry in entries]
    names = dict.fromkeys(name for row in rows for name in row)
    axes = axes_of([entry.config for entry in entries])
    dims = {axis: dimension_of(axis, names) for axis in axes}
    values = {name: _coordinate_values(name, rows) for name in names}
    levels = {axis: _levels(values[axis]) for axis in axes}
    index = tuple(np.array([levels[axis].index(value) for value in values[axis]]) for axis in axes)
    _check_unique(index, entries)

    def spread(data: xr.DataArray) -> xr.Variable:
        empty = np.nan if data.dtype.kind == "f" else ""
        full = np.full((*(len(levels[axis]) for axis in axes), *data.shape[1:]), empty, dtype=data.dtype)
        full[index] = data.values
        return xr.Variable((*dims.values(), *data.dims[1:]), full, data.attrs)

    coords = {str(name): data.variable for name, data in table.coords.items() if name != "run"}
    coords |= {dims[axis]: _coordinate(axis, dims[axis], levels[axis]) for axis in axes}
    for name in names:
        along = next((axis for axis in axes[:-1] if is_determined_by(name, [axis], rows)), None)
        if along is not None and name not in axes and not is_determined_by(name, [], rows):
            by_level = dict(zip(values[along], values[name], strict=True))
            coords[dimension_of(name, names)] = _coordinate(name, dims[along], [by_level[x] for x in levels[along]])
    run = labels.array(
        np.array([entry.name for entry in entries]), ("run",), name="run", units="", long_name="run directory"
    )
    variables = {str(name): spread(data) for name, data in {**table, "run": run}.items()}
    root = source.root if isinstance(source, Sweep) else source if isinstance(source, (str, Path)) else ""
    return xr.Dataset(variables, coords, {"grokinterp": version("grokinterp"), "source": str(root)})


def _coordinate_values(name: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """A field's value in each config: numbers if all are numbers, else words."""
    values = [row.get(name) for row in rows]
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return values if are_numbers else [word(value) for value in values]


def _levels(values: Sequence[Any]) -> list[Any]:
    """The distinct values: sorted numbers, or words in order of appearance."""
    distinct = list(dict.fromkeys(values))
    return distinct if isinstance(distinct[0], str) else sorted(distinct)


def _coordinate(name: str, dim: str, values: Sequence[Any]) -> xr.Variable:
    attrs = {"config": name, "long_name": name.rpartition(".")[2].replace("_", " "), "units": ""}
    return xr.Variable((dim,), np.asarray(values), attrs)


def _check_unique(index: tuple[np.ndarray, ...], entries: Sequence[Entry]) -> None:
    seen: dict[tuple[int, ...], Entry] = {}
    for entry, *point in zip(entries, *index, strict=True):
        first = seen.setdefault(tuple(map(int, point)), entry)
        if first is not entry:
            msg = f"{first.run.path} and {entry.run.path} have the same config; collect one of them."
            raise ValueError(msg)
