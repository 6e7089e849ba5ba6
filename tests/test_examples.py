"""The examples run as they are written."""

import runpy
import sys
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
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
