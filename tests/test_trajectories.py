"""Measures over training time: the combinator, its cache and its restarts."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp.measures import measure
from grokinterp.runs import cache
from grokinterp.trajectories import known_epochs
from small_run import CONFIG, count_forwards
from small_run import run as run


@pytest.mark.slow
def test_each_value_is_the_measure_of_its_snapshot(run: gi.Run) -> None:
    ds = gi.trajectory(run, [gi.progress.losses, gi.progress.excluded_loss((2,)), gi.fourier.spectrum], progress=False)
    assert ds.epoch.values.tolist() == list(run.checkpoint_epochs) == [0, 1, 2, 3, 4, 8, 12]
    for epoch in run.checkpoint_epochs:
        snapshot = run.snapshot(epoch)
        xr.testing.assert_equal(ds.loss.sel(epoch=epoch, drop=True), gi.progress.losses(snapshot))
        assert ds.excluded_loss.sel(epoch=epoch).item() == gi.progress.excluded_loss((2,))(snapshot).item()
        xr.testing.assert_equal(ds.spectrum.sel(epoch=epoch, drop=True), gi.fourier.spectrum(snapshot))
    assert ds.loss.attrs["units"] == "nats"
    assert ds.attrs["task"] == "addition mod 7"


@pytest.mark.slow
def test_a_checkpoint_is_visited_once_for_all_measures(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    visited = count_forwards(monkeypatch)
    gi.trajectory(run, [gi.progress.losses, gi.progress.accuracies, gi.fourier.gini], progress=False)
    assert visited == list(run.checkpoint_epochs)


@pytest.mark.slow
def test_a_second_call_reads_the_cache(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measures = [gi.progress.losses, gi.progress.restricted_loss((1, 3)), gi.neurons.activations((0, 3))]
    first = gi.trajectory(run, measures, progress=False)
    visited = count_forwards(monkeypatch)
    second = gi.trajectory(gi.load_run(run.path), measures, progress=False)
    assert visited == []
    xr.testing.assert_identical(first, second)


@pytest.mark.slow
def test_other_arguments_are_other_results(run: gi.Run) -> None:
    one = gi.trajectory(run, [gi.progress.excluded_loss((1,))], progress=False)
    two = gi.trajectory(run, [gi.progress.excluded_loss((2,))], progress=False)
    assert not one.excluded_loss.equals(two.excluded_loss)
    again = gi.trajectory(run, [gi.progress.excluded_loss((1,))], progress=False)
    xr.testing.assert_identical(one, again)


@pytest.mark.slow
def test_more_checkpoints_are_added_to_the_cache(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gi.trajectory(run, [gi.progress.losses], epochs=[0, 4], progress=False)
    visited = count_forwards(monkeypatch)
    ds = gi.trajectory(run, [gi.progress.losses], progress=False)
    assert visited == [1, 2, 3, 8, 12]
    assert ds.epoch.values.tolist() == list(run.checkpoint_epochs)


@pytest.mark.slow
def test_an_interrupted_trajectory_goes_on(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = gi.Run.snapshot

    def interrupted(self: gi.Run, epoch: int | None = None) -> gi.Snapshot:
        if epoch == 4:
            raise KeyboardInterrupt
        return original(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(gi.Run, "snapshot", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gi.trajectory(run, [gi.progress.losses], progress=False)
    visited = count_forwards(monkeypatch)
    gi.trajectory(run, [gi.progress.losses], progress=False)
    assert visited == [4, 8, 12]


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "is_used"), [("addition", True), ("multiplication", False), ("division", False)])
def test_caches_of_restricted_losses_as_they_were_are_used_for_addition_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, is_used: bool
) -> None:
    config = gi.config.change(CONFIG, {"task.operation": operation})
    run = gi.train(config, tmp_path / "run", progress=False)
    gi.trajectory(run, [gi.progress.restricted_loss((1,))], progress=False)
    [file] = run.layout.analysis.glob("restricted_loss*.nc")
    stored = xr.load_dataarray(file, engine="h5netcdf")
    origin = json.loads(stored.attrs["made_by"])
    del origin["version"]
    cache._write(file, stored.assign_attrs(made_by=json.dumps(origin | {"numbers": 1})))
    visited = count_forwards(monkeypatch)
    gi.trajectory(run, [gi.progress.restricted_loss((1,))], progress=False)
    assert (visited == []) == is_used


@pytest.mark.slow
def test_a_cache_of_a_different_version_is_not_used(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gi.trajectory(run, [gi.progress.losses], progress=False)
    visited = count_forwards(monkeypatch)
    gi.trajectory(run, [dataclasses.replace(gi.progress.losses, version=2)], progress=False)
    assert visited == list(run.checkpoint_epochs)


@pytest.mark.slow
def test_a_broken_cache_is_computed_anew(run: gi.Run) -> None:
    expected = gi.trajectory(run, [gi.progress.losses], progress=False)
    (run.layout.analysis / "loss.nc").write_bytes(b"not a netCDF file")
    xr.testing.assert_identical(gi.trajectory(run, [gi.progress.losses], progress=False), expected)


def test_functions_of_ones_own_are_computed_each_time(run: gi.Run) -> None:
    calls: list[int | None] = []

    def largest(snapshot: gi.Snapshot) -> xr.DataArray:
        calls.append(snapshot.epoch)
        return gi.labels.array(snapshot.logits.max(), name="largest", units="logit", long_name="largest logit")

    for _ in range(2):
        ds = gi.trajectory(run, [largest], progress=False)
    assert ds.largest.sizes == {"epoch": 7}
    assert calls == [*run.checkpoint_epochs, *run.checkpoint_epochs]
    assert not run.layout.analysis.exists()


def test_a_function_may_return_a_number(run: gi.Run) -> None:
    def as_float(snapshot: gi.Snapshot) -> float:
        return snapshot.logits.max().item()

    def as_tensor(snapshot: gi.Snapshot) -> torch.Tensor:
        return snapshot.logits.max().requires_grad_()

    def as_numpy(snapshot: gi.Snapshot) -> np.ndarray:
        return snapshot.logits.numpy().max()

    def without_name(snapshot: gi.Snapshot) -> xr.DataArray:
        return xr.DataArray(snapshot.logits.numpy().max(axis=(0, 1)), dims="c")

    def scaled(factor: float, snapshot: gi.Snapshot) -> float:
        return factor * as_float(snapshot)

    functions = [as_float, as_tensor, as_numpy, without_name, partial(scaled, 2.0)]
    ds = gi.trajectory(run, functions, epochs=[0, 12], progress=False)
    expected = run.snapshot(12).logits.max().item()
    assert {name: float(ds[name].sel(epoch=12).max()) for name in ds} == {
        "as_float": expected,
        "as_tensor": expected,
        "as_numpy": expected,
        "without_name": expected,
        "scaled": 2 * expected,
    }
    assert ds.without_name.dims == ("epoch", "c")


def test_a_measure_may_return_a_number(run: gi.Run) -> None:
    @measure("n_wrong")
    def n_wrong(snapshot: gi.Snapshot) -> torch.Tensor:
        return (snapshot.logits.argmax(dim=-1) != snapshot.task.table).sum()

    assert n_wrong(run.snapshot()).name == "n_wrong"
    assert gi.trajectory(run, n_wrong, epochs=0, progress=False).n_wrong.item() > 0


def _vector(snapshot: gi.Snapshot) -> torch.Tensor:
    return snapshot.logits[0, 0]


def _nothing(snapshot: gi.Snapshot) -> None:
    return None


def _two(snapshot: gi.Snapshot, key: int) -> float:
    return 0.0


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ([gi.progress.restricted_loss], r"restricted_loss returns a measure when called: write "
         r"gi\.progress\.restricted_loss\(keys\)\.$"),
        (gi.logits.fve, r"write gi\.logits\.fve\(\)\.$"),
        ([gi.interventions.losses], r"write gi\.interventions\.losses\(intervention\)\.$"),
        ([_two], r"a measure must take one argument, a Snapshot, got _two\(snapshot: .*, key: int\)"),
        ("losses", r"measures must be a list, e\.g\. \[gi\.progress\.losses\], got 'losses'"),
        (["losses"], r"measures must be a list, e\.g\. .*, got 'losses'"),
        (gi.progress, r"measures must be a list, e\.g\. .*, got <module 'grokinterp.progress'"),
        (None, r"measures must be a list, e\.g\. .*, got None"),
    ],
)  # fmt: skip
def test_what_is_no_measure_is_refused_before_any_checkpoint_is_read(
    measures: object, message: str, run: gi.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited = count_forwards(monkeypatch)
    with pytest.raises(TypeError, match=message):
        gi.trajectory(run, measures, progress=False)  # type: ignore[arg-type]
    assert visited == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            _vector,
            r"_vector must return a number, or a DataArray that names its dimensions, got Tensor of shape \(7,\)",
        ),
        (_nothing, "_nothing must return a number, .*, got None"),
    ],
)
def test_a_result_without_names_of_dimensions_is_refused(function: object, message: str, run: gi.Run) -> None:
    with pytest.raises(TypeError, match=message):
        gi.trajectory(run, function, progress=False)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
def test_a_path_is_a_run(run: gi.Run) -> None:
    expected = gi.trajectory(run, gi.progress.losses, progress=False)
    for path in (run.path, str(run.path)):
        xr.testing.assert_identical(gi.trajectory(path, gi.progress.losses, progress=False), expected)
        assert known_epochs(path, gi.progress.losses) == [0, 1, 2, 3, 4, 8, 12]
    with pytest.raises(gi.RunError, match="nowhere is neither a run directory nor a bundled run"):
        gi.trajectory("nowhere", gi.progress.losses)
    with pytest.raises(TypeError, match=r"run must be a Run, a run directory or .*, got Snapshot\(task=addition mod 7"):
        gi.trajectory(run.snapshot(), gi.progress.losses)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("epochs", ["all", [1.5], [True], [-1], [[0, 4]]])
def test_epochs_are_integers(epochs: object, run: gi.Run) -> None:
    with pytest.raises(ValueError, match="epochs must be one or more integers of at least 0, got"):
        gi.trajectory(run, gi.progress.losses, epochs=epochs, progress=False)  # type: ignore[arg-type]


def test_no_cache_writes_nothing(run: gi.Run) -> None:
    gi.trajectory(run, [gi.progress.losses], cache=False, progress=False)
    assert not run.layout.analysis.exists()


def test_two_measures_of_one_name_are_refused(run: gi.Run) -> None:
    excluded = gi.progress.excluded_loss
    with pytest.raises(ValueError, match=r"two measures have the name 'excluded_loss'; rename one"):
        gi.trajectory(run, [excluded((1,)), excluded((2,))], progress=False)
    ds = gi.trajectory(run, [excluded((1,)), excluded((2,)).named("excluded_2")], progress=False)
    assert set(ds) == {"excluded_loss", "excluded_2"}


@pytest.mark.slow
def test_a_name_that_is_used_again_brings_no_other_quantity_back(run: gi.Run) -> None:
    gi.trajectory(run, [gi.progress.losses.named("mine")], progress=False)
    ds = gi.trajectory(run, [gi.progress.accuracies.named("mine")], progress=False)
    xr.testing.assert_equal(ds["mine"].sel(epoch=0, drop=True), gi.progress.accuracies(run.snapshot(0)))
    again = gi.trajectory(run, [gi.progress.accuracies.named("x").named("mine")], progress=False)
    xr.testing.assert_identical(again, ds)


@pytest.mark.usefixtures("unchecked")
def test_without_epochs_there_is_nothing_to_measure(run: gi.Run) -> None:
    for epochs in ([], [0, 1.5], ["4"]):
        with pytest.raises(ValueError, match="epochs must be one or more integers of at least 0, got "):
            gi.trajectory(run, [gi.progress.losses], epochs=epochs, cache=False, progress=False)
    for epoch in run.checkpoint_epochs:
        run.layout.checkpoint(epoch).unlink()
    run.layout.finished.unlink()
    with pytest.raises(gi.RunError, match="has no checkpoint yet; train it first"):
        gi.trajectory(run, [gi.progress.losses], progress=False)


def test_an_error_says_at_which_epoch_it_was(run: gi.Run) -> None:
    with pytest.raises(ValueError, match="keys must be blocks") as raised:
        gi.trajectory(run, [gi.progress.excluded_loss((9,))], progress=False)
    assert any("at epoch 0" in note for note in raised.value.__notes__)


def test_an_unknown_epoch_names_the_nearest(run: gi.Run) -> None:
    with pytest.raises(gi.RunError, match="no checkpoint at epoch 5; the nearest is 4"):
        gi.trajectory(run, [gi.progress.losses], epochs=[5], progress=False)


@pytest.mark.slow
def test_curves_outlive_their_checkpoints(run: gi.Run) -> None:
    measures = [gi.progress.losses, gi.progress.accuracies]
    whole = gi.trajectory(run, measures, progress=False)
    for epoch in (1, 2, 3, 8):
        run.layout.checkpoint(epoch).unlink()
    assert known_epochs(run, measures) == [0, 1, 2, 3, 4, 8, 12]
    xr.testing.assert_identical(gi.trajectory(run, measures, progress=False), whole)
    # A measure that was not kept has the checkpoints that are left.
    assert gi.trajectory(run, [*measures, gi.fourier.gini], progress=False).epoch.values.tolist() == [0, 4, 12]


def test_a_bundled_run_is_only_read(monkeypatch: pytest.MonkeyPatch, run: gi.Run) -> None:
    monkeypatch.setattr(cache, "is_bundled", lambda _: True)
    gi.trajectory(run, [gi.progress.losses], progress=False)
    assert not run.layout.analysis.exists()
