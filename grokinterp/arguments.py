"""How public functions read their arguments: each reader returns one plain type or raises one line.

Integers, floats and arrays are accepted from Python, numpy, torch and xarray alike. Text, booleans and non-integral
floats are never read as numbers.
"""

import difflib
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

Bound = int | float | None  # Both, since run-time type checks tell them apart.


def integer(value: object, what: str, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """An integer: a count, a layer, a single key.

    Args:
        value: Of any integer type: int, numpy integer, or a 0-d integer array or tensor.
        what: The argument's name, for the error.
        minimum: The smallest valid value.
        maximum: The largest valid value.

    Raises:
        ValueError: If it is not an integer, or is out of range.

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
        found = array.item() if array.ndim == 0 and array.dtype.kind in "iu" else None
    else:
        found = (
            None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(cast("Any", value))
        )
    if found is None or not _is_within(found, minimum, maximum):
        raise ValueError(_message(what, wanted, value))
    return int(found)


def number(
    value: object,
    what: str,
    *,
    minimum: Bound = None,
    maximum: Bound = None,
    above: Bound = None,
    below: Bound = None,
) -> float:
    """A finite real number: an angle in radians, a threshold, a fraction.

    Args:
        value: Of any real type: int, float, numpy number, or a 0-d array or tensor of one.
        what: The argument's name, for the error.
        minimum: The smallest valid value.
        maximum: The largest valid value.
        above: A bound that is itself too small.
        below: A bound that is itself too large.

    Raises:
        ValueError: If it is not a number, not finite, or out of range.

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
        found = array.item() if array.ndim == 0 and array.dtype.kind in "iuf" else None
    else:
        is_real = hasattr(value, "__float__") and not isinstance(value, bool)
        try:
            found = float(cast("SupportsFloat", value)) if is_real else None
        except OverflowError:  # an integer beyond float64
            found = None
    if found is None or not math.isfinite(found) or not _is_within(found, minimum, maximum, above, below):
        raise ValueError(_message(what, wanted, value))
    return float(found)


def fraction(value: object, what: str) -> float:
    """A number from 0 to 1, both included: an accuracy, or a fraction of variance explained.

    Raises:
        ValueError: As `number`.
    """
    return number(value, what, minimum=0, maximum=1)


def flag(value: object, what: str) -> bool:
    """True or False, also numpy's or torch's; numbers and text are neither.

    Args:
        value: The flag.
        what: The argument's name, for the error.

    Raises:
        ValueError: If it is neither.

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
    """The seed of a generator.

    Args:
        value: As for `integer`.
        what: The argument's name, for the error.

    Raises:
        ValueError: If it is not an integer that numpy, torch and Python all take: from 0 to 2**63 - 1.
    """
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
    """Distinct integers: key frequencies, heads, neurons.

    Args:
        values: A single integer, or an iterable or one-dimensional array of integers.
        what: The argument's name, for the error.
        minimum: The smallest valid value.
        maximum: The largest valid value.
        in_order: Whether they are sorted in ascending order; if not, they stay in the given order.
        may_be_empty: Whether no integer at all is valid.

    Raises:
        ValueError: If there is none, or any of them is not an integer or is out of range. Text and boolean masks are
            not integers.

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
        found = None if listed is None else [integer(i, what, minimum=minimum, maximum=maximum) for i in listed]
    except ValueError:
        found = None
    if found is None or not (found or may_be_empty):
        raise ValueError(_message(what, wanted, values if listed is None or _is_array(values) else listed))
    return tuple(sorted(set(found)) if in_order else dict.fromkeys(found))


def keys(values: object, what: str = "keys") -> tuple[int, ...]:
    """Key frequencies, or numbers of irreps, in ascending order.

    Args:
        values: As for `integers`.
        what: The argument's name, for the error.

    Raises:
        ValueError: As `integers`. A frequency is at least 1; whether a model has it is for its basis to say.
    """
    return integers(values, what, minimum=1)


def one_of(
    value: object, choices: Iterable[Any], what: str, *, aliases: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """One of some choices; the error suggests the one that is spelled most like the value.

    Args:
        value: The choice.
        choices: The valid ones.
        what: The argument's name, for the error.
        aliases: Words that are not choices, with the choice that each of them suggests.

    Raises:
        ValueError: If it is none of them.

    Examples:
        >>> one_of("tets", ("train", "test", "all"), "split")
        Traceback (most recent call last):
        ValueError: split must be one of train, test, all, got 'tets'; did you mean 'test'?
    """
    known = list(choices)
    # Types too, since True == 1 and 1.0 == 1; but text of numpy's type is text.
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
    """One or more of some choices, in the given order.

    Args:
        values: An iterable of choices, or a single one.
        choices: The valid ones.
        what: The argument's name, for the error.

    Raises:
        ValueError: If there is none, or one is not among the choices.

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
    """Finite real numbers as a detached tensor on the CPU, of their own dtype.

    Args:
        value: A tensor, an array, nested lists, or a number.
        what: The argument's name, for the error.
        ndim: How many dimensions it must have.

    Raises:
        ValueError: If it is anything else, or has a number that is NaN or infinite.

    Examples:
        >>> tensor([1, 2], "x", ndim=1)
        tensor([1, 2])
    """
    try:
        found = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError):  # text, objects or rows of unequal length
        found = torch.tensor(float("nan"))
    is_numbers = found.dtype != torch.bool and not found.is_complex() and bool(found.isfinite().all())
    if not is_numbers or (ndim is not None and found.ndim != ndim):
        shape = "" if ndim is None else f" with {ndim} dimension{'s' * (ndim != 1)}"
        raise ValueError(_message(what, f"a tensor or an array of finite numbers{shape}", value))
    return found


def mapping(value: object, what: str, example: str) -> dict[str, Any]:
    """Values by name.

    Args:
        value: A mapping whose keys are text.
        what: The argument's name, for the error.
        example: A valid one, for the error.

    Raises:
        ValueError: If it is anything else.

    Examples:
        >>> mapping(0.99, "expect", "{'accuracy': 1.0}")
        Traceback (most recent call last):
        ValueError: expect must be a mapping from names to values such as {'accuracy': 1.0}, got 0.99.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(_message(what, f"a mapping from names to values such as {example}", value))
    return dict(cast("Mapping[str, Any]", value))


def nearest(word: object, choices: Sequence[str], *, cutoff: float = 0.4) -> str | None:
    """The choice that is spelled most like a word, ignoring case; None if none is close.

    Examples:
        >>> nearest("sgd", ["AdamW", "SGD", "Muon"])
        'SGD'
    """
    if not isinstance(word, str):
        return None
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def shown(value: object) -> str:
    """A value as errors show it: its repr on one line, shortened."""
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
    """A tensor, numpy value or labeled array as a numpy array; None for anything else."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value  # numpy has no bfloat16
    return np.asarray(value) if _is_array(value) else None


def _listed(values: object) -> list[Any] | None:
    """The single values of an argument that may be a number, an iterable or a one-dimensional array."""
    array = _as_array(values)
    if array is not None:
        return array.reshape(-1).tolist() if array.ndim < 2 else None
    if isinstance(values, str | bytes | Mapping) or values is None:
        return None
    return list(values) if isinstance(values, Iterable) else [values]
