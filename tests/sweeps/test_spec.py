from pathlib import Path

import pytest

import grokinterp as gi
from grokinterp.sweeps import SweepSpec, read_spec
from grokinterp.sweeps.directories import fields_of
from grokinterp.sweeps.spec import values_of


PLAN = """
preset = "quick"

[change]
epochs = 1000
model.d_mlp = 64

[axes]
seed = "0..2"
"split.fraction" = [0.3, 0.5]
optim.weight_decay = [1, 2.5]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_a_file_is_a_preset_with_changes_and_axes(file: Path) -> None:
    configs = read_spec(file).configs()
    base = gi.grid(gi.presets.quick(), {"epochs": [1000], "model.d_mlp": [64]})[0]
    axes = {"seed": range(3), "split.fraction": [0.3, 0.5], "optim.weight_decay": [1.0, 2.5]}
    assert configs == gi.grid(base, axes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"quick"', '"fast"', "plan.toml must have preset = one of nanda2023, quick, .* got preset = 'fast'"),
        ('preset = "quick"', "", "must have preset = one of .* got preset = None"),
        ('"quick"', '["quick"]', r"must have preset = one of .* got preset = \['quick'\]"),
        ("[change]", "[changes]", r"got preset = 'quick' and the keys \['axes', 'changes', 'preset'\]"),
        ("[axes]", "axes = 3\n[other]", "must have preset"),
        ("[axes]", "[axes", "could not parse .*plan.toml as TOML: "),
        ("epochs = 1000", "epoch = 1000", "unknown key 'epoch'; did you mean 'epochs'"),
        ("[0.3, 0.5]", "[0.3, 5]", "config.split.fraction must be a number above 0 and below 1"),
        ("[0.3, 0.5]", "[" * 10_000, "could not parse .*plan.toml as TOML: "),
        (
            "[0.3, 0.5]",
            '"0..99999999999"',
            r"a range must be increasing, .* at most 1,000,000 values, got 0\.\.9+\.",
        ),
        ("[0.3, 0.5]", "0.3", "axis 'split.fraction' needs a list of values, got 0.3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_file_that_cannot_be_is_refused(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(PLAN.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_spec(file).configs()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    for name in ("no.toml", "folder.toml"):
        with pytest.raises(FileNotFoundError, match=rf"there is no file .*{name}"):
            read_spec(tmp_path / name)


def test_one_value_is_for_all_runs_and_several_are_an_axis(file: Path) -> None:
    plan = read_spec(file).varied({"seed": [7], "optim.lr": [1e-3, 1e-2], "split.fraction": [0.4, 0.6, 0.8]})
    assert plan.config.seed == 7
    assert plan.axes == {
        "split.fraction": [0.4, 0.6, 0.8],
        "optim.weight_decay": [1, 2.5],
        "optim.lr": [1e-3, 1e-2],
    }


def test_a_plan_without_axes_is_one_run() -> None:
    assert SweepSpec(config=gi.presets.quick()).configs() == [gi.presets.quick()]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("regularization.grokfast", ["none", "ema"]),
        ("model.normalization", ["LN", "none"]),
        ("model.biases", ["none", "all"]),
        ("curriculum.order", ["none"]),
    ],
)
def test_none_is_a_word_where_it_is_one_of_the_choices(name: str, words: list[str]) -> None:
    plan = SweepSpec(config=gi.presets.quick()).varied({name: values_of(*words)})
    assert [fields_of(config)[name] for config in plan.configs()] == words


def test_none_is_no_value_where_a_field_may_have_none() -> None:
    plan = SweepSpec(config=gi.presets.quick()).varied({"optim.batch_size": values_of("none", "8")})
    assert [config.optim.batch_size for config in plan.configs()] == [None, 8]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["0..4"], [0, 1, 2, 3, 4]),
        (["3..3", "9", "-2..-1"], [3, 9, -2, -1]),
        (["0.5", "1e-3", ".5", "-1"], [0.5, 0.001, 0.5, -1]),
        (["none", "None", "true", "False"], [None, None, True, False]),
        (["AdamW", "x^2+y^2", "a b ="], ["AdamW", "x^2+y^2", "a b ="]),
        (["[0.9, 0.98]"], [[0.9, 0.98]]),
    ],
)
def test_words_are_read_as_values(words: list[str], values: list) -> None:
    read = values_of(*words)
    assert read == values
    assert [*map(type, read)] == [*map(type, values)]


def test_a_range_that_goes_down_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a range must be increasing, e\.g\. 0\.\.4, .* got 4\.\.0"):
        values_of("4..0")
