"""Where files lie, and that they are there whole or not at all."""

import os
import secrets
import stat
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
    assert layout.checkpoint_epochs() == ()
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
    assert layout.checkpoint_epochs() == (7, 40, 10_000_000)


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
    write_json(tmp_path / "data.json", data)
    assert read_json(tmp_path / "data.json") == data


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_numbers_that_are_not_finite(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "data.json", {"lr": number})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{'p': 7}", b'{"p": 7', b"\xff\xfe\x00", b'{"lr": NaN}', b"[" * 100_000],
    ids=lambda text: text[:10],
)
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(RunError, match=r"data\.json must be JSON, got"):
        read_json(tmp_path / "data.json")


def test_files_of_another_trainer_that_was_killed_are_leftovers(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.checkpoints.mkdir()
    layout.analysis.mkdir()
    token = "0123456789abcdef"
    left = {tmp_path / f".config.json.{token}.tmp", layout.checkpoints / f".0000001.safetensors.{token}.tmp"}
    others = [
        tmp_path / f".report.html.{token}.tmp",
        layout.analysis / f".a.nc.{token}.tmp",
        layout.config,
        # A user's own.
        layout.checkpoints / ".notes.tmp",
        layout.checkpoints / f".notes.{token}.tmp",
        layout.checkpoints / ".0000001.safetensors.tmp",
        tmp_path / ".config.json.old.tmp",
        tmp_path / "config.json.tmp",
    ]
    for path in (*left, *others):
        path.touch()
    (tmp_path / f".split.safetensors.{token}.tmp").mkdir()
    assert set(layout.leftovers()) == left


def test_temporary_names_are_those_of_leftovers(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.checkpoints.mkdir()
    seen = []
    for path in (layout.config, layout.metrics, layout.checkpoint(7), layout.checkpoint(12_345_678)):
        write_atomically(path, lambda temporary: seen.append((temporary, layout.leftovers())))
    assert [found for _, found in seen] == [[temporary] for temporary, _ in seen]


def test_a_planted_file_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, path = tmp_path / "secret", tmp_path / "config.json"
    secret.write_text("mine")
    # The name that it would have if names could be foreseen: by the process' number, or by a drawn one.
    monkeypatch.setattr(secrets, "token_hex", lambda _: "drawn")
    for name in (f".config.json.{os.getpid()}.tmp", ".config.json.drawn.tmp"):
        (tmp_path / name).symlink_to(secret)
    with pytest.raises(FileExistsError, match=r"config\.json\.drawn\.tmp"):
        write_json(path, {})
    monkeypatch.undo()
    write_json(path, {})
    assert secret.read_text() == "mine"
    assert not path.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no permission bits")
def test_permissions_of_a_file_are_kept_and_those_of_a_new_one_are_the_umasks(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for mode in (None, 0o600, 0o664):
            path = tmp_path / f"{mode}"
            if mode is not None:
                path.touch()
                path.chmod(mode)
            write_atomically(path, lambda temporary: temporary.write_text("new"))
            assert stat.S_IMODE(path.stat().st_mode) == (0o640 if mode is None else mode)
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="other systems have neither devices nor pipes as files")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "device").symlink_to("/dev/null")
    found = {
        tmp_path / "pipe": "a device or pipe",
        tmp_path / "folder": "a directory",
        tmp_path / "link": "a dangling symlink",
        tmp_path / "loop": "a dangling symlink",
        tmp_path / "device": "a device or pipe",
        Path("/dev/null"): "a device or pipe",
    }
    before = sorted(tmp_path.iterdir())
    for path, kind in found.items():
        with pytest.raises(
            RunError, match=rf"{path.name} must be a regular file, got {kind}; choose a different path"
        ) as raised:
            write_atomically(path, lambda temporary: temporary.write_text("new"))
        assert "\n" not in str(raised.value)
        with pytest.raises(RunError, match="must be a regular file"):
            read_json(path)
    assert sorted(tmp_path.iterdir()) == before
    assert Path("/dev/null").is_char_device()


def test_a_symlink_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, lambda temporary: temporary.write_text("new"))
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "link"]


def test_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        write_json(tmp_path / "gone" / "config.json", {})
    assert list(tmp_path.iterdir()) == []
