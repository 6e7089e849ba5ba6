"""The speedup of parallel workers over sequential runs, and the overhead of a sweep per run.

Run it with `python -m benchmarks.sweep`; add `--epochs 100` for a quick look.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import grokinterp as gi
from grokinterp.sweeps import dask_executor, processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--epochs", type=int, default=gi.presets.quick().epochs, help="epochs of each run of the preset quick"
    )
    parser.add_argument("--runs", type=int, default=8, help="number of runs, one per seed")
    parser.add_argument(
        "--workers", type=int, default=2, help="number of processes; sequential runs use as many threads"
    )
    parser.add_argument("--no-dask", action="store_true", help="skip dask, which needs the extra dask")
    args = parser.parse_args()
    config = replace(gi.presets.quick(), epochs=args.epochs)
    print(f"{platform.machine()}, torch {torch.__version__}, {args.runs} runs of {args.epochs} epochs")
    rows = [*gain(config, args.runs, args.workers), *overheads(args.runs, dask=not args.no_dask)]
    width = max(len(name) for name, _, _ in rows)
    print(f"{'benchmark':<{width}} | {'measured':>10} | goal")
    print(f"{'-' * width}-|-{'-' * 10}-|-----")
    for name, measured, goal in rows:
        print(f"{name:<{width}} | {measured:>10} | {goal}")


def seconds_of(config: gi.RunConfig, runs: int, executor: Executor | int | None) -> float:
    """Seconds of a sweep over seeds in a temporary directory, including the start of its processes."""
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        done = gi.sweep(gi.grid(config, {"seed": range(runs)}), root, executor, progress=False)
        assert not done.failed, done.failed
        return time.perf_counter() - started


def gain(config: gi.RunConfig, runs: int, workers: int) -> list[tuple[str, str, str]]:
    """A sweep with single-threaded workers, compared with sequential runs that use as many threads.

    Half of the sequential runs come before the sweep and half after it, so that a noisy machine slows both.
    """
    torch.set_num_threads(workers)
    sequential = seconds_of(config, runs - runs // 2, None)
    parallel = seconds_of(config, runs, workers)
    sequential += seconds_of(config, runs // 2, None)
    return [
        (f"{runs} sequential runs, {workers} threads", f"{sequential:.1f} s", ""),
        (f"{runs} runs, {workers} workers of one thread", f"{parallel:.1f} s", ""),
        ("workers / sequential runs", f"{parallel / sequential:.2f}x", "at most 0.85x"),
    ]


def overheads(runs: int, *, dask: bool) -> list[tuple[str, str, str]]:
    """The overhead of a sweep per run, beyond `train` itself, measured with runs of one epoch mod 7."""
    small = gi.TransformerConfig(d_model=8, n_heads=1, d_head=8, d_mlp=16)
    config = gi.RunConfig(task=gi.TaskConfig(p=7), split=gi.SplitConfig(fraction=0.5), model=small, epochs=1)
    torch.set_num_threads(1)
    gi.train(config, tempfile.mkdtemp(), progress=False)
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        for seed in range(runs):
            gi.train(replace(config, seed=seed), Path(root) / f"{seed}", progress=False)
        alone = time.perf_counter() - started
    rows = [("train for one epoch mod 7", f"{1e3 * alone / runs:.0f} ms", "")]
    kinds = {"in process": in_process, "one process": one_process} | ({"dask": dask_worker} if dask else {})
    for name, begin in kinds.items():
        with begin() as executor:
            seconds_of(config, 1, executor)  # loads torch in the worker
            added = (seconds_of(config, runs, executor) - alone) / runs
        rows.append(
            (f"overhead of a sweep relative to a one-minute run, {name}", f"{100 * added / 60:.2f}%", "below 2%")
        )
    return rows


@contextmanager
def in_process() -> Iterator[None]:
    yield None


@contextmanager
def one_process() -> Iterator[Executor]:
    with processes(1) as executor:
        yield executor


@contextmanager
def dask_worker() -> Iterator[Executor]:
    from distributed import LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with cluster, dask_executor(cluster.scheduler_address) as executor:
        yield executor


if __name__ == "__main__":
    main()
