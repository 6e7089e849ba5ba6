"""Every monitor by its name, on models of several kinds, with numbers that JSON can hold."""

import json

import numpy as np
import pytest
import torch

import grokinterp as gi
from grokinterp.monitors import MONITORS


def test_monitors_are_listed_under_their_own_names() -> None:
    assert all(monitor.name == name for name, monitor in MONITORS.items())
    assert set(gi.monitors.__all__) - {"MONITORS", "matrix"} <= set(MONITORS)
    with pytest.raises(TypeError, match="does not support item assignment"):
        MONITORS["another"] = MONITORS["alignment"]  # pyright: ignore[reportIndexIssue]


@pytest.mark.slow
@pytest.mark.parametrize("name", MONITORS)
@pytest.mark.parametrize("settings", [{}, {"n_layers": 2, "normalization": "LN", "dtype": torch.float32}])
def test_a_monitor_gives_finite_numbers_under_its_name(small, name: str, settings: dict) -> None:
    found = MONITORS[name](small(**settings))
    assert found.name == name
    assert np.isfinite(found.values).all()
    assert json.loads(json.dumps(found.values.tolist(), allow_nan=False)) == found.values.tolist()


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_is_finite_before_training_where_biases_are_zero(name: str) -> None:
    config, task = (
        gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=12, biases="all"),
        gi.TaskConfig(p=7).build(),
    )
    params = config.initial_params(task, seed=0)
    snapshot = gi.Snapshot(
        params=params, config=config, task=task, is_train=gi.tasks.uniform_split(task, 0.5, seed=0), epoch=0
    )
    assert np.isfinite(MONITORS[name](snapshot).values).all()


@pytest.mark.slow
def test_monitors_go_into_a_trajectory(tmp_path) -> None:
    config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=4, model=gi.TransformerConfig(d_model=8, d_mlp=16))
    run = gi.train(config, tmp_path, progress=False)
    ds = gi.trajectory(run, list(MONITORS.values()), progress=False)
    assert set(ds.data_vars) == set(MONITORS)
    norms = ds.gradient_norm.dropna("parameter", how="all")
    assert (norms > 0).all()
    assert len(np.unique(norms.sel(parameter="embed.W_E"))) == ds.sizes["epoch"]
    again = gi.trajectory(run, list(MONITORS.values()), progress=False)
    assert again.equals(ds)
