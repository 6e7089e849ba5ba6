"""Measures: quantities of one snapshot, and how functions that take measures read them."""

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, wraps
from types import FunctionType
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
        version: An integer from 1. Raise it with every change of what the measure computes. The results of a measure
            without a version are not cached, and it cannot be a monitor in training.
        renamed_from: The name that the quantity had at first, where `named` gave it another.
        code: A digest of a user's function, by which caches distinguish two functions; None for the library's measures,
            and for those without a version.

    Raises:
        ValueError: If the name is not an identifier, or is the name of a dimension, whose place it would take in a
            Dataset; or, with a version, if `compute` is not a function, or its arguments or the local values that it
            uses cannot be written as JSON.

    Examples:
        >>> import grokinterp as gi
        >>> def norm_of(parameter):
        ...     def compute(snapshot):
        ...         return snapshot.params[parameter].norm()
        ...     return gi.Measure(name="norm", compute=compute, arguments={"parameter": parameter}, version=1)
        >>> round(norm_of("embed.W_E")(gi.testing.planted_snapshot(7, keys=(1, 3))).item(), 4)
        3.7417
    """

    name: str
    compute: Callable[[Snapshot], object] = field(repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    renamed_from: str | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name in DIMENSIONS:
            msg = (
                "the name of a measure must be a word of letters, digits and underscores that is not the name of a "
                f"dimension such as epoch or split, got {arguments.shown(self.name)}."
            )
            raise ValueError(msg)
        if self.version is None:
            return
        if not isinstance(self.compute, FunctionType):
            msg = f"a measure with a version must be made of a function, got {shown(self.compute)}; wrap it in one."
            raise ValueError(msg)
        try:
            as_json = json.loads(json.dumps(dict(self.arguments), allow_nan=False))
        except (TypeError, ValueError):
            msg = f"the arguments of a measure with a version must be JSON values, got {shown(self.arguments)}."
            raise ValueError(msg) from None
        object.__setattr__(self, "version", arguments.integer(self.version, "version", minimum=1))
        object.__setattr__(self, "arguments", as_json)
        if not str(self.compute.__module__).startswith("grokinterp."):
            object.__setattr__(self, "code", _code(self.compute))

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its results from those of other measures of its name, as JSON."""
        known = {"version": self.version, "arguments": self.arguments, "code": self.code, "measure": self.renamed_from}
        return {key: x for key, x in known.items() if x is not None}

    def __call__(self, model: object) -> xr.DataArray:
        """The quantity of a snapshot, or of a TransformerLens model."""
        result = quantity(self.compute(as_snapshot(model)), self.name).rename(self.name)
        # Lists go in as JSON text: netCDF would give them back as arrays, and has no booleans or dictionaries. And no
        # name may be that of a method such as `keys`, for which numpy would take the array to be a dictionary.
        attrs = {
            key: json.dumps(x) if isinstance(x, bool | dict | list) else x
            for key, x in self.arguments.items()
            if x is not None
        }
        return result.assign_attrs(attrs)

    def named(self, name: str) -> "Measure":
        """The same quantity under another name, for a second one of its kind in a trajectory.

        Raises:
            ValueError: If the name is not an identifier, or is the name of a dimension.
        """
        return replace(self, name=name, renamed_from=self.renamed_from or self.name)


def measure(name: str, *, version: int | None = None) -> Callable[[Callable[[Snapshot], object]], Measure]:
    """Make a function of a snapshot a measure without arguments.

    The function returns a DataArray, or a single number: Python's, or a tensor or array without dimensions.

    Args:
        name: The measure's name, and the name of the variable in a trajectory.
        version: An integer from 1. With a version, results are cached and the measure can be a monitor in training.
            Raise it when something that the function uses has changed, such as a helper function or a data file: a
            cache notices changes of the function's own code, but not of the code that it calls.

    Raises:
        ValueError: If the name or the version is invalid, or the function uses local values that no cache can compare.

    Examples:
        >>> import tempfile, grokinterp as gi
        >>> @gi.measure("largest_logit", version=1)
        ... def largest_logit(snapshot):
        ...     return snapshot.logits.max()
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))
        >>> run = gi.train(config, tempfile.mkdtemp(), monitors=[largest_logit], progress=False)
        >>> gi.trajectory(run, largest_logit, progress=False).largest_logit.sizes
        Frozen({'epoch': 4})
    """

    def make(compute: Callable[[Snapshot], object]) -> Measure:
        made = Measure(name=name, compute=compute, version=version)
        object.__setattr__(made, "__doc__", compute.__doc__)
        return made

    return make


@cache  # A source file may change later, while the function stays as it is.
def _code(compute: FunctionType) -> str:
    """A digest of a function and of the plain values that it uses from outside; comments and layout do not count."""
    node = None
    with suppress(OSError, SyntaxError):  # an interactive session may have no source
        node = ast.parse(textwrap.dedent(inspect.getsource(compute))).body[0]
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
        text = ast.unparse(node)
    else:
        text = repr((compute.__code__.co_code, compute.__code__.co_names, compute.__code__.co_consts))
    try:
        outside = inspect.getclosurevars(compute)
        local = [compute.__defaults__, compute.__kwdefaults__, dict(outside.nonlocals)]
        text += json.dumps(local, default=_qualified_name)
        constants = {key: x for key, x in outside.globals.items() if isinstance(x, int | float | str | list | tuple)}
        text += json.dumps(constants, default=lambda x: type(x).__name__, skipkeys=True)
    except (TypeError, ValueError) as error:
        name = compute.__qualname__
        msg = f"{name} has a version, but uses a local value that a cache cannot compare, {error}; leave version out."
        raise ValueError(msg) from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _qualified_name(x: object) -> str:
    if not isinstance(x, FunctionType | type):
        raise TypeError(shown(x))
    return f"{x.__module__}.{x.__qualname__}"


AnyMeasure = Measure | Callable[[Snapshot], Any]


def as_measures(measures: object) -> list[AnyMeasure]:
    """Measures, and functions of a snapshot that return a number or a DataArray; a single one is a list of one.

    Functions are wrapped so that they return a named DataArray, by default with their own name.

    Args:
        measures: A Measure, a function of a snapshot, or an iterable of both.

    Raises:
        TypeError: If one of them is neither, or is a function that only makes a measure when it is called.
        ValueError: If two of them have one name.

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
    made = [_as_measure(measure) for measure in measures]
    refuse_twice([measure.name for measure in made if isinstance(measure, Measure)])
    return made


def refuse_twice(names: Sequence[str]) -> None:
    """Refuse two measures of one name.

    Raises:
        ValueError: If a name is there twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two measures give {twice[0]!r}; rename one, as in excluded_loss(keys).named('another_name')."
        raise ValueError(msg)


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
