"""What docs/coming_from.md names is there: tests, flags and fields of the config, calls, commands."""

import ast
import dataclasses
import re
import shlex
from functools import reduce
from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.cli import app
from grokinterp.config import to_dict
from grokinterp.runs.manifest import flat


TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "coming_from.md").read_text(encoding="utf-8")
COLUMNS = ["feature", "here", "what was wrong there", "test"]
CONFIGS = (gi.RunConfig(), gi.RunConfig(model=gi.MLPConfig()))
FIELDS = {name for config in CONFIGS for name in flat(to_dict(config))}
PARTS = {field.name for field in dataclasses.fields(gi.RunConfig)}
# Flags of the commands themselves.
OWN_FLAGS = {"out", "quiet", "workers", "scheduler"}


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table, without the headings."""
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if row != COLUMNS and set("".join(row)) != {"-"}]


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def known_tests() -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py")]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


ROWS = rows(PAGE)
# A feature of another project may have any name; the last three columns are ours.
OURS = [span for row in ROWS for span in code(row[1])] + code(re.sub(r"^\|.*$", "", PAGE, flags=re.MULTILINE))


def test_the_page_has_tables_of_four_columns() -> None:
    assert len(ROWS) > 100
    assert {len(row) for row in ROWS} == {len(COLUMNS)}
    assert all(cell for row in ROWS for cell in row)


@pytest.mark.slow
def test_every_row_names_tests_that_are_there() -> None:
    known = known_tests()
    named = [code(row[-1]) for row in ROWS]
    assert [row[0] for row, names in zip(ROWS, named, strict=True) if not names] == []
    assert [name for names in named for name in names if name not in known] == []


def test_every_flag_is_one_of_a_command() -> None:
    flags = [flag.replace("-", "_") for span in OURS for flag in re.findall(r"--([a-z][\w.-]*)", span)]
    assert len(flags) > 50
    assert [flag for flag in flags if flag not in FIELDS | OWN_FLAGS] == []


def test_every_field_is_one_of_the_config() -> None:
    paths = [path for span in OURS for path in re.findall(r"(?<![\w.-])((?:[a-z_]+\.)[a-z_]+)\b(?!\()", span)]
    fields = [path for path in paths if path.partition(".")[0] in PARTS and not path.endswith(".safetensors")]
    assert len(fields) > 5
    assert [path for path in fields if path not in FIELDS and not any(f.startswith(path + ".") for f in FIELDS)] == []


def test_every_call_is_there() -> None:
    paths = {path for span in OURS for path in re.findall(r"\bgi((?:\.\w+)+)", span)}
    assert len(paths) > 40
    for path in sorted(paths):
        assert reduce(getattr, path[1:].split("."), gi) is not None
    of_runs = {name for span in OURS for name in re.findall(r"\brun\.(\w+)", span)}
    assert [name for name in sorted(of_runs) if not hasattr(gi.Run, name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("command", [span for span in OURS if span.startswith("grokinterp ") and "PRESET" not in span])
def test_every_command_is_read(command: str) -> None:
    assert callable(app._parse(shlex.split(command)[1:]))


@pytest.mark.slow
def test_what_is_not_there_is_found() -> None:
    row = "| `--x` | `gi.nothing` | - | `test_that_nobody_wrote` |"
    assert rows(f"| feature | here | what was wrong there | test |\n|---|---|---|---|\n{row}\n") == [
        ["`--x`", "`gi.nothing`", "-", "`test_that_nobody_wrote`"]
    ]
    assert code(row)[-1] not in known_tests()
