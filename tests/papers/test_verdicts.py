"""Verdicts: what may differ by how much, and what comes of it on the paper's run and on others."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

import grokinterp as gi
from grokinterp.models.kinds.transformer import Sequence
from grokinterp.papers import tolerance, verdicts
from grokinterp.papers.nanda2023 import ablations
from grokinterp.papers.tolerance import Tolerance, distance, key_of, spread_over


def claim(**changes: object) -> gi.claims.Claim:
    return dataclasses.replace(gi.claims.by_id("loss.all"), **changes)


def allowed(most: float, *, low: float = 0.0, high: float = math.inf, by: str = "ratio") -> Tolerance:
    return Tolerance(by=by, most=most, low=low, high=high, runs=3)


def verdict_of(asked: gi.claims.Claim, ours: float, found: Tolerance | None = None) -> str:
    kind = "firm" if found is None or found.is_firm else "statistical"
    return verdicts._verdict(asked, kind, found, ours)


def test_every_firm_claim_holds_on_the_bundled_run(bundled_claims: list[gi.claims.Result]) -> None:
    firm = [result for result in bundled_claims if result.kind == "firm"]
    assert len(firm) >= 40
    assert [result.claim.id for result in firm if result.verdict != "holds"] == []


def test_the_bundled_run_has_a_number_for_every_claim_that_is_defined(bundled_claims: list[gi.claims.Result]) -> None:
    without = [result.claim.id for result in bundled_claims if result.ours is None]
    not_run = {"across.p401", "across.p109", "across.p53", "across.dropout", "across.l1"}
    assert {id for id in without if not id.startswith("unknown.")} == not_run
    assert {result.verdict for result in bundled_claims if result.ours is not None} <= {
        "holds",
        "differs",
        "undecided",
        "not established",
    }


def test_what_differs_on_the_bundled_run_is_what_the_documentation_says(
    bundled_claims: list[gi.claims.Result],
) -> None:
    differing = {result.claim.id for result in bundled_claims if result.verdict == "differs"}
    assert differing == {
        "neurons.k14",
        "neurons.polynomials",
        "neurons.sum_only",
        "ablation.k14",
        "attention.fve.head0",
        "attention.fve.head1",
        "attention.fve.head2",
        "attention.linear_loss",
        "ablation.readout_alone",
        "ablation.without_readout",
        "ablation.skip_attention.zero",
        "phase.cleanup",
        "seeds.n_keys.2",
    }


@pytest.mark.parametrize(
    ("ours", "found", "expected"),
    [
        (2.0e-7, allowed(1.25), "holds"),
        (1.5e-7, allowed(1.25), "fails"),
        (1.5e-7, allowed(2.0, low=1e-7, high=3e-7), "holds"),
        (1.0e-7, allowed(2.0, low=1e-7, high=3e-7), "differs"),
        (2.0e-7, allowed(2.0, low=1e-7, high=2.4e-7), "differs"),
        (2.0e-7, allowed(2.0, low=2.5e-7, high=4e-7), "differs"),
        (2.0e-7, allowed(9.0, low=1e-7, high=9e-7), "undecided"),
        (2.0e-7, allowed(9.0, low=3e-7, high=9e-7), "differs"),
        (1.0e-8, allowed(9.0, low=1e-7, high=9e-7), "differs"),
    ],
)
def test_a_claim_by_spread_is_like_rebuilt_runs(ours: float, found: Tolerance, expected: str) -> None:
    assert verdict_of(claim(), ours, found) == expected


@pytest.mark.parametrize(
    ("ours", "most", "expected"),
    [(35.0, 0.0, "holds"), (36.0, 0.0, "fails"), (35.0, math.inf, "undecided"), (36.0, math.inf, "undecided")],
)
def test_names_are_the_same_or_not(ours: float, most: float, expected: str) -> None:
    assert verdict_of(claim(value=35.0), ours, allowed(most, by="name")) == expected


@pytest.mark.slow
def test_a_firm_claim_without_a_number_fails_on_the_papers_run() -> None:
    found = gi.claims.evidence(gi.load_run("nanda2023"))
    vars(found)["keys"] = (7,)
    result = gi.claims.check_one(gi.claims.by_id("neurons.k14"), found)
    assert (result.verdict, result.kind) == ("not available", "statistical")
    firm = dataclasses.replace(gi.claims.by_id("recipe.pairs.train"), select={"split": "both"})
    assert gi.claims.check_one(firm, found).verdict == "fails"


@pytest.mark.parametrize(
    ("changes", "ours", "expected"),
    [
        ({"comparison": "exact", "value": 3830.0}, 3830.0, "holds"),
        ({"comparison": "exact", "value": 3830.0}, 3831.0, "fails"),
        ({"comparison": "below", "value": 0.0055}, 0.0052, "holds"),
        ({"comparison": "below", "value": 0.0055}, 0.0056, "fails"),
        ({"comparison": "between", "value": (0.001, 0.004)}, 0.0039, "holds"),
        ({"comparison": "between", "value": (0.001, 0.004)}, 0.0041, "fails"),
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


def test_the_spread_is_between_runs_and_not_within_one() -> None:
    assert spread_over([[1.0, 100.0]], by="ratio").most == 1.0
    found = spread_over([[1.0, 3.0], [2.0], []], by="ratio")
    assert found == Tolerance(by="ratio", most=2.0, low=1.0, high=3.0, runs=2)
    assert spread_over([[1.0], [4.0]], by="difference").most == 3.0
    rounded = spread_over([[1.0], [1.001]], by="ratio", rounding=0.01)
    assert (rounded.most, rounded.low, rounded.high) == (1.01, 1 / 1.01, 1.001 * 1.01)
    assert spread_over([[35.0], [35.0]], by="name").most == 0.0
    assert spread_over([[35.0], [36.0]], by="name").most == math.inf


@pytest.mark.parametrize(
    ("by", "firm", "decided", "neither"), [("ratio", 1.25, 2.0, 2.01), ("difference", 0.05, 0.1, 0.11)]
)
def test_how_well_rebuilt_runs_agree(by: str, firm: float, decided: float, neither: float) -> None:
    assert allowed(firm, by=by).is_firm
    assert not allowed(firm + 0.01, by=by).is_firm
    assert allowed(decided, by=by).is_decided
    assert not allowed(neither, by=by).is_decided
    assert not dataclasses.replace(allowed(firm, by=by), runs=1).is_firm


def test_epochs_are_equal_within_a_checkpoint() -> None:
    found = gi.claims.tolerance(gi.claims.by_id("event.test_loss_peak_epoch"))
    assert found.step == 100
    narrow = dataclasses.replace(found, most=1.0, low=1400.0, high=1400.0)
    assert narrow.allows(1300.0, 1400.0)
    assert not narrow.allows(1300.0, 1401.0)
    assert narrow.contains(1300.0)
    assert not narrow.contains(1299.0)


def test_a_definition_that_is_not_settled_is_never_firm(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = allowed(1.0)
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
    monkeypatch.setattr(tolerance, "spread_data", lambda _: {"epoch": 16_000, "runs": runs})
    agreed = Tolerance(by="name", most=0.0, low=1.0, high=1.0, runs=2)
    assert gi.claims.tolerance(gi.claims.by_id("key.14")) == agreed
    assert not gi.claims.tolerance(gi.claims.by_id("key.41")).is_decided


def test_keys_name_the_function_and_the_labels_that_runs_share() -> None:
    assert key_of(gi.claims.by_id("loss.all"), 16_000) == "circuit.loss,split=all"
    assert key_of(gi.claims.by_id("neurons.k14"), 16_000) == "circuit.neuron_counts"
    assert key_of(gi.claims.by_id("key.14"), 16_000) == "circuit.is_key,frequency=14"
    assert key_of(gi.claims.by_id("curve.train_loss.1400"), 16_000) == "training.train_loss,epoch=1400"
    assert key_of(gi.claims.by_id("excluded.k14"), 16_000) == "training.excluded_loss_by_key,epoch=16000"


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_of_another_setting_is_not_judged(tiny_run: gi.Run) -> None:
    results = gi.claims.check(tiny_run)
    assert {result.verdict for result in results} <= {"other setting", "not available", "not established"}
    by_id = {result.claim.id: result for result in results}
    assert by_id["recipe.pairs.train"].ours == int(tiny_run.is_train.sum())
    assert (
        by_id["seeds.n_keys.1"].why
        == "this claim concerns several runs of the paper's recipe; pass a run with the paper's config."
    )


@pytest.mark.slow
def test_a_model_that_a_user_trained_is_checked_without_its_run() -> None:
    planted = gi.testing.planted_snapshot(31, (4, 15), act_fn="relu")
    model = gi.models.lens.to_transformer_lens(planted.params, planted.config)
    by_id = {result.claim.id: result for result in gi.claims.check(model)}
    assert by_id["key.number"].ours == 2.0
    expected = gi.progress.losses(planted).sel(split="all").item()
    assert by_id["loss.all"].ours == pytest.approx(expected, rel=1e-4)
    assert by_id["ablation.heads.zero"].ours == pytest.approx(math.log(31))
    assert by_id["curve.test_loss.2000"].why == "this claim concerns training; pass a Run."
    assert by_id["key.35"].why == "there is no frequency 35."
    # Where a claim is about another model's keys, its own are told.
    assert by_id["neurons.k35"].why == "there is no frequency 35; the model has 64 at 4, 64 at 15."
    assert by_id["key.14"].verdict == "other setting"


@pytest.mark.slow
def test_a_task_without_a_group_says_so() -> None:
    config = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16)
    task = gi.TaskConfig(operation="x2+y2", p=7).build()
    params = config.initial_params(task, seed=0)
    results = gi.claims.check(gi.Snapshot(params=params, config=config, task=task))
    by_id = {result.claim.id: result for result in results}
    assert by_id["key.14"].why == "x2+y2 mod 7 is not a group operation and has no frequencies."
    assert by_id["loss.all"].ours == pytest.approx(2.0, abs=0.5)


def test_the_papers_setting_is_its_config_whatever_the_machine() -> None:
    run = gi.load_run("nanda2023")
    found = gi.claims.evidence(run)
    assert found.matches_paper
    for change in ({"seed": 1}, {"split": gi.SplitConfig(fraction=0.4, rule="paper")}):
        vars(run)["config"] = dataclasses.replace(run.config, **change)
        assert not gi.claims.evidence(run).matches_paper
    assert not gi.claims.evidence(run.snapshot()).matches_paper
    # Nor is what came of it by an earlier epoch judged by numbers of the last.
    assert not gi.claims.evidence(gi.load_run("nanda2023"), epoch=14_000).matches_paper


def test_a_model_alone_has_no_other_epochs() -> None:
    with pytest.raises(ValueError, match="epoch=5 only applies to a Run, got Snapshot; omit it"):
        gi.claims.evidence(gi.testing.planted_snapshot(7, (1, 3)), epoch=5)


def test_results_are_a_table(bundled_claims: list[gi.claims.Result]) -> None:
    ds = gi.claims.dataset(bundled_claims)
    assert ds.sizes["claim"] == len(bundled_claims)
    row = ds.sel(claim="attention.to_equals.head0")
    assert (row.published_low.item(), row.published_high.item()) == (0.001, 0.004)
    assert row.verdict.item() == "holds"
    assert math.isnan(ds.sel(claim="gini.W_E").published_low.item())


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["run", "snapshot"])
def test_claims_of_attention_are_not_available_of_an_mlp(tiny_mlp: gi.Run, inputs: str) -> None:
    subject = tiny_mlp if inputs == "run" else tiny_mlp.snapshot()
    results = {result.claim.id: result for result in gi.claims.check(subject)}
    assert len(results) == len(gi.claims.claims())
    of_attention = [id for id in results if id.startswith(("attention.", "ablation.skip_", "ablation.heads"))]
    assert len(of_attention) > 10
    for id in of_attention:
        assert results[id].ours is None
        assert results[id].verdict in ("not available", "not established")
        assert "requires a transformer" in results[id].why
        assert "\n" not in results[id].why
    assert results["loss.all"].ours is not None


@pytest.mark.slow
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("sequence", ["a b", "a b =", "a op b ="])
def test_claims_are_checked_whatever_is_read_and_say_what_they_need(
    tmp_path: Path, sequence: Sequence, n_layers: int
) -> None:
    small = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16, sequence=sequence, n_layers=n_layers)
    config = gi.RunConfig(task=gi.TaskConfig(p=7), model=small, split=gi.SplitConfig(fraction=0.5), epochs=2)
    results = {
        result.claim.id: result for result in gi.claims.check(gi.train(config, tmp_path / "run", progress=False))
    }
    assert not any("\n" in result.why for result in results.values())
    for id in ("loss.all", "ablation.skip_mlp.zero", "attention.fve.head0"):
        assert results[id].ours is not None, id
    needs = {
        "attention.to_equals.head0": "=" in sequence,
        "ablation.skip_attention.zero": n_layers == 1 and "=" in sequence,
        "ablation.heads.zero": n_layers == 1,
        "attention.linear_loss": n_layers == 1 and sequence == "a b =",
        "attention.score.head0": n_layers == 1 and sequence == "a b =",
    }
    for id, is_available in needs.items():
        assert (results[id].ours is not None) == is_available, id
        assert is_available or re.search("needs|requires?", results[id].why)


def test_a_claim_of_an_ablation_is_the_loss_of_the_edited_mlp(tiny_mlp: gi.Run) -> None:
    """An MLP's logits have no positions to take the last of."""
    found = gi.claims.evidence(tiny_mlp.snapshot())
    vars(found)["keys"] = (2,)
    without = gi.interventions.ablate(gi.interventions.frequency(2, at="neurons"))(found.snapshot)
    wanted = torch.nn.functional.cross_entropy(without.logits.flatten(0, 1), without.task.table.flatten()).item()
    assert ablations.without_frequency(found).item() == pytest.approx(wanted, abs=1e-5)
