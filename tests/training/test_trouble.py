"""A loss that is not finite, and a disk that is full."""

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from grokinterp.config import OptimConfig, RunConfig
from grokinterp.runs import tensors
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.run import load_run
from grokinterp.training.loop import train


pytestmark = pytest.mark.slow


def diverging(tiny: RunConfig) -> RunConfig:
    return dataclasses.replace(tiny, optim=OptimConfig(lr=1e30, warmup_steps=6))


def test_a_loss_that_is_not_finite_stops_training(tiny: RunConfig, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match=r"loss at epoch 2 is not finite .* valid checkpoint is epoch 1\. Lower"):
            train(diverging(tiny), tmp_path, progress=False)
        run = load_run(tmp_path)
        assert run.checkpoint_epochs == (0, 1)
        assert not run.is_finished
        assert all(p.isfinite().all() for p in run.params().values())


@pytest.mark.parametrize("log_every", [1, 1000])
def test_no_checkpoint_of_finite_weights_with_an_infinite_loss(tiny: RunConfig, log_every: int, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not finite"):
        train(dataclasses.replace(diverging(tiny), log_every=log_every, checkpoint_every=1), tmp_path, progress=False)
    run = load_run(tmp_path)
    assert all(run.snapshot(epoch).logits.isfinite().all() for epoch in run.checkpoint_epochs)


def test_metrics_stay_json_when_the_loss_is_not_finite(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not finite"):
        train(dataclasses.replace(diverging(tiny), log_every=1), tmp_path, progress=False)

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    lines = Layout(tmp_path).metrics.read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse)["epoch"] for line in lines] == [0, 1]


def fails_at(call: int, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """A full disk at the call of a function, counted from 0, and at all later ones."""
    calls = iter(range(1_000_000))
    real = getattr(owner, name)

    def full(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, full)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        *((os, "fsync", call) for call in (0, 1, 6, 10, 15)),
        *((Path, "replace", call) for call in (0, 2, 3, 4, 5, 6, 12)),
        *((Path, "write_bytes", call) for call in (0, 1, 3, 8)),
        (Path, "write_text", 0),
        (Path, "touch", 0),
    ],
)
def test_a_full_disk_leaves_a_run_that_goes_on(
    tiny: RunConfig,
    owner: Any,
    name: str,
    call: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], dict[str, Any]],
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        fails_at(call, patch, owner, name)
        with pytest.raises(RunError, match=r"could not be written: .*No space left on device; it"):
            train(tiny, path, progress=False)
    assert not Layout(path).finished.exists()
    assert not list(path.rglob(".*.tmp"))

    undisturbed = train(tiny, tmp_path / "undisturbed", progress=False)
    assert contents(train(tiny, path, progress=False).path) == contents(undisturbed.path)


def test_a_real_error_of_the_disk(tiny: RunConfig, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="only POSIX systems limit the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(RunError, match=r"could not be written: .*File too large"):
            train(tiny, tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Layout(tmp_path).checkpoint_epochs() == ()
    assert train(tiny, tmp_path, progress=False).is_finished


@pytest.mark.parametrize("file", ["checkpoint", "resume", "task", "split"])
@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_broken_file_is_named_in_one_line(tiny: RunConfig, file: str, damage: str, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    path = layout.checkpoint(24) if file == "checkpoint" else getattr(layout, file)
    content = {"truncated": path.read_bytes()[:-9], "foreign": bytes(range(256)) * 4, "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.name} must be a complete safetensors file") as raised:
        train(dataclasses.replace(tiny, epochs=30), tmp_path, progress=False)
    assert "\n" not in str(raised.value)


def test_the_resume_file_of_another_model_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    state, about = tensors.read_tensors(layout.resume)
    tensors.write_tensors(layout.resume, {f"encoder.{name}": p for name, p in state.items()}, about)
    with pytest.raises(RunError, match=r"the model has no parameter 'encoder\."):
        train(dataclasses.replace(tiny, epochs=30), tmp_path, progress=False)


def test_a_resume_file_without_its_header_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    layout = train(tiny, tmp_path, progress=False).layout
    state, _ = tensors.read_tensors(layout.resume)
    tensors.write_tensors(layout.resume, state)
    with pytest.raises(RunError, match="must hold the state to resume from: 'epoch' is missing"):
        train(dataclasses.replace(tiny, epochs=30), tmp_path, progress=False)
