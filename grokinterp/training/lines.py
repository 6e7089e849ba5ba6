"""The progress line of training."""

import sys

from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook


def bar(label: str, total: int, done: int, *, show: bool) -> tqdm:
    """A line for people: at once in a terminal or a notebook, else once a minute."""
    is_watched = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
    interval = 0.1 if is_watched else 60.0
    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="epoch",
        disable=not show,
        dynamic_ncols=is_watched,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
    )
