"""The named sweeps."""

from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.cli import main
from grokinterp.sweeps import SWEEPS


WANTED = {
    "mlp_decay": {"optim.weight_decay": [0.0, 0.1, 0.5, 1.0, 2.0, 5.0], "seed": [0, 1, 2]},
    "mlp_width": {"model.d_mlp": [32, 64, 128, 256, 512], "seed": [0, 1, 2]},
    "mlp_operation": {"task.operation": ["addition", "subtraction", "multiplication"], "seed": [0, 1, 2]},
    "mlp_fraction": {"split.fraction": [0.3, 0.5, 0.7, 0.9], "seed": [0, 1, 2]},
    "division_lr_decay": {
        "optim.lr": [3e-4, 1e-3, 3e-3],
        "optim.weight_decay": [0.0, 0.001, 0.1, 1.0],
        "seed": [0, 1],
    },
}


def test_every_sweep_with_a_name_is_known_here() -> None:
    assert {name: sweep.__name__ for name, sweep in SWEEPS.items()} == {name: name for name in WANTED}


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED)
def test_a_sweep_with_a_name_has_its_axes_and_several_seeds(name: str) -> None:
    plan = SWEEPS[name]()
    assert {axis: list(values) for axis, values in plan.axes.items()} == WANTED[name]
    configs = plan.configs()
    assert configs == gi.grid(plan.config, WANTED[name])
    assert len({config.seed for config in configs}) > 1
    for config in configs:
        task = config.task.build()
        assert config.split.build(task, config.seed).any()


@pytest.mark.slow
def test_a_sweep_with_a_name_is_run_by_it_and_its_axes_can_be_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--task.p", "7", "--model.d-mlp", "8", "--epochs", "2", "--quiet"]
    flags = ["--split.fraction", "0.5", "0.7", "--seed", "0", *small]
    assert main(["sweep", "mlp_fraction", *flags, "--out", str(tmp_path)]) == 0
    ds = gi.collect(tmp_path)
    assert ds.fraction.values.tolist() == [0.5, 0.7]
    assert ds.last_epoch.values.tolist() == [[2.0], [2.0]]
    assert str(tmp_path / "summary.json") in capsys.readouterr().out
