"""Four mistakes that others have made: each changes what the claims give of a model whose answer is known."""

import math

import pytest
import torch

import grokinterp as gi
from grokinterp.models import factored, kinds
from grokinterp.papers.nanda2023 import circuit


P, KEYS = 31, (4, 15)


def planted() -> gi.Snapshot:
    return gi.testing.planted_snapshot(P, KEYS, amplitude=5.0)


def with_means(snapshot: gi.Snapshot) -> gi.Snapshot:
    """The same model with a number of its own added to the logits of each class."""
    logits = snapshot.logits + torch.arange(P, dtype=torch.float64)
    other = gi.Snapshot(params=snapshot.params, config=snapshot.config, task=snapshot.task, is_train=snapshot.is_train)
    vars(other)["logits"] = logits
    return other


def test_a_frequency_range_that_ends_early_loses_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`range(1, p // 2)` of the released code never tries the highest frequency."""
    assert circuit.n_keys(gi.claims.evidence(planted())).item() == 2
    snapshot = planted()
    monkeypatch.setattr("grokinterp.basis.frequencies", lambda n: tuple(range(1, n // 2)))
    monkeypatch.setattr("grokinterp.snapshots._basis_of", gi.basis.task_basis)
    assert circuit.n_keys(gi.claims.evidence(snapshot)).item() == 1


def test_without_the_bias_correction_the_means_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def trig_loss() -> float:
        return circuit.trig_loss(gi.claims.evidence(with_means(planted()))).item()

    assert trig_loss() == pytest.approx(gi.progress.losses(with_means(planted())).sel(split="all").item())
    restricted, off = gi.progress._restricted, {"bias_correction": False}
    monkeypatch.setattr(
        "grokinterp.progress._restricted", lambda x, recorded, *form: restricted(x, recorded | off, *form)
    )
    assert trig_loss() == pytest.approx(gi.progress.losses(planted()).sel(split="all").item())


def test_splits_that_are_exchanged_exchange_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the bundled run while it had memorized alone, computed and not read from what is kept with it."""
    snapshot = gi.load_run("nanda2023").snapshot(1400)
    claim = gi.claims.by_id("curve.train_loss.1400")

    def holds() -> bool:
        ours = gi.progress.losses(snapshot).sel(split="train").item()
        return gi.claims.tolerance(claim).allows(claim.value, ours)

    assert holds()
    right = gi.Snapshot.mask
    monkeypatch.setattr(gi.Snapshot, "mask", lambda self, split: right(self, {"train": "test"}.get(split, "train")))
    assert not holds()


@pytest.mark.slow
@pytest.mark.parametrize("forward", [factored, kinds.transformer])
def test_a_softmax_of_another_scale_is_another_model(monkeypatch: pytest.MonkeyPatch, forward) -> None:
    """Scores that are not divided by sqrt(d_head): the initial loss is no longer the recipe's."""
    run = gi.load_run("nanda2023")
    a, b = gi.tasks.all_pairs(run.task)
    start = run.snapshot(0)

    def initial_loss() -> float:
        logits = factored.factored_logits if forward is factored else gi.TransformerConfig.logits
        args = (start.params, start.config) if forward is factored else (start.config, start.params)
        found = logits(*args, a, b)[run.is_train.flatten()]
        return gi.losses.cross_entropy(found, run.task.table[run.is_train]).item()

    claim = gi.claims.by_id("recipe.initial_loss.train")
    assert initial_loss() == pytest.approx(claim.value, rel=2e-6)

    class Unscaled:
        inf, sqrt = math.inf, staticmethod(lambda _: 1.0)

    monkeypatch.setattr(forward, "math", Unscaled)
    assert initial_loss() != pytest.approx(claim.value, rel=2e-6)
