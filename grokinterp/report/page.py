"""The report of a run: an HTML page without external files or network access, or its sentences as text."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Final

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from grokinterp import plots
from grokinterp.config import to_dict
from grokinterp.report import findings
from grokinterp.report.data import Numbers, gather
from grokinterp.report.setting import attention_caption, setting, weights_caption
from grokinterp.runs.layout import check_is_file, write_atomically
from grokinterp.runs.manifest import flat
from grokinterp.runs.run import AnyRun, Run, is_bundled, load_run


# Without the buttons that would send a figure's data to a server.
FIGURE_CONFIG: Final = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as HTML, without plotly's code, and its caption."""

    html: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page, with the id of its anchor, and sentences above the figures."""

    id: str
    title: str
    sentences: list[str]
    pictures: list[Picture]


def write(run: AnyRun, path: str | Path | None = None, *, progress: bool = True) -> Path:
    """Write the report of a run: config, findings and figures as one HTML page.

    The run may be unfinished or not have grokked. Sections that do not apply are omitted with an explanation: Fourier
    sections for tasks without a group, attention for MLPs. Measures are cached in the run's `analysis/` directory, so a
    second report is fast.

    Args:
        run: Run with at least one checkpoint, or its path.
        path: Path of the page; default: `report.html` in the run directory, or `nanda2023.html` in the current
            directory for the bundled run.
        progress: Whether to show a progress bar.

    Returns:
        The path of the page.

    Raises:
        RunError: If the run has no metrics or checkpoints, or a file is damaged, or `path` is not a regular file.
    """
    run = load_run(run)
    default = Path(f"{run.path.name}.html") if is_bundled(run) else run.layout.report
    path = Path(default if path is None else path)
    check_is_file(path)  # before the measures are computed
    text = render(run, gather(run, progress_bar=progress))
    if path != run.layout.report:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)
    return path


def render(run: Run, numbers: Numbers) -> str:
    """The HTML of the page."""
    config = flat(to_dict(run.config))
    return render_template(
        "page.html.j2",
        name=run.path.resolve().name,
        task=run.task.name,
        tiles=tiles(run, numbers),
        setting=setting(run.config, run.task.name, int(run.is_train.sum()), run.is_train.numel(), run.forked_from),
        config={key: "none" if value is None else value for key, value in config.items()},
        rules=numbers.keys,
        sections=sections(run, numbers),
        made_by=run.made_by,
    )


def render_template(file: str, /, *, package: str = "grokinterp.report", **values: object) -> str:
    """Render a template of a package with the style sheet, plotly's code and the version of grokinterp."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
    style = resources.files("grokinterp.report").joinpath("style.css").read_text(encoding="utf-8")
    return template.render(style=style, plotly=get_plotlyjs(), written_by=version("grokinterp"), **values)


def tiles(run: Run, numbers: Numbers) -> dict[str, str]:
    """The summary values at the top of the page, by label."""
    events = numbers.events
    chosen = numbers.keys.get("logits", ())
    result = {}
    for event, split in (("memorized", "train"), ("grokked", "test")):
        epoch = float(events["event_epoch"].sel(event=event))
        name = f"{event} at epoch ({split} accuracy ≥ {events.attrs[f'{event}_at']:g})"
        result[name] = f"{epoch:,.0f}" if epoch == epoch else "not reached"
    result["test accuracy"] = findings.number(float(numbers.metrics["accuracy"].sel(split="test").values[-1]))
    result["test loss (nats)"] = findings.number(float(numbers.metrics["loss"].sel(split="test").values[-1]))
    if numbers.keys:
        result["key frequencies"] = ", ".join(map(str, chosen)) or "none"
    result["epochs"] = f"{int(numbers.metrics['epoch'].values[-1]):,} of {run.config.epochs:,}"
    return result


def sections(run: Run, numbers: Numbers) -> list[Section]:
    """The sections that apply to the run."""
    curves, shaded, keys = numbers.curves, numbers.phases, list(numbers.keys.get("logits", ()))
    parts = [
        Section(
            id="training",
            title="Training",
            sentences=findings.outcome(numbers.metrics, numbers.events, planned=run.config.epochs),
            pictures=[
                draw_picture(
                    lambda: plots.training_curves(numbers.metrics, phases=shaded),
                    "Loss and accuracy during training. Grokking is the gap between the blue line (train) and the "
                    "orange line (test).",
                )
            ],
        )
    ]
    if keys:
        parts.append(_progress(numbers))
    if numbers.keys:
        parts += [_frequencies(run, numbers, keys), _logits(numbers, keys), _neurons(numbers)]
    if run.config.model.has_attention:
        drawn = draw_picture(lambda: plots.attention(numbers.pictures), attention_caption(run.config.model))
        parts.append(Section(id="attention", title="Attention", sentences=[], pictures=[drawn]))
    weights = draw_picture(lambda: plots.weights(curves), weights_caption(run.config))
    parts.append(Section(id="weights", title="Weights", sentences=[], pictures=[weights]))
    if not numbers.keys:
        parts[0].sentences.append(findings.no_group(run.task.name))
    if not run.config.model.has_attention:
        parts[0].sentences.append(findings.NO_ATTENTION)
    return parts


def _progress(numbers: Numbers) -> Section:
    picture = draw_picture(
        lambda: plots.progress(numbers.curves, phases=numbers.phases),
        "The excluded loss rises as the model comes to rely on its key frequencies, and the restricted loss, which "
        "keeps only these, falls long before the test loss. The Gini coefficients measure how sparse the weights are "
        "in frequency.",
    )
    sentences = findings.phases(numbers.phases) + findings.measures(numbers.curves)
    return Section(id="progress", title="Progress measures and phases", sentences=sentences, pictures=[picture])


def _frequencies(run: Run, numbers: Numbers, keys: list[int]) -> Section:
    curves, pictures = numbers.curves, numbers.pictures
    drawn = [
        draw_picture(
            lambda: plots.spectrum(pictures, keys=keys),
            "The embedding W_E and the neuron-logit map W_L (W_out W_U, or W_U for an MLP) in the basis of the task's "
            "group; key frequencies are labeled. Move the slider to change the epoch.",
        ),
        draw_picture(
            lambda: plots.spectrum_over_time(curves, keys=keys or None),
            "The norm of each frequency during training. The model keeps the frequencies whose lines do not decay.",
        ),
    ]
    if "embedding_circle" in pictures:
        drawn.append(
            draw_picture(
                lambda: plots.embedding_circles(pictures),
                "The embedding of every residue, projected onto the (cos, sin) plane of each key frequency and "
                "connected in order of angle. A clean circle means that the embedding encodes cos and sin of the "
                "frequency.",
            )
        )
    sentences = findings.keys(numbers.keys)
    if numbers.irreps and run.task.group is not None:
        sentences.insert(0, findings.irreps(run.task.group.name, numbers.irreps))
    return Section(id="frequencies", title="Frequencies", sentences=sentences, pictures=drawn)


def _logits(numbers: Numbers, keys: list[int]) -> Section:
    drawn = [
        draw_picture(
            lambda: plots.logit_fve(numbers.curves, keys=keys or None),
            "The fraction of logit variance explained by each frequency's component, cos w(a+b-c) for addition, and "
            "by all key frequencies together.",
        ),
        draw_picture(
            lambda: plots.excluded_by_frequency(numbers.curves, keys=keys or None),
            "The train loss with one frequency removed from the logits. The higher a line is above the train loss, the "
            "more the model relies on this frequency.",
        ),
        draw_picture(
            lambda: plots.logits_over_inputs(numbers.pictures),
            "The logits of three answers over all pairs of inputs. If the model has learned the operation, each logit "
            "is constant over the pairs with the same answer.",
        ),
    ]
    sentences = findings.logits(numbers.curves["logit_fve"], keys)
    return Section(id="logits", title="Logits", sentences=sentences, pictures=drawn)


def _neurons(numbers: Numbers) -> Section:
    drawn = [
        draw_picture(
            lambda: plots.neuron_clusters(numbers.pictures),
            "Left: the fraction of each neuron's variance that its best frequency explains, dark from 0.85. Middle: "
            "the number of these neurons per frequency. Right: their phases, uniform in a model that has grokked.",
        ),
        draw_picture(
            lambda: plots.neuron_spectra(numbers.pictures),
            "The spectrum of each neuron (rows): the fraction of its variance that each frequency explains. Vertical "
            "bars are clusters of neurons with the same frequency.",
        ),
        draw_picture(
            lambda: plots.neuron_grid(numbers.neurons),
            "Activations of the neurons with the highest FVE, over all pairs of inputs: periodic in both inputs.",
        ),
    ]
    sentences = findings.neurons(numbers.pictures)
    return Section(id="neurons", title="Neurons", sentences=sentences, pictures=drawn)


def draw_picture(draw: Callable[[], go.Figure], caption: str) -> Picture:
    """A figure as HTML with its caption."""
    html = draw().to_html(full_html=False, include_plotlyjs=False, auto_play=False, config=FIGURE_CONFIG)
    return Picture(html=html, caption=caption)


def summary(run: AnyRun, *, progress: bool = True) -> list[str]:
    """The findings of a run as sentences; measures are cached in its `analysis/` directory.

    Args:
        run: Run with at least one checkpoint, or its path.
        progress: Whether to show a progress bar.

    Returns:
        Sentences about the config, memorization and grokking, phases, key frequencies by rule, logit variance and
        neurons, and about what does not apply.

    Raises:
        RunError: If the run has no metrics or checkpoints, or a file is damaged.
    """
    run = load_run(run)
    numbers = gather(run, progress_bar=progress)
    n_train, n_pairs = int(run.is_train.sum()), run.is_train.numel()
    sentences = [setting(run.config, run.task.name, n_train, n_pairs, run.forked_from)]
    sentences += findings.outcome(numbers.metrics, numbers.events, planned=run.config.epochs)
    if not run.config.model.has_attention:
        sentences.append(findings.NO_ATTENTION)
    if not numbers.keys:
        return [*sentences, findings.no_group(run.task.name)]
    keys = list(numbers.keys["logits"])
    if keys:
        sentences += findings.phases(numbers.phases) + findings.measures(numbers.curves)
    sentences += findings.keys(numbers.keys)
    return sentences + findings.logits(numbers.curves["logit_fve"], keys) + findings.neurons(numbers.pictures)
