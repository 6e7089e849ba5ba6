import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grokinterp as gi
from grokinterp.config import Schedule
from grokinterp.sweeps.directories import axes_of, dimension_of, fields_of, grid, is_determined_by, name_of, word


QUICK = gi.presets.quick()
decays = st.lists(st.floats(0, 10), min_size=1, max_size=4, unique=True)
seeds = st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True)


@pytest.mark.slow
@given(decays, seeds, st.sampled_from([["AdamW"], ["SGD", "AdamW"]]))
def test_a_grid_is_nested_loops_over_its_axes(decays, seeds, names):
    axes = {"optim.weight_decay": decays, "seed": iter(seeds), "optim.name": tuple(names)}
    got = [(c.optim.weight_decay, c.seed, c.optim.name) for c in grid(QUICK, axes)]
    expected = []
    for decay in decays:
        for seed in seeds:
            expected += [(decay, seed, name) for name in names]
    assert got == expected


def test_what_no_axis_names_is_the_config_s():
    (config,) = grid(QUICK, {"optim.lr": [5e-4]})
    assert config == dataclasses.replace(QUICK, optim=dataclasses.replace(QUICK.optim, lr=5e-4))
    assert grid(QUICK, {}) == [QUICK]


def test_numbers_of_numpy_are_taken():
    configs = grid(QUICK, {"optim.weight_decay": np.geomspace(0.25, 1, 3), "seed": np.arange(2)})
    assert [(c.optim.weight_decay, c.seed) for c in configs] == list(itertools.product([0.25, 0.5, 1.0], [0, 1]))
    assert {type(c.seed) for c in configs} == {int}
    assert {type(c.optim.weight_decay) for c in configs} == {float}


def test_a_whole_part_may_be_an_axis():
    schedules = [Schedule(), Schedule(kind="cosine", steps=100)]
    assert [c.optim.lr_schedule for c in grid(QUICK, {"optim.lr_schedule": schedules})] == schedules


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"optim.weight_decays": [1.0]}, "unknown key 'weight_decays'; did you mean 'weight_decay'"),
        ({"seed": [0.5]}, r"config.seed must be an integer from .* got 0.5"),
        ({"split.fraction": [0.3, 1.5]}, "config.split.fraction must be a number above 0 and below 1, got 1.5"),
        ({"seed": []}, "axis 'seed' needs at least one value, got none"),
        ({"optim.name": "SGD"}, r"axis 'optim.name' needs a list of values, got 'SGD'; write \['SGD'\]"),
        ({"seed": 3}, r"axis 'seed' needs a list of values, got 3; write \[3\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_axis_that_cannot_be_is_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        grid(QUICK, axes)


@pytest.mark.slow
@given(decays, seeds)
def test_axes_are_found_again(decays, seeds):
    configs = grid(QUICK, {"seed": seeds, "optim.weight_decay": decays})
    assert axes_of(configs) == (("optim.weight_decay",) if len(decays) > 1 else ()) + ("seed",)


def test_axes_come_in_the_config_s_order_and_the_seed_last():
    configs = grid(QUICK, {"seed": [0, 1], "model.d_mlp": [16, 32], "task.p": [7, 11]})
    assert axes_of(configs) == ("task.p", "model.d_mlp", "seed")


def test_what_changes_together_is_one_axis():
    pairs = [{"optim.lr": lr, "optim.weight_decay": 1 / lr} for lr in (0.125, 0.25)]
    configs = [gi.grid(QUICK, {name: [value] for name, value in pair.items()})[0] for pair in pairs]
    assert axes_of(configs) == ("optim.lr", "seed")
    rows = [fields_of(config) for config in configs]
    assert is_determined_by("optim.weight_decay", ["optim.lr"], rows)
    assert not is_determined_by("optim.weight_decay", [], rows)


def test_two_kinds_of_model_are_one_axis():
    models = [gi.TransformerConfig(), gi.MLPConfig()]
    assert axes_of(grid(QUICK, {"model": models, "seed": [0, 1]})) == ("model.kind", "seed")


@pytest.mark.slow
@given(decays, seeds)
def test_names_differ_where_configs_do(decays, seeds):
    configs = grid(QUICK, {"optim.weight_decay": decays, "seed": seeds})
    names = {name_of(config, ("optim.weight_decay", "seed")) for config in configs}
    assert len(names) == len(configs)
    assert all(len(name) <= 120 and "/" not in name for name in names)


def test_a_name_is_readable_and_safe():
    config = grid(QUICK, {"model.sequence": ["a op b ="], "optim.betas": [[0.9, 0.98]], "seed": [3]})[0]
    name = name_of(config, ("model.sequence", "optim.betas", "optim.batch_size", "seed"))
    assert name == "model.sequence=a_op_b_=,optim.betas=_0.9_0.98_,optim.batch_size=none,seed=3"


def test_a_long_name_is_a_hash_of_the_whole_config():
    axes = tuple(fields_of(QUICK))
    left, right = (name_of(config, axes) for config in grid(QUICK, {"optim.lr": [1e-3, 1.0000000001e-3]}))
    assert left != right
    assert len(left) == len(right) <= 40
    assert left == name_of(grid(QUICK, {"optim.lr": [1e-3]})[0], axes)


@given(st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none(), st.floats(allow_nan=False))
def test_words_differ_where_values_do(left, right):
    assert (word(left) == word(right)) == (
        type(left) is float and left == right and math.copysign(1, left) == math.copysign(1, right)
    )


def test_the_dimension_of_a_field_does_not_depend_on_what_else_is_swept():
    names = list(fields_of(QUICK))
    dims = [dimension_of(name, names) for name in names]
    assert len(set(dims)) == len(dims)
    # Names of variables and dimensions in a collected dataset.
    words = {"split", "epoch", "loss", "accuracy", "run", "delay", "ratio", "time", "seconds", "last_epoch"}
    assert not words & set(dims)
    assert dimension_of("optim.lr_schedule.kind", names) == "optim_lr_schedule_kind"
    assert dimension_of("task.seed", names) == "task_seed"
