"""How far all runs of a sweep are, read from their directories: so it works for any executor, on any machine."""

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
    """The last epoch that a run has logged; that of its config only once it is finished."""
    layout = Layout(path)
    if layout.is_finished(config.epochs):
        return config.epochs
    try:
        with layout.metrics.open("rb") as file:
            file.seek(max(0, layout.metrics.stat().st_size - _TAIL))
            whole_lines = file.read().split(b"\n")[:-1]
        return min(int(json.loads(whole_lines[-1])["epoch"]), config.epochs - 1)
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return 0  # Not begun, or just being written: a look later tells.


@contextmanager
def watched(places: Mapping[Path, RunConfig], failed: Collection[Path], *, show: bool) -> Iterator[None]:
    """A progress bar over the epochs of all runs, with the time left.

    Args:
        places: The runs.
        failed: Those that are given up, which may become more.
        show: Whether there is one.
    """
    if not show:
        yield
        return
    is_watched = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
    end = threading.Event()
    done = {path: epochs_done(path, config) for path, config in places.items()}
    total = sum(config.epochs for config in places.values())
    # An even mean over the whole time: runs end, and others begin, in bursts.
    bar = tqdm(
        total=total, initial=sum(done.values()), desc="sweep", unit="epoch", smoothing=0, dynamic_ncols=is_watched
    )

    def look() -> None:
        for path, config in places.items():
            if done[path] < config.epochs and path not in failed:
                done[path] = epochs_done(path, config)
        finished = sum(done[path] == config.epochs for path, config in places.items())
        # What failed comes no more, and is not to be waited for.
        bar.total = total - sum(places[path].epochs - done[path] for path in list(failed))
        bar.set_postfix_str(f"{finished} of {len(places)} runs" + (f", {len(failed)} failed" if failed else ""))
        bar.update(sum(done.values()) - bar.n)

    def keep_looking() -> None:
        while not end.wait(1.0 if is_watched else 60.0):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        look()
        bar.close()
