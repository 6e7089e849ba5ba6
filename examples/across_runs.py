"""Measure when small models grok, and their key frequencies, across train fractions, weight decays and moduli.

    python examples/across_runs.py runs/across             # every axis: about an hour on two CPU cores
    python examples/across_runs.py runs/across fraction    # one axis: fraction, weight_decay or p

Uses the preset `quick` (p = 59, learning rate 2e-3) with 3,000 epochs, which is smaller than the paper's run. Finished
runs are not retrained. Prints the contents of grokinterp/papers/nanda2023/data/across.json.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import grokinterp as gi


EPOCHS = 3_000
SEEDS = (0, 1, 2)
AXES = {
    "fraction": (0.2, 0.3, 0.4, 0.5, 0.8),
    "weight_decay": (0.0, 0.5, 1.0, 2.0, 4.0),
    "p": (31, 43, 59, 71),
}


def main() -> None:
    root = Path(sys.argv[1])
    axes = sys.argv[2:] or list(AXES)
    runs = [entry(root, axis, value, seed) for axis, value, seed in settings(axes)]
    rules = {event: rule for event, rule in gi.phases.rules().items() if event in ("memorized", "grokked")}
    print(json.dumps({"horizon": EPOCHS, "rules": rules, "runs": runs}, indent=1, ensure_ascii=False))


def settings(axes: list[str]) -> Iterator[tuple[str, float, int]]:
    """Yield (axis, value, seed)."""
    for axis in axes:
        for value in AXES[axis]:
            for seed in SEEDS:
                yield axis, value, seed


def config_of(axis: str, value: float, seed: int) -> gi.RunConfig:
    """The preset `quick` with one setting changed."""
    config = replace(gi.presets.quick(), seed=seed, epochs=EPOCHS, checkpoint_every=EPOCHS)
    if axis == "fraction":
        return replace(config, split=replace(config.split, fraction=value))
    if axis == "weight_decay":
        return replace(config, optim=replace(config.optim, weight_decay=value))
    return replace(config, task=replace(config.task, p=int(value)))


def entry(root: Path, axis: str, value: float, seed: int) -> dict[str, object]:
    """Results of one run; epochs that were not reached are null."""
    config = config_of(axis, value, seed)
    # Name every swept field, so that the setting common to all axes is trained once.
    name = f"p={config.task.p},fraction={config.split.fraction},weight_decay={config.optim.weight_decay},seed={seed}"
    run = gi.train(config, root / name, progress=False)
    events = gi.phases.detect(run.metrics).event_epoch
    accuracy = run.metrics.accuracy.sel(split="test").values[-1]
    print(f"{run.path.name}: test accuracy {accuracy:.3f}", file=sys.stderr)
    return {
        "axis": axis,
        "value": value,
        "seed": seed,
        "memorized": epoch(events.sel(event="memorized").item()),
        "grokked": epoch(events.sel(event="grokked").item()),
        "test_accuracy": float(accuracy),
        "keys": list(gi.fourier.key_frequencies(run.snapshot())) if accuracy > 0.99 else [],
    }


def epoch(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


if __name__ == "__main__":
    main()
