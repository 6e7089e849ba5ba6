"""Measures: quantities of one snapshot, and how functions that take measures read them."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import xarray as xr

from grokinterp import arguments
from grokinterp.arguments import shown
from grokinterp.labels import DIMENSIONS, quantity
from grokinterp.snapshots import Snapshot, as_snapshot


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """A quantity of one snapshot, with the name and the arguments that make it.

    Attributes:
        name: Of the quantity, and of the variable it gives.
        compute: What gives it.
        arguments: JSON values; recorded in the result's attributes and in caches.
        renamed_from: The name that the quantity had at first, where `named` gave it another.

    Raises:
        ValueError: If the name is not an identifier, or is the name of a dimension, whose place it would take in a
            Dataset.
    """

    name: str
    compute: Callable[[Snapshot], object] = field(repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    renamed_from: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name in DIMENSIONS:
            msg = (
                "the name of a measure must be a word of letters, digits and underscores that is not the name of a "
                f"dimension such as epoch or split, got {arguments.shown(self.name)}."
            )
            raise ValueError(msg)

    def __call__(self, model: object) -> xr.DataArray:
        """The quantity of a snapshot, or of a TransformerLens model."""
        result = quantity(self.compute(as_snapshot(model)), self.name).rename(self.name)
        # Lists go in as JSON text: netCDF would give them back as arrays. And no name may be that of a method such as
        # `keys`, for which numpy would take the array to be a dictionary.
        attrs = {key: json.dumps(x) if isinstance(x, list) else x for key, x in self.arguments.items() if x is not None}
        return result.assign_attrs(attrs)

    def named(self, name: str) -> "Measure":
        """The same quantity under another name, for a second one of its kind in a trajectory.

        Raises:
            ValueError: If the name is not an identifier, or is the name of a dimension.
        """
        return replace(self, name=name, renamed_from=self.renamed_from or self.name)


def measure(name: str) -> Callable[[Callable[[Snapshot], object]], Measure]:
    """Make a function of a snapshot a measure without arguments.

    The function returns a DataArray, or a single number: Python's, or a tensor or array without dimensions.

    Examples:
        >>> @measure("n_pairs")
        ... def n_pairs(snapshot):
        ...     return snapshot.task.table.numel()
        >>> n_pairs.name
        'n_pairs'
    """

    def make(compute: Callable[[Snapshot], object]) -> Measure:
        made = Measure(name=name, compute=compute)
        object.__setattr__(made, "__doc__", compute.__doc__)
        return made

    return make


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
    if getattr(function, "__qualname__", "") == "measure.<locals>.make":
        msg = '@gi.measure("x") must decorate a function of a snapshot; pass that function in its place.'
        raise TypeError(msg)
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
