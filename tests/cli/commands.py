"""Command lines that tests of the commands share."""

from pathlib import Path

import pytest

from grokinterp.cli import main


SMALL = ["--task.p", "7", "--model.d-model", "8", "--model.d-mlp", "16", "--epochs", "12", "--quiet"]


def train(out: Path, *flags: str) -> int:
    return main(["train", "quick", "--out", str(out), *SMALL, *flags])


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of an invalid command line: one line on stderr, exit code 2 (from `main` or tyro)."""
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("grokinterp: ")
    assert said.count("\n") == 1
    return said
