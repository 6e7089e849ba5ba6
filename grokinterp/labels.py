"""Dimension names, units, and the function that turns tensors into labeled arrays."""

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

# jaxtyping annotations and Dataset dimensions use the same words; a test checks it.
DIMENSIONS: Final[Mapping[str, str]] = {
    "a": "first input",
    "b": "second input",
    "c": "output class",
    "s": "product a∘b",
    "n": "element of a group",
    "p": "residue",
    "component": "row of a basis",
    "row": "row of the second input's basis",
    "rank": "index of the singular value",
    "dimension": "coordinate of a representation",
    "block": "frequency or irrep of a basis",
    "frequency": "frequency k",
    "neuron": "MLP neuron",
    "head": "attention head",
    "layer": "transformer layer",
    "pos": "position in the sequence",
    "query": "query position",
    "key": "key position",
    "axis": "axis of a frequency's (cos, sin) plane",
    "d_model": "residual stream",
    "d_head": "head width",
    "d_mlp": "MLP width",
    "d_vocab": "input token",
    "d_vocab_out": "output token",
    "batch": "input pair",
    "epoch": "epoch",
    "split": "train or test split",
    "matrix": "weight matrix",
    "parameter": "model parameter",
    "operation": "learned operation",
    "hook": "hook point",
    "event": "event in training",
    "phase": "phase of training",
    "statistic": "statistic of a control",
    "draw": "random draw",
    "seed": "seed of the run",
    "run": "run of a sweep",
    "value": "value of the config field",
    "group": "group of runs",
}

# "" is dimensionless: an accuracy or an FVE.
UNITS: Final[frozenset[str]] = frozenset(
    {"", "nats", "epoch", "rad", "s", "logit", "weight", "weight^2", "nats/weight"}
)


def array(
    values: Shaped[Tensor, "..."] | np.ndarray | Sequence[float] | float,
    dims: Sequence[str] = (),
    *,
    long_name: str,
    units: str = "",
    name: str | None = None,
    coords: Mapping[str, Sequence[object] | np.ndarray | Tensor] | None = None,
    **attrs: str | float | int,
) -> xr.DataArray:
    """A labeled array: known dimensions, coordinates, units and a long name.

    A dimension without coordinates is numbered from 0; `split` gets its names.

    Args:
        values: The data; a tensor is detached and moved to the CPU.
        dims: One name from `DIMENSIONS` for each axis of `values`.
        long_name: The axis title in plots.
        units: One of `UNITS`; default: dimensionless.
        name: The variable's name in a Dataset; a measure's result gets the name of the measure.
        coords: Coordinates by dimension.
        **attrs: Further facts about the values: `split`, `keys`, a rule.

    Returns:
        The labeled array.

    Raises:
        ValueError: If a dimension or unit is unknown, or the coordinates do not match the dimensions.

    Examples:
        >>> array([0.1, 4.7, 3.3], ("split",), long_name="loss", units="nats").sel(split="test").item()
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
        msg = f"{name or long_name} needs one dimension per axis, got shape {data.shape} for dims {tuple(dims)}."
        raise ValueError(msg)
    given = dict(coords or {})
    for dim in given:
        if dim not in dims:
            msg = f"coords of {name or long_name} must be among its dims {tuple(dims)}, got {dim!r}."
            raise ValueError(msg)
    labeled = {}
    for dim, length in zip(dims, data.shape, strict=True):
        coord = given.get(dim, SPLITS if dim == "split" else range(length))
        coord = coord.cpu() if isinstance(coord, torch.Tensor) else coord
        labeled[dim] = (dim, np.asarray(coord), {"long_name": DIMENSIONS[dim]})
    return xr.DataArray(
        data, dims=tuple(dims), coords=labeled, name=name, attrs={"units": units, "long_name": long_name, **attrs}
    )


def quantity(value: object, name: str) -> xr.DataArray:
    """The result of a measure as a labeled array: a DataArray unchanged, or a single number under the given name.

    Args:
        value: A DataArray, or a number: Python, numpy, or a tensor or array without dimensions.
        name: The name of a result that has none.

    Raises:
        TypeError: If it is anything else, e.g. a tensor with dimensions, which have no names.

    Examples:
        >>> quantity(torch.tensor(2.0), "largest_logit").item()
        2.0
    """
    if isinstance(value, xr.DataArray):
        return value if value.name is not None else value.rename(name)
    if getattr(value, "ndim", None) == 0:
        value = getattr(value, "item", lambda: value)()
    if isinstance(value, bool | int | float):
        return array(np.asarray(value), long_name=name, name=name)
    shape = getattr(value, "shape", None)
    got = shown(value) if shape is None else f"{type(value).__name__} of shape {tuple(shape)}"
    msg = f"{name} must return a number, or a DataArray that names its dimensions, got {got}."
    raise TypeError(msg)


def axis_title(data: xr.DataArray) -> str:
    """The axis title for a variable: its long name with units.

    Examples:
        >>> axis_title(array(1.0, name="loss", units="nats", long_name="test loss"))
        'test loss (nats)'
    """
    long_name, units = data.attrs.get("long_name", data.name), data.attrs.get("units", "")
    return f"{long_name} ({units})" if units else str(long_name)
