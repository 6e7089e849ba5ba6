"""A model small enough to be trained many times, and what two runs are compared by."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.kinds.transformer import TransformerConfig


Contents = dict[str, Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing matters when the power fails, which no test does."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def tiny() -> RunConfig:
    """A few epochs modulo 7, in mini-batches, so that the generator's state matters too."""
    return RunConfig(
        task=TaskConfig(p=7),
        split=SplitConfig(fraction=0.5),
        model=TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, biases="mlp", equals_in_output=True),
        optim=OptimConfig(warmup_steps=3, batch_size=8),
        epochs=24,
        log_every=3,
        checkpoint_every=8,
    )


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], Contents]:
    """What a run directory holds, by file, but for the times and the order of a safetensors header, which vary."""

    def read(path: Path) -> Contents:
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        del files[".lock"]
        return {name: _read(name, content) for name, content in files.items()}

    return read


def _read(name: str, content: bytes) -> Any:
    if name == "metrics.jsonl":
        return [_without_seconds(json.loads(line)) for line in content.splitlines()]
    if name.endswith(".safetensors"):
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        return (header | {"__metadata__": _without_seconds(header.get("__metadata__", {}))}, content[end:])
    return content


def _without_seconds(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "seconds"}
