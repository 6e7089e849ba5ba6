"""The published curves, and what became of runs with other seeds and settings: as Datasets to draw."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, fourier, labels, progress
from grokinterp.claims.files import read_data
from grokinterp.runs.run import Run
from grokinterp.trajectories import trajectory


# Figure and line of the published data: our variable, its units and its name in words.
_LINES: Final[Mapping[str, Mapping[str, str]]] = {
    "excluded_loss_2D_full": {"excl_full": "excluded_loss_2D", "train": "train_loss", "test": "test_loss"},
    "excluded_loss_3D_full": {"excl_full": "excluded_loss_3D", "train": "train_loss", "test": "test_loss"},
    "excluded_acc_2D_full": {
        "excl_full": "excluded_accuracy_2D",
        "train acc": "train_accuracy",
        "test acc": "test_accuracy",
    },
    "trig_loss": {
        "trig(all)": "restricted_loss",
        "trig_train": "restricted_loss_train",
        "train": "train_loss",
        "test": "test_loss",
    },
    "trig_loss_ratio": {"test/trig": "test_over_restricted"},
    "trig_acc": {
        "trig_acc": "restricted_accuracy",
        "trig_acc_train": "restricted_accuracy_train",
        "train_acc": "train_accuracy",
        "test_acc": "test_accuracy",
    },
    "sum_sq_weight_total": {"total": "squared_weights"},
    "mod_addition_loss_curve": {"train": "train_loss", "test": "test_loss"},
}
AXES: Final[Mapping[str, str]] = {
    "fraction": "fraction trained on",
    "weight_decay": "weight decay",
    "p": "modulus p",
}


def figures() -> tuple[str, ...]:
    """The names of the published figures whose lines are here."""
    return tuple(_published_data())


def published(figure: str) -> xr.Dataset:
    """The lines of a published figure, as read off its vector graphics.

    Args:
        figure: One of `figures()`.

    Returns:
        Dataset over `epoch`, a variable per line under our names (a key's number after an underscore for the
        figures by key, a matrix' for those by parameter); NaN where a line has no vertex.

    Raises:
        ValueError: If there is no such figure.

    Examples:
        >>> list(published("trig_loss_ratio"))
        ['test_over_restricted']
    """
    data = _published_data()
    figure = arguments.one_of(figure, data, "figure")
    lines = {}
    for name, line in data[figure].items():
        ours = _LINES.get(figure, {}).get(name) or _name_of(figure, name)
        # A jump is drawn as two points at one epoch, of which the later is what it jumps to.
        points = dict(zip(line["epoch"], line["value"], strict=True))
        lines[ours] = xr.DataArray(list(points.values()), dims="epoch", coords={"epoch": list(points)})
    return xr.merge([line.rename(name) for name, line in lines.items()], join="outer").sortby("epoch")


def _name_of(figure: str, line: str) -> str:
    if line in ("train", "test"):
        return f"{line}_loss"
    kind = {"excluded_loss_2D_key": "excluded_loss_2D_", "excluded_loss_3D_key": "excluded_loss_3D_"}
    return kind.get(figure, "") + line


@cache
def _published_data() -> Mapping[str, Any]:
    return json.loads(read_data("curves.json"))["figures"]


@cache
def _seeds_data() -> Mapping[str, Any]:
    return json.loads(read_data("seeds.json"))


def seed_runs() -> list[Mapping[str, Any]]:
    """The rebuilt runs: `name`, `keys` and curves of each."""
    return _seeds_data()["runs"]


def seeds() -> xr.Dataset:
    """Runs of the paper's recipe from other seeds, and of its own seed with other rounding, up to epoch 16,000.

    Returns:
        Dataset over (seed, epoch): `train_loss`, `test_loss`, `train_accuracy`, `test_accuracy`, `restricted_loss`;
        and `keys` over (seed), the key frequencies in words.
    """
    data = _seeds_data()
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


SEED_CURVES: Final = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "restricted_loss")


def seeds_of(runs: Mapping[str, Run], *, epoch: int, every: int = 200) -> dict[str, Any]:
    """What `seeds.json` holds of some runs.

    Args:
        runs: By name.
        epoch: Up to which each run counts.
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


def across(axis: str) -> xr.Dataset:
    """When small runs memorized and grokked over one swept axis: p = 59 and the preset `quick`, not the paper's size.

    Args:
        axis: `fraction`, `weight_decay` or `p`.

    Returns:
        Dataset of `grokked_epoch`, `memorized_epoch` and `last_epoch` over (axis, seed), as from `gi.collect`. An
        epoch is NaN if the run had not grokked or memorized by its last one; attribute `rule` has the definition.

    Raises:
        ValueError: If there is no such axis.
    """
    axis = arguments.one_of(axis, AXES, "axis")
    data = json.loads(read_data("across.json"))
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
    ds[axis].attrs["long_name"] = AXES[axis]
    return ds
