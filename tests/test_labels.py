import re

import numpy as np
import pytest
import torch

from grokinterp.labels import DIMENSIONS, SPLITS, UNITS, array, axis_title


def test_array_carries_dims_coordinates_units_and_names():
    values = torch.arange(6.0).reshape(2, 3)
    data = array(
        values,
        ("neuron", "frequency"),
        name="fve",
        units="",
        long_name="fraction of variance explained",
        coords={"frequency": torch.tensor([1, 2, 5])},
        split="all",
    )
    assert data.dims == ("neuron", "frequency")
    assert data.name == "fve"
    assert data.attrs == {"units": "", "long_name": "fraction of variance explained", "split": "all"}
    np.testing.assert_array_equal(data.values, values.numpy())
    assert data.coords["frequency"].values.tolist() == [1, 2, 5]
    assert data.coords["neuron"].values.tolist() == [0, 1]
    assert data.coords["frequency"].attrs["long_name"] == DIMENSIONS["frequency"]
    assert data.sel(frequency=5, neuron=1).item() == 5.0


def test_split_is_numbered_by_its_names():
    data = array([1.0, 2.0, 3.0], ("split",), name="loss", units="nats", long_name="loss")
    assert tuple(data.coords["split"].values) == SPLITS == ("train", "test", "all")
    assert [data.sel(split=name).item() for name in SPLITS] == [1.0, 2.0, 3.0]


def test_a_tensor_is_detached_and_keeps_its_dtype():
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    data = array(weight * 3, ("component",), name="x", units="weight", long_name="x")
    assert data.dtype == np.float64
    assert data.values.tolist() == [3.0, 3.0]


def test_a_number_has_no_dims():
    assert array(2.5, name="x", units="rad", long_name="phase").item() == 2.5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dims": ("frequencies",)}, "dimension must be one of .* got 'frequencies'; add it to labels.DIMENSIONS"),
        ({"units": "percent"}, "units must be one of .* got 'percent'; add it to labels.UNITS"),
        ({"dims": ("a", "b")}, r"loss needs one dimension per axis, got shape \(3,\) for dims \('a', 'b'\)"),
        ({"dims": ()}, r"loss needs one dimension per axis, got shape \(3,\) for dims \(\)"),
        ({"coords": {"neuron": [4, 5]}}, "conflicting sizes"),
        ({"coords": {"frequency": [1, 2, 3]}}, r"coords of loss must be among its dims \('neuron',\), got 'frequency'"),
    ],
)
def test_what_is_not_in_the_vocabulary_or_does_not_fit_is_refused(kwargs, message):
    good = {"dims": ("neuron",), "name": "loss", "units": "nats", "long_name": "loss"}
    array([1.0, 2.0, 3.0], **good)
    with pytest.raises(ValueError, match=message):
        array([1.0, 2.0, 3.0], **(good | kwargs))


def test_a_split_of_two_needs_its_coordinates():
    with pytest.raises(ValueError, match="conflicting sizes"):
        array([1.0, 2.0], ("split",), name="loss", units="nats", long_name="loss")
    data = array([1.0, 2.0], ("split",), name="loss", units="nats", long_name="loss", coords={"split": SPLITS[:2]})
    assert data.sel(split="test").item() == 2.0


@pytest.mark.parametrize(("units", "title"), [("nats", "test loss (nats)"), ("", "test loss")])
def test_an_axis_title_has_its_units(units, title):
    assert axis_title(array(1.0, name="loss", units=units, long_name="test loss")) == title


def test_an_axis_title_falls_back_on_the_name():
    data = array(1.0, name="loss", units="", long_name="x")
    assert axis_title(data.drop_attrs()) == "loss"


def test_every_word_is_explained():
    assert all(meaning for meaning in DIMENSIONS.values())
    assert all(re.fullmatch(r"[a-z][a-z_]*", word) for word in DIMENSIONS)
    assert "" in UNITS
