"""Config dataclasses that check their fields on construction, and their conversion to and from JSON types.

Python, JSON, TOML and command-line values go through one reader, `_read`, which converts a value to a field's type.
"""

import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np

from grokinterp.arguments import MAX_SEED, integer, nearest, number, one_of, shown


C = TypeVar("C", bound="Checked")

# Types with a range name the reader that checks it.
Count = Annotated[int, partial(integer, minimum=1)]
NotNegativeInt = Annotated[int, partial(integer, minimum=0)]
Positive = Annotated[float, partial(number, above=0)]
NotNegative = Annotated[float, partial(number, minimum=0)]
BelowOne = Annotated[float, partial(number, minimum=0, below=1)]

Seed = Annotated[int, partial(integer, minimum=0, maximum=MAX_SEED)]


class Checked:
    """Base class of frozen config dataclasses: fields are converted and checked by type hint on construction.

    Ints become floats, lists become tuples, and numpy and torch scalars become Python values as the type hints require.
    Subclasses check rules about several fields in `_check`.

    Raises:
        ValueError: If a value has the wrong type, is not a valid choice, or is out of range.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _read(hint, getattr(self, name), f"{type(self).__name__}.{name}"))
        self._check()

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Convert the JSON form of an older version to the current names and values."""
        return data

    @classmethod
    def choices(cls) -> tuple[type["Checked"], ...]:
        """The classes that a field of this type can hold; several are distinguished by their `kind`."""
        return (cls,)

    def _check(self) -> None:
        """Raise a ValueError if valid fields contradict each other."""


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config to JSON types; the inverse of `from_dict`.

    Examples:
        >>> import grokinterp as gi
        >>> to_dict(gi.SplitConfig())
        {'fraction': 0.3, 'rule': 'uniform', 'seed': None}
    """
    return {f.name: _plain(getattr(config, f.name)) for f in fields(config)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], data: object, *, where: str = "config", is_older: bool = False) -> C:
    """Convert JSON types to a config. Every key is required, and no others are allowed.

    Args:
        cls: `RunConfig` or the class of one of its parts.
        data: Dictionary as from `to_dict`.
        where: Prefix of the keys in error messages.
        is_older: Whether an older version may have written the data, so that missing keys get their defaults.

    Raises:
        ValueError: If a key is unknown (the message suggests a valid one) or missing, or a value is invalid.

    Examples:
        >>> import grokinterp as gi
        >>> from_dict(gi.SplitConfig, {"fraction": 0.3, "rule": "uniform", "sed": 0})
        Traceback (most recent call last):
        ValueError: config has an unknown key 'sed'; did you mean 'seed'?
    """
    if not isinstance(data, dict):
        msg = f"{where} must be a table of keys, got {shown(data)}."
        raise ValueError(msg)
    if is_older:
        data = cls.upgraded(data)
    hints = _hints(cls)
    for key in data:
        _known(key, hints, where)
    missing = [name for name in hints if name not in data]
    if missing and not is_older:
        msg = f"{where} lacks the keys {missing}; `grokinterp config PRESET` prints a full config."
        raise ValueError(msg)
    given = {name: hint for name, hint in hints.items() if name in data}
    return cls(**{name: _read(hint, data[name], f"{where}.{name}", is_older=is_older) for name, hint in given.items()})


def change(config: C, changes: Mapping[str, Any], *, where: str = "config") -> C:
    """Replace fields of a config by dotted name.

    Args:
        config: A `RunConfig` or one of its parts.
        changes: Python or JSON values by name. Parts can be replaced as a whole.
        where: Prefix of the names in error messages.

    Raises:
        ValueError: If a name is unknown (the message suggests a valid one), or a value is invalid.

    Examples:
        >>> import grokinterp as gi
        >>> changed = change(gi.presets.quick(), {"optim.weight_decay": 0.5, "seed": 3})
        >>> changed.optim.weight_decay, changed.seed
        (0.5, 3)
    """
    by_name: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        by_name.setdefault(name, {})[rest] = value
    hints = _hints(type(config))
    replaced = {}
    for name, values in by_name.items():
        _known(name, hints, where)
        inner = f"{where}.{name}"
        part = _read(hints[name], values.pop(""), inner) if "" in values else getattr(config, name)
        if values and not is_dataclass(part):
            msg = f"{inner} has no fields, got {inner}.{next(iter(values))}; change {name} itself."
            raise ValueError(msg)
        replaced[name] = change(typing.cast("Checked", part), values, where=inner) if values else part
    return replace(typing.cast("Any", config), **replaced)


def _known(name: object, names: Mapping[str, Any], where: str) -> None:
    if name not in names:
        near = nearest(str(name), list(names), cutoff=0.0)
        msg = f"{where} has an unknown key {name!r}; did you mean {near!r}?"
        raise ValueError(msg)


def _read(hint: Any, value: Any, where: str, *, is_older: bool = False) -> Any:
    """Convert a value to the type of a field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    value = value.item() if isinstance(value, np.generic) else value
    if origin is Annotated:
        return hint.__metadata__[0](value, what=where)
    if origin is Literal:
        # The command line reads the word `none` as None, whether or not it is a choice of the field.
        return one_of("none" if value is None and "none" in args else value, args, where)
    if NoneType in args:
        try:
            return None if value is None else _read(args[0], value, where)
        except ValueError as error:
            raise ValueError(str(error).replace(" must be ", " must be None or ", 1)) from None
    if origin is tuple:
        return _read_tuple(args, value, where)
    if isinstance(hint, type) and issubclass(hint, Checked):
        return _read_part(hint.choices(), value, where, is_older=is_older)
    return _READERS[hint](value, where)


def _read_tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    is_list = isinstance(value, list | tuple)
    if not is_list or (hints[-1] is not ... and len(value) != len(hints)):
        msg = f"{where} must be a list{'' if hints[-1] is ... else f' of {len(hints)} values'}, got {shown(value)}."
        raise ValueError(msg)
    hints = hints[:1] * len(value) if hints[-1] is ... else hints
    return tuple(_read(hint, x, f"{where}[{i}]") for i, (hint, x) in enumerate(zip(hints, value, strict=True)))


def _read_part(choices: tuple[Any, ...], value: Any, where: str, *, is_older: bool) -> Any:
    """Read a nested config or its dictionary; several classes are distinguished by their `kind`."""
    if isinstance(value, choices):
        return value
    if not isinstance(value, dict):
        names = " or ".join(choice.__name__ for choice in choices)
        msg = f"{where} must be of type {names}, or a table of its keys, got {shown(value)}."
        raise ValueError(msg)
    chosen = choices[0]
    if len(choices) > 1:
        kinds = {choice().kind: choice for choice in choices}
        try:
            chosen = kinds[one_of(value.get("kind"), kinds, f"{where}.kind")]
        except ValueError as error:
            msg = f"{str(error).rstrip('.')}; if it is a custom kind, import the module that defines it first."
            raise ValueError(msg) from None
    return from_dict(chosen, value, where=where, is_older=is_older)


def _read_bool(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        msg = f"{where} must be true or false, got {shown(value)}."
        raise ValueError(msg)
    return value


def _read_str(value: object, where: str) -> str:
    if not isinstance(value, str):
        msg = f"{where} must be a string, got {shown(value)}."
        raise ValueError(msg)
    return value


_READERS: Final = {bool: _read_bool, int: integer, float: number, str: _read_str}
