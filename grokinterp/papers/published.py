"""Published curves, and the outcome of runs across seeds and settings, as Datasets to plot."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, fourier, labels, progress
from grokinterp.papers.paper import AnyPaper, Paper, find_paper
from grokinterp.runs.run import Run
from grokinterp.trajectories import trajectory


SEED_CURVES: Final = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "restricted_loss")


@cache
def _read(paper: Paper, name: str) -> Mapping[str, Any]:
    return paper.read(name)


def figures(paper: AnyPaper | None = None) -> tuple[str, ...]:
    """The names of the published figures whose lines were read."""
    return tuple(_read(find_paper(paper), "curves.json")["figures"])


def published(figure: str, paper: AnyPaper | None = None) -> xr.Dataset:
    """The lines of a published figure, as read off its vector graphics.

    Args:
        figure: One of `figures()`.
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Returns:
        Dataset over `epoch` with one variable per line under our names, e.g. `excluded_loss_2D_14` for a key frequency
        or `W_E` for a matrix; NaN at epochs without a vertex of the line.

    Raises:
        ValueError: If there is no such figure or paper.

    Examples:
        >>> list(published("trig_loss_ratio"))
        ['test_over_restricted']
    """
    paper = find_paper(paper)
    data = _read(paper, "curves.json")["figures"]
    figure = arguments.one_of(figure, data, "figure")
    lines = []
    for name, vertices in data[figure].items():
        # A jump is drawn as two points at one epoch; the later point is kept.
        points = dict(zip(vertices["epoch"], vertices["value"], strict=True))
        line = xr.DataArray(list(points.values()), dims="epoch", coords={"epoch": list(points)})
        lines.append(line.rename(paper.line_name(figure, name)))
    return xr.merge(lines, join="outer").sortby("epoch")


def seed_runs(paper: AnyPaper | None = None) -> list[Mapping[str, Any]]:
    """The reruns of a paper's recipe: `name`, `keys` and curves of each."""
    return _read(find_paper(paper), "seeds.json")["runs"]


def seeds(paper: AnyPaper | None = None) -> xr.Dataset:
    """Reruns of a paper's recipe with different seeds, and with the paper's seed and different floating-point rounding.

    Args:
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Returns:
        Dataset over (seed, epoch): `train_loss`, `test_loss`, `train_accuracy`, `test_accuracy`, `restricted_loss`;
        and `keys` over (seed), the key frequencies as text.
    """
    data = _read(find_paper(paper), "seeds.json")
    names = {"seed": [run["name"] for run in data["runs"]], "epoch": data["epoch"]}
    variables = {
        name: labels.array(
            np.array([run[name] for run in data["runs"]]),
            ("seed", "epoch"),
            name=name,
            units="" if "accuracy" in name else "nats",
            long_name=name.replace("_", " "),
            coords=names,
        )
        for name in SEED_CURVES
    }
    keys = [", ".join(map(str, run["keys"])) for run in data["runs"]]
    return xr.Dataset(variables).assign(keys=("seed", keys))


def seeds_of(runs: Mapping[str, Run], *, epoch: int, every: int = 200) -> dict[str, Any]:
    """The curves of some reruns, in the format of `seeds.json`.

    Args:
        runs: Reruns by name.
        epoch: Last epoch of each run that counts.
        every: Epochs between two points.
    """
    epoch, every = arguments.integer(epoch, "epoch", minimum=0), arguments.integer(every, "every", minimum=1)
    rows = []
    for name, run in runs.items():
        keys = fourier.key_frequencies(run.snapshot(epoch))
        measures = [progress.losses, progress.accuracies, progress.restricted_loss(keys)]
        ds = trajectory(run, measures, epochs=range(0, epoch + 1, every), progress=False)
        curves = {
            f"{split}_{name}": ds[name].sel(split=split).values.tolist()
            for name in ("loss", "accuracy")
            for split in ("train", "test")
        }
        curves["restricted_loss"] = ds.restricted_loss.values.tolist()
        rows.append({"name": name, "keys": list(keys), **curves})
    return {"epoch": list(range(0, epoch + 1, every)), "runs": rows}


def across(axis: str, paper: AnyPaper | None = None) -> xr.Dataset:
    """When small runs memorized and grokked, along one setting; they are smaller than the paper's models.

    Args:
        axis: The setting: one of the paper's `axes`, e.g. `fraction`, `weight_decay` or `p`.
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Returns:
        Dataset of `grokked_epoch`, `memorized_epoch` and `last_epoch` over (axis, seed), as from `gi.collect`. An
        epoch is NaN if the run had not grokked or memorized by its last one; attribute `rule` has the definition.

    Raises:
        ValueError: If there is no such axis or paper.
    """
    paper = find_paper(paper)
    axis = arguments.one_of(axis, paper.axes, "axis")
    data = _read(paper, "across.json")
    rows = [row for row in data["runs"] if row["axis"] == axis]
    values, numbers = sorted({row["value"] for row in rows}), sorted({row["seed"] for row in rows})
    result = {}
    for event in ("grokked", "memorized"):
        epochs = np.full((len(values), len(numbers)), np.nan)
        for row in rows:
            if row[event] is not None:
                epochs[values.index(row["value"]), numbers.index(row["seed"])] = row[event]
        result[f"{event}_epoch"] = labels.array(
            epochs,
            ("value", "seed"),
            name=f"{event}_epoch",
            units="epoch",
            long_name=f"{event} at epoch",
            coords={"value": values, "seed": numbers},
            rule=data["rules"][event],
        )
    ds = xr.Dataset(result).rename(value=axis)
    last = (ds["grokked_epoch"].dims, np.full_like(ds["grokked_epoch"], data["horizon"]))
    ds["last_epoch"] = (*last, {"units": "epoch", "long_name": "epochs trained"})
    ds[axis].attrs["long_name"] = paper.axes[axis]
    return ds
