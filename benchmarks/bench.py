"""How fast the library is, as ratios measured side by side in one process. Run it with `make bench`."""

import argparse
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import grokinterp as gi
from benchmarks.baselines import hooked_step, matmul_step, naive_trajectory
from grokinterp.losses import cross_entropy
from grokinterp.models.factored import factored_logits
from grokinterp.tasks import all_pairs
from grokinterp.training.runtime import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds in which every contender has one turn")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it needs a C++ compiler)")
    args = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rows = [*steps(args.rounds, compiled=not args.no_compile), *trajectories(args.rounds), *imports(), *memory()]
    width = max(len(name) for name, _, _ in rows)
    print(f"{'what':<{width}} | {'measured':>16} | goal")
    print(f"{'-' * width}-|-{'-' * 16}-|-----")
    for name, measured, goal in rows:
        print(f"{name:<{width}} | {measured:>16} | {goal}")


def interleaved(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, in turns, so that a noisy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def steps(rounds: int, *, compiled: bool) -> list[tuple[str, str, str]]:
    """Training steps of the paper's model at full batch.

    TransformerLens' loop has two turns: as its users run it, and with the memory setting that `train` makes, which
    helps it too.
    """
    config, model = gi.presets.nanda2023(), gi.presets.nanda2023().model
    assert isinstance(model, gi.TransformerConfig)
    task = config.task.build()
    is_train = config.split.build(task, config.seed).flatten()
    a, b, labels = (x[is_train] for x in (*all_pairs(task), task.table.flatten()))

    def loss(params: dict[str, torch.Tensor]) -> torch.Tensor:
        return cross_entropy(factored_logits(params, model, a, b), labels)

    def factored_step(loss: Callable[..., torch.Tensor]) -> Callable[[], None]:
        params = {n: p.requires_grad_() for n, p in config.model.initial_params(task, seed=0).items()}
        optimizer = torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)

        def step() -> None:
            optimizer.zero_grad()
            loss(params).backward()
            optimizer.step()

        return step

    hooked = hooked_step(config, task, a, b, labels)
    as_it_is = interleaved({"hooked": hooked}, rounds)["hooked"]
    keep_freed_memory()
    contenders: dict[str, Callable[[], object]] = {
        "hooked": hooked,
        "factored": factored_step(loss),
        "matmul": matmul_step(len(a), model, task.d_vocab),
    }
    if compiled:
        contenders["compiled"] = factored_step(torch.compile(loss, dynamic=False))
    found = interleaved(contenders, rounds)
    ours = {name: found[name] for name in ("factored", "compiled") if name in found}
    goals = {"factored": "at least 5x", "compiled": "at least 6x"}
    rows = [(f"step: HookedTransformer / {name}", f"{as_it_is / x:.1f}x", goals[name]) for name, x in ours.items()]
    rows += [
        (f"step: the same, HookedTransformer keeping its memory / {name}", f"{found['hooked'] / x:.1f}x", "")
        for name, x in ours.items()
    ]
    rows += [
        (f"step: {name} / its matrix products alone", f"{x / found['matmul']:.2f}x", "at most 1.5x")
        for name, x in ours.items()
    ]
    return [*rows, *((f"step: {name}", f"{1e3 * x:.0f} ms", "") for name, x in found.items())]


def trajectories(rounds: int) -> list[tuple[str, str, str]]:
    """One checkpoint of a trajectory, against a plain loop over frequencies."""
    run = gi.load_run("nanda2023")
    keys = gi.fourier.key_frequencies(run.snapshot())
    epoch = run.checkpoint_epochs[-1]
    measures = standard_measures(keys)
    found = interleaved(
        {
            "ours": lambda: gi.trajectory(run, measures, epochs=[epoch], cache=False, progress=False),
            "naive": lambda: naive_trajectory(run, keys, epoch),
        },
        max(3, rounds // 3),
    )
    return [
        ("trajectory: a checkpoint", f"{found['ours']:.2f} s", "at most 0.4 s"),
        ("trajectory: plain loop / ours", f"{found['naive'] / found['ours']:.0f}x", "at least 10x"),
    ]


def standard_measures(keys: tuple[int, ...]) -> list[gi.Measure]:
    """Losses, restricted and excluded loss (all keys, and each of the 56 frequencies), Gini, FVE and norms."""
    return [
        gi.progress.losses,
        gi.progress.restricted_loss(keys),
        gi.progress.excluded_loss(keys),
        gi.progress.excluded_loss_by_frequency(),
        gi.fourier.gini,
        gi.logits.fve(),
        gi.progress.weight_norm,
    ]


def imports() -> list[tuple[str, str, str]]:
    """Seconds of `import grokinterp` beyond `import torch`, in fresh processes."""
    code = "import time, torch; t = time.perf_counter(); import grokinterp; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    return [("import grokinterp, beyond torch", f"{statistics.median(seconds):.3f} s", "at most 0.3 s")]


def memory() -> list[tuple[str, str, str]]:
    """Peak memory of a process that makes a trajectory of 150 checkpoints."""
    command = [sys.executable, "-m", "benchmarks.peak_memory"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [("trajectory: peak memory, 150 checkpoints", f"{float(found):.2f} GB", "under 2 GB")]


def repeat_checkpoints(run: gi.Run, folder: Path, count: int) -> gi.Run:
    """A run directory with `count` checkpoints, copies of the run's last one under other epochs."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("checkpoints", "analysis"))
    copy = gi.load_run(folder)
    copy.layout.checkpoints.mkdir()
    for epoch in range(count):
        shutil.copy(run.layout.checkpoint(run.checkpoint_epochs[-1]), copy.layout.checkpoint(epoch))
    return copy


def peak_memory() -> float:
    """Peak resident gigabytes of this process after a trajectory of 150 checkpoints."""
    bundled = gi.load_run("nanda2023")
    keys = gi.fourier.key_frequencies(bundled.snapshot())
    with tempfile.TemporaryDirectory() as folder:
        run = repeat_checkpoints(bundled, Path(folder) / "run", 150)
        gi.trajectory(run, standard_measures(keys), progress=False)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
