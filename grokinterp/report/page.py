"""The report: one HTML page about a run that needs no other file and no network."""

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
from grokinterp.runs.layout import write_atomically
from grokinterp.runs.manifest import flat
from grokinterp.runs.run import AnyRun, Run, is_bundled, load_run


# The buttons of a figure that would send its data to a server are left out.
FIGURE_CONFIG: Final = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with what tells how to read it.

    Attributes:
        html: The figure, without plotly's code.
        caption: A sentence or two.
    """

    html: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with an entry in its contents.

    Attributes:
        id: Of the anchor.
        title: Of the heading and the entry.
        sentences: Above the pictures.
        pictures: In order.
    """

    id: str
    title: str
    sentences: list[str]
    pictures: list[Picture]


def write(run: AnyRun, path: str | Path | None = None, *, progress: bool = True) -> Path:
    """Write the report of a run: what was trained, what was found, and the pictures, as one HTML page.

    Works for a run that is unfinished or has not grokked, and says so; for a task without a group the Fourier
    parts are left out, for an MLP the attention, and why is said. Measures are kept in the run's `analysis/` folder,
    so that the second report of a run is quick.

    Args:
        run: A run with at least one checkpoint, or its path.
        path: The page; default: `report.html` in the run directory, or `nanda2023.html` in the current directory for
            the bundled run, since nothing is written into the installed package.
        progress: Whether to show a progress bar.

    Returns:
        The path of the page.

    Raises:
        RunError: If the run has no metrics or no checkpoint, or a file of it is broken.
        ValueError: If the path is a directory, a device or anything else but a regular file.
    """
    run = load_run(run)
    default = Path(f"{run.path.name}.html") if is_bundled(run) else run.layout.report
    path = checked_path(default if path is None else path, "report.html")
    text = render(run, gather(run, progress_bar=progress))
    if path != run.layout.report:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)
    return path


def checked_path(path: str | Path, example: str) -> Path:
    """Where a page is written, checked before the work that the page takes.

    Raises:
        ValueError: If something is there that is not a regular file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        advice = f"a directory; pass a file, such as {path / example}" if path.is_dir() else "a device or a pipe"
        msg = f"the page must be a new or a regular file, but {path} is {advice}."
        raise ValueError(msg)
    return path


def render(run: Run, numbers: Numbers) -> str:
    """The page as text."""
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
    """A package's template as text, with what every page has: the style sheet, plotly and our version."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
    style = resources.files("grokinterp.report").joinpath("style.css").read_text(encoding="utf-8")
    return template.render(style=style, plotly=get_plotlyjs(), written_by=version("grokinterp"), **values)


def tiles(run: Run, numbers: Numbers) -> dict[str, str]:
    """The few numbers at the head of the page, by what they are."""
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
    """The parts of the page that this run has."""
    curves, shaded, keys = numbers.curves, numbers.phases, list(numbers.keys.get("logits", ()))
    parts = [
        Section(
            id="training",
            title="Training",
            sentences=findings.outcome(numbers.metrics, numbers.events, planned=run.config.epochs),
            pictures=[
                draw_picture(
                    lambda: plots.training_curves(numbers.metrics, phases=shaded),
                    "Loss and accuracy while training. Grokking is the gap between the blue line, of the pairs trained "
                    "on, and the orange one, of pairs never seen.",
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
        "The excluded loss rises as the model comes to rely on its key frequencies, and the restricted loss, with "
        "nothing else left, falls long before the test loss does. The Gini coefficients tell how few frequencies the "
        "weights use.",
    )
    sentences = findings.phases(numbers.phases) + findings.measures(numbers.curves)
    return Section(id="progress", title="Progress measures and phases", sentences=sentences, pictures=[picture])


def _frequencies(run: Run, numbers: Numbers, keys: list[int]) -> Section:
    curves, pictures = numbers.curves, numbers.pictures
    drawn = [
        draw_picture(
            lambda: plots.spectrum(pictures, keys=keys),
            "The embedding W_E and the neuron-logit map W_L (W_out W_U, an MLP's W_U) in the task's group's basis; key "
            "frequencies carry their number. Move the slider to go through training.",
        ),
        draw_picture(
            lambda: plots.spectrum_over_time(curves, keys=keys or None),
            "The same by frequency, over training. Lines that stay up while the others decay are what the model keeps.",
        ),
    ]
    if "embedding_circle" in pictures:
        drawn.append(
            draw_picture(
                lambda: plots.embedding_circles(pictures),
                "Every residue's embedding in the plane of each key frequency, joined in the order in which the "
                "frequency goes round. A clean circle means that the embedding holds cos and sin of this frequency.",
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
            "The share of the logits' variance that each wave explains, and all keys together. For addition the waves "
            "are cos w(a+b-c). What is missing to 1 is none of these waves.",
        ),
        draw_picture(
            lambda: plots.excluded_by_frequency(numbers.curves, keys=keys or None),
            "The train loss when one frequency is taken out of the logits: the higher a line stands above the train "
            "loss, the more rests on this frequency.",
        ),
        draw_picture(
            lambda: plots.logits_over_inputs(numbers.pictures),
            "The logits of three answers over all pairs of inputs. Where the model has learned the operation, each is "
            "constant along the pairs that have the same answer.",
        ),
    ]
    sentences = findings.logits(numbers.curves["logit_fve"], keys)
    return Section(id="logits", title="Logits", sentences=sentences, pictures=drawn)


def _neurons(numbers: Numbers) -> Section:
    drawn = [
        draw_picture(
            lambda: plots.neuron_clusters(numbers.pictures),
            "Left: how much of each neuron its best frequency explains, dark from 0.85 on. Middle: how many such "
            "neurons each frequency has. Right: their phases, spread evenly in a model that has grokked.",
        ),
        draw_picture(
            lambda: plots.neuron_spectra(numbers.pictures),
            "Every neuron's spectrum, a row each: the share of its variance that each frequency explains. Bars are "
            "clusters of neurons with one frequency.",
        ),
        draw_picture(
            lambda: plots.neuron_grid(numbers.neurons),
            "The neurons that their frequencies explain best, over all pairs of inputs: waves in both of them.",
        ),
    ]
    sentences = findings.neurons(numbers.pictures)
    return Section(id="neurons", title="Neurons", sentences=sentences, pictures=drawn)


def draw_picture(draw: Callable[[], go.Figure], caption: str) -> Picture:
    """A figure as HTML, with its caption."""
    html = draw().to_html(full_html=False, include_plotlyjs=False, auto_play=False, config=FIGURE_CONFIG)
    return Picture(html=html, caption=caption)


def summary(run: AnyRun, *, progress: bool = True) -> list[str]:
    """The findings of a run in words. Measures are kept in its `analysis/` folder.

    Args:
        run: A run with at least one checkpoint, or its path.
        progress: Whether to show a progress bar.

    Returns:
        A sentence or two each: what was trained, when it memorized and grokked, its phases, its keys by each
        rule, what they explain of the logits, and how many neurons each has; and what is left out, and why.

    Raises:
        RunError: If the run has no metrics or no checkpoint, or a file of it is broken.
    """
    run = load_run(run)
    numbers = gather(run, progress_bar=progress)
    n_train, n_pairs = int(run.is_train.sum()), run.is_train.numel()
    said = [setting(run.config, run.task.name, n_train, n_pairs, run.forked_from)]
    said += findings.outcome(numbers.metrics, numbers.events, planned=run.config.epochs)
    if not run.config.model.has_attention:
        said.append(findings.NO_ATTENTION)
    if not numbers.keys:
        return [*said, findings.no_group(run.task.name)]
    keys = list(numbers.keys["logits"])
    if keys:
        said += findings.phases(numbers.phases) + findings.measures(numbers.curves)
    said += findings.keys(numbers.keys)
    return said + findings.logits(numbers.curves["logit_fve"], keys) + findings.neurons(numbers.pictures)
