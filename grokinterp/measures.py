"""How functions that take measures read them: all that can be told before any checkpoint is read."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import xarray as xr

from grokinterp.arguments import shown
from grokinterp.labels import quantity
from grokinterp.snapshots import Measure, Snapshot


AnyMeasure = Measure | Callable[[Snapshot], Any]


def as_measures(measures: object) -> list[AnyMeasure]:
    """Measures, and functions of a snapshot that return a number or a DataArray; a single one is a list of one.

    Functions are wrapped so that they return a named DataArray, by default with their own name.

    Args:
        measures: A Measure, a function of a snapshot, or an iterable of both.

    Raises:
        TypeError: If one of them is neither, or is a function that only makes a measure when it is called.

    Examples:
        >>> import grokinterp as gi
        >>> def largest(snapshot):
        ...     return snapshot.logits.max()
        >>> (wrapped,) = as_measures(largest)
        >>> wrapped(gi.testing.planted_snapshot(7, keys=(1, 3))).name
        'largest'
    """
    if callable(measures):
        return [_as_measure(measures)]
    if isinstance(measures, str) or not isinstance(measures, Iterable):
        raise TypeError(_wanted(measures))
    return [_as_measure(measure) for measure in measures]


def _as_measure(measure: Any) -> AnyMeasure:
    if isinstance(measure, Measure):
        return measure
    if not callable(measure):
        raise TypeError(_wanted(measure))
    function = getattr(measure, "func", measure)  # of a functools.partial
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(measure)
    except ValueError:  # some built-in functions have none
        signature = inspect.Signature([inspect.Parameter("snapshot", inspect.Parameter.POSITIONAL_ONLY)])
    if signature.return_annotation in (Measure, "Measure"):
        needed = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        package, _, module = function.__module__.partition(".")
        place = f"gi.{module.partition('.')[0]}." if package == "grokinterp" else ""
        msg = f"{name} makes a measure when it is called: write {place}{name}({', '.join(needed)})."
        raise TypeError(msg)
    try:
        signature.bind(None)
    except TypeError:
        msg = f"a measure takes one argument, a Snapshot, got {name}{signature}; give it the others first."
        raise TypeError(msg) from None

    @wraps(function)
    def named(snapshot: Snapshot) -> xr.DataArray:
        return quantity(measure(snapshot), name)

    return named


def _wanted(measures: object) -> str:
    return f"measures must be a list such as [gi.progress.losses], got {shown(measures)}."
