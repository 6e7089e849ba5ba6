"""Configs to and from JSON, with every key there, none besides, and errors that name the nearest one."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar


C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON types; `from_dict` is its inverse.

    Examples:
        >>> import grokinterp as gi
        >>> to_dict(gi.SplitConfig())
        {'fraction': 0.3, 'rule': 'uniform', 'seed': None}
    """
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], data: object, *, where: str = "config", is_older: bool = False) -> C:
    """A config dataclass from JSON types, with every key there and none besides.

    Args:
        cls: `RunConfig` or one of its parts.
        data: As `to_dict` makes it.
        where: What the keys are called in an error.
        is_older: Whether an older version may have written it: what it lacks was off then, as it is by default.

    Returns:
        The config.

    Raises:
        ValueError: If a key is unknown (the nearest valid one is named) or missing, or a value is of another
            type or out of its range.

    Examples:
        >>> import grokinterp as gi
        >>> from_dict(gi.SplitConfig, {"fraction": 0.3, "rule": "uniform", "sed": 0})
        Traceback (most recent call last):
        ValueError: config has an unknown key 'sed'; did you mean 'seed'?
    """
    if not isinstance(data, dict):
        msg = f"{where} must be a table of keys, got {data!r}."
        raise ValueError(msg)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(typing.cast("Any", cls))]
    for key in data:
        _known(key, names, where)
    missing = [name for name in names if name not in data]
    if missing and not is_older:
        msg = f"{where} lacks the keys {missing}; a full config is what `grokinterp config PRESET` prints."
        raise ValueError(msg)
    given = [name for name in names if name in data]
    return cls(**{name: _read(hints[name], data[name], f"{where}.{name}", is_older=is_older) for name in given})


def change(config: C, changes: Mapping[str, Any], *, where: str = "config") -> C:
    """A config with some fields replaced, each by its dotted name.

    Args:
        config: A `RunConfig`, or a part of one.
        changes: Values by name, as Python or as JSON has them. A whole part may be given as well.
        where: What the fields are called in an error.

    Raises:
        ValueError: If a name is unknown (the nearest valid one is named), or a value is of another type or out of
            its range.

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
    hints = typing.get_type_hints(type(config))
    names = [f.name for f in dataclasses.fields(typing.cast("Any", config))]
    replaced = {}
    for name, values in by_name.items():
        _known(name, names, where)
        inner = f"{where}.{name}"
        part = _read(hints[name], values.pop(""), inner) if "" in values else getattr(config, name)
        if values and not dataclasses.is_dataclass(part):
            msg = f"{inner} has no parts, got {inner}.{next(iter(values))}; change {name} itself."
            raise ValueError(msg)
        replaced[name] = change(part, values, where=inner) if values else part
    return dataclasses.replace(typing.cast("Any", config), **replaced)


def _known(name: str, names: list[str], where: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        msg = f"{where} has an unknown key {name!r}; did you mean {near[0]!r}?"
        raise ValueError(msg)


def _read(hint: Any, value: Any, where: str, *, is_older: bool = False) -> Any:
    """A JSON value as the type that a field asks for; what is of that type already is taken as it is."""
    dataclass = _dataclass_of(hint, value, where)
    if dataclass is not None:
        is_one = isinstance(value, dataclass)
        return value if is_one else from_dict(dataclass, value, where=where, is_older=is_older)
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if isinstance(value, (list, tuple)):
            parts = parts[:1] * len(value) if parts[-1] is ... else parts
            if len(value) == len(parts):
                return tuple(_read(part, x, where) for part, x in zip(parts, value, strict=True))
    elif isinstance(value, int) and not isinstance(value, bool) and float in (hint, *typing.get_args(hint)):
        return float(value)
    elif _accepts(hint, value):
        return value
    elif value is None and "none" in _words(hint):
        # As `none` of a command line is read, which does not know whether null or a word is asked for.
        return "none"
    msg = f"{where} must be {_describe(hint)}, got {value!r}{_suggestion(hint, value)}."
    raise ValueError(msg)


def _dataclass_of(hint: Any, value: Any, where: str) -> type[Any] | None:
    """The dataclass that a field asks for, which is one of several where they differ by their `kind`; else none."""
    choices: list[Any] = [part for part in (typing.get_args(hint) or (hint,)) if dataclasses.is_dataclass(part)]
    if len(choices) < 2 or not isinstance(value, dict):
        return next((choice for choice in choices if isinstance(value, choice)), choices[0] if choices else None)
    kinds = {choice().kind: choice for choice in choices}
    if value.get("kind") not in kinds:
        msg = f"{where}.kind must be one of {', '.join(kinds)}, got {value.get('kind')!r}."
        raise ValueError(msg)
    return kinds[value["kind"]]


def _accepts(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(part, value) for part in args)
    if hint is type(None):
        return value is None
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _suggestion(hint: Any, value: Any) -> str:
    """The end of an error: the choice whose spelling is nearest to a word that is none of them."""
    near = difflib.get_close_matches(value, _words(hint), n=1, cutoff=0.4) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _words(hint: Any) -> list[str]:
    if typing.get_origin(hint) is Literal:
        return [choice for choice in typing.get_args(hint) if isinstance(choice, str)]
    return [word for part in typing.get_args(hint) for word in _words(part)]


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in args)
    if origin is tuple:
        return f"a list, of {_describe(args[0])} each" if args[-1] is ... else f"a list of {len(args)} values"
    return "null" if hint is type(None) else f"of type {hint.__name__}"
