"""What objects look like when they are printed, and in notebooks."""

from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.arguments import Shown
from grokinterp.runs.lock import only_trainer


SNAPSHOT = gi.testing.planted_snapshot(7, keys=(1, 3))
SHORT = {
    "snapshot": SNAPSHOT,
    "task": SNAPSHOT.task,
    "group": SNAPSHOT.task.group,
    "basis": SNAPSHOT.basis,
    "permutations": gi.tasks.operation("s5", 2),
    "measure": gi.progress.restricted_loss((1, 3)),
    "component": gi.interventions.frequency(1),
    "intervention": gi.interventions.ablate(gi.interventions.head(0)),
    "config": gi.presets.nanda2023(),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_repr_is_one_short_line(name: str) -> None:
    text = repr(SHORT[name])
    assert len(text) < 200
    assert "\n" not in text
    assert "tensor" not in text
    assert "<function" not in text


def test_a_snapshot_says_what_it_is_of() -> None:
    assert "task=addition mod 7, epoch=None, model=transformer n_layers=1" in repr(SNAPSHOT)
    assert repr(SNAPSHOT).endswith(f"pairs=49, train_pairs={int(SNAPSHOT.is_train.sum())})")  # type: ignore[union-attr]
    edited = gi.interventions.ablate(gi.interventions.head(0))(SNAPSHOT)
    assert repr(edited).endswith("edited=True)")


@pytest.mark.parametrize("preset", gi.presets.PRESETS)
def test_the_repr_of_a_config_is_the_call_that_makes_it(preset: str) -> None:
    config = gi.presets.PRESETS[preset]()
    names = {name: getattr(gi, name) for name in gi.__all__ if name.endswith("Config")}
    assert eval(repr(config), names | {"Schedule": gi.Schedule, "Curriculum": gi.Curriculum}) == config


def test_a_table_escapes_its_values() -> None:
    class Odd(Shown):
        def _facts(self) -> dict[str, object]:
            return {"<a>": "<script>&"}

    html = Odd()._repr_html_()
    assert "&lt;a&gt;" in html
    assert "&lt;script&gt;&amp;" in html
    assert "<script>" not in html


@pytest.fixture
def run(tmp_path: Path) -> gi.Run:
    shape = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16)
    config = gi.RunConfig(task=gi.TaskConfig(p=7), model=shape, epochs=3)
    return gi.train(config, tmp_path / "run", progress=False)


def test_a_run_says_where_it_stands(run: gi.Run) -> None:
    accuracy = run.metrics.accuracy.isel(epoch=-1)
    train, test = (accuracy.sel(split=split).item() for split in ("train", "test"))
    assert repr(run) == (
        f"Run(path={run.path}, task=addition mod 7, seed=0, state=finished at epoch 3, checkpoints=4, "
        f"train_accuracy={train:.3f}, test_accuracy={test:.3f})"
    )
    assert "<td" in run._repr_html_()
    run.layout.finished.unlink()
    assert run.state == "stopped at epoch 3 of 3"
    with only_trainer(run.layout):
        assert run.state == "training at epoch 3 of 3"
    assert run.state == "stopped at epoch 3 of 3"


BREAKS = {
    "no config": lambda layout: layout.config.unlink(),
    "config is no JSON": lambda layout: layout.config.write_text("{"),
    "config of another kind": lambda layout: layout.config.write_text('{"format": 1, "config": [], "made_by": 3}'),
    "task": lambda layout: layout.task.write_bytes(b"broken"),
    "metrics": lambda layout: layout.metrics.write_text('{"epoch": 1}\n'),
    "metrics are a list": lambda layout: layout.metrics.write_text('[1]\n{"epoch": 1, "accuracy": [1]}\n'),
    "everything": lambda layout: layout.root.rename(layout.root.with_name("elsewhere")),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", BREAKS)
def test_a_broken_run_is_shown_with_what_is_wrong(part: str, run: gi.Run) -> None:
    BREAKS[part](run.layout)
    text = repr(gi.Run(run.path))
    assert "broken=" in text
    assert "\n" not in text
    assert "broken" in gi.Run(run.path)._repr_html_()


def test_a_run_without_metrics_is_shown(run: gi.Run) -> None:
    run.layout.metrics.unlink()
    assert repr(run).endswith("checkpoints=4)")


def test_printing_a_run_writes_nothing(run: gi.Run) -> None:
    run.layout.lock.unlink(missing_ok=True)
    run.layout.finished.unlink()
    before = sorted(run.path.rglob("*"))
    repr(run)
    assert sorted(run.path.rglob("*")) == before
