"""What all pictures keep to: what they import, what they take, and what they say where something is missing."""

import ast
import inspect
from pathlib import Path

import plotly.graph_objects as go
import pytest
import xarray as xr

import grokinterp as gi
from grokinterp import plots
from grokinterp.plots.data import MADE_BY


FIGURES = {name: getattr(plots, name) for name in plots.__all__}
NEEDS = {
    "training_curves": ["loss", "accuracy"],
    "progress": ["loss", "excluded_loss", "restricted_loss", "gini", "weight_norm"],
    "weights": ["weight_norm"],
    "spectrum": ["components"],
    "spectrum_over_time": ["spectrum"],
    "excluded_by_frequency": ["excluded_loss_by_frequency"],
    "logit_fve": ["logit_fve"],
    "neuron_clusters": ["neuron_frequency", "neuron_fve", "neuron_phase"],
    "neuron_grid": ["neurons"],
    "neuron_spectra": ["neuron_spectrum"],
    "attention": ["attention"],
    "logits_over_inputs": ["logits"],
    "embedding_circles": ["embedding_circle"],
    "logit_components": ["logit_components"],
    "readout_components": ["readout_components"],
    "score_components": ["score_components"],
    "effects": ["loss_without", "loss_alone"],
    "attention_over_time": ["attention_mean"],
    "overview": ["loss", "accuracy"],
    "sweep_curves": ["accuracy"],
    "weight_maps": ["weight"],
    # What these draw is put together from several runs, or is whatever a Dataset has over epochs.
    "compared": [],
    "over_seeds": [],
    "grokking_map": [],
    "grokking_time": [],
    "monitors": [],
    "survival": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_is_drawn_and_the_dataset_is_left_as_it_was(ds, name):
    before = ds.copy(deep=True)
    assert isinstance(FIGURES[name](ds), go.Figure)
    xr.testing.assert_identical(ds, before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variable"), [(name, variable) for name in NEEDS for variable in NEEDS[name]])
def test_a_missing_variable_is_an_error_that_names_its_measure(ds, name, variable):
    with pytest.raises(KeyError, match=rf"the plot needs '{variable}': add gi\.\w+\.\w+.* to the trajectory"):
        FIGURES[name](ds.drop_vars(variable))


def test_the_table_of_needs_is_whole():
    assert NEEDS.keys() == FIGURES.keys()


def test_the_measures_that_errors_name_are_there():
    import grokinterp

    for source in MADE_BY.values():
        _, module, name = source.partition("(")[0].split(".")
        assert hasattr(getattr(grokinterp, module), name), source


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_takes_one_dataset_and_at_most_three_keywords(name):
    first, *others = inspect.signature(FIGURES[name]).parameters.values()
    assert first.annotation is xr.Dataset
    assert len(others) <= 3
    assert all(other.kind is other.KEYWORD_ONLY for other in others)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_pictures_know_labelled_data_and_plotly_and_nothing_else():
    allowed = (
        "xarray",
        "numpy",
        "plotly",
        "collections",
        "typing",
        "math",
        "json",
        "grokinterp.arguments",
        "grokinterp.labels",
        "grokinterp.phases",  # the one rule of grokking, which labelled data alone is asked by
        "grokinterp.plots",
    )
    for path in Path(plots.__file__).parent.glob("*.py"):
        for name in imports(path):
            assert name.startswith(allowed), f"{path.name} imports {name}"


def test_a_figure_is_written_as_a_page_that_needs_nothing_else(ds, tmp_path):
    plots.training_curves(ds).write_html(tmp_path / "curves.html")
    page = (tmp_path / "curves.html").read_text()
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("wrong", [gi.load_run("nanda2023"), "runs/quick", None], ids=["run", "path", "None"])
def test_what_is_no_dataset_is_refused_in_one_line(name: str, wrong: object) -> None:
    with pytest.raises(TypeError, match=r"^ds must be a Dataset, such as run\.metrics or .*, got .*\.$"):
        FIGURES[name](wrong)
