"""Verdicts: what may differ by how much, and what comes of it on the paper's run and on others."""

import dataclasses
import math

import pytest

import grokinterp as gi
from grokinterp.claims import spread, verdicts
from grokinterp.claims.spread import Tolerance, distance, key_of, largest_distance


def claim(**changes: object) -> gi.claims.Claim:
    return dataclasses.replace(gi.claims.by_id("loss.all"), **changes)


def verdict_of(asked: gi.claims.Claim, ours: float, *, most: float | None = None) -> str:
    allowed = None if most is None else Tolerance(by="ratio", most=most, runs=3)
    kind = "firm" if allowed is None or allowed.is_firm else "statistical"
    return verdicts._verdict(asked, kind, allowed, ours)


def test_every_firm_claim_holds_on_the_bundled_run(bundled_claims: list[gi.claims.Result]) -> None:
    firm = [result for result in bundled_claims if result.kind == "firm"]
    assert len(firm) > 40
    assert [result.claim.id for result in firm if result.verdict != "holds"] == []


def test_the_bundled_run_has_a_number_for_every_claim_that_is_defined(bundled_claims: list[gi.claims.Result]) -> None:
    without = [result.claim.id for result in bundled_claims if result.ours is None]
    assert all(id.startswith("unknown.") for id in without)
    assert {result.verdict for result in bundled_claims} <= {"holds", "outside the spread", "not established"}


def test_few_published_numbers_are_outside_the_spread(bundled_claims: list[gi.claims.Result]) -> None:
    compared = [result for result in bundled_claims if result.kind == "statistical"]
    outside = [result for result in compared if result.verdict == "outside the spread"]
    assert len(compared) > 100
    assert len(outside) <= 0.05 * len(compared)


@pytest.mark.parametrize(
    ("ours", "most", "expected"),
    [
        (2.0e-7, 1.25, "holds"),
        (1.5e-7, 1.25, "fails"),
        (1.5e-7, 2.0, "holds"),
        (1.0e-7, 2.0, "outside the spread"),
        (5.1e-7, 2.0, "outside the spread"),
    ],
)
def test_a_claim_by_spread_is_as_near_as_rebuilt_runs(ours: float, most: float, expected: str) -> None:
    assert verdict_of(claim(), ours, most=most) == expected


@pytest.mark.parametrize(
    ("changes", "ours", "expected"),
    [
        ({"comparison": "exact", "value": 3830.0}, 3830.0, "holds"),
        ({"comparison": "exact", "value": 3830.0}, 3831.0, "fails"),
        ({"comparison": "below", "value": 0.0055}, 0.0052, "holds"),
        ({"comparison": "below", "value": 0.0055}, 0.0056, "fails"),
        ({"comparison": "between", "value": (0.001, 0.004)}, 0.0043, "holds"),
        ({"comparison": "between", "value": (0.001, 0.004)}, 0.0046, "fails"),
        ({"comparison": "rounded", "value": 100.0, "source": "figure"}, 100.9, "holds"),
        ({"comparison": "rounded", "value": 100.0, "source": "figure"}, 101.1, "fails"),
        ({"comparison": "rounded", "value": 4.76405, "source": "recomputed"}, 4.764052, "holds"),
        ({"comparison": "rounded", "value": 4.76405, "source": "recomputed"}, 4.7641, "fails"),
    ],
)
def test_other_comparisons_say_what_they_mean(changes: dict, ours: float, expected: str) -> None:
    assert verdict_of(claim(**changes), ours) == expected


def test_distances_are_ratios_or_differences() -> None:
    assert distance(2.0, 8.0, "ratio") == distance(8.0, 2.0, "ratio") == 4.0
    assert distance(2.0, 8.0, "difference") == 6.0
    assert distance(0.0, 8.0, "ratio") == math.inf
    assert distance(0.0, 0.0, "ratio") == 1.0


def test_the_largest_distance_is_between_two_runs_and_not_within_one() -> None:
    assert largest_distance([[1.0, 100.0]], by="ratio").most == 1.0
    assert largest_distance([[1.0, 3.0], [2.0], []], by="ratio") == Tolerance(by="ratio", most=2.0, runs=2)
    assert largest_distance([[1.0], [4.0]], by="difference").most == 3.0
    assert largest_distance([[1.0], [1.001]], by="ratio", rounding=0.01).most == 1.01


def test_a_claim_is_firm_where_rebuilt_runs_agree() -> None:
    assert Tolerance(by="ratio", most=1.25, runs=3).is_firm
    assert not Tolerance(by="ratio", most=1.26, runs=3).is_firm
    assert Tolerance(by="difference", most=0.05, runs=3).is_firm
    assert not Tolerance(by="difference", most=0.06, runs=3).is_firm


def test_epochs_are_equal_within_a_checkpoint() -> None:
    allowed = gi.claims.tolerance(gi.claims.by_id("event.test_loss_peak_epoch"))
    assert allowed.step == 100
    assert allowed.allows(1300.0, 1400.0)
    assert not dataclasses.replace(allowed, most=1.0).allows(1300.0, 1401.0)


def test_a_definition_that_is_not_settled_is_never_firm(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = Tolerance(by="ratio", most=1.0, runs=7)
    monkeypatch.setattr(verdicts, "tolerance", lambda _: agreed)
    assert verdicts.kind_of(claim()) == ("firm", agreed)
    assert verdicts.kind_of(claim(settled=False)) == ("statistical", agreed)
    assert verdicts.kind_of(claim(value=None)) == ("not established", None)


def test_names_of_frequencies_are_asked_of_the_papers_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        {"seed": 0, "values": {"circuit.is_key,frequency=14": [1.0], "circuit.is_key,frequency=41": [1.0]}},
        {"seed": 0, "values": {"circuit.is_key,frequency=14": [1.0], "circuit.is_key,frequency=41": [0.0]}},
        {"seed": 1, "values": {"circuit.is_key,frequency=14": [0.0], "circuit.is_key,frequency=41": [0.0]}},
    ]
    monkeypatch.setattr(spread, "spread_data", lambda: {"epoch": 16_000, "runs": runs})
    assert gi.claims.tolerance(gi.claims.by_id("key.14")) == Tolerance(by="difference", most=0.0, runs=2)
    assert gi.claims.tolerance(gi.claims.by_id("key.41")).most == 1.0


def test_keys_name_the_function_and_the_labels_that_runs_share() -> None:
    assert key_of(gi.claims.by_id("loss.all"), 16_000) == "circuit.loss,split=all"
    assert key_of(gi.claims.by_id("neurons.k14"), 16_000) == "circuit.neuron_counts"
    assert key_of(gi.claims.by_id("key.14"), 16_000) == "circuit.is_key,frequency=14"
    assert key_of(gi.claims.by_id("curve.train_loss.1400"), 16_000) == "training.train_loss,epoch=1400"
    assert key_of(gi.claims.by_id("excluded.k14"), 16_000) == "training.excluded_loss_by_key,epoch=16000"


def test_the_spread_is_what_the_claims_give_of_each_run() -> None:
    """For the bundled run, which is one of them: its values at an epoch it has, as the table was made."""
    run = gi.load_run("nanda2023")
    asked = [gi.claims.by_id(id) for id in ("neurons.k14", "loss.all", "W_E.power.k14", "curve.train_loss.39900")]
    data = gi.claims.spread_of({"it": run}, asked, epoch=14_000)
    (row,) = data["runs"]
    snapshot = run.snapshot(14_000)
    keys = gi.fourier.key_frequencies(snapshot)
    counts = gi.neurons.counts()(snapshot).sel(frequency=list(keys))
    assert (row["name"], row["seed"], row["keys"]) == ("it", 0, list(keys))
    assert row["values"]["circuit.neuron_counts"] == counts.values.tolist()
    losses = gi.progress.losses(snapshot)
    assert row["values"]["circuit.loss,split=all"] == pytest.approx([losses.sel(split="all").item()])
    assert len(row["values"]["circuit.embedding_power"]) == len(keys)
    last = row["values"]["training.train_loss,epoch=14000"]
    assert last == pytest.approx([losses.sel(split="train").item()], rel=1e-4)


def test_a_run_of_another_setting_is_not_judged(tiny_run: gi.Run) -> None:
    results = gi.claims.check(tiny_run)
    assert {result.verdict for result in results} <= {"other setting", "not available", "not established"}
    by_id = {result.claim.id: result for result in results}
    assert by_id["recipe.pairs.train"].ours == int(tiny_run.is_train.sum())
    assert by_id["seeds.n_keys.1"].why == "this is about several runs of the paper's recipe."


def test_a_model_that_a_user_trained_is_checked_without_its_run() -> None:
    planted = gi.testing.planted_snapshot(31, (4, 15), act_fn="relu")
    model = gi.models.lens.to_transformer_lens(planted.params, planted.config)
    by_id = {result.claim.id: result for result in gi.claims.check(model)}
    assert by_id["key.number"].ours == 2.0
    expected = gi.progress.losses(planted).sel(split="all").item()
    assert by_id["loss.all"].ours == pytest.approx(expected, rel=1e-4)
    assert by_id["ablation.heads.zero"].ours == pytest.approx(math.log(31))
    assert by_id["curve.test_loss.2000"].why == "this is about training, and needs a run."
    assert by_id["key.35"].why == "there is no frequency 35."
    assert by_id["key.14"].verdict == "other setting"


def test_a_task_without_a_group_says_so() -> None:
    config = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16)
    task = gi.TaskConfig(operation="x2+y2", p=7).build()
    params = gi.models.init.initial_params(config, task, seed=0)
    results = gi.claims.check(gi.Snapshot(params=params, config=config, task=task))
    by_id = {result.claim.id: result for result in results}
    assert by_id["key.14"].why == "x2+y2 mod 7 is no group's operation, and has no frequencies."
    assert by_id["loss.all"].ours == pytest.approx(2.0, abs=0.5)


def test_the_papers_setting_is_its_config_whatever_the_machine() -> None:
    run = gi.load_run("nanda2023")
    found = gi.claims.evidence(run)
    assert found.is_of_the_paper
    for change in ({"seed": 1}, {"split": gi.SplitConfig(fraction=0.4, rule="paper")}):
        vars(run)["config"] = dataclasses.replace(run.config, **change)
        assert not gi.claims.evidence(run).is_of_the_paper
    assert not gi.claims.evidence(run.snapshot()).is_of_the_paper


def test_results_are_a_table(bundled_claims: list[gi.claims.Result]) -> None:
    ds = gi.claims.dataset(bundled_claims)
    assert ds.sizes["claim"] == len(bundled_claims)
    row = ds.sel(claim="attention.to_equals.head0")
    assert row.published.item() == pytest.approx(0.0025)
    assert row.verdict.item() == "holds"
    assert math.isnan(ds.sel(claim="gini.W_E").published.item())
