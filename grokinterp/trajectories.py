"""Measures over training time, cached in the run directory."""

import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Final

import xarray as xr
from tqdm.auto import tqdm

from grokinterp import arguments
from grokinterp.measures import AnyMeasure, as_measures, check_unique
from grokinterp.runs.cache import CachedMeasure, digest_of
from grokinterp.runs.layout import RunError
from grokinterp.runs.run import AnyRun, Run, load_run


# Seconds of work that are lost at most if the process is killed.
_SAVE_EVERY: Final = 20.0


def trajectory(
    run: AnyRun,
    measures: AnyMeasure | Iterable[AnyMeasure],
    *,
    epochs: Iterable[int] | int | None = None,
    cache: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Measures at the checkpoints of a run.

    Results of measures with a version, as all of the library have, are cached in the run's `analysis/` folder, so that
    a second call, or one after an interruption, computes only what is missing. A result belongs to the version of the
    measure and to the checkpoint that it was computed from: if either changes, it is computed again, as are the results
    in a damaged cache file. Plain functions and measures without a version are computed anew each time.

    Args:
        run: A run, finished or not, or its path.
        measures: Measures, or functions of a Snapshot that return a number or a DataArray; a result without a name gets
            the function's name.
        epochs: Epochs to measure; default: `known_epochs`, which include every checkpoint.
        cache: Whether to use the cache in `analysis/`. It is read-only for bundled runs and write-protected
            directories.
        progress: Whether to show a progress bar.

    Returns:
        Dataset with one variable per measure, over `epoch` and the measure's own dimensions.

    Raises:
        ValueError: If two measures have the same name (rename one with `Measure.named`), or `epochs` is empty or not
            integers.
        TypeError: If `run` or a measure has the wrong type, e.g. a measure that was not called with its arguments.
        RunError: If the run has no checkpoint, or a checkpoint is missing or broken.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> ds = trajectory(run, [gi.progress.losses], epochs=[0], progress=False)
        >>> ds.loss.sel(epoch=0, split="train").item()
        4.755...
    """
    run, measures = load_run(run), as_measures(measures)
    cache, progress = arguments.flag(cache, "cache"), arguments.flag(progress, "progress")
    stores = [CachedMeasure(run, measure, cache=cache) for measure in measures]
    wanted = _known(run, stores) if epochs is None else arguments.integers(epochs, "epochs", minimum=0)
    if epochs is None and run.config.epochs not in wanted:
        run.layout.check_finished(run.config.epochs)
    if not wanted:
        msg = f"{run.path} has no checkpoint yet; train it first."
        raise RunError(msg)
    # Checkpoints may have been replaced since their results were cached.
    digests = {epoch: digest_of(run.layout.checkpoint(epoch)) for epoch in wanted}
    todo = [(epoch, [store for store in stores if not store.has(epoch, digests[epoch])]) for epoch in wanted]
    todo = [(epoch, missing) for epoch, missing in todo if missing]
    saved = time.monotonic()
    try:
        for epoch, missing in tqdm(todo, desc="checkpoints", disable=not progress or not todo, dynamic_ncols=True):
            snapshot = run.snapshot(epoch)
            for store in missing:
                store.add(epoch, snapshot, digests[epoch])
            if time.monotonic() - saved > _SAVE_EVERY:
                _save(stores)
                saved = time.monotonic()
    finally:
        _save(stores)
    variables = [store.over(wanted) for store in stores]
    names = [str(variable.name) for variable in variables]
    check_unique(names)
    attrs = {"run": run.path.name, "task": run.task.name, "grokinterp": version("grokinterp")}
    return xr.Dataset(dict(zip(names, variables, strict=True)), attrs=attrs)


def known_epochs(run: AnyRun, measures: AnyMeasure | Iterable[AnyMeasure]) -> list[int]:
    """The epochs with a checkpoint, and the epochs with cached results of all the given measures.

    A run that has lost checkpoints keeps its curves; the bundled run is one.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> len(known_epochs(run, [gi.progress.losses])) > len(run.checkpoint_epochs)
        True
    """
    run = load_run(run)
    return _known(run, [CachedMeasure(run, measure, cache=True) for measure in as_measures(measures)])


def _known(run: Run, stores: Sequence[CachedMeasure]) -> list[int]:
    cached = [set(store.checkpoints) for store in stores]
    return sorted(set(run.checkpoint_epochs).union(set.intersection(*cached) if cached else set()))


def _save(stores: Sequence[CachedMeasure]) -> None:
    for store in stores:
        store.save()
