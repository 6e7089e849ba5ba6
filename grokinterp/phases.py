"""The phases of grokking and its events, found in curves by stated rules and never by given epochs.

This is the one place that says when a run has memorized and when it has grokked: its train or test accuracy is at a
threshold or above for some entries in a row. Reports, sweeps, figures, detectors and claims all ask here.
"""

from typing import Any, Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


# Accuracies, 0 to 1: of the training pairs for the first, of the test pairs for the others.
MEMORIZED: Final = 0.99
GENERALIZING: Final = 0.5
GROKKED: Final = 0.99
# Entries in a row for which an accuracy has to be there, since a single one may be a spike.
SUSTAINED: Final = 5
# How near to its last value the sum of squared weights has to stay, as a fraction of it.
SETTLED: Final = 0.05

_RULES: Final = {
    "memorized": "train {share} ≥ {memorized:g} for {sustained} entries in a row",
    "circuit formation starts": "minimum of {first}, before generalizing",
    "generalizing": "test {share} ≥ {generalizing:g} for {sustained} entries in a row",
    "grokked": "test {share} ≥ {grokked:g} for {sustained} entries in a row",
    "cleaned up": "the sum of squared weights stays within {settled:.0%} of its last value, after generalizing",
}
PHASES: Final = {
    "memorization": (None, "circuit formation starts"),
    "circuit formation": ("circuit formation starts", "generalizing"),
    "cleanup": ("generalizing", "cleaned up"),
}


def rules(*, share: str = "accuracy", first: str = "the excluded loss", **thresholds: Any) -> dict[str, str]:
    """The rule of each event in words, with its thresholds.

    Args:
        share: What is compared with the thresholds.
        first: The curve whose minimum starts circuit formation.
        **thresholds: `memorized`, `generalizing`, `grokked`, `settled` and `sustained`, as in `detect`.

    Raises:
        ValueError: If a threshold is no number from 0 to 1, or `sustained` is not a positive integer.

    Examples:
        >>> rules(grokked=0.95)["grokked"]
        'test accuracy ≥ 0.95 for 5 entries in a row'
    """
    at = _limits(**thresholds)
    return {event: rule.format(share=share, first=first, **at) for event, rule in _RULES.items()}


def detect(
    ds: xr.Dataset,
    *,
    memorized: float = MEMORIZED,
    generalizing: float = GENERALIZING,
    grokked: float = GROKKED,
    settled: float = SETTLED,
    sustained: int = SUSTAINED,
) -> xr.Dataset:
    """When a run memorized, began to form its circuit, generalized, grokked and was cleaned up.

    Phases are bounded by events: memorization ends where the excluded loss is lowest (a model that has
    memorized comes to lean on its keys from there on), circuit formation ends where test accuracy passes a
    half, and cleanup where the weights have stopped to shrink. That last event is relative to the end of the
    curves: a run that is cut off while its weights still creep down has it earlier. A run that has not grokked has no
    cleanup, and its circuit formation has not ended.

    Args:
        ds: Curves over `epoch`: `loss` with splits train and test, and, if there, `accuracy` (else exp(-loss),
            the geometric mean of the probability of the right answer, takes its place), `excluded_loss` (else
            the maximum of the test loss takes the place of its minimum) and `weight_norm` or
            `squared_weight_norm` (else cleanup is not looked for). A trajectory or `run.metrics`; every epoch
            in it counts as one entry, so its spacing is the resolution.
        memorized: Train accuracy, 0 to 1; as the others, those of the whole library by default.
        generalizing: Test accuracy, 0 to 1.
        grokked: Test accuracy, 0 to 1.
        settled: Part of the last sum of squared weights within which it has settled, 0 to 1.
        sustained: Entries in a row for which an accuracy has to hold, at least 1.

    Returns:
        Dataset of `event_epoch` (event), NaN where an event has not been seen (right-censored: it may come
        later than the last entry), with the `rule` of each; `phase_start` and `phase_end` (phase), NaN likewise, with
        the `phase_rule` that ends each; and `delay`, the epochs from memorized to grokked. The thresholds are
        attributes, as in `grokking_times`.

    Raises:
        KeyError: If `loss` is missing.
        TypeError: If the curves are not a Dataset.
        ValueError: If a threshold is no number from 0 to 1, `sustained` is not a positive integer, epochs do not
            rise, an accuracy is not from 0 to 1, or a split lacks numbers.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.2, name the three phases, with boundaries set by hand.

    Examples:
        >>> import grokinterp as gi
        >>> found = detect(gi.load_run("nanda2023").metrics)
        >>> found.event_epoch.sel(event="memorized").item() < 300
        True
    """
    _check_curves(ds)
    epochs = ds.epoch.values
    name, train, test = _shares(ds)
    first, curve = _first_curve(ds)
    at = _limits(memorized=memorized, generalizing=generalizing, grokked=grokked, settled=settled, sustained=sustained)
    words = rules(share=name, first=first, **at)
    generalized = first_sustained(epochs, test >= at["generalizing"], at["sustained"])
    has_grokked = first_sustained(epochs, test >= at["grokked"], at["sustained"])
    # A run that has not grokked may be far from it: its weights are not being cleaned up of anything.
    cleanup = np.nan if np.isnan(has_grokked) else generalized
    found = {
        "memorized": first_sustained(epochs, train >= at["memorized"], at["sustained"]),
        "circuit formation starts": _lowest(epochs, curve, until=generalized),
        "generalizing": generalized,
        "grokked": has_grokked,
        "cleaned up": _settled(epochs, _total_weights(ds), at["settled"], after=cleanup),
    }
    bounds = found | {"generalizing": cleanup}
    event = {"event": list(found)}
    starts = [float(epochs[0]) if start is None else bounds[start] for start, _ in PHASES.values()]
    phase = {"phase": list(PHASES)}
    ends = [bounds[end] for _, end in PHASES.values()]

    def over(values: list[Any], coords: dict[str, list[str]], long_name: str, units: str = "epoch") -> xr.DataArray:
        [dim] = coords
        return labels.array(np.array(values), (dim,), name=dim, units=units, long_name=long_name, coords=coords)

    return xr.Dataset(
        {
            "event_epoch": over(list(found.values()), event, "epoch of the event"),
            "rule": over([words[name] for name in found], event, "rule", ""),
            "phase_start": over(starts, phase, "first epoch of the phase"),
            "phase_end": over(ends, phase, "last epoch of the phase"),
            "phase_rule": over([words[end] for _, end in PHASES.values()], phase, "what ends the phase", ""),
            "delay": labels.array(
                found["grokked"] - found["memorized"], name="delay", units="epoch", long_name="memorized to grokked"
            ),
        },
        attrs=_attrs(at),
    )


def grokking_times(
    ds: xr.Dataset, *, memorized: float = MEMORIZED, grokked: float = GROKKED, sustained: int = SUSTAINED
) -> xr.Dataset:
    """When a run memorized and grokked, how far the two are apart, and up to when it was watched if it did not grok.

    A time is that of the first entry of `sustained` in a row whose accuracy is at a threshold. So the last entry at
    which one can be seen is the `sustained`-th from the end, the horizon. A run without it by then is right-censored:
    it groks after the horizon, or never.

    Args:
        ds: Curves over `epoch` with splits train and test: `accuracy`, or `loss`, as in `detect`. A trajectory or
            `run.metrics`.
        memorized: Train accuracy, 0 to 1; as the others, that of `detect` by default.
        grokked: Test accuracy, 0 to 1.
        sustained: Entries in a row, at least 1.

    Returns:
        Dataset of numbers, in epochs: `memorized` and `grokked`, NaN where it was not seen; `is_censored`, whether
        `grokked` was not; `time`, that of grokking or else the horizon, which is what survival analysis takes;
        `horizon`; `resolution`, the largest gap between entries up to `time`: a threshold was crossed within one gap
        before the entry; `delay`, grokked less memorized, and `ratio`, grokked over memorized, NaN where one of the
        two was not seen. A run that has memorized at epoch 0 has a delay as any other and an infinite ratio, or NaN if
        it has grokked there too. The thresholds are the attributes `memorized_at`, `grokked_at` and `sustained`, and
        `memorized` and `grokked` have their `rule` in words.

    Raises:
        KeyError: If there is neither accuracy nor loss.
        ValueError: As `detect`, or if there are fewer than `sustained` entries.

    Examples:
        >>> import grokinterp as gi
        >>> found = grokking_times(gi.load_run("nanda2023").metrics)
        >>> found.is_censored.item(), found.delay.item() == found.grokked.item() - found.memorized.item()
        (False, True)
    """
    _check_curves(ds, stand_in="accuracy")
    epochs = ds.epoch.values
    name, train, test = _shares(ds)
    at = _limits(memorized=memorized, grokked=grokked, sustained=sustained)
    words = rules(share=name, **at)
    if len(epochs) < at["sustained"]:
        msg = f"grokking times need at least sustained={sustained} entries, got {len(epochs)}; log more often."
        raise ValueError(msg)
    first = first_sustained(epochs, train >= at["memorized"], at["sustained"])
    found = first_sustained(epochs, test >= at["grokked"], at["sustained"])
    horizon = float(epochs[-at["sustained"]])
    time = horizon if np.isnan(found) else found
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(found, first))

    numbers = {
        "memorized": (first, "epoch", "memorized"),
        "grokked": (found, "epoch", "grokked"),
        "time": (time, "epoch", "epoch of grokking, or the last at which it could be seen"),
        "horizon": (horizon, "epoch", "last epoch at which grokking could be seen"),
        "resolution": (float(np.diff(epochs[epochs <= time]).max(initial=0)), "epoch", "largest gap between entries"),
        "delay": (found - first, "epoch", "memorized to grokked"),
        "ratio": (ratio, "", "grokked over memorized"),
    }
    variables = {
        name: labels.array(value, name=name, units=units, long_name=long_name)
        for name, (value, units, long_name) in numbers.items()
    }
    variables["is_censored"] = labels.array(
        np.array(np.isnan(found)), name="is_censored", units="", long_name="not grokked by the horizon"
    )
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

    After memorizing, a spike is a stretch of entries whose train loss is more than `factor` times the least since
    then, and more than `least`. It is a slingshot if from the entry before it to its last the norm of the unembedding
    rises, to its highest, by more than the part `growth`.

    Args:
        ds: Curves over `epoch`: `loss`, `weight_norm` with the unembedding among its parameters, and, if there,
            `accuracy`, by which it is told when the run had memorized, as in `detect`. A slingshot that is shorter
            than the gap between entries is not seen.
        factor: Above the least train loss.
        least: Train loss, nats: below it lies what rounding makes of an optimizer's steps.
        growth: Part of the norm.
        memorized: Train accuracy, 0 to 1.
        sustained: Entries in a row for which it has to hold, at least 1.

    Returns:
        Dataset over `event`, numbered from 0; of none, where there is no slingshot: `start` and `end`, the first and
        the last epoch of the spike, `loss_factor`, its highest train loss over the least before it, and
        `norm_growth`, the part by which the norm of the unembedding rises.

    Raises:
        KeyError: If `loss` or the unembedding's norm is missing.
        ValueError: As `detect`, or if `factor` is not positive, or `least` or `growth` is negative.

    Source:
        Thilak et al. 2022, arXiv:2206.04817: with Adam and no weight decay, late in training, the norm of the last
        layer grows in cycles, with a spike of the train loss in each. They state no rule; this one is ours.

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
    at = _limits(memorized=memorized, sustained=sustained)
    since = first_sustained(epochs, _shares(ds)[1] >= at["memorized"], at["sustained"])
    after = epochs >= since  # nowhere, if that is NaN
    lowest = np.minimum.accumulate(np.where(after, loss, np.inf))
    before = np.concatenate([[np.inf], lowest[:-1]])
    found = []
    for first, last in _stretches(after & (loss > np.maximum(factor * before, least))):
        rise = norm[first : last + 1].max() / norm[first - 1] - 1
        if rise > growth:
            found.append((epochs[first], epochs[last], loss[first : last + 1].max() / before[first], rise))
    names = {
        "start": ("epoch", "first epoch of the spike"),
        "end": ("epoch", "last epoch of the spike"),
        "loss_factor": ("", "highest train loss over the least before"),
        "norm_growth": ("", "growth of the unembedding's norm"),
    }
    columns = np.array(found, dtype=float).reshape(-1, len(names)).T
    return xr.Dataset(
        {
            name: labels.array(column, ("event",), name=name, units=units, long_name=long_name)
            for column, (name, (units, long_name)) in zip(columns, names.items(), strict=True)
        }
    )


def _limits(*, sustained: int = SUSTAINED, **thresholds: float) -> dict[str, Any]:
    """All thresholds as plain numbers: those that are given, and the defaults of the others."""
    every = {"memorized": MEMORIZED, "generalizing": GENERALIZING, "grokked": GROKKED, "settled": SETTLED} | thresholds
    at = {name: arguments.number(value, name, minimum=0, maximum=1) for name, value in every.items()}
    return at | {"sustained": arguments.integer(sustained, "sustained", minimum=1)}


def _attrs(at: dict[str, Any]) -> dict[str, Any]:
    return {"memorized_at": at["memorized"], "grokked_at": at["grokked"], "sustained": at["sustained"]}


def _check_curves(ds: object, *, stand_in: str = "loss") -> None:
    """Check what every rule reads: the loss, or what may stand in for it, by split over rising epochs."""
    if not isinstance(ds, xr.Dataset):
        msg = f"phases need a Dataset of curves, got {arguments.shown(ds)}; pass run.metrics or a trajectory."
        raise TypeError(msg)
    if "loss" not in ds and stand_in not in ds:
        msg = "phases need 'loss': add gi.progress.losses to the trajectory."
        raise KeyError(msg)
    for name in [name for name in ("accuracy", "loss") if name in ds]:
        curves, splits = ds[name], ds.split.values.tolist() if "split" in ds else []
        if set(curves.dims) != {"epoch", "split"} or not {"train", "test"} <= set(splits):
            msg = f"phases need {name!r} over epoch and splits train and test, got {dict(curves.sizes)} of {splits}."
        elif not curves.size or curves.isnull().all("epoch").any():
            msg = f"phases need at least one number of {name!r} in each split, got {curves.sizes['epoch']} entries."
        elif name == "accuracy" and ((curves < 0) | (curves > 1)).any():
            msg = f"accuracies must be from 0 to 1, got {curves.min():g} to {curves.max():g}; divide percents by 100."
        elif not (np.diff(ds.epoch.values) > 0).all():
            msg = 'epochs must rise from entry to entry, each of them once; sort them with ds.sortby("epoch").'
        else:
            continue
        raise ValueError(msg)


def _shares(ds: xr.Dataset) -> tuple[str, np.ndarray, np.ndarray]:
    """What stands for accuracy, by name, and its curves of train and test."""
    name, share = ("accuracy", ds.accuracy) if "accuracy" in ds else ("exp(-loss)", np.exp(-ds.loss))
    train, test = (share.sel(split=split).values for split in ("train", "test"))
    return name, train, test


def _stretches(holds: np.ndarray) -> list[tuple[int, int]]:
    """First and last place of each stretch in which a condition holds.

    Examples:
        >>> _stretches(np.array([False, True, True, False, True]))
        [(1, 2), (4, 4)]
    """
    edges = np.diff(np.concatenate([[0], holds.astype(int), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def first_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """The first epoch from which a condition holds for some entries in a row, NaN if none.

    Examples:
        >>> first_sustained(np.arange(6), np.array([True, False, True, True, True, False]), 3)
        2.0
    """
    if len(holds) < sustained:
        return float("nan")
    runs = np.lib.stride_tricks.sliding_window_view(holds, sustained).all(axis=1)
    return float(epochs[runs.argmax()]) if runs.any() else float("nan")


def _first_curve(ds: xr.Dataset) -> tuple[str, np.ndarray]:
    """The curve whose minimum ends memorization, and its name."""
    if "excluded_loss" not in ds:
        return "minus the test loss", -ds.loss.sel(split="test").values
    keys = ds.excluded_loss.attrs.get("key_frequencies")
    # Without keys the measure takes out every frequency; a curve of another origin does not say what it is of.
    of = f" of keys {keys}" if keys else " of all frequencies" if "form" in ds.excluded_loss.attrs else ""
    return f"the excluded loss{of}", ds.excluded_loss.values


def _lowest(epochs: np.ndarray, curve: np.ndarray, *, until: float) -> float:
    """The epoch of the minimum up to an epoch; NaN if it is the last of all, where the curve may go on falling."""
    before = curve if np.isnan(until) else curve[epochs <= until]
    place = int(np.nanargmin(before))
    return float("nan") if place == len(curve) - 1 else float(epochs[place])


def _total_weights(ds: xr.Dataset) -> np.ndarray | None:
    if "weight_norm" in ds:
        return ds.weight_norm.sum("parameter").values
    return ds.squared_weight_norm.values if "squared_weight_norm" in ds else None


def _settled(epochs: np.ndarray, total: np.ndarray | None, part: float, *, after: float) -> float:
    """The first epoch from which a curve stays near its last value; NaN if it gets there in the last tenth only."""
    if total is None or np.isnan(after):
        return float("nan")
    away = np.abs(total - total[-1]) > part * total[-1]
    first = float(epochs[int(np.flatnonzero(away).max(initial=-1)) + 1])
    still_falling = first > epochs[-1] - 0.1 * (epochs[-1] - after)
    return float("nan") if still_falling else max(first, after)
