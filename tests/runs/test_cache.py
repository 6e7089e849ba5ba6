"""The files that cache measures: whole or not used, of one checkpoint, and written by several processes at once."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from filelock import FileLock

import grokinterp as gi
from grokinterp.runs import cache
from small_run import CONFIG


pytestmark = pytest.mark.slow


# Trains nothing: takes a measure of a run, and waits for a line of stdin before the first snapshot.
WAITING = """
import sys
import grokinterp as gi

original = gi.Run.snapshot

def waiting(self, epoch=None):
    if epoch == 1:
        print("reading", flush=True)
        sys.stdin.readline()
    return original(self, epoch)

gi.Run.snapshot = waiting
gi.trajectory(gi.load_run(sys.argv[1]), [gi.progress.losses], epochs=[1, 2], progress=False)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> gi.Run:
    return gi.train(CONFIG, tmp_path_factory.mktemp("trained") / "run", progress=False)


@pytest.fixture
def run(trained: gi.Run, tmp_path: Path) -> gi.Run:
    return gi.load_run(shutil.copytree(trained.path, tmp_path / "run"))


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The epochs whose snapshots are taken."""
    seen: list[int] = []
    original = gi.Run.snapshot

    def counted(self: gi.Run, epoch: int) -> gi.Snapshot:
        seen.append(epoch)
        return original(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(gi.Run, "snapshot", counted)
        yield seen


def _losses(run: gi.Run, *epochs: int) -> xr.Dataset:
    return gi.trajectory(gi.load_run(run.path), [gi.progress.losses], epochs=epochs or None, progress=False)


def _file(run: gi.Run) -> Path:
    return run.layout.analysis / "loss.nc"


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.exhaustive
def test_a_cache_with_a_flipped_bit_is_computed_anew(run: gi.Run, visited: list[int]) -> None:
    expected = _losses(run, 0, 4)
    whole = _file(run).read_bytes()
    assert visited == [0, 4]
    bits = random.Random(0).sample(range(8 * len(whole)), 300)
    for bit in bits:
        _file(run).write_bytes(_flipped(whole, bit))
        assert cache.CachedMeasure(run, gi.progress.losses, cache=True).checkpoints == {}, f"bit {bit}"
    for bit in bits[:10]:
        _file(run).write_bytes(_flipped(whole, bit))
        visited.clear()
        xr.testing.assert_identical(_losses(run, 0, 4), expected)
        assert visited == [0, 4], f"bit {bit}"
    assert _file(run).read_bytes() == whole


def _with_other_values(content: bytes, folder: Path) -> bytes:
    """As another program would write it: changed, and without the seal."""
    (folder / "before.nc").write_bytes(content)
    changed = xr.load_dataarray(folder / "before.nc", engine="h5netcdf") + 1
    changed.to_netcdf(folder / "after.nc", engine="h5netcdf")
    return (folder / "after.nc").read_bytes()


def _of_older_layout(content: bytes, _folder: Path) -> bytes:
    body, seal, _sha256 = content.rpartition(cache._SEAL)
    return body + seal.replace(b"1", b"0", 1) + hashlib.sha256(body).hexdigest().encode()


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(lambda *_: b"", id="empty"),
        pytest.param(lambda content, _: content[:100], id="cut off in the header"),
        pytest.param(lambda content, _: content[: len(content) // 2], id="cut off in the middle"),
        pytest.param(lambda content, _: content[:-1], id="cut off at the end"),
        pytest.param(lambda content, _: content + b"more", id="appended to"),
        pytest.param(lambda content, _: content.rpartition(cache._SEAL)[0], id="without its digest"),
        pytest.param(lambda *_: b"not a netCDF file", id="another kind of file"),
        pytest.param(lambda *_: b"\x89HDF\r\n\x1a\n" + bytes(500), id="an empty superblock"),
        pytest.param(_with_other_values, id="of another program"),
        pytest.param(_of_older_layout, id="of an older layout"),
    ],
)
def test_a_damaged_or_foreign_cache_is_computed_anew(
    damaged: Callable[[bytes, Path], bytes], run: gi.Run, visited: list[int], tmp_path: Path
) -> None:
    expected = _losses(run)
    whole = _file(run).read_bytes()
    _file(run).write_bytes(damaged(whole, tmp_path))
    visited.clear()
    xr.testing.assert_identical(_losses(run), expected)
    assert visited == list(run.checkpoint_epochs)
    assert _file(run).read_bytes() == whole


def test_a_cache_is_a_netcdf_file_for_any_program(run: gi.Run) -> None:
    expected = _losses(run).loss
    with xr.open_dataarray(_file(run)) as opened:
        assert opened.dims == ("epoch", "split")
        assert np.array_equal(opened.values, expected.values)
        assert json.loads(opened.attrs["made_by"])["version"] == gi.progress.losses.version


def test_a_replaced_checkpoint_is_measured_anew(run: gi.Run, visited: list[int], tmp_path: Path) -> None:
    measures = [gi.progress.losses, gi.progress.weight_norm]
    before = gi.trajectory(run, measures, progress=False)
    other = gi.train(dataclasses.replace(CONFIG, seed=1), tmp_path / "other", progress=False)
    visited.clear()
    for epoch in (4, 8):
        shutil.copy2(other.layout.checkpoint(epoch), run.layout.checkpoint(epoch))
    after = gi.trajectory(gi.load_run(run.path), measures, progress=False)
    assert visited == [4, 8]
    for epoch in run.checkpoint_epochs:
        assert (before.loss.sel(epoch=epoch).values != after.loss.sel(epoch=epoch).values).any() == (epoch in (4, 8))
        xr.testing.assert_equal(after.loss.sel(epoch=epoch, drop=True), gi.progress.losses(run.snapshot(epoch)))
    visited.clear()
    xr.testing.assert_identical(gi.trajectory(run, measures, progress=False), after)
    assert visited == []


def test_a_checkpoint_rewritten_with_the_same_weights_is_not_measured_again(run: gi.Run, visited: list[int]) -> None:
    _losses(run)
    path = run.layout.checkpoint(4)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = json.dumps({**header, "__metadata__": {"note": '"copied"'}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + int.from_bytes(content[:8], "little") :])
    visited.clear()
    _losses(run)
    assert visited == []


@pytest.mark.parametrize("name", ["split", "task"])
def test_another_split_or_task_is_measured_anew(name: str, run: gi.Run, visited: list[int], tmp_path: Path) -> None:
    _losses(run)
    changed = {
        "split": dataclasses.replace(CONFIG, split=gi.SplitConfig(fraction=0.3), epochs=1),
        "task": dataclasses.replace(CONFIG, task=gi.TaskConfig(p=7, operation="subtraction"), epochs=1),
    }
    other = gi.train(changed[name], tmp_path / "other", progress=False)
    shutil.copy2(getattr(other.layout, name), getattr(run.layout, name))
    visited.clear()
    ds = _losses(run)
    assert visited == list(run.checkpoint_epochs)
    snapshot = gi.load_run(run.path).snapshot(12)
    xr.testing.assert_equal(ds.loss.sel(epoch=12, drop=True), gi.progress.losses(snapshot))


def test_what_another_analysis_saved_in_the_meantime_stays(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = gi.Run.snapshot

    def disturbed(self: gi.Run, epoch: int) -> gi.Snapshot:
        with monkeypatch.context() as patch:
            patch.setattr(gi.Run, "snapshot", original)
            _losses(run, *({0, 1, 8, 12} - {epoch}))
        return original(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(gi.Run, "snapshot", disturbed)
        _losses(run, 2, 4)
    cached = cache.CachedMeasure(run, gi.progress.losses, cache=True)
    assert sorted(cached.checkpoints) == [0, 1, 2, 4, 8, 12]


@pytest.mark.exhaustive
def test_what_another_process_saved_in_the_meantime_stays(run: gi.Run, visited: list[int]) -> None:
    command = [sys.executable, "-c", WAITING, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # It has read the cache, and has nothing to write yet.
        assert process.stdout.readline() == "reading\n"
        _losses(run, 4, 8, 12)
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.wait() == 0
    visited.clear()
    _losses(run)
    assert visited == [0, 3]


def test_a_folder_that_is_held_too_long_is_named(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _losses(run, 0)
    monkeypatch.setattr(cache, "LOCK_TIMEOUT", 0.0)
    with FileLock(run.layout.analysis / ".lock"), pytest.raises(gi.RunError, match=r"another process has held .*lock"):
        _losses(run, 1)
    # What is cached is read without the lock.
    with FileLock(run.layout.analysis / ".lock"):
        _losses(run, 0)


def test_a_cache_that_cannot_be_written_is_named(run: gi.Run) -> None:
    run.layout.analysis.write_text("a file where the folder should be")
    with pytest.raises(gi.RunError, match=r"analysis could not be written: .*; fix this, then try again"):
        _losses(run, 0)


@pytest.mark.parametrize("name", [".", "analysis"])
def test_a_cache_in_a_folder_that_cannot_be_written_is_only_read(
    name: str, run: gi.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "analysis":
        _losses(run, 0)
    monkeypatch.setattr(os, "access", lambda path, _: path != run.path / name)
    assert _losses(run, 0, 4).epoch.values.tolist() == [0, 4]
    cached = cache.CachedMeasure(run, gi.progress.losses, cache=True)
    assert [*cached.checkpoints] == ([0] if name == "analysis" else [])


def test_the_caches_of_the_bundled_run_are_whole_and_of_its_checkpoints() -> None:
    run = gi.load_run("nanda2023")
    files = sorted(run.layout.analysis.glob("*.nc"))
    assert len(files) >= 22
    digests = {epoch: cache.digest_of(run.layout.checkpoint(epoch)) for epoch in run.checkpoint_epochs}
    here = {"version": 1, **{name: cache.digest_of(getattr(run.layout, name)) for name in ("task", "split")}}
    for file in files:
        with xr.open_dataarray(file) as opened:
            made_by = cache._read_origin(opened.attrs["made_by"])
        assert made_by is not None
        assert here.items() <= made_by.items()
        stored = cache._read(file, made_by)
        assert stored is not None
        assert digests.items() <= cache._checkpoints(stored).items()
