"""The detectors' measures: known values on planted models, and no dependence on test labels."""

import math
from dataclasses import replace

import pytest
import torch

import grokinterp as gi
from grokinterp.detection import measures
from grokinterp.losses import cross_entropy
from grokinterp.tasks import from_table, operation, uniform_split


ALL = [
    measures.embedding_gini,
    measures.readout_gini,
    measures.product_gini,
    measures.concentration,
    measures.excluded,
    measures.restricted,
]
each_measure = pytest.mark.parametrize("measure", ALL, ids=[measure.name for measure in ALL])
SMALL = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24)


def untrained(task: gi.Task, *, scale: float = 4.0) -> gi.Snapshot:
    params = {name: scale * p.double() for name, p in SMALL.initial_params(task, seed=1).items()}
    return gi.Snapshot(params=params, config=SMALL, task=task, is_train=uniform_split(task, 0.5, seed=0))


def without_group(table: torch.Tensor) -> gi.Task:
    return replace(from_table(table, name="a table"), group=None, elements=None)


@pytest.mark.slow
@each_measure
@pytest.mark.parametrize("name", ["addition", "random"])
def test_no_answer_of_a_test_pair_is_read(measure: gi.Measure, name: str) -> None:
    snap = untrained(operation(name, 11))
    table, is_train = snap.task.table.clone(), snap.mask("train")
    # A detector knows the task's group, so the test labels are changed in a table without a group.
    table[~is_train] = (table[~is_train] + 5) % 11
    plain = replace(snap, task=without_group(snap.task.table))
    other = replace(snap, task=without_group(table))
    assert measure(plain).item() == measure(other).item()


@each_measure
def test_a_task_without_a_group_is_read_as_addition(measure: gi.Measure) -> None:
    snap = untrained(operation("addition", 11))
    assert measure(snap).item() == measure(replace(snap, task=without_group(snap.task.table))).item()


def test_a_planted_model_has_its_keys_and_nothing_else() -> None:
    snap = gi.testing.planted_snapshot(23, keys=(2, 5, 9), amplitude=30.0)
    assert measures.concentration(snap).item() == pytest.approx(1.0, abs=1e-9)
    # Three equal frequencies out of eleven.
    wanted = 1 - 3 / 11
    assert measures.embedding_gini(snap).item() == pytest.approx(wanted, abs=1e-6)
    assert measures.readout_gini(snap).item() == pytest.approx(wanted, abs=1e-6)
    assert measures.product_gini(snap).item() == pytest.approx(wanted, abs=1e-6)
    assert measures.restricted(snap).item() == pytest.approx(1.0, abs=1e-6)
    # Without its keys the logits are uniform: the loss is log p, and the train loss is negligible.
    assert measures.excluded(snap).item() == pytest.approx(1.0, abs=1e-6)


def test_losses_at_the_keys_of_the_time_are_those_of_a_loop() -> None:
    snap = untrained(operation("addition", 11))
    rows = gi.basis.fourier_basis(11)
    norms = [(snap.W_E.T @ rows.matrix[rows.block == block].T).norm().item() for block in range(1, 6)]
    keys = sorted(range(1, 6), key=lambda k: norms[k - 1])  # all five of them
    means = torch.stack([snap.logits[snap.task.table == s].mean(dim=0) for s in range(11)])
    each = [rows.matrix[rows.block == k].T @ rows.matrix[rows.block == k] @ means for k in keys]
    of_keys = torch.stack(each).sum(dim=0)
    constant = means.mean(dim=0).expand_as(means)
    train, answers = snap.is_train, snap.task.table[snap.is_train]
    alone = cross_entropy((of_keys + constant)[snap.task.table][train], answers)
    without = cross_entropy((snap.logits - of_keys[snap.task.table])[train], answers)
    plain = cross_entropy(snap.logits[train], answers)
    assert measures.restricted(snap).item() == pytest.approx(1 - alone.item() / math.log(11), abs=1e-9)
    assert measures.excluded(snap).item() == pytest.approx((without - plain).item() / math.log(11), abs=1e-9)


def test_the_strongest_frequencies_are_the_keys() -> None:
    snap = gi.testing.planted_snapshot(23, keys=(2, 5, 9))
    assert {2, 5, 9} <= set(measures._keys(snap))
    assert len(measures._keys(snap)) == 5


def test_a_task_that_cannot_be_read_is_refused() -> None:
    table = from_table(torch.arange(25).reshape(5, 5) % 6, name="six answers")
    snap = untrained(table)
    with pytest.raises(ValueError, match="early detection needs as many outputs as operands"):
        measures.embedding_gini(snap)


@pytest.mark.slow
def test_a_snapshot_is_freed_after_it_was_measured() -> None:
    import gc
    import weakref

    for name in ("addition", "random"):
        snap = untrained(operation(name, 7))
        for measure in ALL:
            measure(snap)
        gone = weakref.ref(snap)
        del snap
        gc.collect()
        assert gone() is None, name
