"""Variables of a Dataset, prepared for plotting: values, key frequencies, and axes over the rows of a basis."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments


MADE_BY: Final[Mapping[str, str]] = {
    "loss": "gi.progress.losses",
    "accuracy": "gi.progress.accuracies",
    "restricted_loss": "gi.progress.restricted_loss(keys)",
    "excluded_loss": "gi.progress.excluded_loss(keys)",
    "excluded_loss_by_frequency": "gi.progress.excluded_loss_by_frequency()",
    "trig_loss": "gi.progress.trig_loss(keys)",
    "weight_norm": "gi.progress.weight_norm",
    "gini": "gi.fourier.gini",
    "spectrum": "gi.fourier.spectrum",
    "components": "gi.fourier.components",
    "embedding_circle": "gi.fourier.embedding_circles(keys)",
    "logit_coefficient": "gi.logits.coefficients",
    "logit_fve": "gi.logits.fve()",
    "logit_components": "gi.logits.components",
    "logits": "gi.logits.over_inputs(classes)",
    "readout_components": "gi.logits.readout_components(neurons)",
    "neuron_frequency": "gi.neurons.frequency",
    "neuron_fve": "gi.neurons.fve",
    "neuron_phase": "gi.neurons.phase",
    "neuron_spectrum": "gi.neurons.spectrum",
    "neurons": "gi.neurons.activations(neurons)",
    "attention": "gi.attention.pattern",
    "attention_mean": "gi.attention.mean",
    "weight": "gi.monitors.matrix(parameter)",
    "score_components": "gi.attention.score_components",
    "loss_without": "gi.interventions.effects(keys).named('loss_without')",
    "loss_alone": "gi.interventions.effects(keys, operation=gi.interventions.keep_only).named('loss_alone')",
}

# Measures to look up key frequencies in first; other measures may have been given only some of them.
_HAS_KEYS: Final = ("restricted_loss", "excluded_loss", "trig_loss", "embedding_circle")
COLORS: Final[Mapping[str, str]] = {"cos": "#1F4E79", "sin": "#7FB3D9"}
# More labels than this make an axis hard to read.
_MOST_TICKS: Final = 14


def as_dataset(ds: object) -> xr.Dataset:
    """A Dataset as it is.

    Raises:
        TypeError: If it is something else, such as a run.
    """
    if isinstance(ds, xr.Dataset):
        return ds
    msg = f"ds must be a Dataset, such as run.metrics or gi.trajectory(run, measures), got {arguments.shown(ds)}."
    raise TypeError(msg)


def need(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Get a variable that a plot requires.

    Raises:
        KeyError: If it is missing; the message names the measure that computes it.
        TypeError: If `ds` is not a Dataset.

    Examples:
        >>> need(xr.Dataset(), "gini")
        Traceback (most recent call last):
        KeyError: "the plot needs 'gini': add gi.fourier.gini to the trajectory"
    """
    if name not in as_dataset(ds):
        source = f": add {MADE_BY[name]} to the trajectory" if name in MADE_BY else ""
        msg = f"the plot needs {name!r}{source}"
        raise KeyError(msg)
    return ds[name]


def over_epochs(data: xr.DataArray) -> xr.DataArray:
    """The variable with `epoch` as its first dimension, of length one for a single snapshot.

    Examples:
        >>> over_epochs(xr.DataArray([1.0, 2.0], dims="frequency")).dims
        ('epoch', 'frequency')
    """
    if "epoch" in data.dims:
        return data.transpose("epoch", ...)
    if "epoch" in data.coords:
        return data.expand_dims("epoch")
    return data.expand_dims(epoch=xr.DataArray([0], dims="epoch", attrs={"long_name": "epoch"}))


def present(data: xr.DataArray, dim: str) -> xr.DataArray:
    """Drop the labels at which the variable is all NaN, e.g. those added by merging it with another variable.

    Examples:
        >>> gini = xr.DataArray([0.5, 0.7], dims="matrix", coords={"matrix": ["W_E", "W_L"]})
        >>> norm = xr.DataArray([3.0], dims="matrix", coords={"matrix": ["W_U"]})
        >>> both = xr.merge([gini.rename("gini"), norm.rename("norm")], join="outer")
        >>> present(both.norm, "matrix").matrix.values.tolist()
        ['W_U']
    """
    return data.dropna(dim, how="all") if data.dtype.kind == "f" else data


def small(values: Any) -> np.ndarray:
    """Convert to float32, which halves the size of a figure without a visible difference."""
    return np.asarray(values, dtype=np.float32)


def positive(values: Any) -> np.ndarray:
    """Replace values that are not positive by NaN, which leaves gaps on a logarithmic axis.

    Examples:
        >>> positive([1.0, 0.0, -2.0])
        array([ 1., nan, nan])
    """
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(numbers > 0, numbers, np.nan)


def with_rule(title: str, data: xr.DataArray) -> str:
    """Append the rule that defines an event to an axis title, if the variable has the attribute `rule`.

    Examples:
        >>> with_rule("epoch", xr.DataArray(10.0, attrs={"rule": "test accuracy ≥ 0.99"}))
        'epoch<br>(test accuracy ≥ 0.99)'
    """
    rule = data.attrs.get("rule")
    return f"{title}<br>({rule})" if rule else title


def named_keys(ds: xr.Dataset) -> list[int] | None:
    """The key frequencies used to compute a Dataset's measures, or None if no measure stores any."""
    for name in sorted(ds.data_vars, key=lambda name: (name not in _HAS_KEYS, str(name))):
        keys = ds[name].attrs.get("key_frequencies")
        if keys is not None:
            # Lists are stored in files as JSON.
            return list(arguments.keys(json.loads(keys) if isinstance(keys, str) else keys))
    return None


def keys_of(ds: xr.Dataset, data: xr.DataArray, keys: Iterable[int] | None) -> list[int]:
    """The key frequencies to highlight in a plot.

    Args:
        ds: Dataset whose measures may store key frequencies.
        data: Values to plot, over `frequency`.
        keys: At least one key frequency; default: those stored in `ds`.

    Returns:
        The keys in ascending order; if there are none, the five largest frequencies at the last epoch.

    Examples:
        >>> norm = xr.DataArray([3.0, 1.0], dims="frequency", coords={"frequency": [1, 2]})
        >>> keys_of(xr.Dataset({"spectrum": norm.assign_attrs(key_frequencies=[2])}), norm, None)
        [2]
    """
    if keys is not None:
        return list(arguments.keys(keys))
    named = named_keys(ds)
    if named is not None:
        return named
    last = over_epochs(data)[-1]
    others = [dim for dim in last.dims if dim != "frequency"]
    size = last.max(others).fillna(-np.inf)
    return sorted(int(k) for k in size["frequency"].values[np.argsort(-size.values, kind="stable")[:5]])


def frequency_of(name: str) -> int | None:
    """The frequency of a row with this name; None for a row that is neither a cosine nor a sine.

    Examples:
        >>> frequency_of("sin 14"), frequency_of("const")
        (14, None)
    """
    wave, _, k = name.partition(" ")
    return int(k) if wave in COLORS and k.isdigit() else None


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered if several rows share one, as the rows of an irrep do.

    Examples:
        >>> distinct(["1a", "2a", "2a"])
        ['1a', '2a 1', '2a 2']
    """
    return [name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]


def rows_by_block(names: Sequence[str]) -> dict[int | str, list[int]]:
    """The rows of each frequency, and of each name that is not a frequency.

    Examples:
        >>> rows_by_block(["const", "cos 1", "sin 1", "cos 2"])
        {'const': [0], 1: [1, 2], 2: [3]}
    """
    blocks: dict[int | str, list[int]] = {}
    for row, name in enumerate(names):
        blocks.setdefault(frequency_of(name) or name, []).append(row)
    return blocks


def rows_by_frequency(names: Sequence[str]) -> dict[int, list[int]]:
    """The rows of each frequency.

    Examples:
        >>> rows_by_frequency(["const", "cos 1", "sin 1", "cos 2"])
        {1: [1, 2], 2: [3]}
    """
    return {block: rows for block, rows in rows_by_block(names).items() if isinstance(block, int)}


def basis_ticks(names: Sequence[str]) -> dict[str, Any]:
    """Ticks of an axis with the rows of a basis at 0, 1, ...: every frequency, or every 2nd, 5th, 10th and so on.

    Examples:
        >>> basis_ticks(["const", "cos 1", "sin 1", "cos 2", "sin 2"])
        {'tickvals': [0.0, 1.5, 3.5], 'ticktext': ['const', '1', '2']}
    """
    blocks = rows_by_block(names)
    step = next(step for step in (1, 2, 5, 10, 20, 50, len(blocks)) if len(blocks) <= step * _MOST_TICKS)
    shown = [block for i, block in enumerate(blocks) if (block if isinstance(block, int) else i) % step == 0]
    return {"tickvals": [float(np.mean(blocks[block])) for block in shown], "ticktext": [str(b) for b in shown]}


def bars(names: Sequence[str]) -> dict[str, tuple[list[Any], list[int]]]:
    """The positions and the rows of each group of bars.

    Cosines and sines are at their frequency, the constant is at 0, and other rows are left of it. If the basis has no
    cosines and sines, rows are at their names.

    Examples:
        >>> bars(["const", "cos 1", "sin 1"])
        {'constant': ([0], [0]), 'cos': ([1], [1]), 'sin': ([1], [2])}
    """
    frequencies = [frequency_of(name) for name in names]
    if not any(frequencies):
        return {"component": (distinct(names), list(range(len(names))))}
    groups: dict[str, tuple[list[Any], list[int]]] = {}
    for row, (name, k) in enumerate(zip(names, frequencies, strict=True)):
        x, rows = groups.setdefault(name.partition(" ")[0] if k else "constant", ([], []))
        x.append(k or -len(x))
        rows.append(row)
    return {group: groups[group] for group in ("constant", *COLORS) if group in groups}
