"""The examples run as they are written."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import grokinterp as gi


EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.exhaustive
def test_train_and_analyze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train_and_analyze.py", "--out", str(tmp_path / "run"), "--epochs", "12"])
    runpy.run_path(str(EXAMPLES / "train_and_analyze.py"), run_name="__main__")
    assert (tmp_path / "run" / "progress.html").stat().st_size > 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    assert "memorized: epoch nan" in capsys.readouterr().out


@pytest.mark.slow
def test_key_frequencies(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "key_frequencies.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert said.count("(14, 35, 41, 42, 52)") >= 3
    assert "without them" in said


@pytest.mark.slow
def test_the_measures_of_ones_own_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (EXAMPLES.parent / "docs" / "measures.md").read_text(encoding="utf-8")
    section = page.split("## Write your own measure")[1].split("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(blocks[0], names)
    run, ds = names["run"], names["ds"]
    assert set(range(0, 51, 10)) <= set(ds.epoch.values.tolist())
    assert set(ds.epoch.values.tolist()) > set(run.checkpoint_epochs)
    monkeypatch.setattr(gi.Run, "snapshot", None)  # every value is cached
    assert gi.trajectory(run, names["largest_logit"], progress=False).identical(ds)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    exec(blocks[1], names)
    assert set(names["ds"]) == {"norm", "norm_of_unembedding"}
    assert len(list(run.layout.analysis.glob("*.nc"))) == 3
