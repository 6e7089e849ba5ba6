"""Every public function reads its arguments alike: each parameter by its name, against all that is valid and invalid.

A new function, or a new parameter of an old one, fails here until it has a base call or a kind.
"""

import importlib
import inspect
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr

import grokinterp as gi
from argument_table import CALLED, CLASSES, KINDS, MODULES, NOT_COMPARED, NOT_READ, OF_FUNCTION, READ, Kind
from grokinterp import interventions
from grokinterp.basis import Basis


pytestmark = pytest.mark.usefixtures("unchecked")


SNAPSHOT = gi.testing.planted_snapshot(7, keys=(1, 3))
CURVE = xr.DataArray(np.linspace(0, 1, 8).reshape(4, 2), dims=("epoch", "split"), coords={"split": ["train", "test"]})
METRICS = xr.Dataset(
    {
        "loss": CURVE,
        "accuracy": CURVE,
        "squared_weight_norm": CURVE[:, 0],
        "weight_norm": CURVE.rename(split="parameter"),
    },
    coords={"epoch": range(4), "parameter": ["unembed.W_U", "embed.W_E"]},
)
SMALL = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))


class Place(NamedTuple):
    """A finished run, in the root of a sweep."""

    root: str
    run: gi.Run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = str(tmp_path_factory.mktemp("sweep"))
    return Place(root, gi.sweep([SMALL], root, progress=False).runs[0])


def of_frequency(name: str) -> xr.Dataset:
    """A variable over frequencies and epochs, and matrices."""
    values = xr.DataArray(np.ones((2, 3)), dims=("epoch", "frequency"), coords={"frequency": [1, 2, 3]})
    return xr.Dataset({name: values.expand_dims(matrix=["W_E"]) if name == "spectrum" else values})


def spectra_of_neurons() -> xr.Dataset:
    return xr.Dataset(
        {measure.name: measure(SNAPSHOT) for measure in (gi.neurons.frequency, gi.neurons.fve, gi.neurons.phase)}
    )


def of_runs() -> xr.Dataset:
    epochs = xr.DataArray(
        [[9.0, 8.0], [3.0, 5.0]], dims=("weight_decay", "seed"), coords={"weight_decay": [0.5, 1.0], "seed": [0, 1]}
    )
    return xr.Dataset({"grokked_epoch": epochs, "last_epoch": xr.full_like(epochs, 20.0)})


@cache
def live_model() -> Any:
    params = SMALL.model.initial_params(TASK, seed=0)
    return gi.models.lens.to_transformer_lens(params, SMALL.model)


def new_path() -> str:
    return f"{tempfile.mkdtemp()}/run"


HEAD = interventions.ablate(interventions.head(0))
X = torch.eye(7, dtype=torch.float64)
TASK = gi.tasks.operation("addition", 7)
SEVERAL = gi.tasks.multitask(("addition", "subtraction"), 7)
OF_SEVERAL = gi.Snapshot(
    params=SMALL.model.initial_params(SEVERAL, seed=0),
    config=SMALL.model,
    task=SEVERAL,
    is_train=gi.tasks.uniform_split(SEVERAL, 0.5, seed=0),
)
PER_EPOCH = xr.DataArray(np.linspace(0, 1, 4), dims="epoch", coords={"epoch": range(4)})

# How each function is called, but for the argument that is tried.
BASE: Mapping[str, Callable[[Place], dict[str, Any]]] = {
    **dict.fromkeys(("basis.frequencies", "basis.fourier_basis"), lambda _: {"n": 4}),
    **dict.fromkeys(("basis.Basis.check", "basis.Basis.rows"), lambda _: {"self": SNAPSHOT.basis, "blocks": (1, 3)}),
    **dict.fromkeys(
        ("basis.project", "basis.exclude"), lambda _: {"x": X, "basis": SNAPSHOT.basis, "blocks": (1, 3)}
    ),
    "claims.across": lambda _: {"axis": "p"},
    "claims.published": lambda _: {"figure": "trig_loss"},
    "claims.evidence": lambda place: {"subject": place.run},
    "claims.curves_of": lambda _: {"keys": (1, 3)},
    "claims.seeds_of": lambda place: {"runs": {"a": place.run}, "epoch": 3, "every": 3},
    "claims.spread_of": lambda place: {"runs": {"a": place.run}, "claims": [], "epoch": 3},
    "detection.early_detection": lambda place: {"run": place.run, "progress": False},
    "detection.first_alarm": lambda _: {
        "signal": PER_EPOCH, "has_memorized": PER_EPOCH > 0, "threshold": 0.5, "rises": True,
    },
    "detection.naive_score": lambda _: {"metrics": METRICS},
    "detection.signals": lambda place: {"run": place.run, "names": ["weight decay"], "progress": False},
    "fourier.embedding_circles": lambda _: {"keys": (1, 3)},
    "fourier.key_frequencies": lambda _: {"model": SNAPSHOT},
    "fourier.outside": lambda _: {"keys": (1, 3)},
    "interventions.ablate": lambda _: {"component": interventions.head(0)},
    "interventions.keep_only": lambda _: {"component": interventions.head(0)},
    "interventions.cluster": lambda _: {"k": 3},
    **dict.fromkeys(("interventions.control", "interventions.null_losses"), lambda _: {"intervention": HEAD}),
    "interventions.effects": lambda _: {},
    "interventions.frequency": lambda _: {"keys": (1, 3)},
    "interventions.head": lambda _: {"heads": (0, 3)},
    "interventions.neurons": lambda _: {"numbers": (0, 3)},
    "interventions.phase_shift": lambda _: {"k": 3, "angle": 0.5},
    "interventions.readout": lambda _: {"keys": (1, 3)},
    "interventions.relocate": lambda _: {"k": 3, "to": 2},
    "interventions.skip": lambda _: {"block": "mlp"},
    "logits.fve": lambda _: {},
    "logits.over_inputs": lambda _: {"classes": (0, 3)},
    "logits.project_products": lambda _: {"snapshot": SNAPSHOT, "blocks": (1, 3)},
    "logits.readout_components": lambda _: {"neurons": (0, 3)},
    "logits.readout_fve": lambda _: {"keys": (1, 3)},
    "logits.variance_explained": lambda _: {"model": SNAPSHOT, "keys": (1, 3)},
    "logits.cosine_fit": lambda _: {"snapshot": SNAPSHOT, "keys": (1, 3)},
    **dict.fromkeys(("models.planted.cosine_logits", "models.planted.transformer"), lambda _: {"p": 7, "keys": (1, 3)}),
    "monitors.weight_sparsity": lambda _: {},
    "neurons.activations": lambda _: {"neurons": (0, 3)},
    "neurons.clusters": lambda _: {"model": SNAPSHOT},
    "neurons.counts": lambda _: {},
    "neurons.polynomials": lambda _: {"model": SNAPSHOT},
    **dict.fromkeys(("phases.detect", "phases.grokking_times"), lambda _: {"ds": METRICS, "sustained": 2}),
    "phases.slingshots": lambda _: {"ds": METRICS},
    "plots.compared": lambda _: {"ds": METRICS[["squared_weight_norm"]]},
    "plots.excluded_by_frequency": lambda _: {"ds": of_frequency("excluded_loss_by_frequency")},
    "plots.grokking_time": lambda _: {"ds": of_runs()},
    "plots.logit_fve": lambda _: {"ds": of_frequency("logit_fve")},
    "plots.neuron_clusters": lambda _: {"ds": spectra_of_neurons()},
    "plots.overview": lambda _: {"metrics": METRICS},
    "plots.spectrum": lambda _: {"ds": gi.fourier.components(SNAPSHOT).to_dataset()},
    "plots.spectrum_over_time": lambda _: {"ds": of_frequency("spectrum")},
    "plots.sweep_curves": lambda _: {"ds": METRICS},
    "plots.training_curves": lambda _: {"metrics": METRICS},
    "plots.weight_maps": lambda _: {"ds": gi.monitors.matrix("embed.W_E")(SNAPSHOT).to_dataset()},
    "plots.weights": lambda _: {"ds": METRICS},
    **{
        f"progress.{name}": lambda _: {"keys": (1, 3)}
        for name in (
            *("restricted_loss", "restricted_accuracy", "trig_loss"),
            *("excluded_loss", "excluded_accuracy", "excluded_loss_by_frequency"),
        )
    },
    "report.summary": lambda place: {"run": place.run},
    "report.write": lambda place: {"run": place.run, "path": f"{new_path()}.html"},
    **dict.fromkeys(("multitask.losses", "multitask.accuracies"), lambda _: {"names": ("addition", "subtraction")}),
    "training.fork.fork": lambda place: {
        "run": place.run, "epoch": 2, "path": new_path(), "changes": {"epochs": 4}, "progress": False,
    },
    **{f"snapshots.Run.{name}": lambda place: {"self": place.run} for name in ("model", "params", "snapshot")},
    "snapshots.Snapshot.mask": lambda _: {"self": SNAPSHOT, "split": "train"},
    "snapshots.snapshot": lambda place: {"model": live_model(), "task": gi.tasks.operation("addition", 7)},
    "survival.kaplan_meier": lambda _: {
        "times": xr.DataArray([1.0, 2.0], dims="p"), "is_censored": xr.DataArray([False, True], dims="p"),
    },
    "sweeps.collect": lambda place: {"source": place.root, "sustained": 2},
    "sweeps.processes": lambda _: {"workers": 1},
    "sweeps.sweep": lambda place: {"configs": [SMALL], "root": place.root, "progress": False},
    "tasks.operation": lambda _: {"name": "random", "p": 7},
    **{f"tasks.{name}_split": lambda _: {"task": TASK, "fraction": 0.5, "seed": 3} for name in ("paper", "uniform")},
    "tasks.multitask": lambda _: {"names": ("addition", "division"), "p": 7},
    **{f"tasks.groups.{name}": lambda _: {"n": 4} for name in ("alternating", "cyclic", "dihedral", "symmetric")},
    "tasks.groups.units": lambda _: {"n": 7},
    "testing.planted_snapshot": lambda _: {"p": 7, "keys": (1, 3)},
    "training.vmapped.train_many": lambda _: {"configs": [SMALL], "paths": [new_path()]},
    "trajectories.trajectory": lambda place: {"run": place.run, "measures": [gi.progress.losses], "progress": False},
}  # fmt: skip


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function and method, by the name that it has here."""
    for module in MODULES:
        house = importlib.import_module(f"grokinterp.{module}")
        home = "grokinterp.papers" if module == "claims" else house.__name__
        for name in getattr(house, "__all__", vars(house)):
            thing = getattr(house, name)
            is_own = thing.__module__.startswith(home) if inspect.isfunction(thing) else False
            if is_own and not name.startswith("_"):
                yield f"{module}.{name}", thing
    for kind in CLASSES:
        for name, thing in vars(kind).items():
            if inspect.isfunction(thing) and not name.startswith("_"):
                house = "basis" if kind is Basis else "snapshots"
                yield f"{house}.{kind.__name__}.{name}", thing


def kind_of(path: str, name: str) -> Kind | None:
    return OF_FUNCTION.get(f"{path}.{name}", KINDS.get(name))


def parameters() -> Iterator[tuple[str, str, inspect.Parameter]]:
    """Every argument of theirs that is read: function, its name in `KINDS`, and what Python knows of it."""
    for path, function in functions():
        for name, parameter in inspect.signature(function).parameters.items():
            if READ.search(str(parameter.annotation)) or kind_of(path, name):
                yield path, name, parameter


FUNCTIONS = dict(functions())
TABLE = [(path, name, parameter) for path, name, parameter in parameters() if f"{path}.{name}" not in NOT_READ]
IDS = [f"{path}.{name}" for path, name, _ in TABLE]


def call(path: str, base: dict[str, Any], parameter: inspect.Parameter, value: Any, *, is_valid: bool) -> Any:
    """The function with one argument set to a value."""
    name, given = parameter.name, dict(base)
    several = next(
        (p.name for p in inspect.signature(FUNCTIONS[path]).parameters.values() if p.kind is p.VAR_POSITIONAL), None
    )
    first = given.pop(several, ()) if several else ()
    if name == several:
        # frequency(*keys) is right, and frequency(keys) is not.
        first = tuple(value) if is_valid else (value,)
    else:
        given[name] = value
    return FUNCTIONS[path](*first, **given)


def plain(made: Any) -> str:
    """What came out, in words that are equal where it is: a measure by what it gives, an intervention by its losses."""
    match made:
        case gi.Measure():
            return f"{dict(made.arguments)} {plain(made(OF_SEVERAL if 'operations' in made.arguments else SNAPSHOT))}"
        case interventions.Component():
            return plain(interventions.ablate(made))
        case interventions.Intervention():
            return f"{made.name} {plain(interventions.losses(made))}"
        case xr.DataArray() | xr.Dataset():
            return repr(made.to_dict())
        case torch.Tensor():
            return repr(made.tolist())
        case go.Figure():
            return repr(made.to_json())
        case gi.Snapshot():
            return f"{made.epoch} {plain(made.params)} {plain(made.is_train)}"
        case gi.Task() | gi.Group():
            return f"{made.name} {plain(made.table)}"
        case Basis():
            return plain(made.matrix)
        case torch.nn.Module():
            return plain(made.state_dict())
        case gi.claims.Evidence():
            return f"{made.max_epoch} {plain(made.snapshot)}"
        case Mapping():
            return str({key: plain(value) for key, value in made.items()})
        case list() | tuple():
            return str([plain(value) for value in made])
        case _:
            return repr(getattr(made, "workers", made))


def answer(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What a user reads: the error, or that there is none."""
    try:
        function(*args, **kwargs)
    except ValueError as error:
        return str(error)
    return "taken"


def test_every_argument_is_in_the_table():
    assert {path for path, _, _ in TABLE} == set(BASE)
    assert [f"{path}.{name}" for path, name, _ in TABLE if kind_of(path, name) is None] == []
    assert {name for name in OF_FUNCTION if name not in IDS} == set()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name", "parameter"), TABLE, ids=IDS)
def test_what_is_invalid_is_refused_in_one_line_that_names_the_argument(path, name, parameter, place):
    base, kind = BASE[path](place), kind_of(path, name)
    called = CALLED.get(f"{path}.{name}", CALLED.get(name, name))
    invalid = [value for value in kind.invalid if value is not None or parameter.default is not None]
    answers = {repr(value): answer(call, path, base, parameter, value, is_valid=False) for value in invalid}
    assert answers
    message = re.compile(rf"{called} must be .*, got .*[.?]$")
    assert {value: words for value, words in answers.items() if not message.match(words)} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "name", "parameter"),
    [pytest.param(*row, id=id) for row, id in zip(TABLE, IDS, strict=True) if row[0] not in NOT_COMPARED],
)
def test_all_spellings_of_what_is_valid_mean_the_same(path, name, parameter, place):
    base = BASE[path](place)
    found = {plain(call(path, base, parameter, value, is_valid=True)) for value in kind_of(path, name).valid}
    assert len(found) == 1


@pytest.mark.parametrize("name", ["epoch", "split", "frequency", "", "a b", "1", None, 3, ["loss"]])
def test_a_measure_has_a_name_that_a_dataset_can_have(name):
    message = (
        r"^the name of a measure must be an identifier .* not the name of a dimension such as epoch or split, got .*\.$"
    )
    with pytest.raises(ValueError, match=message):
        gi.progress.losses.named(name)
    with pytest.raises(ValueError, match=message):
        gi.Measure(name=name, compute=gi.progress.losses.compute)
    with pytest.raises(ValueError, match=message):
        gi.measure(name)(gi.progress.losses.compute)
