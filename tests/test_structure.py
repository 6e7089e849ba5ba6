"""What holds for the package as a whole: its vocabulary of axes, the size of its files, and what it may import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import grokinterp
from grokinterp.labels import DIMENSIONS


PACKAGE = Path(grokinterp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])

DTYPES = {"Shaped", "Num", "Real", "Float", "Float32", "Float64", "Int", "Int32", "Int64", "UInt", "UInt8", "Bool"}
DTYPES |= {"Complex", "Complex64", "Complex128", "Inexact"}
# Axes that may be of any kind: of pairs in any shape, and, one or any number, whatever is in front of the last axis.
ANY_AXES = {"*pairs", "*rest", "rest", "..."}
MOST_LINES = 400
NOT_LOADED = ("transformer_lens", "plotly", "xarray", "h5netcdf", "tyro", "jinja2", "numba")


def axis_words(source: str) -> Iterator[str]:
    """The words of every jaxtyping annotation: the strings in `Float[Tensor, "a b"]`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
            continue
        dtype = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
        shape = node.slice.elts[-1]
        if dtype in DTYPES and isinstance(shape, ast.Constant) and isinstance(shape.value, str):
            yield from shape.value.split()


def unknown_words(source: str) -> set[str]:
    """Axis words that neither the vocabulary nor the axes of any kind hold; the length of an axis may be a number."""
    return {word for word in axis_words(source) if not word.isdigit()} - set(DIMENSIONS) - ANY_AXES


def forbidden_stores(source: str) -> set[str]:
    """Uses of pickle, by itself or through torch; its error may be named, and tensors alone may be read."""
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} - {"pickle"}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            found.add("pickle" if called.startswith("pickle.") and node.attr != "UnpicklingError" else called)
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    loads = [call for call in calls if call.startswith("torch.load(")]
    if loads and all("weights_only=True" in call for call in loads):
        found.remove("torch.load")
    return found & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "torch.load", "torch.save"}


def loaded_by(statement: str) -> set[str]:
    """Which of the costly packages a statement loads, in an interpreter of its own."""
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & set({NOT_LOADED!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, check=True, capture_output=True, text=True, timeout=120
    )
    return set(done.stdout.split())


def test_there_are_files_and_annotations_to_look_at():
    assert PACKAGE / "basis.py" in FILES
    assert {"component", "n", "*rest", "block"} <= set(axis_words((PACKAGE / "basis.py").read_text()))


@pytest.mark.slow
@each_file
def test_axis_words_are_in_the_vocabulary(path):
    assert unknown_words(path.read_text()) == set(), "name the axis by a word of labels.DIMENSIONS, or add one there"


@pytest.mark.parametrize(
    ("annotation", "unknown"),
    [
        ('Float[Tensor, "a b c"]', set()),
        ('jaxtyping.Float64[Tensor, " p"] | None', set()),
        ('dict[str, Int[Tensor, "*pairs 3"]]', set()),
        ('Float[Tensor, ""]', set()),
        ('Float[Tensor, "n d d"]', {"d"}),
        ('list[Bool[Tensor, "*batches c"]]', {"*batches"}),
        ('Float[Tensor, "#a b-1"]', {"#a", "b-1"}),
    ],
)
def test_a_word_outside_the_vocabulary_is_found(annotation, unknown):
    assert unknown_words(f"def f(x: {annotation}) -> None: ...") == unknown


@each_file
def test_no_file_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES, "split the file where it has two reasons to change"


@pytest.mark.slow
@each_file
def test_nothing_is_pickled(path):
    assert forbidden_stores(path.read_text()) == set(), "store tensors as safetensors, everything else as JSON"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle\npickle.load(file)", {"pickle"}),
        ("import torch\ntorch.load('x')", {"torch.load"}),
        ("import torch\ntorch.load('x', weights_only=False)", {"torch.load"}),
        ("import pickle, torch\ntry: torch.load('x', weights_only=True)\nexcept pickle.UnpicklingError: ...", set()),
        ("import torch\ntorch.save({}, 'x')", {"torch.save"}),
        ("from torch import load", {"torch.load"}),
        ("from pickle import dumps", {"pickle"}),
        ("import json\nfrom safetensors.torch import load_file", set()),
    ],
)
def test_a_pickle_is_found(source, found):
    assert forbidden_stores(source) == found


@pytest.mark.slow
def test_importing_the_package_loads_nothing_costly():
    assert loaded_by("import grokinterp") == set()


@pytest.mark.slow
def test_a_package_that_is_loaded_is_found():
    assert loaded_by("import grokinterp.labels") == {"xarray"}


def test_every_top_level_name_is_listed_and_leads_to_a_file():
    stub = (PACKAGE / "__init__.pyi").read_text()
    lines = re.findall(r"^from \.([\w.]*) import (\w+) as (\w+)$", stub, flags=re.MULTILINE)
    assert len(lines) == len(stub.splitlines())
    assert sorted(name for _, _, name in lines) == sorted(grokinterp.__all__)
    for module, name, alias in lines:
        assert name == alias
        where = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE / name
        assert where.with_suffix(".py").is_file() or (where / "__init__.py").is_file(), f"{module}.{name}"
