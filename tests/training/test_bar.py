"""The line that people watch while a model trains."""

import dataclasses
import io
from pathlib import Path

import pytest

from grokinterp.config import RunConfig
from grokinterp.training.loop import train


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
def test_nothing_is_written_without_progress(
    tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny, tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.exhaustive
def test_a_log_file_gets_a_few_lines(tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(dataclasses.replace(tiny, epochs=200, log_every=1), tmp_path, progress=True)
    written = capsys.readouterr().err
    assert len(written.replace("\r", "\n").strip().splitlines()) <= 3
    assert "200/200" in written


@pytest.mark.slow
def test_a_terminal_shows_losses_accuracies_and_the_time_left(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    run = train(tiny, tmp_path / "a_run", progress=True)
    last = terminal.getvalue().split("\r")[-1]
    losses = run.metrics.loss[-1].values
    assert last.startswith("a_run: 100%")
    assert f"loss {losses[0]:.2e} train {losses[1]:.2e} test, accuracy" in last
    assert "<00:00" in last


@pytest.mark.slow
def test_a_resumed_run_starts_where_it_stands(
    tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(dataclasses.replace(tiny, epochs=12), tmp_path, progress=False)
    train(tiny, tmp_path, progress=True)
    assert "12/24" in capsys.readouterr().err.split("\r")[1]
