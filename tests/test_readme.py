"""What the README shows runs as it stands there, on a smaller model."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch

import grokinterp as gi
from grokinterp.cli import app
from grokinterp.config import change


README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^grokinterp .*$", README, flags=re.MULTILINE)


QUICK = gi.presets.quick


def smaller() -> gi.RunConfig:
    """The quick preset, with epochs enough for the checkpoint that the README asks for."""
    changes = {"task.p": 11, "model.d_model": 16, "model.d_head": 4, "model.d_mlp": 16, "epochs": 500}
    return change(QUICK(), changes)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("one_thread")
def test_the_readme_s_python_runs_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[go.Figure] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    monkeypatch.setattr(gi.presets, "quick", smaller)
    names: dict[str, object] = {}
    assert len(BLOCKS) >= 2
    for block in BLOCKS:
        exec(block, names)
    assert len(shown) == README.count(".show()")
    assert names["keys"] == (14, 35, 41, 42, 52)
    assert (tmp_path / "report.html").stat().st_size > 0
    assert gi.load_run(tmp_path / "runs" / "quick").is_finished


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_s_commands_are_commands(command: str) -> None:
    assert callable(app._parse(shlex.split(command)[1:]))


def test_the_readme_s_commands_are_found() -> None:
    assert len(COMMANDS) >= 7
