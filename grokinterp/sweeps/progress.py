"""The progress of a sweep, read from its run directories, so that it works for any executor on any machine."""

import json
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from grokinterp.config import RunConfig
from grokinterp.runs.layout import Layout


# Bytes at the end of a metrics file that hold its last entry.
_TAIL: Final = 4096


def epochs_done(path: Path, config: RunConfig) -> int:
    """The last epoch that a run has logged; `config.epochs` only once it is finished."""
    layout = Layout(path)
    if layout.is_finished(config.epochs):
        return config.epochs
    try:
        with layout.metrics.open("rb") as file:
            file.seek(max(0, layout.metrics.stat().st_size - _TAIL))
            whole_lines = file.read().split(b"\n")[:-1]
        return min(int(json.loads(whole_lines[-1])["epoch"]), config.epochs - 1)
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return 0  # not started, or just being written


@contextmanager
def progress_bar(configs: Mapping[Path, RunConfig], failed: Collection[Path], *, show: bool) -> Iterator[None]:
    """A progress bar over the epochs of all runs, with the time left.

    Args:
        configs: The configs by run directory.
        failed: Runs that were given up; may grow.
        show: Whether to show the bar.
    """
    if not show:
        yield
        return
    is_interactive = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
    end = threading.Event()
    done = {path: epochs_done(path, config) for path, config in configs.items()}
    total, initial = sum(config.epochs for config in configs.values()), sum(done.values())
    # smoothing=0: the mean over the whole time, since runs start and end in bursts.
    bar = tqdm(total=total, initial=initial, desc="sweep", unit="epoch", smoothing=0, dynamic_ncols=is_interactive)

    def update() -> None:
        for path, config in configs.items():
            if done[path] < config.epochs and path not in failed:
                done[path] = epochs_done(path, config)
        finished = sum(done[path] == config.epochs for path, config in configs.items())
        # The missing epochs of failed runs are not waited for.
        bar.total = total - sum(configs[path].epochs - done[path] for path in list(failed))
        bar.set_postfix_str(f"{finished} of {len(configs)} runs" + (f", {len(failed)} failed" if failed else ""))
        bar.update(sum(done.values()) - bar.n)

    def keep_updating() -> None:
        while not end.wait(1.0 if is_interactive else 60.0):
            update()

    thread = threading.Thread(target=keep_updating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        update()
        bar.close()
