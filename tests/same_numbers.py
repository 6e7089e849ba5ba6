"""Every number that the library computes from a fixed set of inputs, as digests of their bits.

    python tests/same_numbers.py record numbers.json
    python tests/same_numbers.py compare numbers.json

Record before a change that should not change numbers, and compare after it: on the same machine, with the same number
of threads. It covers every measure on the bundled run, on runs of each kind of model and task and on planted models;
interventions with their controls; every claim; trajectories, phases and detectors; forks and the files of a sweep.
"""

import hashlib
import importlib
import json
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors import safe_open

import grokinterp as gi
from grokinterp import interventions as iv


KEYS = (14, 35, 41, 42, 52)
SMALL = {
    "addition": {},
    "multiplication": {"task.operation": "multiplication"},
    "no group": {"task.operation": "x2+xy+y2", "split.fraction": 0.6},
    "mini-batches": {"optim.batch_size": 32, "regularization.dropout": 0.1, "loss.dtype": "torch_float32"},
    "sgd": {"optim.name": "SGD", "optim.lr": 0.1, "regularization.label_noise": 0.1},
    "two layers": {"model.n_layers": 2, "model.normalization": "LN", "model.biases": "all"},
    "two tokens": {"model.sequence": "a b"},
    "with op": {"model.sequence": "a op b =", "regularization.grokfast": "ema"},
    "mlp": {"model": gi.MLPConfig(d_mlp=32, act_fn="quadratic", n_layers=1)},
    "embedded mlp": {"model": gi.MLPConfig(d_mlp=32, d_model=16, inputs="summed")},
}


def digest(value: Any) -> str:
    """The bits of numbers, arrays, tensors, datasets and containers of these; anything else by its repr."""
    if isinstance(value, xr.Dataset):
        return digest({str(name): value[name] for name in value})
    if isinstance(value, xr.DataArray):
        return digest([*(value[dim].values for dim in value.dims if dim in value.coords), value.values])
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        is_number = value.dtype.kind in "biufc"
        # Text by its repr, since the bits of an array of strings depend on the longest one.
        content = np.ascontiguousarray(value).tobytes() if is_number else repr(value.tolist()).encode()
        return f"{value.dtype if is_number else 'text'}{value.shape}:{hashlib.sha256(content).hexdigest()[:12]}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {digest(part)}" for key, part in sorted(value.items(), key=str)) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(digest, value)) + ")"
    return repr(value)


def measures_without_arguments() -> list[gi.Measure]:
    """Every measure in a module of the library, whatever the modules are called."""
    found = {}
    for module in pkgutil.walk_packages(gi.__path__, "grokinterp."):
        if "__main__" not in module.name and "cluster" not in module.name:
            names = vars(importlib.import_module(module.name))
            found |= {id(x): x for name, x in names.items() if isinstance(x, gi.Measure) and not name.startswith("_")}
    return sorted(found.values(), key=lambda measure: measure.name)


def measures_with_arguments(keys: tuple[int, ...]) -> list[gi.Measure]:
    """Measures made by functions, of some keys."""
    progress, logits = gi.progress, gi.logits
    return [
        *(progress.restricted_loss(keys, split=s, bias_correction=c) for s in ("all", "test") for c in (True, False)),
        progress.restricted_accuracy(keys),
        *(progress.excluded_loss(k, form=form) for k in (keys, None) for form in ("2D", "3D")),
        progress.excluded_accuracy(keys),
        *(progress.excluded_loss_by_frequency(k, form=form) for k in (keys, None) for form in ("2D", "3D")),
        *(progress.trig_loss(keys, bias_correction=c) for c in (True, False)),
        *(logits.fve(centering=c) for c in ("class", "none")),
        logits.readout_fve(keys),
        logits.readout_components([0, 5]),
        logits.over_inputs([0, 3]),
        gi.fourier.outside(keys),
        gi.fourier.embedding_circles(keys),
        gi.neurons.counts(),
        gi.neurons.activations([0, 7]),
        gi.monitors.weight_sparsity(),
        iv.losses(iv.ablate(iv.head(0))),
        iv.losses(iv.ablate(iv.cluster(keys[0]))),
        iv.losses(iv.keep_only(iv.frequency(*keys, at="logits"))),
        iv.losses(iv.ablate(iv.frequency(keys[0], at="W_E"), fill="zero")),
        iv.losses(iv.keep_only(iv.readout(*keys))),
        iv.losses(iv.ablate(iv.skip("mlp"))),
        iv.losses(iv.relocate(keys[0], keys[-1])),
        iv.losses(iv.phase_shift(keys[0], 0.5, at=("W_E",))),
        iv.effects(keys),
        iv.control(iv.ablate(iv.frequency(keys[0])), draws=5),
        iv.control(iv.ablate(iv.readout(*keys)), draws=3),
        iv.null_losses(iv.ablate(iv.neurons([0, 1, 2])), draws=4),
    ]  # fmt: skip


def of_snapshot(label: str, snapshot: gi.Snapshot, keys: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """All measures of one snapshot, with the message if one does not apply; and its key frequencies."""
    counts: dict[str, int] = {}
    for measure in [*measures_without_arguments(), *measures_with_arguments(keys)]:
        counts[measure.name] = counts.get(measure.name, -1) + 1
        try:
            value = digest(measure(snapshot))
        except (ValueError, IndexError):
            value = "does not apply"
        yield f"{label}: {measure.name} {counts[measure.name]}", value
    for rule in ("logits", "neurons", "W_E", "W_L"):
        try:
            value = digest(gi.fourier.key_frequencies(snapshot, rule=rule))
        except (ValueError, IndexError):
            value = "does not apply"
        yield f"{label}: keys by {rule}", value


def of_directory(label: str, run: gi.Run) -> Iterator[tuple[str, str]]:
    """The tensors and the metrics of a run directory."""
    for path in sorted(run.path.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        yield f"{label}: {path.relative_to(run.path)}", digest(tensors)
    yield f"{label}: metrics", digest(run.metrics.drop_vars("seconds"))


def small_runs(root: Path) -> Iterator[tuple[str, str]]:
    """Runs of each kind of model, optimizer and task: what they train to, and every measure of the last checkpoint."""
    small = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32)
    base = gi.RunConfig(task=gi.TaskConfig(p=13), model=small, epochs=60, checkpoint_every=20)
    for name, changes in SMALL.items():
        run = gi.train(gi.config.change(base, changes), root / name, progress=False)
        yield from of_directory(name, run)
        yield from of_snapshot(name, run.snapshot(), (1, 3))
    fork = gi.fork(gi.load_run(root / "addition"), 40, root / "fork", {"optim.weight_decay": 0.0}, progress=False)
    yield from of_directory("fork", fork)
    configs = gi.grid(base, {"optim.weight_decay": [0.5, 1.0], "seed": range(2)})
    gi.sweep(configs, root / "sweep", progress=False)
    for path in sorted((root / "sweep").glob("*/config.json")):
        yield from of_directory(f"sweep {path.parent.name}", gi.load_run(path.parent))
    collected = gi.collect(root / "sweep")
    yield "sweep: collected", digest(collected.drop_vars([name for name in collected if "second" in str(name)]))


def quick_run(root: Path) -> Iterator[tuple[str, str]]:
    """The preset `quick`, which groks: its trajectory, phases and signals of detectors."""
    run = gi.train(gi.presets.quick(), root / "quick", progress=False)
    keys = gi.fourier.key_frequencies(run.snapshot())
    yield from of_directory("quick", run)
    measures = [gi.progress.losses, gi.progress.accuracies, gi.progress.restricted_loss(keys)]
    measures += [gi.progress.excluded_loss(keys), gi.fourier.gini, gi.progress.weight_norm, gi.logits.fve()]
    ds = gi.trajectory(run, measures, progress=False)
    yield "quick: trajectory", digest(ds)
    yield "quick: phases", digest(gi.phases.detect(ds))
    yield "quick: grokking times", digest(gi.phases.grokking_times(run.metrics))
    yield "quick: detectors", digest(gi.detection.signals(run, progress=False))


def numbers() -> Iterator[tuple[str, str]]:
    """All of them, by what they are."""
    bundled = gi.load_run("nanda2023")
    for epoch in (0, 1400, 9400, 40_000):
        yield from of_snapshot(f"nanda2023 at {epoch}", bundled.snapshot(epoch), KEYS)
    for result in gi.claims.check(bundled):
        yield f"claim {result.claim.id}", digest([result.ours, result.verdict, result.kind])
    for act_fn in ("relu", "quadratic"):
        yield from of_snapshot(f"planted {act_fn}", gi.testing.planted_snapshot(13, keys=(2, 5), act_fn=act_fn), (2, 5))
    with tempfile.TemporaryDirectory() as folder:
        yield from small_runs(Path(folder))
        yield from quick_run(Path(folder))


def main(command: str, file: str) -> int:
    """Record or compare; the exit code is 1 if a number differs, is new or is gone."""
    torch.set_num_threads(1)
    found = dict(numbers())
    if command == "record":
        Path(file).write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(found)} numbers recorded in {file}")
        return 0
    before = json.loads(Path(file).read_text())
    differ = [key for key in before.keys() | found.keys() if before.get(key) != found.get(key)]
    for key in sorted(differ):
        print(f"{key}\n  was {before.get(key)}\n  is  {found.get(key)}")
    print(f"{len(differ)} of {len(before)} differ")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
