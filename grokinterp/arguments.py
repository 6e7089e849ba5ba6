"""Readers of arguments, each of which returns a plain Python type or raises a one-line ValueError; and short reprs.

Python, numpy, torch and xarray values are accepted alike; strings and booleans are never accepted as numbers.
"""

import dataclasses
import difflib
import html
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, SupportsFloat, cast

import numpy as np
import torch
from torch import Tensor


MAX_SHOWN = 60
MAX_SEED = 2**63 - 1

Bound = int | float | None  # both, because run-time type checks distinguish them


def integer(value: object, what: str, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """An integer, e.g. a count, a layer or one key frequency.

    Args:
        value: An int, a numpy integer, or a 0-d integer array or tensor.
        what: Name of the argument, for the error message.
        minimum: Smallest valid value.
        maximum: Largest valid value.

    Raises:
        ValueError: If the value is not an integer or is out of range.

    Examples:
        >>> integer(np.int64(3), "draws", minimum=1)
        3
        >>> integer(1.5, "draws", minimum=1)
        Traceback (most recent call last):
        ValueError: draws must be an integer of at least 1, got 1.5.
    """
    wanted = "an integer" + _range(minimum, maximum)
    array = _as_array(value)
    if array is not None:
        read = array.item() if array.ndim == 0 and array.dtype.kind in "iu" else None
    else:
        is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
        read = operator.index(cast("Any", value)) if is_integer else None
    if read is None or not _is_within(read, minimum, maximum):
        raise ValueError(_message(what, wanted, value))
    return int(read)


def number(
    value: object,
    what: str,
    *,
    minimum: Bound = None,
    maximum: Bound = None,
    above: Bound = None,
    below: Bound = None,
) -> float:
    """A finite real number, e.g. an angle in radians or a threshold.

    Args:
        value: An int, float or numpy number, or a 0-d array or tensor.
        what: Name of the argument, for the error message.
        minimum: Smallest valid value.
        maximum: Largest valid value.
        above: Exclusive lower bound.
        below: Exclusive upper bound.

    Raises:
        ValueError: If the value is not a finite number or is out of range.

    Examples:
        >>> number(np.float32(0.5), "threshold", minimum=0, maximum=1)
        0.5
        >>> number(95, "threshold", minimum=0, maximum=1)
        Traceback (most recent call last):
        ValueError: threshold must be a number from 0 to 1, got 95.
    """
    limits = _range(minimum, maximum, above, below)
    wanted = f"a number{limits}" if limits else "a finite number"
    array = _as_array(value)
    if array is not None:
        read = array.item() if array.ndim == 0 and array.dtype.kind in "iuf" else None
    else:
        is_real = hasattr(value, "__float__") and not isinstance(value, bool)
        try:
            read = float(cast("SupportsFloat", value)) if is_real else None
        except OverflowError:  # an integer beyond float64
            read = None
    if read is None or not math.isfinite(read) or not _is_within(read, minimum, maximum, above, below):
        raise ValueError(_message(what, wanted, value))
    return float(read)


def fraction(value: object, what: str) -> float:
    """A number from 0 to 1, e.g. an accuracy or a fraction of variance explained; raises as `number`."""
    return number(value, what, minimum=0, maximum=1)


def flag(value: object, what: str) -> bool:
    """True or False, from Python, numpy or torch; anything else raises a ValueError.

    Examples:
        >>> flag("no", "bias_correction")
        Traceback (most recent call last):
        ValueError: bias_correction must be True or False, got 'no'.
    """
    array = _as_array(value)
    if isinstance(value, bool) or (array is not None and array.ndim == 0 and array.dtype.kind == "b"):
        return bool(value)
    raise ValueError(_message(what, "True or False", value))


def seed(value: object, what: str = "seed") -> int:
    """A seed that numpy, torch and Python all accept: 0 to 2**63 - 1; raises as `integer`."""
    return integer(value, what, minimum=0, maximum=MAX_SEED)


def integers(
    values: object,
    what: str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    in_order: bool = True,
    may_be_empty: bool = False,
) -> tuple[int, ...]:
    """Distinct integers, e.g. key frequencies, heads or neurons.

    Args:
        values: One integer, or an iterable or 1-d array of integers.
        what: Name of the argument, for the error message.
        minimum: Smallest valid value.
        maximum: Largest valid value.
        in_order: Whether to sort them; otherwise they keep the given order.
        may_be_empty: Whether an empty iterable is valid.

    Raises:
        ValueError: If there are no values, or one is not an integer or is out of range.

    Examples:
        >>> integers(np.array([42, 14, 14]), "keys", minimum=1)
        (14, 42)
        >>> integers("14", "keys", minimum=1)
        Traceback (most recent call last):
        ValueError: keys must be one or more integers of at least 1, got '14'.
    """
    listed = _listed(values)
    wanted = ("integers" if may_be_empty else "one or more integers") + _range(minimum, maximum)
    try:
        read = None if listed is None else [integer(i, what, minimum=minimum, maximum=maximum) for i in listed]
    except ValueError:
        read = None
    if read is None or not (read or may_be_empty):
        raise ValueError(_message(what, wanted, values if listed is None or _is_array(values) else listed))
    return tuple(sorted(set(read)) if in_order else dict.fromkeys(read))


def keys(values: object, what: str = "keys") -> tuple[int, ...]:
    """Key frequencies or irrep numbers, sorted; raises as `integers`. The basis checks their upper bound."""
    return integers(values, what, minimum=1)


def one_of(
    value: object, choices: Iterable[Any], what: str, *, aliases: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """One of several choices.

    Args:
        value: The chosen value.
        choices: Valid values.
        what: Name of the argument, for the error message.
        aliases: Invalid words mapped to the choice that the error message suggests for them.

    Raises:
        ValueError: If the value is not a choice; the message suggests the most similar one.

    Examples:
        >>> one_of("tets", ("train", "test", "all"), "split")
        Traceback (most recent call last):
        ValueError: split must be one of train, test, all, got 'tets'; did you mean 'test'?
    """
    known = list(choices)
    # Types are compared because True == 1 and 1.0 == 1; numpy strings count as str.
    kind = str if isinstance(value, str) else type(value)
    for choice in known:
        if type(choice) is kind and choice == value:
            return choice
    suggestion = aliases.get(value) if isinstance(value, str) else None
    suggestion = suggestion or nearest(value, [choice for choice in known if isinstance(choice, str)])
    end = f"; did you mean {suggestion!r}?" if suggestion else "."
    msg = f"{what} must be one of {', '.join(map(str, known))}, got {shown(value)}{end}"
    raise ValueError(msg)


def some_of(values: object, choices: Iterable[Any], what: str) -> tuple[Any, ...]:
    """One or more of several choices, in the given order; none, or an invalid one, raises a ValueError.

    Examples:
        >>> some_of("W_E", ("W_E", "W_U"), "at")
        ('W_E',)
    """
    listed = [values] if isinstance(values, str) else _listed(values)
    known = list(choices)
    if not listed:
        raise ValueError(_message(what, f"one or more of {', '.join(map(str, known))}", values))
    return tuple(one_of(value, known, what) for value in listed)


def tensor(value: object, what: str, *, ndim: int | None = None) -> Tensor:
    """Finite real numbers as a detached CPU tensor; the dtype is kept.

    Args:
        value: A tensor, an array, nested lists or a number.
        what: Name of the argument, for the error message.
        ndim: Required number of dimensions.

    Raises:
        ValueError: If the value is anything else, or has NaN or infinite values.

    Examples:
        >>> tensor([1, 2], "x", ndim=1)
        tensor([1, 2])
    """
    try:
        read = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError):  # strings, objects or rows of unequal length
        read = torch.tensor(float("nan"))
    is_numbers = read.dtype != torch.bool and not read.is_complex() and bool(read.isfinite().all())
    if not is_numbers or (ndim is not None and read.ndim != ndim):
        shape = "" if ndim is None else f" with {ndim} dimension{'s' * (ndim != 1)}"
        raise ValueError(_message(what, f"a tensor or an array of finite numbers{shape}", value))
    return read


def mapping(value: object, what: str, example: str) -> dict[str, Any]:
    """A mapping from names to values as a dict; the error message shows `example`.

    Examples:
        >>> mapping(0.99, "expect", "{'accuracy': 1.0}")
        Traceback (most recent call last):
        ValueError: expect must be a mapping from names to values such as {'accuracy': 1.0}, got 0.99.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(_message(what, f"a mapping from names to values such as {example}", value))
    return dict(cast("Mapping[str, Any]", value))


def nearest(word: object, choices: Sequence[str], *, cutoff: float = 0.4) -> str | None:
    """The choice with the most similar spelling, ignoring case; None if none is similar.

    Examples:
        >>> nearest("sgd", ["AdamW", "SGD", "Muon"])
        'SGD'
    """
    if not isinstance(word, str):
        return None
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[matches[0]] if matches else None


def shown(value: object) -> str:
    """The repr of a value on one line, shortened, for error messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _message(what: str, wanted: str, value: object) -> str:
    return f"{what} must be {wanted}, got {shown(value)}."


def _range(minimum: Bound, maximum: Bound, above: Bound = None, below: Bound = None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    named = {"of at least": minimum, "above": above, "of at most": maximum, "below": below}
    limits = [f"{words} {bound}" for words, bound in named.items() if bound is not None]
    return f" {' and '.join(limits)}" if limits else ""


def _is_within(value: int | float, minimum: Bound, maximum: Bound, above: Bound = None, below: Bound = None) -> bool:
    return (
        (minimum is None or value >= minimum)
        and (maximum is None or value <= maximum)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or isinstance(value, Tensor)


def _as_array(value: object) -> np.ndarray | None:
    """A tensor, numpy value or DataArray as a numpy array; None for anything else."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value  # numpy has no bfloat16
    return np.asarray(value) if _is_array(value) else None


def _listed(values: object) -> list[Any] | None:
    """The values of a number, an iterable or an array with at most one axis; None for anything else."""
    array = _as_array(values)
    if array is not None:
        return array.reshape(-1).tolist() if array.ndim < 2 else None
    if isinstance(values, str | bytes | Mapping) or values is None:
        return None
    return list(values) if isinstance(values, Iterable) else [values]


class Shown:
    """Base class of objects whose repr lists a few facts."""

    def _facts(self) -> Mapping[str, object]:
        """The facts by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align: left">{html.escape(name)}</th>'
            f'<td style="text-align: left">{html.escape(str(value))}</td></tr>'
            for name, value in self._facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption><tbody>{rows}</tbody></table>"


def reason(error: Exception) -> str:
    """The message of an error on one line, for display."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RuntimeError | OSError) else f"{type(error).__name__}: {text}"


def call(config: Any) -> str:
    """A config as a constructor call with its non-default fields.

    Examples:
        >>> import grokinterp as gi
        >>> call(gi.RunConfig(task=gi.TaskConfig(p=59), epochs=500))
        'RunConfig(task=TaskConfig(p=59), epochs=500)'
    """
    default = type(config)()
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    words = [
        f"{name}={call(value) if dataclasses.is_dataclass(value) else repr(value)}"
        for name, value in values.items()
        if value != getattr(default, name)
    ]
    return f"{type(config).__name__}({', '.join(words)})"
