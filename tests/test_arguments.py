"""Every kind of value that a user may pass as a key, a count, a number or a choice, and every kind that is refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from grokinterp import arguments


pytestmark = pytest.mark.usefixtures("unchecked")

KEYS = {
    "tuple": (42, 14, 14),
    "list": [14, 42],
    "set": {42, 14},
    "range": range(14, 43, 28),
    "generator": (k for k in (42, 14)),
    "numpy": np.array([42, 14], dtype=np.uint8),
    "numpy integers": [np.int64(14), np.int32(42)],
    "tensor": torch.tensor([42, 14, 42]),
    "tensors": [torch.tensor(14), torch.tensor(42)],
    "labeled array": xr.DataArray([42, 14], dims="frequency"),
    "labeled values": list(xr.DataArray([42, 14], dims="frequency")),
    "dictionary's keys": {14: "a", 42: "b"}.keys(),
}
NO_KEYS = {
    "text": "14",
    "bytes": b"14",
    "texts": ["14"],
    "floats": [1.7, 3.2],
    "whole floats": [14.0, 42.0],
    "float array": np.array([14.0]),
    "float tensor": torch.tensor([14.0], requires_grad=True),
    "mask": [True, False],
    "mask array": np.array([True, False]),
    "mask tensor": torch.tensor([False, True]),
    "infinity": [float("inf")],
    "nan": [float("nan")],
    "none": None,
    "empty": [],
    "empty tensor": torch.tensor([], dtype=torch.long),
    "zero": [0],
    "negative": [-14],
    "nested": [[14]],
    "two-dimensional": torch.tensor([[14, 42]]),
    "mapping": {14: "a"},
    "true": True,
    "complex": [14 + 0j],
}


@pytest.mark.parametrize("values", KEYS.values(), ids=KEYS)
def test_integers_of_any_type_are_keys(values):
    found = arguments.keys(values)
    assert found == (14, 42)
    assert all(type(k) is int for k in found)


@pytest.mark.parametrize("values", [14, np.int8(14), np.array(14), torch.tensor(14), xr.DataArray(14)])
def test_a_single_integer_is_one_key(values):
    assert arguments.keys(values) == (14,)
    assert arguments.integer(values, "k") == 14


@pytest.mark.parametrize("values", NO_KEYS.values(), ids=NO_KEYS)
def test_anything_else_is_refused_in_one_line(values):
    with pytest.raises(ValueError, match=r"^keys must be one or more integers of at least 1, got .+\.$") as caught:
        arguments.keys(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [1.5, 1.0, "1", True, None, [1], (1,), torch.tensor([1]), torch.tensor(True), 1 + 0j])
def test_what_is_not_one_integer_is_refused(value):
    with pytest.raises(ValueError, match=r"^draws must be an integer of at least 1, got .+\.$"):
        arguments.integer(value, "draws", minimum=1)


@pytest.mark.parametrize("value", [0.5, np.float16(0.5), np.array(0.5), torch.tensor(0.5, dtype=torch.bfloat16)])
def test_numbers_of_any_real_type_are_read(value):
    found = arguments.number(value, "threshold", minimum=0, maximum=1)
    assert found == 0.5
    assert type(found) is float


@pytest.mark.parametrize(
    "value", ["0.5", True, None, [0.5], float("nan"), float("-inf"), 10**400, 0.5j, torch.tensor([0.5]), 95, -1e-9]
)
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^threshold must be a number from 0 to 1, got .+\.$"):
        arguments.number(value, "threshold", minimum=0, maximum=1)


@pytest.mark.slow
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50))
def test_a_range_includes_its_ends(value, low, high):
    def is_read(read):
        try:
            return read(value, "x", minimum=low, maximum=high) == value
        except ValueError:
            return False

    assert is_read(arguments.integer) == is_read(arguments.number) == (low <= value <= high)


@pytest.mark.parametrize(("value", "suggestion"), [("sgd", "SGD"), ("Adam", "AdamW"), ("nuon", "Muon")])
def test_a_choice_that_is_misspelled_is_told_the_nearest(value, suggestion):
    with pytest.raises(ValueError, match=f"name must be one of AdamW, SGD, Muon, got '{value}'; .* '{suggestion}'"):
        arguments.one_of(value, ("AdamW", "SGD", "Muon"), "name")


def test_a_choice_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"n must be one of 1, 2, got True\."):
        arguments.one_of(True, (1, 2), "n")
    assert arguments.one_of(2, (1, 2), "n") == 2


def test_a_long_value_is_shortened_to_one_line():
    assert len(arguments.shown(torch.rand(40, 40))) == arguments.MAX_SHOWN
    assert "\n" not in arguments.shown("a\nb")


@pytest.mark.parametrize("value", [True, np.bool_(True), np.array(True), torch.tensor(True), xr.DataArray(True)])
def test_a_flag_of_any_type_of_booleans_is_read(value):
    assert arguments.flag(value, "progress") is True


@pytest.mark.parametrize("value", ["no", "True", 0, 1, 1.0, None, [True], np.array([True]), torch.tensor(1)])
def test_what_is_no_flag_is_refused(value):
    with pytest.raises(ValueError, match=r"^progress must be True or False, got .+\.$"):
        arguments.flag(value, "progress")


def test_a_limit_is_invalid_where_it_is_exclusive():
    with pytest.raises(ValueError, match=r"^fraction must be a number above 0 and below 1, got 1\.$"):
        arguments.number(1, "fraction", above=0, below=1)
    with pytest.raises(ValueError, match=r"^factor must be a number above 0, got 0\.$"):
        arguments.number(0, "factor", above=0)
    assert arguments.number(0.5, "fraction", above=0, below=1) == 0.5


def test_a_fraction_includes_both_ends():
    assert [arguments.fraction(value, "threshold") for value in (0, 1)] == [0.0, 1.0]


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "0"])
def test_a_seed_is_one_that_every_generator_takes(value):
    with pytest.raises(ValueError, match=r"^seed must be an integer from 0 to 9223372036854775807, got .+\.$"):
        arguments.seed(value)
    torch.Generator().manual_seed(arguments.seed(2**63 - 1))
    np.random.default_rng(arguments.seed(2**63 - 1))


def test_integers_keep_their_order_and_may_be_none_where_that_is_asked():
    assert arguments.integers((5, 2, 5), "neurons", in_order=False) == (5, 2)
    assert arguments.integers((), "blocks", may_be_empty=True) == ()
    with pytest.raises(ValueError, match=r"^blocks must be integers from 0 to 3, got \[4\]\.$"):
        arguments.integers((4,), "blocks", minimum=0, maximum=3, may_be_empty=True)


def test_text_of_numpy_is_text():
    found = arguments.one_of(np.array(["train", "test"])[1], ("train", "test"), "split")
    assert found == "test"
    assert type(found) is str


def test_a_word_of_others_leads_to_ours():
    with pytest.raises(ValueError, match=r"got '\*'; did you mean 'multiplication'\?"):
        arguments.one_of("*", ("addition", "multiplication"), "operation", aliases={"*": "multiplication"})


def test_some_of_the_choices_stay_in_order():
    assert arguments.some_of(["W_U", "W_E"], ("W_E", "W_U"), "at") == ("W_U", "W_E")
    assert arguments.some_of("W_U", ("W_E", "W_U"), "at") == ("W_U",)
    for value in ([], None, {}):
        with pytest.raises(ValueError, match=r"^at must be one or more of W_E, W_U, got .+\.$"):
            arguments.some_of(value, ("W_E", "W_U"), "at")
    with pytest.raises(ValueError, match=r"^at must be one of W_E, W_U, got 'W_L'; did you mean"):
        arguments.some_of(["W_E", "W_L"], ("W_E", "W_U"), "at")
