"""The speed of the library, as ratios measured in one process. Run it with `make bench`."""

import argparse
import dataclasses
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
from grokinterp.runs.tensors import write_tensors
from grokinterp.tasks import all_pairs
from grokinterp.training.engines import build_engine
from grokinterp.training.runtime import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds; each round runs every contender once")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile, which needs a C++ compiler")
    args = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rows = [*steps(args.rounds, compiled=not args.no_compile), *whole_run()]
    rows += [*trajectories(args.rounds), *imports(), *memory()]
    width = max(len(name) for name, _, _ in rows)
    print(f"{'benchmark':<{width}} | {'measured':>16} | goal")
    print(f"{'-' * width}-|-{'-' * 16}-|-----")
    for name, measured, goal in rows:
        print(f"{name:<{width}} | {measured:>16} | {goal}")


def interleaved(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender, interleaved so that a noisy machine slows all of them equally."""
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

    TransformerLens' step is measured twice: as its users run it, and with `train`'s memory setting, which also
    speeds it up.
    """
    config, model = gi.presets.nanda2023(), gi.presets.nanda2023().model
    assert isinstance(model, gi.TransformerConfig)
    task = config.task.build()
    is_train = config.split.build(task, config.seed).flatten()
    a, b, labels = (x[is_train] for x in (*all_pairs(task), task.table.flatten()))

    def our_step(engine: str, *, compiles: bool = False) -> Callable[[], None]:
        params = {n: p.requires_grad_() for n, p in config.model.initial_params(task, seed=0).items()}
        loss = build_engine(engine, config, params).loss
        loss = torch.compile(loss, dynamic=False) if compiles else loss
        optimizer = torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)

        def step() -> None:
            optimizer.zero_grad()
            loss(params, a, b, labels).backward()
            optimizer.step()

        return step

    hooked = hooked_step(config, task, a, b, labels)
    hooked_default = interleaved({"hooked": hooked}, rounds)["hooked"]
    keep_freed_memory()
    contenders: dict[str, Callable[[], object]] = {
        "hooked": hooked,
        "kernels": our_step("kernels"),
        "factored": our_step("factored"),
        "matmul": matmul_step(len(a), model, task.d_vocab),
    }
    if compiled:
        contenders["compiled"] = our_step("factored", compiles=True)
    seconds = interleaved(contenders, rounds)
    ours = {name: seconds[name] for name in ("kernels", "factored", "compiled") if name in seconds}
    goals = {
        "kernels": ("at least 10x", "at least 9x", "at most 1.00x"),
        "factored": ("at least 5x", "", "at most 1.5x"),
        "compiled": ("at least 6x", "", "at most 1.5x"),
    }
    rows = [
        (f"step: HookedTransformer / {name}", f"{hooked_default / x:.1f}x", goals[name][0]) for name, x in ours.items()
    ]
    rows += [
        (
            f"step: HookedTransformer with freed memory kept / {name}",
            f"{seconds['hooked'] / x:.1f}x",
            goals[name][1],
        )
        for name, x in ours.items()
    ]
    rows += [
        (f"step: {name} / the model's matrix products alone", f"{x / seconds['matmul']:.2f}x", goals[name][2])
        for name, x in ours.items()
    ]
    return [*rows, *((f"step: {name}", f"{1e3 * x:.0f} ms", "") for name, x in seconds.items())]


def whole_run(epochs: int = 400) -> list[tuple[str, str, str]]:
    """The time of the paper's 40,000 epochs, extrapolated from the first ones, including metrics and checkpoints."""
    config = dataclasses.replace(gi.presets.nanda2023(), epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        gi.train(dataclasses.replace(config, epochs=1), Path(folder) / "warm", progress=False)
        started = time.perf_counter()
        gi.train(config, Path(folder) / "run", progress=False)
        minutes = (time.perf_counter() - started) / epochs * 40_000 / 60
    return [("train: the paper's 40,000 epochs", f"{minutes:.1f} min", "at most 10 min")]


def trajectories(rounds: int) -> list[tuple[str, str, str]]:
    """One checkpoint of a trajectory, compared with a plain loop over frequencies."""
    run = gi.load_run("nanda2023")
    keys = gi.fourier.key_frequencies(run.snapshot())
    epoch = run.checkpoint_epochs[-1]
    measures = standard_measures(keys)
    seconds = interleaved(
        {
            "ours": lambda: gi.trajectory(run, measures, epochs=[epoch], cache=False, progress=False),
            "naive": lambda: naive_trajectory(run, keys, epoch),
        },
        max(3, rounds // 3),
    )
    return [
        ("trajectory: one checkpoint", f"{seconds['ours']:.2f} s", "at most 0.4 s"),
        ("trajectory: plain loop / ours", f"{seconds['naive'] / seconds['ours']:.0f}x", "at least 10x"),
    ]


def standard_measures(keys: tuple[int, ...]) -> list[gi.Measure]:
    """Losses, restricted loss, excluded loss (of all keys and of each of the 56 frequencies), Gini, FVE and norms."""
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
    """Peak memory of a process that computes a trajectory of 150 checkpoints."""
    command = [sys.executable, "-m", "benchmarks.peak_memory"]
    gigabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [("trajectory: peak memory, 150 checkpoints", f"{float(gigabytes):.2f} GB", "under 2 GB")]


def repeat_checkpoints(run: gi.Run, folder: Path, count: int) -> gi.Run:
    """A run directory with `count` checkpoints: copies of the run's last one under different epochs."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("checkpoints", "analysis", "FINISHED"))
    copy = gi.load_run(folder)
    copy.layout.checkpoints.mkdir()
    for epoch in range(count):
        write_tensors(copy.layout.checkpoint(epoch), run.params(), {"epoch": epoch})
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
