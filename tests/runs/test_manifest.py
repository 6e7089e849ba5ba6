"""config.json: whose directory it is."""

import json
from pathlib import Path

import pytest

from grokinterp.config import OptimConfig, RunConfig, TaskConfig
from grokinterp.presets import PRESETS
from grokinterp.runs.layout import RunError
from grokinterp.runs.manifest import FORMAT, differences, environment, read_identity, write_identity


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A config.json of the defaults."""
    write_identity(tmp_path / "config.json", RunConfig(), environment(RunConfig()))
    return tmp_path / "config.json"


@pytest.mark.parametrize("name", PRESETS)
def test_identity_goes_there_and_back(name: str, tmp_path: Path) -> None:
    config = PRESETS[name]()
    made_by = environment(config)
    write_identity(tmp_path / "config.json", config, made_by)
    assert read_identity(tmp_path / "config.json") == (config, made_by)
    assert made_by.keys() >= {"grokinterp", "torch", "python", "device", "threads"}


def test_the_differences_of_equal_configs_are_none() -> None:
    assert differences(RunConfig(), RunConfig()) == []
    assert differences(RunConfig(epochs=1), RunConfig(epochs=2), ignore=("epochs",)) == []


def test_differences_are_named_by_field_with_both_values() -> None:
    left = RunConfig(task=TaskConfig(p=7), optim=OptimConfig(betas=(0.9, 0.98), batch_size=None))
    right = RunConfig(task=TaskConfig(p=11), optim=OptimConfig(betas=(0.9, 0.99), batch_size=5))
    assert differences(left, right) == [
        "optim.batch_size is None there, 5 here",
        "optim.betas is [0.9, 0.98] there, [0.9, 0.99] here",
        "task.p is 7 there, 11 here",
    ]


@pytest.mark.parametrize("found", [FORMAT + 1, 0, None, "1"])
def test_another_format_is_refused(found: object, path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": found}))
    with pytest.raises(RunError, match=f"must have run format {FORMAT}, got {found!r}; use the grokinterp version"):
        read_identity(path)


def test_json_of_something_else_is_refused(path: Path) -> None:
    path.write_text("[1, 2]")
    with pytest.raises(RunError, match=r"must have run format 1, got \[1, 2\]"):
        read_identity(path)


@pytest.mark.parametrize("key", ["config", "made_by"])
def test_a_missing_part_is_named(key: str, path: Path) -> None:
    data = json.loads(path.read_text())
    del data[key]
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=f"'{key}' is missing. Restore it from a backup"):
        read_identity(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'"),
        ({"seed": "zero"}, "config.seed must be an integer from .* got 'zero'"),
        ({"epochs": 0}, "config.epochs must be an integer of at least 1"),
        ({"optim": 3}, "config.optim must be of type OptimConfig, or a table of its keys"),
    ],
)
def test_a_config_of_another_version_is_refused(change: dict[str, object], message: str, path: Path) -> None:
    data = json.loads(path.read_text())
    data["config"] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=f"must hold a config of this version: .*{message}"):
        read_identity(path)


def test_a_directory_without_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.json"):
        read_identity(tmp_path / "config.json")
