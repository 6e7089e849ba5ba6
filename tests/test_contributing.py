"""The recipes of CONTRIBUTING.md, followed as they are written; what CI, hooks and templates run exists."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
import yaml

import grokinterp as gi
from grokinterp import plots
from grokinterp.cli import app
from grokinterp.detection import detectors
from grokinterp.models import architecture
from grokinterp.papers import claim as claim_module
from grokinterp.papers.nanda2023 import circuit
from grokinterp.papers.paper import PAPERS
from grokinterp.tasks import operations


ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))
RECIPES = dict(re.findall(r"^### A (\w+)\n(.*?)(?=^### |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE))
# Files that a recipe adds; every other path that it names is there.
NEW = {"grokinterp/models/kinds/mean.py", "tests/models/test_mean.py", "grokinterp/plots/largest_weight.py"}

Namespace = dict[str, Any]


def blocks(recipe: str) -> dict[str, str]:
    """The code blocks of a recipe by the file in their first line; a JSON block by `json`."""
    python = re.findall(
        r"^```python\n# (\S+?)(?:, in \w+)?\n(.*?)^```", RECIPES[recipe], flags=re.DOTALL | re.MULTILINE
    )
    as_json = re.findall(r"^```(json)\n(.*?)^```", RECIPES[recipe], flags=re.DOTALL | re.MULTILINE)
    return dict(python + as_json)


def module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def added(recipe: str, path: str) -> Namespace:
    """The names of a file after the recipe's block is added to it."""
    names = {"__name__": module_of(path)} if path in NEW else dict(vars(import_module(module_of(path))))
    exec(blocks(recipe)[path], names)
    return names


def entry(recipe: str, path: str, brackets: str) -> Any:
    """The collection that a recipe's entries of a dictionary or tuple in a file make."""
    code = brackets[0] + blocks(recipe)[path] + brackets[1]
    return eval(code, dict(vars(import_module(module_of(path)))))


def task(monkeypatch: pytest.MonkeyPatch) -> None:
    formulas = entry("task", "grokinterp/tasks/operations.py", "{}")
    monkeypatch.setattr(operations, "_FORMULAS", operations._FORMULAS | formulas)
    monkeypatch.setattr(operations, "OPERATIONS", (*operations.OPERATIONS, *formulas))


def model(monkeypatch: pytest.MonkeyPatch) -> None:
    # Registered for this test only.
    monkeypatch.setitem(architecture.KINDS, "mean", gi.MLPConfig)
    del architecture.KINDS["mean"]
    module = ModuleType("grokinterp.models.kinds.mean")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(added("model", "grokinterp/models/kinds/mean.py"))


def measure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = added("measure", "grokinterp/monitors/weights.py")["largest_weight"]
    monkeypatch.setattr(gi.monitors, "largest_weight", made, raising=False)


def plot(monkeypatch: pytest.MonkeyPatch) -> None:
    measure(monkeypatch)
    draw = added("plot", "grokinterp/plots/largest_weight.py")["largest_weight"]
    monkeypatch.setattr(plots, "largest_weight", draw, raising=False)


def claim(monkeypatch: pytest.MonkeyPatch) -> None:
    function = added("claim", "grokinterp/papers/nanda2023/circuit.py")["n_neurons"]
    monkeypatch.setattr(circuit, "n_neurons", function, raising=False)
    group, paper = json.loads(blocks("claim")["json"]), PAPERS["nanda2023"]
    known = (*gi.claims.claims(), *(claim_module._claim(paper, group, one) for one in group["entries"]))
    monkeypatch.setattr(claim_module, "_claims", lambda _: known)


def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = entry("detector", "grokinterp/detection/detectors.py", "()")
    known = MappingProxyType({**detectors.DETECTORS, made.name: made})
    monkeypatch.setattr(detectors, "DETECTORS", known)


def command(monkeypatch: pytest.MonkeyPatch) -> None:
    made = added("command", "grokinterp/cli/inspect.py")["Checkpoints"]
    monkeypatch.setitem(app.COMMANDS, "checkpoints", made)


FOLLOW: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "task": task,
    "model": model,
    "measure": measure,
    "plot": plot,
    "claim": claim,
    "detector": detector,
    "command": command,
}


def test_there_is_a_recipe_for_everything() -> None:
    assert RECIPES.keys() == FOLLOW.keys() | {"preset"}


def run_test_of(recipe: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the test that a recipe asks for, and return its name."""
    (path,) = (path for path in blocks(recipe) if path.startswith("tests/"))
    names: Namespace = {}
    exec(blocks(recipe)[path], names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test(capsys) if recipe == "command" else test()
    return test.__name__


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("recipe", FOLLOW)
def test_a_recipe_s_test_passes_once_its_code_is_added(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FOLLOW[recipe](monkeypatch)
    assert run_test_of(recipe, capsys) in RECIPES[recipe]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("recipe", FOLLOW)
def test_a_recipe_s_test_fails_without_its_code(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((AssertionError, AttributeError, ImportError, KeyError, ValueError), match=r"^"):
        run_test_of(recipe, capsys)


@pytest.mark.slow
def test_the_measure_of_the_recipe_is_a_monitor_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(monkeypatch)
    config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=2, model=gi.TransformerConfig(d_model=8, d_mlp=16))
    made = gi.monitors.largest_weight
    run = gi.train(config, tmp_path, monitors=[made], progress=False)
    ds = gi.trajectory(run, [made, gi.progress.weight_norm], progress=False)
    assert (ds.largest_weight**2 <= ds.weight_norm).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_path_in_a_recipe_exists(recipe: str) -> None:
    named = set(re.findall(r"[`# ]((?:grokinterp|tests|docs|examples|benchmarks)/[\w/.]+?)[`,\n]", RECIPES[recipe]))
    named |= set(re.findall(r"`(\w+\.md)`", RECIPES[recipe]))
    assert named
    assert {path for path in named - NEW if not (ROOT / path).exists()} == set()
    assert {path for path in named & NEW if (ROOT / path).exists()} == set()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_name_in_a_recipe_stands_in_the_file_it_is_named_for(recipe: str) -> None:
    """Such as `_FORMULAS` after grokinterp/tasks/operations.py."""
    for path, words in re.findall(
        r"^- `(\S+?\.py)`: (.*?)(?=^- |^\n)", RECIPES[recipe], flags=re.DOTALL | re.MULTILINE
    ):
        for name in re.findall(r"`([A-Z_]\w*)`", words):
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), f"{name} in {path}"


def test_make_targets_in_the_contributor_s_page_exist() -> None:
    named = set(re.findall(r"make ([\w-]+)", TEXT))
    assert len(named) >= 5
    assert named <= TARGETS


def test_hooks_run_make_targets() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    entries = [hook["entry"].split() for hook in config["repos"][0]["hooks"]]
    assert all(hook["language"] == "system" for hook in config["repos"][0]["hooks"])
    assert all(words[0] == "make" and words[1] in TARGETS for words in entries)


def test_the_workflow_runs_what_ci_runs_on_the_oldest_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    (python,) = (step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    commands = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert commands == ["test", "exhaustive", "test-transformer-lens-4"]
    assert set(commands) <= TARGETS


def test_issue_forms_have_what_github_asks_for() -> None:
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    assert forms.keys() == {"config", "bug", "wrong_number", "feature"}
    for name, form in forms.items():
        if name != "config":
            assert form.keys() >= {"name", "description", "body"}
            assert all(field["attributes"]["label"] for field in form["body"])
    assert (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text().count("- [ ]") >= 4


FAKE_PYTHON = """#!{python}
import subprocess, sys
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
if sys.argv[1] == "-c":
    sys.exit(subprocess.run([{python!r}, *sys.argv[1:]]).returncode)
sys.exit("--index-url" in sys.argv and {fails!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_reachable", "fails", "indexes"),
    [(True, False, ["index"]), (True, True, ["index", "default"]), (False, False, ["default"])],
)
def test_torch_comes_from_its_index_if_that_answers_and_else_from_pip_s_own(
    is_reachable: bool, fails: bool, indexes: list[str], tmp_path: Path
) -> None:
    log, python = tmp_path / "log", tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON.format(python=sys.executable, log=str(log), fails=fails))
    python.chmod(0o755)
    (tmp_path / "torch").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        index = f"http://127.0.0.1:{server.server_port}" + ("" if is_reachable else "/nowhere")
        variables = [f"VENV={tmp_path}/venv", f"TORCH_INDEX={index}"]
        command = ["make", *variables, f"{tmp_path}/venv/.installed"]
        environment = os.environ | {"no_proxy": "127.0.0.1"}
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
        server.shutdown()
    calls = [line for line in log.read_text().splitlines() if line.endswith(" torch")]
    assert ["index" if "--index-url" in call else "default" for call in calls] == indexes
    assert all("--constraint constraints.txt" in call for call in calls)
    assert (tmp_path / "venv" / ".installed").exists()
