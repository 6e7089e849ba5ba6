"""Measures, which compute a quantity of one snapshot, and the reader for arguments that take measures."""

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
    """A named quantity of one snapshot.

    Attributes:
        name: Name of the measure and of its variable in a trajectory.
        compute: Function of a Snapshot that returns a DataArray or a number.
        arguments: JSON values that determine the quantity; recorded in the result's attributes and in caches.
        version: Integer from 1, to be raised with every change of what the measure computes. Without a version, results
            are not cached, and the measure cannot be a monitor in training.
        renamed_from: Original name of a measure that was renamed by `named`.
        code: Digest of a user's function, by which caches distinguish functions; None for the library's measures and
            for measures without a version.

    Raises:
        ValueError: If the name is not an identifier, or is the name of a dimension. With a version, also if `compute`
            is not a function, or the arguments or the local values that it uses are not JSON values.

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
                "the name of a measure must be an identifier that is not the name of a dimension such as epoch or "
                f"split, got {shown(self.name)}."
            )
            raise ValueError(msg)
        if self.version is None:
            return
        if not isinstance(self.compute, FunctionType):
            msg = (
                f"a measure with a version must have a function as compute, got {shown(self.compute)}; wrap it in one."
            )
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
        """What distinguishes the results from results of other measures with the same name, as JSON."""
        known = {"version": self.version, "arguments": self.arguments, "code": self.code, "measure": self.renamed_from}
        return {key: x for key, x in known.items() if x is not None}

    def __call__(self, model: object) -> xr.DataArray:
        """The quantity of a snapshot, or of a TransformerLens model."""
        result = quantity(self.compute(as_snapshot(model)), self.name).rename(self.name)
        # As JSON text, because netCDF returns lists as arrays, and has no booleans or dictionaries. None can have
        # the name of a method such as `keys`, because numpy would take the array for a dictionary.
        attrs = {
            key: json.dumps(x) if isinstance(x, bool | dict | list) else x
            for key, x in self.arguments.items()
            if x is not None
        }
        return result.assign_attrs(attrs)

    def named(self, name: str) -> "Measure":
        """The same quantity with a different name, to have it twice in a trajectory; raises as `Measure`."""
        return replace(self, name=name, renamed_from=self.renamed_from or self.name)


def measure(name: str, *, version: int | None = None) -> Callable[[Callable[[Snapshot], object]], Measure]:
    """Decorate a function of a Snapshot to make it a measure.

    The function returns a DataArray or a number: a Python number, or a 0-d tensor or array.

    Args:
        name: Name of the measure and of its variable in a trajectory.
        version: Integer from 1. With a version, results are cached and the measure can be a monitor in training. Raise
            it when something that the function uses changes, e.g. a helper function or a data file: caches detect
            changes of the function's own code, but not of the code that it calls.

    Raises:
        ValueError: If the name or the version is invalid, or the function uses local values that are not JSON values.

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


@cache  # The source file may change later, while the function does not.
def _code(compute: FunctionType) -> str:
    """Digest of a function and of the plain values in its closure and globals, ignoring comments and formatting."""
    node = None
    with suppress(OSError, SyntaxError):  # interactive sessions may have no source
        node = ast.parse(textwrap.dedent(inspect.getsource(compute))).body[0]
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
        text = ast.unparse(node)
    else:
        text = repr((compute.__code__.co_code, compute.__code__.co_names, compute.__code__.co_consts))
    try:
        variables = inspect.getclosurevars(compute)
        local = [compute.__defaults__, compute.__kwdefaults__, dict(variables.nonlocals)]
        text += json.dumps(local, default=_qualified_name)
        constants = {key: x for key, x in variables.globals.items() if isinstance(x, int | float | str | list | tuple)}
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
    """Read one or more measures as a list; plain functions are wrapped to return a DataArray with their name.

    Args:
        measures: A Measure, a function of a Snapshot, or an iterable of both.

    Raises:
        TypeError: If one is neither, or is a function that returns a measure and was not called.
        ValueError: If two have the same name.

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
    check_unique([measure.name for measure in made if isinstance(measure, Measure)])
    return made


def check_unique(names: Sequence[str]) -> None:
    """Raise a ValueError if two measures have the same name."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = f"two measures have the name {repeated[0]!r}; rename one, e.g. excluded_loss(keys).named('other_name')."
        raise ValueError(msg)


def _as_measure(measure: Any) -> AnyMeasure:
    if isinstance(measure, Measure):
        return measure
    if not callable(measure):
        raise TypeError(_wanted(measure))
    function = getattr(measure, "func", measure)  # the function in a functools.partial
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(measure)
    except ValueError:  # some built-in functions have none
        signature = inspect.Signature([inspect.Parameter("snapshot", inspect.Parameter.POSITIONAL_ONLY)])
    if getattr(function, "__qualname__", "") == "measure.<locals>.make":
        msg = '@gi.measure("x") must decorate a function of a snapshot; pass the decorated function.'
        raise TypeError(msg)
    if signature.return_annotation in (Measure, "Measure"):
        needed = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        package, _, module = function.__module__.partition(".")
        prefix = f"gi.{module.partition('.')[0]}." if package == "grokinterp" else ""
        msg = f"{name} returns a measure when called: write {prefix}{name}({', '.join(needed)})."
        raise TypeError(msg)
    try:
        signature.bind(None)
    except TypeError:
        msg = f"a measure must take one argument, a Snapshot, got {name}{signature}; bind the others first."
        raise TypeError(msg) from None

    @wraps(function)
    def named(snapshot: Snapshot) -> xr.DataArray:
        return quantity(measure(snapshot), name)

    return named


def _wanted(measures: object) -> str:
    return f"measures must be a list, e.g. [gi.progress.losses], got {shown(measures)}."
