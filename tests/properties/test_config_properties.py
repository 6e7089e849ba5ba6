"""Every field of every config dataclass, found by introspection: what is invalid is refused, what is valid survives."""

import json
import typing
from dataclasses import fields, is_dataclass
from functools import partial, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import grokinterp as gi
from grokinterp.arguments import integer, number
from grokinterp.checked import Checked, from_dict, to_dict
from grokinterp.models import architecture


NAN, INF = float("nan"), float("inf")


def hints_of(cls: type) -> dict[str, Any]:
    """The type hint of each field; that of `model` as a union of all kinds."""
    hints = typing.get_type_hints(cls, include_extras=True)
    hints = {field.name: hints[field.name] for field in fields(cls)}
    models = reduce(or_, MODELS)
    return {name: models if hint is architecture.Architecture else hint for name, hint in hints.items()}


WRONG_TYPE: dict[Any, list[Any]] = {
    int: [True, 1.0, 1.5, "1", None, NAN, INF, [1], {}, np.float64(2), torch.tensor(True), torch.tensor([1, 2])],
    float: [True, "0.5", None, NAN, INF, -INF, [0.5], {}, 1j, np.bool_(1), torch.tensor(NAN), np.array([0.5]), 10**400],
    str: [0, 0.5, None, True, b"cpu", ["cpu"], {}, torch.device("cpu")],
    bool: [0, 1, 1.0, "true", "yes", None, [], torch.tensor(1)],
    tuple: [0, 0.5, None, True, "0.9", b"0.9", {}, {0.9, 0.98}, iter([0.9, 0.98]), np.array([0.9, 0.98])],
    Checked: [0, None, True, "cosine", [], (), {}, {"kind": "rnn"}, {"kind": []}, gi.RunConfig, Checked()],
}
MODELS = tuple(architecture.KINDS.values())
CLASSES = sorted({*Checked.__subclasses__(), *MODELS} - {architecture.Architecture}, key=lambda cls: cls.__name__)
FIELDS = [
    pytest.param(cls, name, hint, id=f"{cls.__name__}.{name}")
    for cls in CLASSES
    for name, hint in hints_of(cls).items()
]
COMMON = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def invalid(hint: Any) -> st.SearchStrategy[Any]:
    """Values outside a field's type, choices or range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return st.one_of(invalid(args[0]), *out_of_range(args[1]))
    if origin is Literal:
        words = st.text() | st.sampled_from(args).flatmap(lambda x: st.sampled_from([x.swapcase(), x + "x", f" {x}"]))
        other = [0, 1.0, True, b"AdamW", [args[0]], {}, ["x"], {args[0]: 1}, *([] if "none" in args else [None])]
        return words.filter(lambda x: x not in args) | st.sampled_from(other)
    if NoneType in args:
        return invalid(args[0]).filter(lambda x: x is not None)
    if origin is tuple:
        parts = args[:1] if args[-1] is ... else args
        place = st.integers(0, len(parts) - 1)
        spoilt = place.flatmap(
            lambda i: st.tuples(*(invalid(part) if j == i else valid(part) for j, part in enumerate(parts)))
        )
        lengths = [] if args[-1] is ... else [st.just(()), st.tuples(*map(valid, parts[:-1]))]
        return st.one_of(st.sampled_from(WRONG_TYPE[tuple]), spoilt, *lengths)
    if is_dataclass(hint) or origin in (Union, UnionType):
        others: list[Any] = [cls() for cls in CLASSES if cls not in (args or (hint,))]
        return st.sampled_from([*WRONG_TYPE[Checked], *others])
    return st.sampled_from(WRONG_TYPE[hint])


def out_of_range(reader: Any) -> list[st.SearchStrategy[Any]]:
    if not isinstance(reader, partial):
        # The device's: a function of its own.
        return [st.sampled_from(["", "tpu", "cpu:x", "cuda:-1", "meta", "CPU"])]
    bounds, one = reader.keywords, st.integers if reader.func is integer else partial(st.floats, allow_nan=False)
    limits = {
        "minimum": lambda x: one(max_value=x).filter(lambda value: value < x),
        "maximum": lambda x: one(min_value=x).filter(lambda value: value > x),
        "above": lambda x: one(max_value=x),
        "below": lambda x: one(min_value=x),
    }
    return [limits[name](bounds[name]) for name in limits if name in bounds]


def valid(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field may have, as plain Python has them."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return in_range(args[1]) if args[0] in (int, float) else valid(args[0])
    if origin is Literal:
        return st.sampled_from(args)
    if NoneType in args:
        return st.none() | valid(args[0])
    if origin is tuple:
        return st.lists(valid(args[0])).map(tuple) if args[-1] is ... else st.tuples(*map(valid, args))
    if is_dataclass(hint) or origin in (Union, UnionType):
        choices: tuple[Any, ...] = args or (hint,)
        return st.sampled_from([cls() for cls in choices])
    if hint is str:
        return st.sampled_from(["cpu", "cuda:1"])
    return st.booleans() if hint is bool else in_range(partial(integer if hint is int else number))


def in_range(reader: partial) -> st.SearchStrategy[Any]:
    bounds = reader.keywords
    low, high = (bounds.get(a, bounds.get(b)) for a, b in (("minimum", "above"), ("maximum", "below")))
    if reader.func is integer:
        return st.integers(low, high)
    return st.floats(
        low,
        high,
        exclude_min="above" in bounds,
        exclude_max="below" in bounds,
        allow_nan=False,
        allow_infinity=False,
    )


def otherwise_written(value: Any) -> Any:
    """An equal value of another type that a user may rightly pass."""
    if isinstance(value, tuple):
        return [otherwise_written(part) for part in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else torch.tensor(value, dtype=torch.float64)
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            return np.uint64(value) if 0 < value < 2**64 else value
        return torch.tensor(value) if value % 2 else np.int64(value)
    return to_dict(value) if isinstance(value, Checked) else np.str_(value) if isinstance(value, str) else value


def plain_types(value: Any) -> set[type]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return {type(value)} if parts is None else {x for part in parts for x in plain_types(part)}


def test_every_part_of_a_config_checks_itself():
    reached, left = set(), [gi.RunConfig]
    while left:
        cls = left.pop()
        reached.add(cls)
        hints = hints_of(cls).values()
        left += [part for hint in hints for part in (hint, *typing.get_args(hint)) if is_dataclass(part)]
    assert reached == set(CLASSES)
    assert len(FIELDS) > 60


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "name", "hint"), FIELDS)
@COMMON
@given(data=st.data())
def test_a_value_outside_of_a_field_is_refused_in_one_line(cls, name, hint, data, unchecked):
    value = data.draw(invalid(hint))
    for prefix, make in (
        (cls.__name__, lambda: cls(**{name: value})),
        ("config", lambda: from_dict(cls, to_dict(cls()) | {name: value})),
    ):
        with pytest.raises(ValueError, match=rf"^{prefix}\.{name}\b") as caught:
            make()
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "name", "hint"), FIELDS)
@COMMON
@given(data=st.data())
def test_a_valid_config_survives_json_and_other_ways_to_write_it(cls, name, hint, data, unchecked):
    value = data.draw(valid(hint))
    try:
        config = cls(**{name: value})
    except ValueError as error:
        # Only a rule about several fields may refuse it.
        assert not str(error).startswith(f"{cls.__name__}.")  # noqa: PT017
        return
    assert getattr(config, name) == value
    assert hash(config) == hash(from_dict(cls, json.loads(json.dumps(to_dict(config)))))
    assert from_dict(cls, json.loads(json.dumps(to_dict(config)))) == config
    again = cls(**{name: otherwise_written(value)})
    assert again == config
    assert plain_types(to_dict(again)) <= {int, float, bool, str, NoneType}
