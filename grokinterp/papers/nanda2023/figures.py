"""The paper's figures in its order, drawn from a run, with the published lines if they could be read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import plotly.graph_objects as go
import xarray as xr

from grokinterp import attention, fourier, interventions, logits, neurons, phases, plots
from grokinterp.measures import Measure
from grokinterp.models.factored import is_factorable
from grokinterp.papers.evidence import Evidence
from grokinterp.papers.paper import Figure
from grokinterp.papers.published import across, published, seeds
from grokinterp.report.data import circle_keys


# Published figure -> published line -> our variable.
_LINES: Final[Mapping[str, Mapping[str, str]]] = {
    "excluded_loss_2D_full": {"excl_full": "excluded_loss_2D", "train": "train_loss", "test": "test_loss"},
    "excluded_loss_3D_full": {"excl_full": "excluded_loss_3D", "train": "train_loss", "test": "test_loss"},
    "excluded_acc_2D_full": {
        "excl_full": "excluded_accuracy_2D",
        "train acc": "train_accuracy",
        "test acc": "test_accuracy",
    },
    "trig_loss": {
        "trig(all)": "restricted_loss",
        "trig_train": "restricted_loss_train",
        "train": "train_loss",
        "test": "test_loss",
    },
    "trig_loss_ratio": {"test/trig": "test_over_restricted"},
    "trig_acc": {
        "trig_acc": "restricted_accuracy",
        "trig_acc_train": "restricted_accuracy_train",
        "train_acc": "train_accuracy",
        "test_acc": "test_accuracy",
    },
    "sum_sq_weight_total": {"total": "squared_weights"},
    "mod_addition_loss_curve": {"train": "train_loss", "test": "test_loss"},
}
_PREFIXES: Final[Mapping[str, str]] = {
    "excluded_loss_2D_key": "excluded_loss_2D_",
    "excluded_loss_3D_key": "excluded_loss_3D_",
}


def line_name(figure: str, line: str) -> str:
    """Our name for a line of a published figure.

    Examples:
        >>> line_name("excluded_loss_2D_key", "14"), line_name("excluded_loss_2D_key", "train")
        ('excluded_loss_2D_14', 'train_loss')
    """
    if line in _LINES.get(figure, {}):
        return _LINES[figure][line]
    if line in ("train", "test"):
        return f"{line}_loss"
    return _PREFIXES.get(figure, "") + line


def figures(evidence: Evidence) -> Iterator[Figure]:
    """Every figure that the evidence allows; published lines are drawn only if the run matches the paper.

    Raises:
        NotAvailableError: If the evidence has no run, or the model has no key frequencies.
    """
    yield from _embedding(evidence)
    yield from _circuit(evidence)
    yield from _progress(evidence)
    if evidence.matches_paper:
        yield from _over_seeds(evidence)
    yield from _further(evidence)
    if evidence.matches_paper:
        yield from _across_settings(evidence, "weight_decay", "Weight decay")
        yield from _across_settings(evidence, "p", "Moduli")


def _embedding(evidence: Evidence) -> Iterator[Figure]:
    circles = circle_keys(evidence.snapshot, evidence.keys)
    if circles:
        yield (
            "Figure 1: the algorithm as rotations",
            lambda: plots.embedding_circles(_measured(evidence, fourier.embedding_circles(circles))),
            "The paper's diagram, drawn from the model: every residue x in the (cos, sin) plane of W_E for frequency "
            "k. Adding b rotates the circle by w_k b.",
        )
    if evidence.matches_paper:
        yield (
            "Figure 2: loss and accuracy over seeds",
            lambda: plots.over_seeds(seeds(evidence.paper).drop_vars(["restricted_loss", "keys"])),
            "Reruns of the paper's recipe with seeds 0 to 4, and with seed 0 and one weight changed by a relative 1e-7 "
            "or the train pairs summed in a different order, up to epoch 16,000.",
        )
    yield (
        "Figure 3: the Fourier components of W_E and W_L",
        lambda: plots.spectrum(_measured(evidence, fourier.components), keys=list(evidence.keys)),
        "Norms of the components of W_E over the residual stream, and of W_L over neurons. The published bars of W_E "
        "are squared norms; see the table.",
    )


def _circuit(evidence: Evidence) -> Iterator[Figure]:
    snapshot = evidence.snapshot
    clusters = neurons.clusters(snapshot)
    if snapshot.config.has_attention:
        yield (
            "Figure 4a: attention from '=' to a",
            lambda: plots.attention(_measured(evidence, attention.pattern)),
            "Each head over all pairs: periodic stripes at the head's frequency, which is in the table.",
        )
    yield (
        "Figure 4b: neurons over all pairs",
        lambda: plots.neuron_grid(_measured(evidence, neurons.activations(range(min(4, snapshot.config.d_mlp))))),
        "The first four neurons. Each is periodic in both inputs.",
    )
    yield (
        "Figure 4c: the logits in the 2-D Fourier basis",
        lambda: plots.logit_components(_measured(evidence, logits.components)),
        "Norms over classes. The bright two-by-two blocks of cos and sin belong to the key frequencies.",
    )
    yield (
        "Figure 5a: neurons by frequency",
        lambda: plots.neuron_clusters(_measured(evidence, neurons.frequency, neurons.fve, neurons.phase)),
        "FVE of each neuron by its best frequency, the number of neurons per key frequency, and their phases.",
    )
    yield (
        "The neurons' 2-D Fourier transforms",
        lambda: plots.neuron_spectra(_measured(evidence, neurons.spectrum)),
        "A row per neuron: the fraction of its variance in the eight products of 1, cos and sin of each frequency.",
    )
    if clusters:
        k = min(clusters)
        yield (
            f"Figure 5b: readout of the neurons with k = {k}",
            lambda: plots.readout_components(_measured(evidence, logits.readout_components(clusters[k]))),
            "Their rows of W_L in the Fourier basis of the classes: almost only their own frequency.",
        )
    yield (
        "Figure 6: ablating frequencies",
        lambda: plots.effects(_effects(evidence)),
        "Loss with cos and sin(w_k(a+b)) of each key frequency ablated from the neurons, and with only them kept.",
    )
    if is_factorable(snapshot.config):
        yield (
            "C_j: what makes the attention periodic",
            lambda: plots.score_components(_measured(evidence, attention.score_components)),
            "Attention scores from '=' to each token, in the Fourier basis: one frequency per head.",
        )


def _progress(evidence: Evidence) -> Iterator[Figure]:
    curves = evidence.curves
    yield (
        "Figure 7: progress measures",
        lambda: plots.progress(curves.rename(excluded_loss_2D="excluded_loss"), phases=_phases(curves)),
        "Excluded loss, restricted loss, Gini coefficients and sum of squared weights. Shading marks the phases, "
        "labeled with the rule that ends each.",
    )
    compared = (
        ("Figure 7: excluded loss", "excluded_loss_2D_full", ("excluded_loss_2D", "train_loss", "test_loss"), ""),
        (
            "Figure 7: restricted loss",
            "trig_loss",
            ("restricted_loss", "restricted_loss_train", "train_loss", "test_loss"),
            "",
        ),
        ("Figure 7, first version: test loss over restricted loss", "trig_loss_ratio", ("test_over_restricted",), ""),
        ("Figure 7: squared weights", "sum_sq_weight_total", ("squared_weights",), ""),
        (
            "Figure 13: restricted accuracy",
            "trig_acc",
            ("restricted_accuracy", "restricted_accuracy_train", "train_accuracy", "test_accuracy"),
            "The published line adds the last checkpoint's mean logits at every epoch; ours adds those of the epoch.",
        ),
    )
    ours = _lines(curves)
    for title, figure, names, caption in compared:
        yield title, _comparison(evidence, ours[list(names)], figure), caption or _CAPTION
    yield (
        "Figure 14: coefficients of cos w(a+b-c)",
        lambda: plots.compared(_by_key(curves.logit_coefficient, evidence.keys, "coefficient"), log_y=False),
        "Coefficient of the logit component of each key frequency over training.",
    )
    for form in ("2D", "3D"):
        name = f"excluded_loss_{form}"
        of_keys = _by_key(curves[f"{name}_by_key"], evidence.keys, name)
        yield (
            f"Figure 15: excluded loss of each key frequency, {form}",
            _comparison(evidence, xr.merge([of_keys, ours[["train_loss", "test_loss"]]]), f"{name}_key"),
            _CAPTION,
        )


def _over_seeds(evidence: Evidence) -> Iterator[Figure]:
    yield (
        "Figure 18: restricted loss over seeds",
        lambda: plots.over_seeds(seeds(evidence.paper)[["restricted_loss"]]),
        "All pairs, with each run's key frequencies at epoch 16,000.",
    )
    yield from _across_settings(evidence, "fraction", "Figure 20: train fractions")


def _further(evidence: Evidence) -> Iterator[Figure]:
    ours = _lines(evidence.curves)
    lines = ours[["excluded_loss_3D", "train_loss", "test_loss"]]
    title = "Figures 23 and 26: excluded loss of all frequencies, 3D"
    yield title, _comparison(evidence, lines, "excluded_loss_3D_full"), _CAPTION
    lines = ours[["excluded_accuracy_2D", "train_accuracy", "test_accuracy"]]
    title = "Excluded accuracy of all frequencies"
    yield title, _comparison(evidence, lines, "excluded_acc_2D_full"), _CAPTION
    lines = _by_matrix(evidence.curves.weight_norm)
    yield "Squared weights by matrix", _comparison(evidence, lines, "sum_sq_weight_by_param"), _CAPTION


def _across_settings(evidence: Evidence, axis: str, title: str) -> Iterator[Figure]:
    yield (
        title,
        lambda: plots.grokking_time(across(axis, evidence.paper)),
        "Three seeds per value of the preset quick for 3,000 epochs, with p = 59 unless p varies: smaller than the "
        "paper's models.",
    )


_CAPTION = "Solid: ours. Dashed: the published line, read off the authors' vector graphics."


def _measured(evidence: Evidence, *measures: Measure) -> xr.Dataset:
    ds = xr.Dataset({measure.name: measure(evidence.snapshot) for measure in measures})
    return ds.assign_attrs(key_frequencies=list(evidence.keys))


def _effects(evidence: Evidence) -> xr.Dataset:
    def alone(component: interventions.Component) -> interventions.Intervention:
        return interventions.keep_only(component)

    measures = (
        interventions.effects(evidence.keys, at="neurons").named("loss_without"),
        interventions.effects(evidence.keys, at="neurons", operation=alone).named("loss_alone"),
    )
    ds = _measured(evidence, *measures)
    return ds.assign(loss=evidence.curves.loss.isel(epoch=-1, drop=True))


def _phases(curves: xr.Dataset) -> xr.Dataset:
    return phases.detect(curves.rename(excluded_loss_2D="excluded_loss"))


def _lines(curves: xr.Dataset) -> xr.Dataset:
    """The curves, renamed to match the published lines."""
    over_epoch = curves[[name for name in curves if curves[name].dims == ("epoch",)]]
    splits = ("train", "test")
    named = {f"{split}_{name}": _split(curves[name], split) for name in ("loss", "accuracy") for split in splits}
    named["squared_weights"] = curves.weight_norm.sum("parameter", keep_attrs=True)
    ratio = named["test_loss"] / curves.restricted_loss
    named["test_over_restricted"] = ratio.assign_attrs(long_name="test loss over restricted loss", units="")
    for name in over_epoch:
        over_epoch[name].attrs["long_name"] = str(name).replace("_", " ")
    return over_epoch.assign(named)


def _split(data: xr.DataArray, split: str) -> xr.DataArray:
    return data.sel(split=split, drop=True).assign_attrs(long_name=f"{split} {data.attrs['long_name']}")


def _by_key(data: xr.DataArray, keys: tuple[int, ...], name: str) -> xr.Dataset:
    of_key = {f"{name}_{k}": data.sel(frequency=k, drop=True).assign_attrs(long_name=f"k = {k}") for k in keys}
    return xr.Dataset(of_key)


def _by_matrix(norms: xr.DataArray) -> xr.Dataset:
    short = {str(name): str(name).rsplit(".", 1)[-1] for name in norms.parameter.values}
    return xr.Dataset(
        {short[name]: norms.sel(parameter=name, drop=True).assign_attrs(long_name=short[name]) for name in short}
    )


def _comparison(evidence: Evidence, ours: xr.Dataset, figure: str) -> Callable[[], go.Figure]:
    log_y = not any("accuracy" in str(name) or name in ("squared_weights", "W_E") for name in ours)

    def make() -> go.Figure:
        theirs = published(figure, evidence.paper) if evidence.matches_paper else None
        if theirs is not None:
            theirs = theirs[[name for name in theirs if name in ours]]
        return plots.compared(ours, published=theirs, log_y=log_y)

    return make
