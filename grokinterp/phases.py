"""The phases and events of grokking, detected in curves by explicit rules.

Only this module defines when a run has memorized and grokked: when its train or test accuracy stays at or above a
threshold for several consecutive entries. Reports, sweeps, figures, detectors and claims all use these rules.
"""

from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


# MEMORIZED is a train accuracy, the others are test accuracies.
MEMORIZED: Final = 0.99
GENERALIZING: Final = 0.5
GROKKED: Final = 0.99
# Consecutive entries that must reach the threshold, since a single one may be a spike.
SUSTAINED: Final = 5
# Tolerance around the last sum of squared weights, as a fraction of it.
SETTLED: Final = 0.05

_RULES: Final = {
    "memorized": "train {accuracy} ≥ {memorized:g} for {sustained} entries in a row",
    "circuit formation starts": "minimum of {curve}, before generalizing",
    "generalizing": "test {accuracy} ≥ {generalizing:g} for {sustained} entries in a row",
    "grokked": "test {accuracy} ≥ {grokked:g} for {sustained} entries in a row",
    "cleaned up": "the sum of squared weights stays within {settled:.0%} of its last value, after generalizing",
}
PHASES: Final = {
    "memorization": (None, "circuit formation starts"),
    "circuit formation": ("circuit formation starts", "generalizing"),
    "cleanup": ("generalizing", "cleaned up"),
}


def rules(*, accuracy: str = "accuracy", curve: str = "the excluded loss", **thresholds: Any) -> dict[str, str]:
    """The rule of each event in words, with its thresholds.

    Args:
        accuracy: Name of the quantity that is compared with the thresholds.
        curve: Name of the curve whose minimum starts circuit formation.
        **thresholds: `memorized`, `generalizing`, `grokked`, `settled` and `sustained`, as in `detect`.

    Raises:
        ValueError: If a threshold is not a number from 0 to 1, or `sustained` is not a positive integer.

    Examples:
        >>> rules(grokked=0.95)["grokked"]
        'test accuracy ≥ 0.95 for 5 entries in a row'
    """
    at = _thresholds(**thresholds)
    return {event: rule.format(accuracy=accuracy, curve=curve, **at) for event, rule in _RULES.items()}


def detect(
    ds: xr.Dataset,
    *,
    memorized: float = MEMORIZED,
    generalizing: float = GENERALIZING,
    grokked: float = GROKKED,
    settled: float = SETTLED,
    sustained: int = SUSTAINED,
) -> xr.Dataset:
    """The epochs at which a run memorized, started to form its circuit, generalized, grokked and completed cleanup.

    Events bound the phases. Memorization ends at the minimum of the excluded loss, after which a model that has
    memorized increasingly relies on its key frequencies. Circuit formation ends when test accuracy exceeds 0.5. Cleanup
    ends when the weights stop shrinking, relative to the last entry: if a run stops while its weights still shrink
    slowly, its cleanup ends too early. A run that has not grokked has no cleanup phase, and its circuit formation has
    no end.

    Args:
        ds: Curves over `epoch`, from a trajectory or `run.metrics`: `loss` with splits train and test. Optional:
            `accuracy` (default: exp(-loss), the geometric mean of the probability of the correct answer),
            `excluded_loss` (default: the maximum of the test loss replaces its minimum), and `weight_norm` or
            `squared_weight_norm` (without them, the end of cleanup is not detected). Every epoch is one entry, so the
            spacing of epochs limits the resolution.
        memorized: Train accuracy threshold, 0 to 1.
        generalizing: Test accuracy threshold, 0 to 1.
        grokked: Test accuracy threshold, 0 to 1.
        settled: Tolerance around the last sum of squared weights, as a fraction of it, 0 to 1.
        sustained: Number of consecutive entries that must reach an accuracy threshold, at least 1.

    Returns:
        Dataset of `event_epoch` (event), with the `rule` of each event; `phase_start` and `phase_end` (phase), with the
        `phase_rule` that ends each phase; and `delay`, the number of epochs from memorized to grokked. An event that
        was not observed is NaN (right-censored: it may happen after the last entry). The thresholds are attributes, as
        in `grokking_times`.

    Raises:
        KeyError: If `loss` is missing.
        TypeError: If `ds` is not a Dataset.
        ValueError: If a threshold is not a number from 0 to 1, `sustained` is not a positive integer, epochs are not
            ascending, an accuracy is not from 0 to 1, or a split has no numbers.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.2, name the three phases and set their boundaries by hand.

    Examples:
        >>> import grokinterp as gi
        >>> events = detect(gi.load_run("nanda2023").metrics).event_epoch
        >>> events.sel(event="memorized").item() < 300
        True
    """
    _check_curves(ds)
    epochs = ds.epoch.values
    name, train, test = _accuracies(ds)
    curve_name, curve = _memorization_curve(ds)
    at = _thresholds(
        memorized=memorized, generalizing=generalizing, grokked=grokked, settled=settled, sustained=sustained
    )
    words = rules(accuracy=name, curve=curve_name, **at)
    generalized = first_sustained(epochs, test >= at["generalizing"], at["sustained"])
    has_grokked = first_sustained(epochs, test >= at["grokked"], at["sustained"])
    # Falling weights are no cleanup in a run that has not grokked.
    cleanup = np.nan if np.isnan(has_grokked) else generalized
    events = {
        "memorized": first_sustained(epochs, train >= at["memorized"], at["sustained"]),
        "circuit formation starts": _minimum_epoch(epochs, curve, max_epoch=generalized),
        "generalizing": generalized,
        "grokked": has_grokked,
        "cleaned up": _settled(epochs, _total_weights(ds), at["settled"], after=cleanup),
    }
    bounds = events | {"generalizing": cleanup}
    starts = [float(epochs[0]) if start is None else bounds[start] for start, _ in PHASES.values()]
    ends = [end for _, end in PHASES.values()]
    event, phase = {"event": list(events)}, {"phase": list(PHASES)}

    def over(coords: dict[str, list[str]], values: list[Any], long_name: str, units: str = "epoch") -> xr.DataArray:
        return labels.array(np.array(values), tuple(coords), units=units, long_name=long_name, coords=coords)

    delay = events["grokked"] - events["memorized"]
    return xr.Dataset(
        {
            "event_epoch": over(event, list(events.values()), "epoch of the event"),
            "rule": over(event, [words[name] for name in events], "rule", ""),
            "phase_start": over(phase, starts, "first epoch of the phase"),
            "phase_end": over(phase, [bounds[end] for end in ends], "last epoch of the phase"),
            "phase_rule": over(phase, [words[end] for end in ends], "rule that ends the phase", ""),
            "delay": labels.array(delay, units="epoch", long_name="memorized to grokked"),
        },
        attrs=_attrs(at),
    )


def grokking_times(
    ds: xr.Dataset, *, memorized: float = MEMORIZED, grokked: float = GROKKED, sustained: int = SUSTAINED
) -> xr.Dataset:
    """The epochs at which a run memorized and grokked, with their delay, ratio and censoring.

    An event happens at the first of `sustained` consecutive entries whose accuracy is at or above the threshold. So the
    last entry at which grokking can be observed is the `sustained`-th from the end, the horizon. A run that has not
    grokked by then is right-censored: it groks later or never.

    Args:
        ds: Curves over `epoch` with splits train and test, from a trajectory or `run.metrics`: `accuracy`, or `loss` as
            in `detect`.
        memorized: Train accuracy threshold, 0 to 1.
        grokked: Test accuracy threshold, 0 to 1.
        sustained: Number of consecutive entries that must reach a threshold, at least 1.

    Returns:
        Dataset of scalars, in epochs: `memorized` and `grokked`, NaN if not observed; `is_censored`, True if `grokked`
        was not observed; `time`, the epoch of grokking or else the horizon, as survival analysis expects; `horizon`;
        `resolution`, the largest gap between entries up to `time`: the threshold was crossed at most one gap before the
        recorded epoch; `delay`, grokked - memorized, and `ratio`, grokked / memorized, NaN if one of the two was not
        observed. If memorized is epoch 0, the ratio is infinite, or NaN if grokked is 0 too. The thresholds are the
        attributes `memorized_at`, `grokked_at` and `sustained`; `memorized` and `grokked` have their `rule` in words.

    Raises:
        KeyError: If `ds` has neither accuracy nor loss.
        ValueError: As `detect`, or if there are fewer than `sustained` entries.

    Examples:
        >>> import grokinterp as gi
        >>> times = grokking_times(gi.load_run("nanda2023").metrics)
        >>> times.is_censored.item(), times.delay.item() == times.grokked.item() - times.memorized.item()
        (False, True)
    """
    _check_curves(ds, alternative="accuracy")
    epochs = ds.epoch.values
    name, train, test = _accuracies(ds)
    at = _thresholds(memorized=memorized, grokked=grokked, sustained=sustained)
    words = rules(accuracy=name, **at)
    if len(epochs) < at["sustained"]:
        msg = f"grokking times need at least sustained={sustained} entries, got {len(epochs)}; log more often."
        raise ValueError(msg)
    memorized = first_sustained(epochs, train >= at["memorized"], at["sustained"])
    grokked = first_sustained(epochs, test >= at["grokked"], at["sustained"])
    horizon = float(epochs[-at["sustained"]])
    time = horizon if np.isnan(grokked) else grokked
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(grokked, memorized))

    scalars = {
        "memorized": (memorized, "epoch", "memorized"),
        "grokked": (grokked, "epoch", "grokked"),
        "time": (time, "epoch", "epoch of grokking, or censoring epoch"),
        "horizon": (horizon, "epoch", "last epoch at which grokking can be observed"),
        "resolution": (float(np.diff(epochs[epochs <= time]).max(initial=0)), "epoch", "largest gap between entries"),
        "delay": (grokked - memorized, "epoch", "memorized to grokked"),
        "ratio": (ratio, "", "grokked / memorized"),
        "is_censored": (np.array(np.isnan(grokked)), "", "not grokked by the horizon"),
    }
    variables = {
        name: labels.array(value, units=units, long_name=long_name)
        for name, (value, units, long_name) in scalars.items()
    }
    for name in ("memorized", "grokked", "time", "is_censored"):
        variables[name].attrs["rule"] = words.get(name, words["grokked"])
    return xr.Dataset(variables, attrs=_attrs(at))


def slingshots(
    ds: xr.Dataset,
    *,
    factor: float = 10.0,
    least: float = 1e-3,
    growth: float = 0.01,
    memorized: float = MEMORIZED,
    sustained: int = SUSTAINED,
) -> xr.Dataset:
    """The slingshots of a run: spikes of the train loss while the norm of the unembedding rises.

    After memorizing, a spike is a stretch of entries whose train loss exceeds `least` and `factor` times its minimum
    since memorizing. It is a slingshot if the norm of the unembedding rises by more than the fraction `growth`, from
    the entry before the spike to its maximum in the spike.

    Args:
        ds: Curves over `epoch`: `loss`, `weight_norm` with the unembedding among its parameters, and optionally
            `accuracy`, which determines when the run has memorized, as in `detect`. A slingshot shorter than the gap
            between entries is not detected.
        factor: Minimum ratio of the train loss to its minimum since memorizing.
        least: Minimum train loss of a spike, in nats; smaller spikes are rounding error of the optimizer.
        growth: Minimum growth of the norm, as a fraction.
        memorized: Train accuracy threshold, 0 to 1.
        sustained: Number of consecutive entries that must reach the threshold, at least 1.

    Returns:
        Dataset over `event`, numbered from 0 and possibly empty: `start` and `end`, the first and last epoch of the
        spike; `loss_factor`, its maximum train loss over the minimum before it; and `norm_growth`, the fractional
        growth of the unembedding's norm.

    Raises:
        KeyError: If `loss` or the unembedding's norm is missing.
        ValueError: As `detect`, or if `factor` is not positive, or `least` or `growth` is negative.

    Source:
        Thilak et al. 2022, arXiv:2206.04817: with Adam and no weight decay, late in training, the norm of the last
        layer grows in cycles, each with a spike of the train loss. This is our own rule; the paper gives none.

    Examples:
        >>> import numpy as np
        >>> loss = np.array([[5.0, 5.0], *[[0.01, 6.0]] * 5, [0.5, 6.0], [0.01, 6.0]])
        >>> norm = np.array([1.0, 1, 1, 1, 1, 1, 2, 2])[:, None]
        >>> ds = xr.Dataset(
        ...     {"loss": (("epoch", "split"), loss), "weight_norm": (("epoch", "parameter"), norm)},
        ...     coords={"epoch": range(0, 80, 10), "split": ["train", "test"], "parameter": ["unembed.W_U"]},
        ... )
        >>> slingshots(ds, memorized=0.9).start.values.tolist()
        [60.0]
    """
    factor = arguments.number(factor, "factor", above=0)
    least, growth = arguments.number(least, "least", minimum=0), arguments.number(growth, "growth", minimum=0)
    _check_curves(ds)
    if "weight_norm" not in ds or "unembed.W_U" not in ds.weight_norm.parameter:
        msg = "slingshots need the 'weight_norm' of unembed.W_U: add gi.progress.weight_norm to the trajectory."
        raise KeyError(msg)
    epochs, loss = ds.epoch.values, ds.loss.sel(split="train").values
    norm = np.sqrt(ds.weight_norm.sel(parameter="unembed.W_U").values)
    at = _thresholds(memorized=memorized, sustained=sustained)
    since = first_sustained(epochs, _accuracies(ds)[1] >= at["memorized"], at["sustained"])
    after = epochs >= since  # all False if `since` is NaN
    lowest = np.minimum.accumulate(np.where(after, loss, np.inf))
    before = np.concatenate([[np.inf], lowest[:-1]])
    spikes = []
    for first, last in _stretches(after & (loss > np.maximum(factor * before, least))):
        rise = norm[first : last + 1].max() / norm[first - 1] - 1
        if rise > growth:
            spikes.append((epochs[first], epochs[last], loss[first : last + 1].max() / before[first], rise))
    names = {
        "start": ("epoch", "first epoch of the spike"),
        "end": ("epoch", "last epoch of the spike"),
        "loss_factor": ("", "maximum train loss / minimum before"),
        "norm_growth": ("", "growth of the unembedding's norm"),
    }
    columns = np.array(spikes, dtype=float).reshape(-1, len(names)).T
    return xr.Dataset(
        {
            name: labels.array(column, ("event",), units=units, long_name=long_name)
            for column, (name, (units, long_name)) in zip(columns, names.items(), strict=True)
        }
    )


def _thresholds(*, sustained: int = SUSTAINED, **thresholds: float) -> dict[str, Any]:
    """All thresholds as checked numbers, with defaults for those not given."""
    every = {"memorized": MEMORIZED, "generalizing": GENERALIZING, "grokked": GROKKED, "settled": SETTLED} | thresholds
    at = {name: arguments.number(value, name, minimum=0, maximum=1) for name, value in every.items()}
    return at | {"sustained": arguments.integer(sustained, "sustained", minimum=1)}


def _attrs(at: dict[str, Any]) -> dict[str, Any]:
    return {"memorized_at": at["memorized"], "grokked_at": at["grokked"], "sustained": at["sustained"]}


def _check_curves(ds: object, *, alternative: str = "loss") -> None:
    """Check that the loss, or an alternative to it, is given by split over ascending epochs."""
    if not isinstance(ds, xr.Dataset):
        msg = f"phases need a Dataset of curves, got {arguments.shown(ds)}; pass run.metrics or a trajectory."
        raise TypeError(msg)
    if "loss" not in ds and alternative not in ds:
        msg = "phases need 'loss': add gi.progress.losses to the trajectory."
        raise KeyError(msg)
    for name in [name for name in ("accuracy", "loss") if name in ds]:
        curves, splits = ds[name], ds.split.values.tolist() if "split" in ds else []
        if set(curves.dims) != {"epoch", "split"} or not {"train", "test"} <= set(splits):
            msg = f"phases need {name!r} over epoch and splits train and test, got {dict(curves.sizes)} of {splits}."
        elif not curves.size or curves.isnull().all("epoch").any():
            msg = f"phases need at least one number of {name!r} per split, got {curves.sizes['epoch']} entries."
        elif name == "accuracy" and ((curves < 0) | (curves > 1)).any():
            msg = f"accuracies must be from 0 to 1, got {curves.min():g} to {curves.max():g}; divide percents by 100."
        elif not (np.diff(ds.epoch.values) > 0).all():
            msg = 'epochs must be strictly ascending; sort them with ds.sortby("epoch") and drop duplicates.'
        else:
            continue
        raise ValueError(msg)


def _accuracies(ds: xr.Dataset) -> tuple[str, np.ndarray, np.ndarray]:
    """The train and test accuracy, or exp(-loss), with its name."""
    name, curves = ("accuracy", ds.accuracy) if "accuracy" in ds else ("exp(-loss)", np.exp(-ds.loss))
    return name, curves.sel(split="train").values, curves.sel(split="test").values


def _stretches(holds: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch in which a condition holds.

    Examples:
        >>> _stretches(np.array([False, True, True, False, True]))
        [(1, 2), (4, 4)]
    """
    edges = np.diff(np.concatenate([[0], holds.astype(int), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def first_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """The epoch of the first of `sustained` consecutive entries for which a condition holds; NaN if there is none.

    Examples:
        >>> first_sustained(np.arange(6), np.array([True, False, True, True, True, False]), 3)
        2.0
    """
    if len(holds) < sustained:
        return float("nan")
    runs = np.lib.stride_tricks.sliding_window_view(holds, sustained).all(axis=1)
    return float(epochs[runs.argmax()]) if runs.any() else float("nan")


def _memorization_curve(ds: xr.Dataset) -> tuple[str, np.ndarray]:
    """The curve whose minimum ends memorization, and its name."""
    if "excluded_loss" not in ds:
        return "minus the test loss", -ds.loss.sel(split="test").values
    keys = ds.excluded_loss.attrs.get("key_frequencies")
    # Without keys, the measure ablates every frequency; a curve from elsewhere has no attributes.
    of = f" of keys {keys}" if keys else " of all frequencies" if "form" in ds.excluded_loss.attrs else ""
    return f"the excluded loss{of}", ds.excluded_loss.values


def _minimum_epoch(epochs: np.ndarray, curve: np.ndarray, *, max_epoch: float) -> float:
    """The epoch of the minimum up to `max_epoch`; NaN if it is the last entry, after which the curve may still fall."""
    minimum = int(np.nanargmin(curve if np.isnan(max_epoch) else curve[epochs <= max_epoch]))
    return float("nan") if minimum == len(curve) - 1 else float(epochs[minimum])


def _total_weights(ds: xr.Dataset) -> np.ndarray | None:
    if "weight_norm" in ds:
        return ds.weight_norm.sum("parameter").values
    return ds.squared_weight_norm.values if "squared_weight_norm" in ds else None


def _settled(epochs: np.ndarray, total: np.ndarray | None, tolerance: float, *, after: float) -> float:
    """The first epoch from which a curve stays near its last value; NaN if that is in the last tenth."""
    if total is None or np.isnan(after):
        return float("nan")
    away = np.abs(total - total[-1]) > tolerance * total[-1]
    first = float(epochs[int(np.flatnonzero(away).max(initial=-1)) + 1])
    still_falling = first > epochs[-1] - 0.1 * (epochs[-1] - after)
    return float("nan") if still_falling else max(first, after)
