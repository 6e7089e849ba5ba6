"""A small trained run, and a count of its forward passes, for tests of measures and their caches."""

from pathlib import Path

import pytest

import grokinterp as gi


CONFIG = gi.RunConfig(
    task=gi.TaskConfig(p=7),
    model=gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16),
    split=gi.SplitConfig(fraction=0.5),
    epochs=12,
    checkpoint_every=4,
)


@pytest.fixture
def run(tmp_path: Path) -> gi.Run:
    return gi.train(CONFIG, tmp_path / "run", progress=False)


def count_forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    visited: list[int] = []
    original = gi.Run.snapshot

    def counted(self: gi.Run, epoch: int | None = None) -> gi.Snapshot:
        visited.append(-1 if epoch is None else epoch)
        return original(self, epoch)

    monkeypatch.setattr(gi.Run, "snapshot", counted)
    return visited
