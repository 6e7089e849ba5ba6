"""The phases of grokking and its events, found in curves by stated rules and never by given epochs."""

from typing import Final

import numpy as np
import xarray as xr

from grokinterp import arguments, labels


RULES: Final = {
    "memorised": "train {share} reaches {memorised} and stays there for {sustained} entries",
    "circuit formation starts": "minimum of {first}, before generalising",
    "generalising": "test {share} reaches {generalising} and stays there for {sustained} entries",
    "grokked": "test {share} reaches {grokked} and stays there for {sustained} entries",
    "cleaned up": "the sum of squared weights stays within {settled:.0%} of its last value, after generalising",
}
PHASES: Final = {
    "memorization": (None, "circuit formation starts"),
    "circuit formation": ("circuit formation starts", "generalising"),
    "cleanup": ("generalising", "cleaned up"),
}


def detect(
    ds: xr.Dataset,
    *,
    memorised: float = 0.99,
    generalising: float = 0.5,
    grokked: float = 0.99,
    settled: float = 0.05,
    sustained: int = 5,
) -> xr.Dataset:
    """When a run memorised, began to form its circuit, generalised, grokked and was cleaned up.

    Phases are bounded by events: memorization ends where the excluded loss is lowest (a model that has
    memorised comes to lean on its keys from there on), circuit formation ends where test accuracy passes a
    half, and cleanup where the weights have stopped to shrink. That last event is relative to the end of the
    curves: a run that is cut off while its weights still creep down has it earlier.

    Args:
        ds: Curves over `epoch`: `loss` with splits train and test, and, if there, `accuracy` (else exp(-loss),
            the geometric mean of the probability of the right answer, takes its place), `excluded_loss` (else
            the maximum of the test loss takes the place of its minimum) and `weight_norm` or
            `squared_weight_norm` (else cleanup is not looked for). A trajectory or `run.metrics`; every epoch
            in it counts as one entry, so its spacing is the resolution.
        memorised: Train accuracy, 0 to 1.
        generalising: Test accuracy, 0 to 1.
        grokked: Test accuracy, 0 to 1.
        settled: Part of the last sum of squared weights within which it has settled.
        sustained: Entries in a row for which an accuracy has to hold.

    Returns:
        Dataset of `event_epoch` (event), NaN where an event has not been seen (right-censored: it may come
        later than the last entry), with the `rule` of each; `phase_start` and `phase_end` (phase), NaN likewise;
        and `delay`, the epochs from memorised to grokked.

    Raises:
        KeyError: If `loss` is missing.
        ValueError: If a threshold is out of range, or `sustained` is below 1.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.2, name the three phases, with boundaries set by hand.

    Examples:
        >>> import grokinterp as gi
        >>> found = detect(gi.load_run("nanda2023").metrics)
        >>> found.event_epoch.sel(event="memorised").item() < 300
        True
    """
    memorised, generalising = (
        arguments.fraction(memorised, "memorised"),
        arguments.fraction(generalising, "generalising"),
    )
    grokked, settled = arguments.fraction(grokked, "grokked"), arguments.fraction(settled, "settled")
    sustained = arguments.integer(sustained, "sustained", minimum=1)
    _require_loss(ds)
    epochs = ds.epoch.values
    name, train, test = _shares(ds)
    generalised = _first_sustained(epochs, test >= generalising, sustained)
    first, curve = _first_curve(ds)
    found = {
        "memorised": _first_sustained(epochs, train >= memorised, sustained),
        "circuit formation starts": _lowest(epochs, curve, until=generalised),
        "generalising": generalised,
        "grokked": _first_sustained(epochs, test >= grokked, sustained),
        "cleaned up": _settled(epochs, _total_weights(ds), settled, after=generalised),
    }
    words = {"memorised": memorised, "generalising": generalising, "grokked": grokked, "share": name}
    rules = [rule.format(**words, sustained=sustained, settled=settled, first=first) for rule in RULES.values()]
    event = {"event": list(found)}
    starts = [float(epochs[0]) if start is None else found[start] for start, _ in PHASES.values()]
    phase = {"phase": list(PHASES)}
    ends = [found[end] for _, end in PHASES.values()]

    def of_epochs(values: list[float], dim: str, coords: dict[str, list[str]], long_name: str) -> xr.DataArray:
        return labels.array(values, (dim,), name=dim, units="epoch", long_name=long_name, coords=coords)

    return xr.Dataset(
        {
            "event_epoch": of_epochs(list(found.values()), "event", event, "epoch of the event"),
            "rule": labels.array(np.array(rules), ("event",), name="rule", units="", long_name="rule", coords=event),
            "phase_start": of_epochs(starts, "phase", phase, "first epoch of the phase"),
            "phase_end": of_epochs(ends, "phase", phase, "last epoch of the phase"),
            "delay": labels.array(
                found["grokked"] - found["memorised"], name="delay", units="epoch", long_name="memorised to grokked"
            ),
        }
    )


def grokking_times(ds: xr.Dataset, *, memorised: float = 0.99, grokked: float = 0.95, sustained: int = 5) -> xr.Dataset:
    """When a run memorised and grokked, how far the two are apart, and up to when it was watched if it did not grok.

    A time is that of the first entry of `sustained` in a row whose accuracy is at a threshold. So the last entry at
    which one can be seen is the `sustained`-th from the end, the horizon. A run without it by then is right-censored:
    it groks after the horizon, or never.

    Args:
        ds: Curves over `epoch` with splits train and test: `accuracy`, or `loss`, as in `detect`. A trajectory or
            `run.metrics`.
        memorised: Train accuracy, 0 to 1.
        grokked: Test accuracy, 0 to 1.
        sustained: Entries in a row.

    Returns:
        Dataset of numbers, in epochs: `memorised` and `grokked`, NaN where it was not seen; `is_censored`, whether
        `grokked` was not; `time`, that of grokking or else the horizon, which is what survival analysis takes;
        `horizon`; `resolution`, the largest gap between entries up to `time`: a threshold was crossed within one gap
        before the entry; `delay`, grokked less memorised, and `ratio`, grokked over memorised, NaN where one of the
        two was not seen. A run that has memorised at epoch 0 has a delay as any other and an infinite ratio, or NaN if
        it has grokked there too.

    Raises:
        KeyError: If there is neither accuracy nor loss.
        ValueError: If there are fewer entries than `sustained`, it is below 1, or a threshold is out of range.

    Examples:
        >>> import grokinterp as gi
        >>> found = grokking_times(gi.load_run("nanda2023").metrics)
        >>> found.is_censored.item(), found.delay.item() == found.grokked.item() - found.memorised.item()
        (False, True)
    """
    memorised, grokked = arguments.fraction(memorised, "memorised"), arguments.fraction(grokked, "grokked")
    sustained = arguments.integer(sustained, "sustained", minimum=1)
    if "accuracy" not in ds:
        _require_loss(ds)
    epochs = ds.epoch.values
    if len(epochs) < sustained:
        msg = f"grokking times need at least sustained={sustained} entries, got {len(epochs)}; log more often."
        raise ValueError(msg)
    _, train, test = _shares(ds)
    first = _first_sustained(epochs, train >= memorised, sustained)
    found = _first_sustained(epochs, test >= grokked, sustained)
    horizon = float(epochs[-sustained])
    time = horizon if np.isnan(found) else found
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(found, first))

    numbers = {
        "memorised": (first, "epoch", f"train accuracy at {memorised}"),
        "grokked": (found, "epoch", f"test accuracy at {grokked}"),
        "time": (time, "epoch", "epoch of grokking, or the last at which it could be seen"),
        "horizon": (horizon, "epoch", "last epoch at which grokking could be seen"),
        "resolution": (_largest_gap(epochs, until=time), "epoch", "largest gap between entries"),
        "delay": (found - first, "epoch", "memorised to grokked"),
        "ratio": (ratio, "", "grokked over memorised"),
    }
    variables = {
        name: labels.array(value, name=name, units=units, long_name=long_name)
        for name, (value, units, long_name) in numbers.items()
    }
    variables["is_censored"] = labels.array(
        np.array(np.isnan(found)), name="is_censored", units="", long_name="not grokked by the horizon"
    )
    thresholds = {"memorised_at": memorised, "grokked_at": grokked, "sustained": sustained}
    return xr.Dataset(variables, attrs=thresholds)


def slingshots(
    ds: xr.Dataset,
    *,
    factor: float = 10.0,
    least: float = 1e-3,
    growth: float = 0.01,
    memorised: float = 0.99,
    sustained: int = 5,
) -> xr.Dataset:
    """The slingshots of a run: spikes of the train loss while the norm of the unembedding rises.

    After memorising, a spike is a stretch of entries whose train loss is more than `factor` times the least since
    then, and more than `least`. It is a slingshot if from the entry before it to its last the norm of the unembedding
    rises, to its highest, by more than the part `growth`.

    Args:
        ds: Curves over `epoch`: `loss`, `weight_norm` with the unembedding among its parameters, and, if there,
            `accuracy`, by which it is told when the run had memorised, as in `detect`. A slingshot that is shorter
            than the gap between entries is not seen.
        factor: Above the least train loss.
        least: Train loss, nats: below it lies what rounding makes of an optimizer's steps.
        growth: Part of the norm.
        memorised: Train accuracy, 0 to 1.
        sustained: Entries in a row for which it has to hold.

    Returns:
        Dataset over `event`, numbered from 0; of none, where there is no slingshot: `start` and `end`, the first and
        the last epoch of the spike, `loss_factor`, its highest train loss over the least before it, and
        `norm_growth`, the part by which the norm of the unembedding rises.

    Raises:
        KeyError: If `loss` or the unembedding's norm is missing.
        ValueError: If a threshold is out of range, or `sustained` is below 1.

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
        >>> slingshots(ds, memorised=0.9).start.values.tolist()
        [60.0]
    """
    factor = arguments.number(factor, "factor", above=0)
    least, growth = arguments.number(least, "least", minimum=0), arguments.number(growth, "growth", minimum=0)
    memorised = arguments.fraction(memorised, "memorised")
    sustained = arguments.integer(sustained, "sustained", minimum=1)
    _require_loss(ds)
    if "weight_norm" not in ds or "unembed.W_U" not in ds.weight_norm.parameter:
        msg = "slingshots need the 'weight_norm' of unembed.W_U: add gi.progress.weight_norm to the trajectory."
        raise KeyError(msg)
    epochs, loss = ds.epoch.values, ds.loss.sel(split="train").values
    norm = np.sqrt(ds.weight_norm.sel(parameter="unembed.W_U").values)
    since = _first_sustained(epochs, _shares(ds)[1] >= memorised, sustained)
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


def _require_loss(ds: xr.Dataset) -> None:
    if "loss" not in ds:
        msg = "phases need 'loss': add gi.progress.losses to the trajectory."
        raise KeyError(msg)


def _shares(ds: xr.Dataset) -> tuple[str, np.ndarray, np.ndarray]:
    """What stands for accuracy, by name, and its curves of train and test."""
    name, share = ("accuracy", ds.accuracy) if "accuracy" in ds else ("exp(-loss)", np.exp(-ds.loss))
    train, test = (share.sel(split=split).values for split in ("train", "test"))
    return name, train, test


def _largest_gap(epochs: np.ndarray, *, until: float) -> float:
    """Between the entries up to an epoch; 0 if that is the first."""
    return float(np.diff(epochs[epochs <= until]).max(initial=0))


def _stretches(holds: np.ndarray) -> list[tuple[int, int]]:
    """First and last place of each stretch in which a condition holds.

    Examples:
        >>> _stretches(np.array([False, True, True, False, True]))
        [(1, 2), (4, 4)]
    """
    edges = np.diff(np.concatenate([[0], holds.astype(int), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def _first_sustained(epochs: np.ndarray, holds: np.ndarray, sustained: int) -> float:
    """The first epoch from which a condition holds for some entries in a row, NaN if none."""
    if len(holds) < sustained:
        return float("nan")
    runs = np.lib.stride_tricks.sliding_window_view(holds, sustained).all(axis=1)
    return float(epochs[runs.argmax()]) if runs.any() else float("nan")


def _first_curve(ds: xr.Dataset) -> tuple[str, np.ndarray]:
    """The curve whose minimum ends memorization, and its name."""
    if "excluded_loss" in ds:
        return "the excluded loss", ds.excluded_loss.values
    return "minus the test loss", -ds.loss.sel(split="test").values


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
