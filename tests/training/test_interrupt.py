"""Ctrl-C writes a checkpoint and says how to go on."""

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grokinterp.config import RunConfig
from grokinterp.runs import metrics
from grokinterp.runs.layout import Layout
from grokinterp.runs.run import load_run
from grokinterp.training.loop import train
from grokinterp.training.runtime import stopping_when
from grokinterp.training.trainer import Trainer


pytestmark = pytest.mark.slow


TRAINING = """
import signal, sys, torch
from pathlib import Path
from grokinterp.config import OptimConfig, RunConfig, TaskConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.training.runtime import stopping_when
from grokinterp.training.loop import train
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
model = TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32)
train(RunConfig(task=TaskConfig(p=7), model=model, epochs=10**6, log_every=50), sys.argv[1], progress=False)
"""


@pytest.fixture(autouse=True)
def heeds_ctrl_c() -> Iterator[None]:
    """Python's own handler, also where the tests were started in the background, where Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_updates(monkeypatch: pytest.MonkeyPatch, *, before: int, times: int = 1) -> None:
    """Ctrl-C in the middle of the update that leaves an epoch."""
    advance = Trainer.advance

    def interrupted(trainer: Trainer) -> None:
        for _ in range(times if trainer.epoch == before else 0):
            signal.raise_signal(signal.SIGINT)
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", interrupted)


@pytest.mark.parametrize("epoch", [0, 4, 12])
def test_resuming_after_ctrl_c_gives_the_bits_of_an_undisturbed_run(
    tiny: RunConfig,
    epoch: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], dict[str, Any]],
) -> None:
    undisturbed = contents(train(tiny, tmp_path / "undisturbed", progress=False).path)
    path = tmp_path / "disturbed"
    with monkeypatch.context() as patch:
        interrupt_updates(patch, before=epoch)
        with pytest.raises(KeyboardInterrupt, match=f"stopped at epoch {epoch + 1}; train the same config into {path}"):
            train(tiny, path, progress=False)
    stopped = load_run(path)

    assert max(stopped.checkpoint_epochs) == epoch + 1
    assert not stopped.is_finished

    disturbed = contents(train(tiny, path, progress=False).path)
    disturbed.pop(f"checkpoints/{epoch + 1:07d}.safetensors")
    undisturbed.pop(f"checkpoints/{epoch + 1:07d}.safetensors", None)
    assert disturbed == undisturbed


def test_ctrl_c_after_the_epoch_was_looked_at_still_saves(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Entry 9 is written at an epoch without a checkpoint, after the trainer asked whether to save one.
    real = metrics.append_metrics

    def interrupting(path: Path, entry: dict[str, Any]) -> None:
        real(path, entry)
        if entry["epoch"] == 9:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(metrics, "append_metrics", interrupting)
    with pytest.raises(KeyboardInterrupt, match="stopped at epoch 10"):
        train(tiny, tmp_path, progress=False)
    assert Layout(tmp_path).checkpoint_epochs()[-1] == 10


def test_ctrl_c_in_the_last_update_finishes_the_run_and_still_stops(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_updates(monkeypatch, before=tiny.epochs - 1)
    with pytest.raises(KeyboardInterrupt, match="is finished"):
        train(tiny, tmp_path, progress=False)
    assert load_run(tmp_path).is_finished


def test_a_second_ctrl_c_stops_at_once(tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_updates(monkeypatch, before=12, times=2)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(tiny, tmp_path, progress=False)
    assert max(load_run(tmp_path).checkpoint_epochs) == 8


def test_the_handler_of_before_is_put_back(tiny: RunConfig, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(dataclasses.replace(tiny, epochs=1), tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupt_updates(monkeypatch, before=4)
    assert train(tiny, tmp_path, progress=False).is_finished


def test_training_in_another_thread(tiny: RunConfig, tmp_path: Path) -> None:
    # The main thread alone may handle signals.
    thread = threading.Thread(target=train, args=(tiny, tmp_path), kwargs={"progress": False})
    thread.start()
    thread.join(timeout=300)
    assert load_run(tmp_path).is_finished


def test_training_stops_when_asked_in_any_thread(tiny: RunConfig, tmp_path: Path) -> None:
    asked = iter([False] * 5 + [True] * 100)

    def stopped() -> str:
        with stopping_when(lambda: next(asked)), pytest.raises(KeyboardInterrupt, match="stopped at epoch 5"):
            train(tiny, tmp_path, progress=False)
        return "stopped"

    with ThreadPoolExecutor(1) as other:
        assert other.submit(stopped).result() == "stopped"
    assert max(load_run(tmp_path).checkpoint_epochs) == 5
    # Whoever comes next is not asked.
    assert train(tiny, tmp_path, progress=False).is_finished


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_sigint_to_a_real_process(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", TRAINING, layout.root], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not layout.metrics.exists() or layout.metrics.read_text().count("\n") < 3:
            assert time.monotonic() < deadline, "training did not start"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)

    last = max(layout.checkpoint_epochs())
    assert f"KeyboardInterrupt: stopped at epoch {last}; train the same config into {layout.root} to resume." in said
    assert process.returncode != 0
    assert not layout.finished.exists()
