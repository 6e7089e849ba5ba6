"""The findings of a report as sentences, from labeled data; nothing is computed or read here."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import xarray as xr


_MEANINGS: Final[Mapping[str, str]] = {
    "memorization": "the model fits its training pairs and does not generalize",
    "circuit formation": "the circuit of the key frequencies grows alongside the memorized solution",
    "cleanup": "weight decay removes the memorized solution, and test accuracy rises",
}
NO_ATTENTION: Final = "The model has no attention, so attention patterns are omitted."


def outcome(metrics: xr.Dataset, events: xr.Dataset, *, planned: int) -> list[str]:
    """Losses and accuracies at the last logged epoch, and whether and when the run grokked.

    Args:
        metrics: `loss` and `accuracy` over (epoch, split), as in `run.metrics`.
        events: Result of `gi.phases.detect` for the metrics.
        planned: Total number of epochs in the config.
    """
    last = int(metrics["epoch"].values[-1])
    unfinished = f"The run is unfinished: {last:,} of {planned:,} epochs are logged, so the findings may change."
    sentences = [unfinished] if last < planned else []
    loss, accuracy = (
        {split: float(metrics[name].sel(split=split).values[-1]) for split in ("train", "test")}
        for name in ("loss", "accuracy")
    )
    sentences.append(
        f"At epoch {last:,} the train loss is {number(loss['train'])} nats and the test loss "
        f"{number(loss['test'])} nats; the accuracies are {number(accuracy['train'])} and {number(accuracy['test'])}."
    )
    return sentences + _grokking(events, last)


def _grokking(events: xr.Dataset, last: int) -> list[str]:
    names = ("memorized", "generalizing", "grokked")
    memorized, generalizing, grokked = (float(events["event_epoch"].sel(event=name)) for name in names)
    rule = {name: events["rule"].sel(event=name).item() for name in names}
    if math.isnan(memorized):
        return [f"It had not memorized its training pairs by epoch {last:,} ({rule['memorized']})."]
    begun = f"It had memorized its training pairs at epoch {memorized:,.0f} ({rule['memorized']})"
    if not math.isnan(grokked):
        delay = grokked - memorized
        at = f"at epoch {grokked:,.0f} ({rule['grokked']})"
        if delay <= 0:
            return [f"{begun} and reached the test threshold no later, {at}: there is no grokking delay."]
        return [f"{begun} and grokked {at}, {delay:,.0f} epochs later."]
    not_yet = f"has not grokked by epoch {last:,} ({rule['grokked']})"
    if not math.isnan(generalizing):
        return [f"{begun}, generalizes since epoch {generalizing:,.0f} ({rule['generalizing']}), and {not_yet}."]
    return [f"{begun} and {not_yet}."]


def phases(ds: xr.Dataset) -> list[str]:
    """One sentence per phase of training, from the result of `gi.phases.detect`.

    Examples:
        >>> edges = {"phase": ["memorization", "cleanup"]}
        >>> start = xr.DataArray([0.0, np.nan], dims="phase", coords=edges)
        >>> ends = {"phase_end": start + 70, "phase_rule": ("phase", ["minimum of the excluded loss", "settled"])}
        >>> phases(xr.Dataset({"phase_start": start, **ends}))
        ['Memorization lasts from epoch 0 to 70 (minimum of the excluded loss): ...', 'Cleanup has not been reached.']
    """
    sentences = []
    for name in map(str, ds["phase"].values):
        start, end = (float(ds[edge].sel(phase=name)) for edge in ("phase_start", "phase_end"))
        meaning = f": {_MEANINGS[name]}" if name in _MEANINGS else ""
        if math.isnan(start):
            sentences.append(f"{name.capitalize()} has not been reached.")
        elif math.isnan(end):
            sentences.append(f"{name.capitalize()} began at epoch {start:,.0f} and has not ended{meaning}.")
        else:
            rule = ds["phase_rule"].sel(phase=name).item()
            sentences.append(f"{name.capitalize()} lasts from epoch {start:,.0f} to {end:,.0f} ({rule}){meaning}.")
    return sentences


def keys(by_rule: Mapping[str, Sequence[int]]) -> list[str]:
    """The key frequencies by the rule `logits`, and whether the other rules of `gi.fourier.key_frequencies` agree.

    Examples:
        >>> keys({"logits": [3, 5], "W_L": [3, 5]})
        ['The key frequencies are 3 and 5.', 'All 2 rules agree.']
    """
    chosen = list(by_rule["logits"])
    if not chosen:
        return [
            "No frequency explains more than 0.01 of the logit variance: the model has no key frequencies, so measures "
            "that depend on them are omitted."
        ]
    one = len(chosen) == 1
    sentences = [f"The key {'frequency is' if one else 'frequencies are'} {words(chosen)}."]
    different = {rule: keys for rule, keys in by_rule.items() if list(keys) != chosen}
    if not different:
        return [*sentences, f"All {len(by_rule)} rules agree."]
    for rule, keys in different.items():
        missing, more = sorted(set(chosen) - set(keys)), sorted(set(keys) - set(chosen))
        parts = [f"lacks {words(missing)}"] if missing else []
        parts += [f"adds {words(more)}" if len(more) <= 6 else f"adds {len(more)} others"] if more else []
        sentences.append(f"The rule {rule} {' and '.join(parts)}.")
    return sentences


def logits(fve: xr.DataArray, keys: Sequence[int]) -> list[str]:
    """The fraction of logit variance that the key frequencies explain at the last epoch.

    Args:
        fve: `logit_fve` over (epoch, frequency).
        keys: Key frequencies; without any, the largest frequency is described.
    """
    last = fve.isel(epoch=-1)
    if not keys:
        largest = int(last["frequency"].values[last.values.argmax()])
        explained = number(float(last.values.max()))
        return [f"The largest frequency, k\u00a0=\u00a0{largest}, explains {explained} of the logit variance."]
    explained = number(float(last.sel(frequency=list(keys)).values.sum()))
    each = [f"{number(float(last.sel(frequency=k)))} by k\u00a0=\u00a0{k}" for k in keys]
    parts = f": {words(each)}" if 1 < len(each) <= 8 else ""
    return [f"The key frequencies explain {explained} of the logit variance{parts}."]


def measures(ds: xr.Dataset) -> list[str]:
    """The restricted and excluded losses at the last epoch of a trajectory with these and `loss`."""
    loss = {split: float(ds["loss"].sel(split=split).values[-1]) for split in ("train", "all")}
    restricted, excluded = (float(ds[f"{name}_loss"].values[-1]) for name in ("restricted", "excluded"))
    verdict = "less" if restricted < loss["all"] else "more"
    return [
        f"With only the key frequencies in the logits, the loss over all pairs is {number(restricted)} nats, "
        f"{verdict} than {number(loss['all'])} nats for the full model.",
        f"Without the key frequencies, the train loss is {number(excluded)} nats instead of {number(loss['train'])}.",
    ]


def neurons(ds: xr.Dataset, *, threshold: float = 0.85) -> list[str]:
    r"""The number of neurons that one frequency explains, in total and per frequency.

    Args:
        ds: `neuron_frequency` and `neuron_fve` over `neuron`, and possibly over `epoch`.
        threshold: FVE from which a neuron counts as explained.

    Examples:
        >>> fit = {"neuron_frequency": ("neuron", [3, 3, 5]), "neuron_fve": ("neuron", [0.9, 0.95, 0.2])}
        >>> neurons(xr.Dataset(fit))
        ['One frequency explains at least 0.85 of 2 of the 3 neurons: 2 by k\xa0=\xa03.']
    """
    ds = ds.isel(epoch=-1) if "epoch" in ds.dims else ds
    is_clear = ds["neuron_fve"].values >= threshold
    frequencies, counts = np.unique(ds["neuron_frequency"].values[is_clear].astype(int), return_counts=True)
    head = f"One frequency explains at least {threshold:g} of {is_clear.sum()} of the {len(is_clear)} neurons"
    if not len(frequencies):
        return [f"{head}."]
    order = np.argsort(-counts, kind="stable")[:8]
    parts = [f"{counts[i]} by k\u00a0=\u00a0{frequencies[i]}" for i in sorted(order)]
    rest = int(counts.sum() - counts[order].sum())
    return [f"{head}: {words([*parts, f'{rest} by others'] if rest else parts)}."]


def no_group(task: str) -> str:
    """The sentence that explains why a report has no Fourier sections.

    Examples:
        >>> no_group("x2+y2 mod 7")[:36]
        'The answers of x2+y2 mod 7 are not t'
    """
    return (
        f"The answers of {task} are not the products of a group, so frequencies and irreps are not defined: spectra, "
        "key frequencies, restricted and excluded losses and neuron clusters are omitted."
    )


def irreps(group: str, names: Mapping[int, str]) -> str:
    """The meaning of frequency numbers for a group that is not cyclic.

    Examples:
        >>> irreps("S_3", {1: "1b", 2: "2a"})
        'The group S_3 is not cyclic: k numbers its irreps, 1 (1b) and 2 (2a), and characters replace cosines.'
    """
    numbered = [f"{k} ({name})" for k, name in names.items()]
    return f"The group {group} is not cyclic: k numbers its irreps, {words(numbered)}, and characters replace cosines."


def number(value: float) -> str:
    """A number with three significant digits, in scientific notation if it is very small.

    Examples:
        >>> number(0.99999), number(1.0), number(2.4e-7), number(0.0)
        ('0.99999', '1', '2.4e-7', '0')
    """
    # A value just below 1 must not be shown as 1.
    if 0.9995 <= value < 1:
        return f"{min(value, 0.99999):.5f}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+")


def table_number(value: float) -> str:
    """A number with up to five significant digits for tables of published values, an integer from 1000.

    Examples:
        >>> table_number(4.764052), table_number(3663.005), table_number(56.0), table_number(2.4122e-7)
        ('4.7641', '3,663', '56', '2.41e-7')
    """
    if abs(value) >= 1000 or (value.is_integer() and (abs(value) >= 1 or value == 0)):
        return f"{value:,.0f}"
    return f"{value:.5g}" if abs(value) >= 1e-3 else number(value)


def words(items: Sequence[object]) -> str:
    """Join items with commas and "and".

    Examples:
        >>> words([14, 35, 41])
        '14, 35 and 41'
    """
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
