"""Where files lie, and that they are there whole or not at all."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from grokinterp.runs.layout import Layout, RunError, read_json, write_atomically, write_json


def test_every_path_is_in_the_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    names = ("config", "task", "split", "metrics", "resume", "checkpoints", "analysis", "report", "finished", "lock")
    paths = [getattr(layout, name) for name in names]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(names)


def test_checkpoints_sort_by_name_as_by_epoch(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    epochs = [0, 9, 10, 100, 40_000, 1_234_567]
    assert sorted(layout.checkpoint(epoch).name for epoch in reversed(epochs)) == [
        layout.checkpoint(epoch).name for epoch in epochs
    ]


def test_epochs_are_those_of_checkpoints_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.checkpoints.mkdir()
    assert layout.epochs() == ()
    others = [
        "12.safetensors",
        "0000001 copy.safetensors",
        ".0000002.safetensors.9.tmp",
        "0000003.pt",
        "last.safetensors",
    ]
    for name in others:
        (layout.checkpoints / name).touch()
    for epoch in (10_000_000, 40, 7):
        layout.checkpoint(epoch).touch()
    assert layout.epochs() == (7, 40, 10_000_000)


def test_a_file_is_written_under_another_name_flushed_and_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    flush, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("flush"), flush(file)))
    monkeypatch.setattr(Path, "replace", lambda old, new: (steps.append("rename"), rename(old, new)))

    def write(path: Path) -> None:
        assert path.name != "file"
        assert path.parent == tmp_path
        assert not path.name.endswith((".json", ".safetensors"))
        path.write_text("new")
        steps.append("write")

    write_atomically(tmp_path / "file", write)
    # The folder is flushed too, where the system can: a renaming is a change of the folder.
    assert steps[:3] == ["write", "flush", "rename"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["write", "flush", "rename"])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    with monkeypatch.context() as patch:
        if step == "flush":
            patch.setattr(os, "fsync", fail)
        if step == "rename":
            patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, fail if step == "write" else lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    data = {"p": 113, "lr": 1e-3, "seed": None, "name": "a∘b", "list": [1, 2]}
    write_json(tmp_path / "folder" / "data.json", data)
    assert read_json(tmp_path / "folder" / "data.json") == data


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_numbers_that_are_not_finite(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "data.json", {"lr": number})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{'p': 7}", b'{"p": 7', b"\xff\xfe\x00"])
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(RunError, match=r"data\.json must be JSON, got"):
        read_json(tmp_path / "data.json")


def test_files_of_another_trainer_that_was_killed_are_leftovers(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.checkpoints.mkdir()
    layout.analysis.mkdir()
    left = {tmp_path / ".config.json.1.tmp", layout.checkpoints / ".0000001.safetensors.1.tmp"}
    for path in (*left, tmp_path / ".report.html.1.tmp", layout.analysis / ".a.nc.1.tmp", layout.config):
        path.touch()
    assert set(layout.leftovers()) == left
