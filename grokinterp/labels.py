"""The vocabulary: dimension names, units and the one function where tensors become labelled arrays.

Below this line the library works on torch tensors; above it on `xarray`. They meet in `array`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Shaped
from torch import Tensor

from grokinterp.arguments import shown


Split = Literal["train", "test", "all"]
SPLITS: Final[tuple[Split, ...]] = ("train", "test", "all")

# One list for jaxtyping annotations and Dataset dimensions alike; a test holds them equal.
DIMENSIONS: Final[Mapping[str, str]] = {
    "a": "first input",
    "b": "second input",
    "c": "output class",
    "s": "product a∘b",
    "n": "element of a group",
    "p": "residue",
    "component": "row of a basis",
    "row": "row of the second input's basis",
    "rank": "number of the singular value",
    "dimension": "coordinate in a representation's space",
    "block": "frequency or irrep of a basis",
    "frequency": "frequency k",
    "neuron": "MLP neuron",
    "head": "attention head",
    "layer": "transformer layer",
    "pos": "position in the sequence",
    "query": "query position",
    "key": "key position",
    "axis": "axis of the plane of one frequency",
    "d_model": "residual stream",
    "d_head": "head width",
    "d_mlp": "MLP width",
    "d_vocab": "input token",
    "d_vocab_out": "output token",
    "batch": "input pair",
    "epoch": "epoch",
    "split": "part of the pairs",
    "matrix": "weight matrix",
    "parameter": "parameter of the model",
    "operation": "operation that is learned",
    "hook": "hook point",
    "event": "event in training",
    "phase": "phase of training",
    "statistic": "statistic of a control",
    "draw": "random draw",
    "seed": "seed of the run",
    "run": "run of a sweep",
    "value": "value of the setting",
    "group": "group of runs",
}

# The units a quantity may carry; "" is a pure number such as an accuracy or an fve.
UNITS: Final[frozenset[str]] = frozenset(
    {"", "nats", "epoch", "rad", "s", "logit", "weight", "weight^2", "nats/weight"}
)


def array(
    values: Shaped[Tensor, "..."] | np.ndarray | Sequence[float] | float,
    dims: Sequence[str] = (),
    *,
    name: str,
    units: str,
    long_name: str,
    coords: Mapping[str, Sequence[object] | np.ndarray | Tensor] | None = None,
    **attrs: str | float | int,
) -> xr.DataArray:
    """A labelled array: dimensions from the vocabulary, coordinates, units and a long name.

    A dimension without coordinates is numbered from 0, `split` by its names.

    Args:
        values: What is labelled; a tensor is detached and moved to the CPU.
        dims: One word of `DIMENSIONS` for each axis of `values`.
        name: The variable's name in a Dataset.
        units: One of `UNITS`.
        long_name: The axis title of a plot.
        coords: Coordinates by dimension.
        **attrs: Whatever else says how the values came to be: `split`, `keys`, a rule.

    Returns:
        The labelled array.

    Raises:
        ValueError: If a dimension or a unit is not in the vocabulary, or a coordinate or a length does not fit.

    Examples:
        >>> array([0.1, 4.7, 3.3], ("split",), name="loss", units="nats", long_name="loss").sel(split="test").item()
        4.7
    """
    data = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    for dim in dims:
        if dim not in DIMENSIONS:
            msg = f"dimension must be one of {sorted(DIMENSIONS)}, got {dim!r}; add it to labels.DIMENSIONS."
            raise ValueError(msg)
    if units not in UNITS:
        msg = f"units must be one of {sorted(UNITS)}, got {units!r}; add it to labels.UNITS."
        raise ValueError(msg)
    if data.ndim != len(dims):
        msg = f"{name} needs one dimension per axis, got shape {data.shape} for dims {tuple(dims)}."
        raise ValueError(msg)
    given = dict(coords or {})
    for dim in given:
        if dim not in dims:
            msg = f"coords of {name} must be among its dims {tuple(dims)}, got {dim!r}."
            raise ValueError(msg)
    labelled = {}
    for dim, length in zip(dims, data.shape, strict=True):
        default = SPLITS if dim == "split" else np.arange(length)
        values_of_dim = given.get(dim, default)
        if isinstance(values_of_dim, torch.Tensor):
            values_of_dim = values_of_dim.cpu().numpy()
        labelled[dim] = (dim, np.asarray(values_of_dim), {"long_name": DIMENSIONS[dim]})
    return xr.DataArray(
        data, dims=tuple(dims), coords=labelled, name=name, attrs={"units": units, "long_name": long_name, **attrs}
    )


def quantity(value: object, name: str) -> xr.DataArray:
    """What a measure returned, as a labelled array: a DataArray as it is, or a single number under the name.

    Args:
        value: A DataArray, or a number: Python's, numpy's, or a tensor or array without dimensions.
        name: The name of an array that has none.

    Raises:
        TypeError: If it is anything else, such as a tensor with dimensions, whose names nothing tells.

    Examples:
        >>> quantity(torch.tensor(2.0), "largest_logit").item()
        2.0
    """
    if isinstance(value, xr.DataArray):
        return value if value.name is not None else value.rename(name)
    number = value.item() if isinstance(value, torch.Tensor | np.ndarray | np.generic) and value.ndim == 0 else value
    if isinstance(number, bool | int | float):
        return array(np.asarray(number), name=name, units="", long_name=name)
    shape = getattr(value, "shape", None)
    got = shown(value) if shape is None else f"{type(value).__name__} of shape {tuple(shape)}"
    msg = f"{name} must return a number, or a DataArray that names its dimensions, got {got}."
    raise TypeError(msg)


def axis_title(data: xr.DataArray) -> str:
    """The title of an axis that shows this variable: its long name with units.

    Examples:
        >>> axis_title(array(1.0, name="loss", units="nats", long_name="test loss"))
        'test loss (nats)'
    """
    long_name, units = data.attrs.get("long_name", data.name), data.attrs.get("units", "")
    return f"{long_name} ({units})" if units else str(long_name)
