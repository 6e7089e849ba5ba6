"""The kinds of arguments that public functions take: valid spellings, invalid values, and which parameter has which."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from tests.test_arguments import KEYS, NO_KEYS

import grokinterp as gi
from grokinterp.basis import Basis


NAN, INF = float("nan"), float("inf")
MODULES = (
    *("attention", "basis", "claims", "detection", "fourier", "interventions", "logits", "losses", "models.planted"),
    *("monitors", "multitask", "neurons", "phases", "plots", "presets", "progress", "report", "snapshots", "survival"),
    *("sweeps", "tasks", "tasks.groups", "testing", "training.fork", "training.vmapped", "trajectories"),
)
CLASSES = (Basis, gi.Snapshot, gi.Measure, gi.Run, gi.sweeps.SweepSpec)
# Functions for the inside of the library, or whose arguments are all data.
INTERNAL = {"interventions.Component", "interventions.Intervention", "snapshots.cached"}

# Where a parameter's annotation has one of these words, it needs a kind; what is data, a model or a path does not.
READ = re.compile(r"\b(int|float|bool|Literal)\b")


@dataclass(frozen=True)
class Kind:
    """The spellings of one valid value, and invalid values."""

    valid: tuple[Any, ...]
    invalid: tuple[Any, ...]

    def without(self, *values: Any) -> "Kind":
        """The kind without some of its invalid values."""
        dropped = {repr(value) for value in values}
        return Kind(self.valid, tuple(value for value in self.invalid if repr(value) not in dropped))


NO_NUMBERS = ("1", None, True, [0.5], 0.5j, torch.tensor([0.5]), NAN, INF, {}, np.array(True), xr.DataArray([1.0]))
NO_INTEGERS = (*NO_NUMBERS, 1.5, 1.0, np.float64(2.0), (1,), range(2), b"1")


def integer(value: int, *invalid: Any) -> Kind:
    """A count, a layer or a single key."""
    spellings = (value, np.int64(value), np.array(value), torch.tensor(value), xr.DataArray(value))
    return Kind(spellings, (*NO_INTEGERS, *invalid))


def integers(first: int, second: int, *invalid: Any) -> Kind:
    """Several integers."""
    given = {14: first, 42: second}
    spellings = [_exchanged(value, given) for name, value in KEYS.items() if name not in ("range", "generator")]
    wrong = [value for name, value in NO_KEYS.items() if name not in ("zero", "negative")]
    return Kind((range(first, second + 1, second - first), *spellings), (*wrong, *invalid))


def _exchanged(values: Any, given: dict[int, int]) -> Any:
    """The same kind of collection with other integers in it."""
    if isinstance(values, (np.ndarray, torch.Tensor, xr.DataArray)):
        values = values.copy() if not isinstance(values, torch.Tensor) else values.clone()
        for old, new in given.items():
            values[values == old] = new
        return values
    kind = set if isinstance(values, set) else list
    return kind(
        type(value)(given[int(value)]) if isinstance(value, np.integer) else given[int(value)] for value in values
    )


def number(value: float, *invalid: Any) -> Kind:
    """A threshold, an angle or a fraction."""
    spellings = (value, np.float64(value), np.array(value), torch.tensor(value, dtype=torch.float64))
    return Kind((*spellings, xr.DataArray(value)), (*NO_NUMBERS, *invalid))


def choice(value: str, *, several: bool = False) -> Kind:
    """One of some words, or one or more."""
    lists = ((value,), [value], np.array([value]).tolist()) if several else ()
    wrong = ("", value + "x", value.swapcase(), None, 1, True, b"x", {}, [], *(() if several else ([value], (value,))))
    return Kind((value, np.str_(value), *lists), wrong)


FLAG = Kind((True, np.bool_(True), torch.tensor(True)), ("no", "True", 0, 1, 1.0, None, [], [True], np.array([True])))
OPERATIONS = Kind(
    (("addition", "subtraction"), ["addition", "subtraction"], np.array(["addition", "subtraction"])),
    ("add", ["addition", "sub"], None, 1, [1, 2], [], [None], {}),
)
SHARE = number(0.5, 95, -0.01)
SEED = integer(3, -1, 2**64)
FREQUENCIES = integers(1, 3, [0], [-1])
NUMBERS = integers(0, 3, [-1], [1, -1])
# They stay in the given order.
IN_ORDER = Kind(((0, 3), [0, 3], range(0, 4, 3), np.array([0, 3, 0]), torch.tensor([0, 3])), NUMBERS.invalid)

KINDS: dict[str, Kind] = {
    "keys": FREQUENCIES,
    "k": integer(3, 0, -1),
    "to": integer(2, 0, -1),
    "heads": NUMBERS,
    "neurons": IN_ORDER,
    "numbers": NUMBERS,
    "classes": IN_ORDER,
    "epochs": NUMBERS,
    "epoch": integer(3),
    "every": integer(3, 0),
    "layer": integer(0),
    "n": integer(4, 0),
    "p": integer(7, 0, 1),
    "seed": SEED,
    "draws": integer(5, 0),
    "sustained": integer(2, 0),
    "window": integer(2, 0),
    "workers": integer(1, 0),
    "executor": integer(1, 0, "dask"),
    "threshold": number(0.5, -1),
    "angle": number(0.5),
    "amplitude": number(2.0),
    "confidence": number(0.5, 0, 1, 95, -1),
    "fraction": number(0.5, 0, 1, 95, -1),
    "label_smoothing": SHARE,
    "factor": number(2.0, -1, 0),
    "least": number(0.5, -1),
    "growth": number(0.5, -1),
    **dict.fromkeys(("memorized", "generalizing", "grokked", "settled"), SHARE),
    "split": choice("train"),
    "form": choice("3D"),
    "rule": choice("W_E"),
    "centering": choice("mean"),
    "terms": choice("all"),
    "fill": choice("zero"),
    "block": choice("mlp"),
    "act_fn": choice("relu"),
    "sequence": choice("a b ="),
    "detector": choice("weight decay"),
    "figure": choice("trig_loss"),
    "axis": choice("p"),
    "groups": choice("p"),
    **dict.fromkeys(
        ("bias_correction", "progress", "cache", "log_x", "log_y", "rises", "side_by_side", "fresh_optimizer"), FLAG
    ),
}
# Where a name has another meaning, or other limits.
OF_FUNCTION: dict[str, Kind] = {
    "detection.signals.names": choice("weight decay", several=True),
    "interventions.frequency.at": choice("logits"),
    "interventions.effects.at": choice("logits"),
    "interventions.relocate.at": choice("W_E", several=True),
    "interventions.phase_shift.at": choice("W_E", several=True),
    "detection.first_alarm.threshold": number(0.5),
    "plots.grokking_time.axis": choice("weight_decay"),
    "plots.spectrum.keys": integers(1, 3, [0], [-1]).without([], torch.tensor([], dtype=torch.long)),
    "multitask.losses.names": OPERATIONS,
    "multitask.accuracies.names": OPERATIONS,
    "tasks.operation.name": choice("addition"),
    "tasks.multitask.names": Kind(
        OPERATIONS.valid, (*OPERATIONS.invalid, "addition", ["addition", "addition"], ["s5", "addition"])
    ),
    "tasks.groups.units.n": integer(7, 0, 1),
}
OF_FUNCTION |= {
    f"basis.{name}.blocks": OF_FUNCTION["plots.spectrum.keys"].without([0])
    for name in ("Basis.check", "Basis.rows", "project", "exclude")
}
OF_FUNCTION["logits.project_products.blocks"] = OF_FUNCTION["basis.project.blocks"]
# What an error calls a parameter, where that is not its name.
CALLED = {"blocks": "keys", "tasks.operation.name": "operation"}
# Checked by torch, in the middle of a training step; and given by functions that have read them.
NOT_READ = {
    *("losses.cross_entropy.label_smoothing", "losses.cross_entropy_by_log1p.label_smoothing"),
    "phases.first_sustained.epochs",
    "phases.first_sustained.sustained",
    # Data, which tests/test_one_line_errors.py tries.
    *("fourier.gini_coefficient.x", "fourier.participation.x", "interventions.replace.values"),
    *("snapshots.snapshot.is_train", "training.fork.fork.is_train", "snapshots.Snapshot.is_train"),
}
# Valid calls that take long or cannot be compared, and read their arguments as others do.
NOT_COMPARED = {
    *(
        "report.write",
        "report.summary",
        "training.vmapped.train_many",
        "training.fork.fork",
        "detection.early_detection",
    ),
    *("claims.seeds_of", "claims.spread_of"),
}
