"""Run directories and the configs they belong to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import grokinterp as gi
from grokinterp.config import RunConfig, to_dict
from grokinterp.runs.layout import RunError
from grokinterp.runs.manifest import write_identity
from grokinterp.sweeps import directories
from grokinterp.sweeps.directories import assign, known_configs


DECAYS = st.lists(st.sampled_from([0.1, 0.3, 1.0]), min_size=1, unique=True)
PIECES = st.sampled_from(["", "0", "null", "NaN", '"', "{", "}", "[", "]", ",", '"..": ', '"a/b"', '"\\ud800"', "\0"])
SEEDS = st.lists(st.integers(0, 2), min_size=1, unique=True)


def names(assigned: dict[Path, RunConfig]) -> list[str]:
    return [path.name for path in assigned]


def test_directories_are_named_by_what_differs(tiny: RunConfig, tmp_path: Path) -> None:
    configs = gi.grid(tiny, {"optim.weight_decay": [0.3, 1.0], "seed": [0, 1]})
    assert names(assign(tmp_path / "a" / "b", configs)) == [
        "optim.weight_decay=0.3,seed=0",
        "optim.weight_decay=0.3,seed=1",
        "optim.weight_decay=1.0,seed=0",
        "optim.weight_decay=1.0,seed=1",
    ]


@pytest.mark.slow
@settings(max_examples=8)
@given(st.lists(st.tuples(DECAYS, SEEDS), min_size=2, max_size=3))
def test_a_config_keeps_its_directory_however_the_sweep_is_widened(
    tmp_path_factory: pytest.TempPathFactory, sweeps: list[tuple[list[float], list[int]]]
) -> None:
    root = tmp_path_factory.mktemp("sweep")
    first: dict[RunConfig, Path] = {}
    for decays, seeds in sweeps:
        configs = gi.grid(gi.presets.quick(), {"optim.weight_decay": decays, "seed": seeds})
        for path, config in assign(root, configs).items():
            assert first.setdefault(config, path) == path
    assert len({*first.values()}) == len(first)
    assert known_configs(root) == {path.name: config for config, path in first.items()}


def test_another_base_config_gets_other_directories(tiny: RunConfig, tmp_path: Path) -> None:
    before = assign(tmp_path, gi.grid(tiny, {"seed": [0, 1]}))
    after = assign(tmp_path, gi.grid(replace(tiny, epochs=30), {"seed": [0, 1]}))
    assert names(before) == ["seed=0", "seed=1"]
    assert names(after) == ["epochs=30,seed=0", "epochs=30,seed=1"]


def test_a_run_that_was_there_before_the_sweep_is_part_of_it(tiny: RunConfig, tmp_path: Path) -> None:
    for name in ("my_run", "another"):
        (tmp_path / name).mkdir()
    write_identity(tmp_path / "my_run" / "config.json", replace(tiny, seed=1), {})
    assert names(assign(tmp_path, gi.grid(tiny, {"seed": [0, 1]}))) == ["seed=0", "my_run"]
    # Also after the sweep has started.
    write_identity(tmp_path / "another" / "config.json", replace(tiny, seed=2), {})
    assert names(assign(tmp_path, gi.grid(tiny, {"seed": range(4)}))) == ["seed=0", "my_run", "another", "seed=3"]


def test_a_directory_is_found_without_the_list(tiny: RunConfig, tmp_path: Path) -> None:
    (path,) = assign(tmp_path, [replace(tiny, seed=3)])
    path.mkdir()
    write_identity(path / "config.json", replace(tiny, seed=3), {})
    (tmp_path / "sweep.json").unlink()
    assert path in assign(tmp_path, gi.grid(tiny, {"optim.lr": [tiny.optim.lr, 0.1], "seed": [3]}))


def test_a_folder_in_the_way_is_left_alone(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "config.json").write_text("{}")
    assigned = names(assign(tmp_path, gi.grid(tiny, {"seed": [0, 1]})))
    assert [name[:7] for name in assigned] == ["seed=0,", "seed=1,"]
    assert names(assign(tmp_path, gi.grid(tiny, {"seed": [0, 1]}))) == assigned


@pytest.mark.usefixtures("unchecked")
def test_equal_configs_count_once(tiny: RunConfig, tmp_path: Path) -> None:
    whole = replace(tiny, optim=replace(tiny.optim, weight_decay=1))
    assert len(assign(tmp_path, [tiny, tiny, whole])) == 1


def test_the_list_says_axes_and_configs(tiny: RunConfig, tmp_path: Path) -> None:
    assign(tmp_path, gi.grid(tiny, {"seed": [2, 0]}))
    listed = json.loads((tmp_path / "sweep.json").read_text())
    assert listed["axes"] == {"seed": [2, 0]}
    assert listed["runs"]["seed=2"] == to_dict(replace(tiny, seed=2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must be a sweep's list of runs with format 1; choose a different root"),
        ('{"format": 2, "runs": {}}', "must be a sweep's list of runs with format 1"),
        ('{"format": 1, "runs": {"a": {"sead": 0}}}', "has a config from a different version: .* did you mean 'seed'"),
        ("{", "sweep.json must be JSON"),
        ("[" * 100_000, "sweep.json must be JSON, got "),
        ('{"format": 1, "runs": {"a": null}}', "has a config from a different version"),
    ],
)
def test_a_broken_list_is_named(content: str, message: str, tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunError, match=message):
        assign(tmp_path, [tiny])


@pytest.mark.parametrize(
    "name", ["../escaped", "..", ".", "", "/grokinterp_absolute", "one/two", "one/../..", "end/", "zero\0"]
)
def test_a_name_outside_the_root_is_refused(name: str, tiny: RunConfig, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    text = json.dumps({"format": 1, "runs": {name: to_dict(tiny)}})
    (root / "sweep.json").write_text(text)
    with pytest.raises(RunError, match=r"sweep\.json must name directories inside .*root, got '.*'; correct the name"):
        gi.sweep([tiny], root, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert not Path("/grokinterp_absolute").exists()
    assert (root / "sweep.json").read_text() == text


def test_values_with_slashes_stay_inside_the_root(tiny: RunConfig, tmp_path: Path) -> None:
    values = [[], ["../*"], ["/etc/*"], ["a/../../*"]]
    configs = [replace(tiny, regularization=replace(tiny.regularization, frozen=tuple(value))) for value in values]
    assigned = assign(tmp_path, configs)
    assert len(assigned) == len(values)
    assert all(path.parent == tmp_path and path.resolve().parent == tmp_path.resolve() for path in assigned)
    assert known_configs(tmp_path).keys() == {path.name for path in assigned}


@pytest.mark.slow
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_list_gives_one_line_or_folders_inside(
    data: st.DataObject, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    configs = gi.grid(tiny, {"seed": [0, 1]})
    assign(root, configs)
    text = (root / "sweep.json").read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 40))
    (root / "sweep.json").write_text(text[:at] + data.draw(PIECES) + text[at + length :])
    try:
        assigned = assign(root, configs)
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(path.resolve().parent == root.resolve() for path in assigned)
        assert len(assigned) == len(configs)


def test_a_root_that_cannot_be_written_is_named(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file could not be written: .*\. Fix this"):
        assign(tmp_path / "file", [tiny])


def test_a_root_that_is_held_too_long_is_named(
    tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "LOCK_TIMEOUT", 0.0)
    with FileLock(tmp_path / ".sweep.lock"), pytest.raises(RunError, match=r"another sweep has held .*sweep\.lock for"):
        assign(tmp_path, [tiny])
