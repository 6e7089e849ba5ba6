"""The paper's figures in their order, drawn from a run, with the published lines where they could be read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import plotly.graph_objects as go
import xarray as xr

from grokinterp import attention, claims, fourier, interventions, logits, neurons, phases, plots
from grokinterp.claims import Evidence
from grokinterp.measures import Measure
from grokinterp.models.config import TransformerConfig
from grokinterp.report.gather import circle_keys
from grokinterp.report.page import draw_picture


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure of the dossier.

    Attributes:
        id: Of the anchor.
        title: Which figure of the paper it is, and of what.
        html: Without plotly's code.
        caption: How to read it.
    """

    id: str
    title: str
    html: str
    caption: str


def draw(found: Evidence) -> Iterator[Drawn]:
    """Every figure that the evidence has, in the paper's order; a run of another setting has no published lines.

    Raises:
        NotAvailableError: If the evidence has no run, or the model no keys.
    """
    for number, (title, make, caption) in enumerate(_figures(found), 1):
        picture = draw_picture(make, caption)
        yield Drawn(id=f"figure-{number}", title=title, html=picture.html, caption=picture.caption)


Entry = tuple[str, Callable[[], go.Figure], str]


def _figures(found: Evidence) -> Iterator[Entry]:
    yield from _embedding(found)
    yield from _circuit(found)
    yield from _progress(found)
    if found.is_of_the_paper:
        yield from _over_seeds()
    yield from _further(found)
    if found.is_of_the_paper:
        yield from _across_settings("weight_decay", "Weight decay")
        yield from _across_settings("p", "Moduli")


def _embedding(found: Evidence) -> Iterator[Entry]:
    circles = circle_keys(found.snapshot, found.keys)
    if circles:
        yield (
            "Figure 1: the algorithm as rotations",
            lambda: plots.embedding_circles(_measured(found, fourier.embedding_circles(circles))),
            "What the paper draws as a diagram, in the model: every residue x in the plane in which W_E holds cos and "
            "sin(w_k x). Adding b turns the circle by w_k b.",
        )
    if found.is_of_the_paper:
        yield (
            "Figure 2: loss and accuracy over seeds",
            lambda: plots.over_seeds(claims.seeds().drop_vars(["restricted_loss", "keys"])),
            "The paper's recipe from seeds 0 to 4, and from seed 0 with one weight off by 1e-7 and with the pairs "
            "summed in another order, up to epoch 16,000.",
        )
    yield (
        "Figure 3: the Fourier components of W_E and W_L",
        lambda: plots.spectrum(_measured(found, fourier.components), keys=list(found.keys)),
        "Norms over the residual stream of W_E's components, and over neurons of W_L's. The published heights of W_E "
        "are those of squared norms; they stand in the table.",
    )


def _circuit(found: Evidence) -> Iterator[Entry]:
    snapshot = found.snapshot
    clusters = neurons.clusters(snapshot)
    if isinstance(snapshot.config, TransformerConfig):
        yield (
            "Figure 4a: attention from '=' to a",
            lambda: plots.attention(_measured(found, attention.pattern)),
            "Each head over all pairs: periodic stripes, with the frequency of the table.",
        )
    yield (
        "Figure 4b: neurons over all pairs",
        lambda: plots.neuron_grid(_measured(found, neurons.activations(range(min(4, snapshot.config.d_mlp))))),
        "The first four neurons. Each is periodic in both inputs.",
    )
    yield (
        "Figure 4c: the logits in the 2-D Fourier basis",
        lambda: plots.logit_components(_measured(found, logits.components)),
        "Norms over classes. What stands out are two-by-two blocks of cos and sin, one for each key.",
    )
    yield (
        "Figure 5a: neurons by frequency",
        lambda: plots.neuron_clusters(_measured(found, neurons.frequency, neurons.fve, neurons.phase)),
        "How much of each neuron one frequency explains, how many neurons each key has, and their phases.",
    )
    yield (
        "The neurons' 2-D Fourier transforms",
        lambda: plots.neuron_spectra(_measured(found, neurons.spectrum)),
        "A row per neuron: the share of its variance in the eight products of 1, cos and sin of each frequency.",
    )
    if clusters:
        k = min(clusters)
        yield (
            f"Figure 5b: what the neurons of k = {k} write",
            lambda: plots.readout_components(_measured(found, logits.readout_components(clusters[k]))),
            "Their rows of W_L in the Fourier basis of the classes: their own frequency, and little else.",
        )
    yield (
        "Figure 6: ablating frequencies",
        lambda: plots.effects(_effects(found)),
        "The loss without each key's cos and sin(w_k(a+b)) in the neurons, and with nothing else left in them.",
    )
    if snapshot.config.is_factorable:
        yield (
            "C_j: what makes the attention periodic",
            lambda: plots.score_components(_measured(found, attention.score_components)),
            "The score that '=' gives to each token, in the Fourier basis: one frequency for each head.",
        )


def _progress(found: Evidence) -> Iterator[Entry]:
    curves, is_paper = found.curves, found.is_of_the_paper
    yield (
        "Figure 7: progress measures",
        lambda: plots.progress(curves.rename(excluded_loss_2D="excluded_loss"), phases=_phases(curves)),
        "The four panels: excluded loss, restricted loss, Gini coefficients, squared weights; shaded are the phases, "
        "with the rule that ends each.",
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
            "The published line adds the mean logits of the last checkpoint at every epoch, ours those of the epoch.",
        ),
    )
    ours = _lines(curves)
    for title, figure, names, caption in compared:
        yield title, _comparison(ours[list(names)], figure, is_paper=is_paper), caption or _BESIDE
    yield (
        "Figure 14: coefficients of cos w(a+b-c)",
        lambda: plots.compared(_by_key(curves.logit_coefficient, found.keys, "coefficient"), log_y=False),
        "The coefficient of each key's wave in the logits over training.",
    )
    for form in ("2D", "3D"):
        name = f"excluded_loss_{form}"
        of_keys = _by_key(curves[f"{name}_by_key"], found.keys, name)
        yield (
            f"Figure 15: excluded loss of each key, {form}",
            _comparison(xr.merge([of_keys, ours[["train_loss", "test_loss"]]]), f"{name}_key", is_paper=is_paper),
            _BESIDE,
        )


def _over_seeds() -> Iterator[Entry]:
    yield (
        "Figure 18: restricted loss over seeds",
        lambda: plots.over_seeds(claims.seeds()[["restricted_loss"]]),
        "All pairs, with the keys that each run has at epoch 16,000.",
    )
    yield from _across_settings("fraction", "Figure 20: train fractions")


def _further(found: Evidence) -> Iterator[Entry]:
    is_paper, ours = found.is_of_the_paper, _lines(found.curves)
    lines = ours[["excluded_loss_3D", "train_loss", "test_loss"]]
    title = "Figures 23 and 26: excluded loss of all frequencies, 3D"
    yield title, _comparison(lines, "excluded_loss_3D_full", is_paper=is_paper), _BESIDE
    lines = ours[["excluded_accuracy_2D", "train_accuracy", "test_accuracy"]]
    title = "Excluded accuracy of all frequencies"
    yield title, _comparison(lines, "excluded_acc_2D_full", is_paper=is_paper), _BESIDE
    lines = _by_matrix(found.curves.weight_norm)
    yield "Squared weights by matrix", _comparison(lines, "sum_sq_weight_by_param", is_paper=is_paper), _BESIDE


def _across_settings(axis: str, title: str) -> Iterator[Entry]:
    yield (
        title,
        lambda: plots.grokking_time(claims.across(axis)),
        "Three seeds each of the preset quick for 3,000 epochs, p = 59 where p is not what changes: not the paper's "
        "size.",
    )


_BESIDE = "Solid is ours; dashed is the published line, as read off the authors' vector graphics."


def _measured(found: Evidence, *measures: Measure) -> xr.Dataset:
    ds = xr.Dataset({measure.name: measure(found.snapshot) for measure in measures})
    return ds.assign_attrs(key_frequencies=list(found.keys))


def _effects(found: Evidence) -> xr.Dataset:
    def alone(component: interventions.Component) -> interventions.Intervention:
        return interventions.keep_only(component)

    measures = (
        interventions.effects(found.keys, at="neurons").named("loss_without"),
        interventions.effects(found.keys, at="neurons", operation=alone).named("loss_alone"),
    )
    ds = _measured(found, *measures)
    return ds.assign(loss=found.curves.loss.isel(epoch=-1, drop=True))


def _phases(curves: xr.Dataset) -> xr.Dataset:
    return phases.detect(curves.rename(excluded_loss_2D="excluded_loss"))


def _lines(curves: xr.Dataset) -> xr.Dataset:
    """The curves under the names that the published lines have."""
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


def _comparison(ours: xr.Dataset, figure: str, *, is_paper: bool) -> Callable[[], go.Figure]:
    log_y = not any("accuracy" in str(name) or name in ("squared_weights", "W_E") for name in ours)

    def make() -> go.Figure:
        published = claims.published(figure) if is_paper else None
        if published is not None:
            published = published[[name for name in published if name in ours]]
        return plots.compared(ours, published=published, log_y=log_y)

    return make
