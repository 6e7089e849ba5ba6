"""The phases of grokking and its events, found in curves by stated rules and never by given epochs."""

from typing import Final

import numpy as np
import xarray as xr

from grokinterp import labels


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

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.2, name the three phases, with boundaries set by hand.

    Examples:
        >>> import grokinterp as gi
        >>> found = detect(gi.load_run("nanda2023").metrics)
        >>> found.event_epoch.sel(event="memorised").item() < 300
        True
    """
    if "loss" not in ds:
        msg = "phases need 'loss': add gi.progress.losses to the trajectory."
        raise KeyError(msg)
    epochs = ds.epoch.values
    name, share = ("accuracy", ds.accuracy) if "accuracy" in ds else ("exp(-loss)", np.exp(-ds.loss))
    train, test = (share.sel(split=split).values for split in ("train", "test"))
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
