"""Wrong arguments of many functions: each is refused in one line that says what is wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp import interventions as iv
from grokinterp.fourier import gini_coefficient, participation
from grokinterp.survival import kaplan_meier


pytestmark = pytest.mark.usefixtures("unchecked")

RUN = gi.load_run("nanda2023")
CHECKPOINT = RUN.layout.checkpoint(RUN.checkpoint_epochs[-1])
SNAP = gi.testing.planted_snapshot(7, keys=(1, 3))
COMPONENT: Any = iv.frequency(14)


def _runs(values: Any, seeds: Any = None) -> xr.DataArray:
    return xr.DataArray(values, dims="seed", coords=None if seeds is None else {"seed": seeds})


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "directions, 1-D": (lambda: iv.directions(torch.ones(4)), ValueError, "matrix must be .* with 2 dimensions"),
    "directions, NaN": (lambda: iv.directions(torch.full((2, 4), torch.nan)), ValueError, "array of finite numbers"),
    "replace, NaN": (lambda: iv.replace(iv.head(0), float("nan")), ValueError, "values must be .*finite.* got nan"),
    "replace, text": (lambda: iv.replace(iv.head(0), "x"), ValueError, "values must be .*finite.* got 'x'"),
    "control": (lambda: iv.control(COMPONENT), TypeError, r"must be an intervention such as ablate\(head\(0\)\)"),
    "null_losses": (lambda: iv.null_losses(COMPONENT), TypeError, "must be an intervention"),
    "effects": (lambda: iv.effects([14], operation="ablate"), TypeError, "operation must be a function such as"),
    "effects, no intervention": (lambda: iv.effects([14], operation=len), TypeError, "."),
    "sequence": (lambda: gi.load_model(CHECKPOINT, sequence="a b="), ValueError, "sequence must be one of .*'a b ='"),
    "act_fn": (lambda: gi.load_model(CHECKPOINT, act_fn="ReLU"), ValueError, "act_fn must be one of .*'relu'"),
    "expect, number": (lambda: gi.load_model(CHECKPOINT, expect=0.99), ValueError, "expect must be a mapping"),
    "expect, list": (lambda: gi.load_model(CHECKPOINT, expect=["loss"]), ValueError, "expect must be a mapping"),
    "expect, empty list": (lambda: gi.load_model(CHECKPOINT, expect=[]), ValueError, "expect must be a mapping"),
    "expect, percent": (
        lambda: gi.load_model(CHECKPOINT, expect={"accuracy": 100}),
        ValueError,
        "from 0 to 1, got 100",
    ),
    "gini, 2-D": (lambda: gini_coefficient(torch.ones(2, 2)), ValueError, "x must be .* with 1 dimension,"),
    "participation, 2-D": (lambda: participation(np.ones((2, 2))), ValueError, "x must be .* with 1 dimension,"),
    "times, array": (lambda: kaplan_meier(np.ones(3), np.zeros(3)), TypeError, "times must be a DataArray"),
    "times, text": (lambda: kaplan_meier(_runs(["a"]), _runs([0])), ValueError, r"times must be numbers.*\['a'\]"),
    "times, one side": (
        lambda: kaplan_meier(_runs([1.0, 2.0], [0, 1]), _runs([0, 0])),
        ValueError,
        r"same coordinates along seed, got \[0, 1\] and none",
    ),
    "times, mixed": (
        lambda: kaplan_meier(_runs([1.0, 2.0], np.array([0, "a"], dtype=object)), _runs([0, 0], [0, 1])),
        ValueError,
        r"same coordinates along seed, got \[0, 'a'\] and \[0, 1\]",
    ),
    "grid, None": (lambda: gi.grid(gi.presets.quick(), None), ValueError, "axes must be a mapping .* got None"),
    "grid, list": (lambda: gi.grid(gi.presets.quick(), []), ValueError, "axes must be a mapping"),
    "grid, number": (lambda: gi.grid(gi.presets.quick(), {1: [2]}), ValueError, "axes must be a mapping from names"),
    "fork": (lambda: gi.fork(RUN, RUN.checkpoint_epochs[0], "never", "x"), ValueError, "changes must be a mapping"),
    "monitors": (lambda: gi.train(gi.presets.quick(), "never", monitors="x"), TypeError, "measures must be a list"),
    "progress": (lambda: gi.train(gi.presets.quick(), "never", progress="no"), ValueError, "progress must be True or"),
    "long name": (lambda: gi.load_run("x" * 5000), gi.RunError, r"'x+… is neither a run directory"),
    "decorator": (lambda: gi.trajectory(RUN, [gi.measure("x")]), TypeError, r'@gi\.measure\("x"\) must decorate a'),
    "snapshot": (lambda: gi.snapshot(SNAP, epoch=3), ValueError, r"dataclasses\.replace"),
    "name, None": (lambda: gi.tasks.from_table([[0, 1]], name=None), ValueError, "name of a task must be text"),
    "name, empty": (lambda: gi.tasks.from_table([[0, 1]], name=""), ValueError, "name of a task must be text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_argument_is_refused_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as found:
        call()
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_arrays_lists_and_parameters_are_vectors() -> None:
    for vector in ([1.0, 3.0], np.array([1, 3]), torch.nn.Parameter(torch.tensor([1.0, 3.0]))):
        assert (gini_coefficient(vector), participation(vector)) == (0.25, 0.82)


def test_interventions_take_arrays_and_numbers() -> None:
    rows = np.eye(2, 32, dtype=np.float32)
    assert iv.directions(rows).name == iv.directions(torch.from_numpy(rows)).name
    one = iv.replace(iv.frequency(3), np.float64(1))(SNAP)
    assert torch.equal(one.logits, iv.replace(iv.frequency(3), torch.ones(()))(SNAP).logits)


def test_coordinates_of_mixed_types_are_matched() -> None:
    seeds = np.array([0, "a"], dtype=object)
    assert kaplan_meier(_runs([1.0, 2.0], seeds), _runs([0, 0], seeds)).runs.item() == 2


def test_a_snapshot_is_its_own_snapshot() -> None:
    assert gi.snapshot(SNAP) is SNAP


def test_a_single_monitor_needs_no_list(tmp_path: Path) -> None:
    config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=1, model=gi.TransformerConfig(d_model=8, d_mlp=16))
    run = gi.train(config, tmp_path / "run", monitors=gi.progress.weight_norm, progress=False)
    assert run.checkpoint_epochs == (0, 1)
