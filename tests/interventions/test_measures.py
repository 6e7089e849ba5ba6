"""What interventions do, measured: for one model, over training time, and beside a null."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp import interventions as iv
from grokinterp.interventions import cache_keys, sites


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gi.Run:
    config = gi.RunConfig(
        task=gi.TaskConfig(p=7),
        split=gi.SplitConfig(fraction=0.5),
        model=gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16, biases="mlp", equals_in_output=True),
        epochs=20,
        checkpoint_every=10,
    )
    return gi.train(config, tmp_path_factory.mktemp("runs") / "tiny", progress=False)


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs whose snapshots are read from here on."""
    epochs: list[int] = []
    original = gi.Run.snapshot

    def counted(self: gi.Run, epoch: int | None = None) -> gi.Snapshot:
        epochs.append(-1 if epoch is None else epoch)
        return original(self, epoch)

    monkeypatch.setattr(gi.Run, "snapshot", counted)
    return epochs


def statistics(intervention: iv.Intervention, snap: gi.Snapshot, **keywords) -> dict[str, float]:
    found = iv.control(intervention, **keywords)(snap)
    return dict(zip(found.statistic.values.tolist(), found.values.tolist(), strict=True))


@pytest.mark.parametrize("make", [lambda: iv.ablate(iv.frequency(2)), lambda: iv.relocate(1, 2)])
def test_losses_and_accuracies_are_those_of_the_edited_model(make, random_snapshot):
    snap, intervention = random_snapshot(), make()
    for measure, plain, name in (
        (iv.losses, gi.progress.losses, "intervened_loss"),
        (iv.accuracies, gi.progress.accuracies, "intervened_accuracy"),
    ):
        found = measure(intervention)(snap)
        assert found.name == name
        assert found.attrs["intervention"] == intervention.name
        assert found.split.values.tolist() == ["train", "test", "all"]
        assert found.values.tolist() == pytest.approx(plain(intervention(snap)).values.tolist(), abs=1e-12)


def test_a_model_whose_split_is_not_known_has_the_losses_of_all_pairs(random_snapshot):
    known = random_snapshot()
    unknown = dataclasses.replace(known, is_train=None)
    intervention = iv.ablate(iv.frequency(2))
    for measure in (iv.losses(intervention), iv.accuracies(intervention), iv.effects()):
        found = measure(unknown)
        assert found.split.values.tolist() == ["all"]
        xr.testing.assert_equal(found, measure(known).sel(split=["all"]))
    with pytest.raises(ValueError, match=r"split='test' requires the training pairs; .* or use split='all'"):
        iv.control(intervention)(unknown)
    assert iv.control(iv.ablate(iv.head(0)), split="all")(unknown).sel(statistic="draws").item() == 2


@pytest.mark.parametrize("at", ["W_E", "neurons", "logits"])
@pytest.mark.parametrize("operation", [iv.ablate, iv.keep_only, lambda component: iv.ablate(component, fill="zero")])
def test_effects_are_a_loop_of_losses(at, operation, random_snapshot):
    snap = random_snapshot()
    found = iv.effects(at=at, operation=operation)(snap)
    assert found.dims == ("frequency", "split")
    assert found.frequency.values.tolist() == [1, 2, 3]
    for k in (1, 2, 3):
        alone = iv.losses(operation(iv.frequency(k, at=at)))(snap)
        assert found.sel(frequency=k).values.tolist() == alone.values.tolist()
    some = iv.effects((3, 2), at=at, operation=operation)(snap)
    xr.testing.assert_equal(some, found.sel(frequency=[2, 3]))


def test_effects_at_the_logits_are_excluded_losses(random_snapshot):
    snap = random_snapshot("two layers, LN", "S_3")
    found = iv.effects()(snap).sel(split="train")
    assert found.values == pytest.approx(gi.progress.excluded_loss_by_frequency()(snap).values, abs=1e-12)


def test_effects_say_what_was_done():
    attrs = iv.effects((2,), at="neurons", operation=iv.keep_only).arguments
    wanted = {"intervention": "keep_only(frequency(k, at='neurons'), fill='mean')", "key_frequencies": [2]}
    assert attrs == wanted
    assert iv.effects(operation=lambda c: iv.ablate(c, fill="zero")).arguments != iv.effects().arguments


def test_any_measure_is_taken_under_an_intervention(random_snapshot):
    snap, intervention = random_snapshot(), iv.ablate(iv.head(1))
    measure = iv.under(intervention, gi.progress.restricted_loss((1, 2), split="test"))
    found = measure(snap)
    assert found.name == "intervened_restricted_loss"
    assert found.item() == gi.progress.restricted_loss((1, 2), split="test")(intervention(snap)).item()
    wanted = {"intervention": intervention.name, "key_frequencies": [1, 2], "split": "test", "bias_correction": 1}
    assert measure.arguments == wanted
    # A cache tells two quantities of one name apart by what they were called first.
    assert iv.under(intervention, gi.logits.product_fve.named("fve")).renamed_from == "product_fve"


@pytest.mark.slow
def test_the_effect_of_a_frequency_over_training_time_is_one_call(run, visited):
    measures = [
        iv.effects(at="neurons"),
        iv.losses(iv.ablate(iv.cluster(2, threshold=0.4))),
        iv.accuracies(iv.relocate(1, 2)),
        iv.control(iv.ablate(iv.head(0)), split="all"),
        iv.null_losses(iv.ablate(iv.neurons([1, 5])), draws=4),
        iv.under(iv.patch(iv.frequency(1), run.snapshot()), gi.logits.fve()),
    ]
    visited.clear()
    first = gi.trajectory(run, measures, progress=False)
    assert visited == list(run.checkpoint_epochs)
    for epoch in run.checkpoint_epochs:
        for measure in measures:
            one = measure(run.snapshot(epoch))
            assert one.name in first
            xr.testing.assert_equal(first[measure.name].sel(epoch=epoch, drop=True), one)
    visited.clear()
    xr.testing.assert_identical(gi.trajectory(gi.load_run(run.path), measures, progress=False), first)
    assert visited == []


def test_interventions_that_differ_are_kept_apart(run):
    snap = run.snapshot()
    values = torch.ones(7, 7, 16)
    every = [
        iv.ablate(iv.frequency(1)),
        iv.ablate(iv.frequency(2)),
        iv.ablate(iv.frequency(1, 2)),
        iv.ablate(iv.frequency(1), fill="zero"),
        iv.ablate(iv.frequency(1, at="neurons")),
        iv.ablate(iv.frequency(1, at="neurons", terms="all")),
        iv.ablate(iv.frequency(1, terms="all")),
        iv.keep_only(iv.frequency(1)),
        iv.ablate(iv.head(1)),
        iv.ablate(iv.head(1, layer=0)),
        iv.ablate(iv.neurons([1])),
        iv.ablate(iv.neurons(range(10))),
        iv.ablate(iv.neurons(range(1, 11))),
        iv.ablate(iv.cluster(1)),
        iv.ablate(iv.cluster(1, threshold=0.5)),
        iv.ablate(iv.cluster(1, of=snap)),
        iv.ablate(iv.directions(torch.eye(2, 16))),
        iv.ablate(iv.directions(torch.eye(3, 16))),
        iv.ablate(iv.readout(1)),
        iv.ablate(iv.skip("mlp")),
        iv.ablate(iv.skip("attention")),
        iv.replace(iv.head(1), torch.zeros(())),
        iv.replace(iv.neurons([1]), values),
        iv.replace(iv.neurons([1]), 2 * values),
        iv.patch(iv.head(1), snap),
        iv.patch(iv.head(1), run.snapshot(0)),
        iv.relocate(1, 2),
        iv.relocate(2, 1),
        iv.relocate(1, 2, at=("W_E",)),
        iv.phase_shift(1, 0.5),
        iv.phase_shift(1, 0.25),
    ]
    assert all(intervention.cacheable for intervention in every)
    assert len({intervention.name for intervention in every}) == len(every)
    assert len(iv.neurons(range(500)).name) < 40


def test_a_digest_tells_values_shapes_and_types_apart():
    zeros = torch.zeros(2, 3)
    every = [(zeros,), (zeros.T,), (zeros.int(),), (zeros + 1,), (zeros.flatten(),), (zeros[:1], zeros[1:])]
    assert len({cache_keys.of_tensors(*tensors) for tensors in every}) == len(every)
    assert cache_keys.of_tensors(zeros) == cache_keys.of_tensors(zeros.clone().requires_grad_())


def test_what_a_name_does_not_say_is_not_kept(run, visited):
    mine = iv.Component(name="mine", site="unembed.hook_out", project=lambda snapshot, x: x / 2)
    own_measure = gi.Measure(name="mean", compute=lambda snapshot: gi.progress.losses(snapshot).mean())
    edited = iv.ablate(iv.head(0))(run.snapshot())
    measures = [
        iv.losses(iv.replace(iv.head(0), torch.zeros_like)),
        iv.losses(iv.ablate(mine)).named("of_mine"),
        iv.losses(iv.patch(iv.head(0), edited)).named("of_an_edited_one"),
        iv.under(iv.ablate(iv.head(0)), own_measure),
        iv.control(iv.replace(iv.head(0), torch.zeros_like), split="all"),
        iv.effects(operation=lambda component: iv.replace(component, torch.zeros_like)),
    ]
    files = set(Path(run.path / "analysis").glob("*"))
    first = gi.trajectory(run, measures, epochs=[20], progress=False)
    visited.clear()
    xr.testing.assert_identical(gi.trajectory(run, measures, epochs=[20], progress=False), first)
    assert visited == [20]
    assert set(Path(run.path / "analysis").glob("*")) == files


def test_keys_stand_out_from_a_null_that_changes_nothing():
    snap = gi.testing.planted_snapshot(31, keys=(4, 15))
    found = statistics(iv.ablate(iv.frequency(4, 15)), snap)
    whole = gi.progress.losses(snap).sel(split="test").item()
    assert found["loss"] == pytest.approx(iv.losses(iv.ablate(iv.frequency(4, 15)))(snap).sel(split="test").item())
    for statistic in ("null_mean", "null_low", "null_high"):
        assert found[statistic] == pytest.approx(whole, abs=1e-9)
    assert found["p"] == pytest.approx(1 / 21)
    assert found["draws"] == 20
    assert statistics(iv.ablate(iv.frequency(4, 15)), snap, draws=9)["p"] == pytest.approx(1 / 10)


@pytest.mark.parametrize("at", ["W_E", "neurons", "logits"])
def test_what_the_model_does_not_use_does_not_stand_out(at):
    snap = gi.testing.planted_snapshot(31, keys=(4, 15))
    found = statistics(iv.ablate(iv.frequency(7, 9, at=at)), snap, split="all")
    # Some draws hit a key, and are as extreme as they can be; all others are equal.
    assert found["p"] == 1.0


def test_for_what_is_kept_a_smaller_loss_is_extreme():
    snap = gi.testing.planted_snapshot(31, keys=(4, 15), amplitude=4.0)
    keys, others = (statistics(iv.keep_only(iv.frequency(*some)), snap) for some in ((4, 15), (5, 14)))
    assert keys["loss"] < keys["null_mean"] == pytest.approx(math.log(31))
    assert keys["p"] == pytest.approx(1 / 21)
    assert others["p"] == 1.0


@pytest.mark.parametrize(("taker", "giver"), [(1.0, 4.0), (4.0, 1.0)])
def test_for_a_patch_either_change_is_extreme(taker, giver):
    better, worse = (gi.testing.planted_snapshot(31, keys=(4, 15), amplitude=x) for x in (taker, giver))
    found = statistics(iv.patch(iv.frequency(4, 15), worse), better)
    assert (found["loss"] < found["null_mean"]) == (giver > taker)
    assert found["p"] == pytest.approx(1 / 21)
    assert statistics(iv.patch(iv.frequency(5, 14), worse), better)["p"] == 1.0


def test_moved_and_turned_keys_stand_out():
    snap = gi.testing.planted_snapshot(31, keys=(4, 15))
    for moved, alone in (
        (iv.relocate(4, 9, at=("W_E",)), iv.relocate(5, 9, at=("W_E",))),
        (iv.phase_shift(4, 1.0, at=("W_U",)), iv.phase_shift(5, 1.0, at=("W_U",))),
    ):
        found = iv.null_losses(moved, draws=12)(snap)
        whole = gi.progress.losses(snap).sel(split="test").item()
        assert found.min().item() == pytest.approx(whole, abs=1e-9)
        assert statistics(moved, snap, draws=12)["loss"] > whole + 0.1
        assert statistics(alone, snap, draws=12)["p"] == 1.0


def test_the_statistics_are_those_of_the_null_s_losses(random_snapshot):
    snap, intervention = random_snapshot(), iv.ablate(iv.neurons([1, 2, 3]))
    null = iv.null_losses(intervention, draws=40, seed=3)(snap)
    assert null.dims == ("draw",)
    assert len(set(null.values.tolist())) == 40
    found = statistics(intervention, snap, draws=40, seed=3)
    assert found["loss"] == pytest.approx(iv.losses(intervention)(snap).sel(split="test").item())
    assert found["null_mean"] == pytest.approx(null.mean().item())
    assert found["p"] == pytest.approx((1 + (null >= found["loss"]).sum().item()) / 41)
    half_width = 1.96 * null.std(ddof=1).item() / math.sqrt(40)
    assert found["null_mean"] - found["null_low"] == pytest.approx(half_width, rel=0.25)
    assert found["null_high"] - found["null_mean"] == pytest.approx(half_width, rel=0.25)


def test_a_control_is_the_same_each_time_and_another_for_another_seed(random_snapshot):
    snap, intervention = random_snapshot(), iv.ablate(iv.neurons([1, 2, 3]))
    first, again, other = (iv.null_losses(intervention, seed=seed)(snap) for seed in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert set(first.values.tolist()) != set(other.values.tolist())
    assert iv.control(intervention)(snap).identical(iv.control(intervention)(snap))


OTHERS: dict[str, tuple[iv.Component, int]] = {
    "frequencies": (iv.frequency(2, 5), math.comb(13, 2)),
    "a frequency at W_E": (iv.frequency(2, at="W_E"), 14),
    "a frequency with all terms": (iv.frequency(2, at="neurons", terms="all"), 14),
    "heads": (iv.head(1), 3),
    "neurons": (iv.neurons(range(100)), math.comb(156, 100)),
    "a cluster": (iv.cluster(4), math.comb(192, 64)),
    "the cluster of a model": (iv.cluster(4, of=gi.testing.planted_snapshot(31, (4, 9), act_fn="relu")), 20),
}


@pytest.mark.parametrize(("component", "total"), OTHERS.values(), ids=OTHERS)
def test_others_are_as_many_of_the_same_kind_and_not_the_same(component, total):
    snap = gi.testing.planted_snapshot(31, keys=(1, 2, 4, 15), act_fn="relu")
    drawn = component.sample_null(snap, 20, np.random.default_rng(0))
    assert len({other.name for other in drawn}) == len(drawn) == min(total, 20)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sites.read(snap, component.site).shape, generator=generator, dtype=torch.float64)
    own = component.project(snap, x)
    for other in drawn:
        assert other.site == component.site
        part = other.project(snap, x)
        assert component.project(snap, part).abs().max() < 1e-9
        # White noise has as much of one part as of another of the same size.
        assert part.norm().item() == pytest.approx(own.norm().item(), rel=0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: iv.ablate(iv.frequency(2, 5), fill="zero"),
        lambda: iv.keep_only(iv.frequency(2, 5), fill="zero"),
        lambda: iv.replace(iv.frequency(2, 5), torch.zeros(())),
        lambda: iv.patch(iv.frequency(2, 5), gi.testing.planted_snapshot(31, keys=(1, 3))),
        lambda: iv.relocate(2, 5, at=("W_U",)),
        lambda: iv.phase_shift(2, 0.3, at=("W_U",)),
    ],
)
def test_a_null_is_of_the_same_operation_with_the_same_arguments(make):
    snap, intervention = gi.testing.planted_snapshot(31, keys=(4, 15)), make()
    drawn = intervention.sample_null(snap, 10, np.random.default_rng(0))
    pattern = re.escape(intervention.name).replace("2", r"(\d+)", 1).replace("5", r"(\d+)", 1)
    chosen = [{int(k) for k in re.fullmatch(pattern, other.name).groups()} for other in drawn]
    own = {int(k) for k in re.fullmatch(pattern, intervention.name).groups()}
    assert all(len(keys) == len(own) and not keys & own for keys in chosen)
    assert len({other.name for other in drawn}) == 10
    assert {other.side for other in drawn} == {intervention.side}
    assert all(set(other.edits) == set(intervention.edits) for other in drawn)


def test_a_null_of_directions_is_of_orthogonal_ones(random_snapshot):
    snap = random_snapshot()
    for component, rank in ((iv.readout(1, 3), 4), (iv.directions(torch.eye(20)[[0, 1, 1]]), 2)):
        others = component.sample_null(snap, 6, np.random.default_rng(0))
        assert len({other.name for other in others}) == 6
        identity = torch.eye(20, dtype=torch.float64).reshape(4, 5, 20)
        own = component.project(snap, identity).reshape(20, 20)
        for other in others:
            projection = other.project(snap, identity).reshape(20, 20)
            assert projection.trace().item() == pytest.approx(rank)
            assert (own @ projection).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: iv.ablate(iv.skip("mlp")),
            r"ablate\(skip\('mlp', .* has no null distribution",
        ),
        (lambda: iv.ablate(iv.frequency(1, 2)), r"a control requires 2 other frequencies, got 1; choose fewer"),
        (lambda: iv.ablate(iv.head(0, 1)), r"a control requires 2 other heads, got 1; choose fewer"),
        (lambda: iv.ablate(iv.neurons(range(11))), r"a control requires 11 other neurons, got 9; choose fewer"),
        (
            lambda: iv.ablate(iv.directions(torch.eye(11, 20))),
            r"11 other directions of 20 neurons, got 9; choose fewer",
        ),
        (
            lambda: iv.relocate(1, 2),
            r"a control of relocate\(1, 2, at=\('W_E', 'W_U'\)\) requires 2 other freq.* got 1",
        ),
    ],
)
def test_where_nothing_can_be_drawn_an_error_says_so(make, message, random_snapshot):
    with pytest.raises(ValueError, match=message):
        iv.control(make(), split="all")(random_snapshot())


def test_where_there_is_one_frequency_there_is_no_other(random_params):
    task = gi.tasks.operation("addition", 3)
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    snap = gi.Snapshot(params=random_params(config, task), config=config, task=task)
    with pytest.raises(ValueError, match=r"phase_shift\(1, 0\.5, .* requires a frequency other than 1, got none"):
        iv.control(iv.phase_shift(1, 0.5), split="all")(snap)
    with pytest.raises(ValueError, match="draws must be an integer of at least 1, got 0"):
        iv.control(iv.phase_shift(1, 0.5), draws=0)
    with pytest.raises(ValueError, match="draws must be an integer of at least 1, got 0"):
        iv.null_losses(iv.phase_shift(1, 0.5), draws=0)
