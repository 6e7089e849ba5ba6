"""`collect` and `curves` on synthetic runs."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import grokinterp as gi
from grokinterp.config import RunConfig
from grokinterp.labels import UNITS
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.run import load_run
from grokinterp.sweeps.directories import assign


pytestmark = pytest.mark.slow


DECAYS, SEEDS = [1.0, 0.3, 3.0], [2, 0]
# Grokking entry by decay and seed; 99 is after the end, and None is a missing run.
GROKKED = {(1.0, 2): 20, (1.0, 0): 25, (0.3, 2): 99, (0.3, 0): None, (3.0, 2): 10, (3.0, 0): 12}


@pytest.fixture
def root(tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]) -> Path:
    configs = gi.grid(tiny, {"optim.weight_decay": DECAYS, "seed": SEEDS})
    for path, config in assign(tmp_path, configs).items():
        grokked = GROKKED[config.optim.weight_decay, config.seed]
        if grokked is not None:
            made_up(path, config, memorized=4, grokked=grokked)
    return tmp_path


def test_every_number_lies_at_its_axes_and_seed(root: Path) -> None:
    ds = gi.collect(root)
    assert ds.grokked_epoch.dims == ("weight_decay", "seed")
    assert ds.loss.dims == ("weight_decay", "seed", "split")
    assert ds.weight_decay.values.tolist() == [0.3, 1.0, 3.0]
    assert ds.seed.values.tolist() == [0, 2]
    for decay, seed in itertools.product(DECAYS, SEEDS):
        grokked, here = GROKKED[decay, seed], ds.sel(weight_decay=decay, seed=seed)
        expected = np.nan if grokked in (None, 99) else 10.0 * grokked
        np.testing.assert_equal(here.grokked_epoch.item(), expected)
        np.testing.assert_equal(here.delay.item(), expected - 40.0)
        np.testing.assert_equal(here.is_grokked.item(), np.nan if grokked is None else float(grokked != 99))
        np.testing.assert_equal(here.memorized_epoch.item(), np.nan if grokked is None else 40.0)
        np.testing.assert_equal(here.last_epoch.item(), np.nan if grokked is None else 390.0)
        np.testing.assert_equal(here.squared_weight_norm.item(), np.nan if grokked is None else 61.0)
        np.testing.assert_equal(here.seconds.item(), np.nan if grokked is None else 19.5)
        assert here.run.item() == f"optim.weight_decay={decay},seed={seed}"
        if grokked is not None:
            last = load_run(root / here.run.item()).metrics.isel(epoch=-1)
            xr.testing.assert_equal(here.loss.drop_vars(["weight_decay", "seed"]), last.loss.drop_vars("epoch"))
            assert here.accuracy.sel(split="test").item() == float(grokked != 99)


def test_counts_and_shares_over_seeds_follow(root: Path) -> None:
    ds = gi.collect(root)
    assert ds.is_grokked.count("seed").values.tolist() == [1, 2, 2]
    assert ds.is_grokked.mean("seed").values.tolist() == [0.0, 1.0, 1.0]


def test_the_rules_are_those_of_the_caller(root: Path) -> None:
    ds = gi.collect(root, sustained=30, grokked=0.5)
    # Seed 0 grokked at entry 12 of 40, so 28 of them are left.
    np.testing.assert_equal(ds.grokked_epoch.sel(weight_decay=3.0).values, [np.nan, 100.0])
    for name in ("grokked_epoch", "is_grokked", "is_censored", "time"):
        assert ds[name].attrs["rule"] == "test accuracy ≥ 0.5 for 30 entries in a row"
    assert ds.memorized_epoch.attrs["rule"] == "train accuracy ≥ 0.99 for 30 entries in a row"


@pytest.mark.parametrize("name", ["memorized", "grokked"])
@pytest.mark.parametrize("threshold", [95, -1, float("nan"), "0.9", True])
def test_a_threshold_is_a_fraction(root: Path, name: str, threshold: object, unchecked: None) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a number from 0 to 1, got "):
        gi.collect(root, **{name: threshold})


@pytest.mark.parametrize("rules", [{}, {"memorized": 0.7, "grokked": 0.6, "sustained": 4}])
def test_times_are_those_of_each_run_by_the_same_defaults(
    tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None], rules: dict
) -> None:
    for seed in range(2):
        made_up(tmp_path / f"{seed}", replace(tiny, seed=seed), memorized=2, grokked=9, entries=20)
    # One run has grokked; the other only at its end, too late to tell whether it is sustained.
    _set_test_accuracy(tmp_path / "0", [0.0] * 9 + [0.65] * 3 + [0.995] * 8)
    _set_test_accuracy(tmp_path / "1", [0.0] * 16 + [0.995] * 4)
    ds = gi.collect([tmp_path / "0", tmp_path / "1"], **rules)
    for seed in range(2):
        times = gi.phases.grokking_times(load_run(tmp_path / f"{seed}").metrics, **rules)
        here = ds.sel(seed=seed)
        for ours, theirs in [("memorized_epoch", "memorized"), ("grokked_epoch", "grokked")]:
            np.testing.assert_equal(here[ours].item(), times[theirs].item())
        for name in ("delay", "ratio", "time", "is_censored"):
            np.testing.assert_equal(here[name].item(), float(times[name].item()))
        assert here.is_grokked.item() == 1 - here.is_censored.item()
    assert ds.time.values.tolist() == ([90.0, 160.0] if rules else [120.0, 150.0])
    assert ds.is_censored.values.tolist() == ([0.0, 0.0] if rules else [0.0, 1.0])


def _set_test_accuracy(path: Path, values: list[float]) -> None:
    file = Layout(path).metrics
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, value in zip(lines, values, strict=True):
        line["accuracy"]["test"] = value
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.slow
def test_times_go_into_a_curve_of_survival(root: Path) -> None:
    ds = gi.collect(root)
    found = gi.survival.kaplan_meier(ds.time, ds.is_censored, groups="weight_decay")
    assert found.group.values.tolist() == [0.3, 1.0, 3.0]
    assert found.survival.attrs["rule"] == "test accuracy ≥ 0.99 for 5 entries in a row"
    # The missing run is in no count; the run that has not grokked is censored at its horizon.
    assert found.runs.values.tolist() == [1, 2, 2]
    assert found.censored.values.tolist() == [1, 0, 0]
    assert found.epoch.values.tolist() == [0.0, 100.0, 120.0, 200.0, 250.0, 350.0]


def test_a_run_too_short_to_tell_is_watched_for_no_time(
    tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    made_up(tmp_path / "a", tiny, memorized=0, grokked=0, entries=4)
    ds = gi.collect([tmp_path / "a"])
    assert (ds.is_grokked.item(), ds.is_censored.item(), ds.last_epoch.item()) == (0.0, 1.0, 30.0)
    assert ds[["time", "grokked_epoch", "memorized_epoch", "delay", "ratio"]].to_array().isnull().all()


def test_everything_has_its_units_and_name(root: Path) -> None:
    for ds in (gi.collect(root), gi.sweeps.curves(root)):
        for data in ds.data_vars.values():
            assert data.attrs["units"] in UNITS
            assert data.attrs["long_name"]
        assert ds.weight_decay.attrs == {"config": "optim.weight_decay", "long_name": "weight decay", "units": ""}
        assert ds.attrs["source"] == str(root)


@pytest.mark.slow
def test_curves_are_the_metrics_of_each_run(root: Path, tiny: RunConfig, made_up: Callable[..., None]) -> None:
    (short,) = [p for p, c in assign(root, [replace(tiny, seed=0)]).items()]
    Layout(short).finished.unlink()
    lines = Layout(short).metrics.read_text().splitlines()
    Layout(short).metrics.write_text("\n".join(lines[:7]) + "\n")
    ds = gi.sweeps.curves(root)
    assert ds.loss.dims == ("weight_decay", "seed", "epoch", "split")
    assert ds.squared_weight_norm.dims == ("weight_decay", "seed", "epoch")
    for decay, seed in itertools.product(DECAYS, SEEDS):
        here = ds.sel(weight_decay=decay, seed=seed)
        if GROKKED[decay, seed] is None:
            assert here.loss.isnull().all()
            continue
        logged = load_run(root / here.run.item()).metrics
        for name in ("loss", "accuracy", "squared_weight_norm"):
            np.testing.assert_array_equal(here[name].sel(epoch=logged.epoch), logged[name])
            assert here[name].sel(epoch=slice(logged.epoch[-1].item() + 1, None)).isnull().all()
    # An unfinished run has curves but no results.
    assert ds.loss.sel(weight_decay=1.0, seed=0).count("epoch").values.tolist() == [7, 7]
    assert np.isnan(gi.collect(root).is_grokked.sel(weight_decay=1.0, seed=0).item())


def test_axes_of_words_keep_their_order_and_bring_what_changes_with_them(
    tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    configs = [
        *gi.grid(tiny, {"optim.name": ["SGD"], "optim.lr": [0.1], "optim.batch_size": [8, None]}),
        *gi.grid(tiny, {"optim.name": ["AdamW"], "optim.lr": [0.001], "optim.batch_size": [8, None]}),
    ]
    for i, config in enumerate(configs):
        made_up(tmp_path / f"{i}", config, memorized=1, grokked=10 + i)
    ds = gi.collect(tmp_path / f"{i}" for i in range(4))
    assert ds.grokked_epoch.dims == ("optim_name", "batch_size", "seed")
    assert ds.optim_name.values.tolist() == ["SGD", "AdamW"]
    assert ds.batch_size.values.tolist() == ["8", "none"]
    assert ds.lr.dims == ("optim_name",)
    assert ds.lr.sel(optim_name="SGD").item() == 0.1
    assert ds.grokked_epoch.sel(optim_name="AdamW", batch_size="none", seed=0).item() == 130.0


def test_it_can_be_kept_as_netcdf(root: Path, tmp_path: Path) -> None:
    ds = gi.collect(root)
    ds.to_netcdf(tmp_path / "sweep.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "sweep.nc", engine="h5netcdf") as kept:
        xr.testing.assert_identical(kept.load(), ds)


@pytest.mark.slow
def test_what_sweep_gave_is_collected_and_not_its_neighbours(tiny: RunConfig, tmp_path: Path) -> None:
    gi.sweep(gi.grid(tiny, {"optim.lr": [0.1, 0.2]}), tmp_path, progress=False)
    done = gi.sweep(
        gi.grid(tiny, {"task.operation": ["addition", "division"], "task.p": [8]}), tmp_path, progress=False
    )
    ds = gi.collect(done)
    assert ds.is_grokked.dims == ("operation", "seed")
    assert ds.is_grokked.isnull().values.ravel().tolist() == [False, True]


def test_two_runs_of_one_config_are_refused(tiny: RunConfig, tmp_path: Path, made_up: Callable[..., None]) -> None:
    for name in "ab":
        made_up(tmp_path / name, tiny, memorized=1, grokked=2)
    with pytest.raises(ValueError, match=r"a and .*b have the same config; collect one of them"):
        gi.collect([tmp_path / "a", tmp_path / "b"])


def test_no_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run in .*; gi\.sweep makes them"):
        gi.collect(tmp_path)
    with pytest.raises(RunError, match="collecting needs at least one run, got none"):
        gi.collect([])
