"""What a model of several operations has learned of each, by loops over the pairs of one."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp import attention, fourier, interventions, logits, multitask, neurons, progress
from grokinterp.tasks import Operation


NAMES: tuple[Operation, ...] = ("division", "addition", "random")


@pytest.fixture(scope="module")
def untrained() -> gi.Snapshot:
    task, config = gi.tasks.multitask(NAMES, 5, seed=3), gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24)
    params = config.initial_params(task, seed=0)
    return gi.Snapshot(params=params, config=config, task=task, is_train=gi.tasks.uniform_split(task, 0.5, seed=1))


def test_losses_and_accuracies_are_those_of_the_operation_s_pairs(untrained: gi.Snapshot) -> None:
    loss, accuracy = multitask.losses(NAMES)(untrained), multitask.accuracies(NAMES)(untrained)
    assert loss.operation.values.tolist() == list(NAMES)
    for split in ("train", "test", "all"):
        for i, name in enumerate(NAMES):
            costs, rights = [], []
            for a, b in untrained.mask(split)[5 * i : 5 * i + 5].nonzero().tolist():
                logits, answer = untrained.logits[5 * i + a, b], untrained.task.table[5 * i + a, b]
                costs.append((logits.logsumexp(0) - logits[answer]).item())
                rights.append(float(logits.argmax() == answer))
            assert loss.sel(operation=name, split=split).item() == pytest.approx(sum(costs) / len(costs))
            assert accuracy.sel(operation=name, split=split).item() == pytest.approx(sum(rights) / len(rights))


def test_an_operation_without_a_pair_in_a_split_has_no_accuracy_there(untrained: gi.Snapshot) -> None:
    is_train = torch.zeros(15, 4, dtype=torch.bool)
    is_train[:7] = True
    snapshot = gi.Snapshot(params=untrained.params, config=untrained.config, task=untrained.task, is_train=is_train)
    found = multitask.accuracies(NAMES)(snapshot).isnull()
    assert found.sel(split="train").values.tolist() == [False, False, True]
    assert found.sel(split="test").values.tolist() == [True, False, False]


def test_operations_in_another_order_than_the_task_s_are_refused(untrained: gi.Snapshot) -> None:
    with pytest.raises(
        ValueError, match=r"multitask\(\['addition', 'division', 'random'\], 5\), got 'division, addition"
    ):
        multitask.accuracies(("addition", "division", "random"))(untrained)


@pytest.mark.slow
def test_one_model_is_trained_on_several_operations_and_grokking_is_looked_for_in_each(tmp_path: Path) -> None:
    names: tuple[Operation, ...] = ("addition", "subtraction")
    config = gi.RunConfig(
        task=gi.TaskConfig(operation="custom", p=5),
        split=gi.SplitConfig(fraction=0.8),
        model=gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24),
        optim=gi.OptimConfig(lr=0.01, weight_decay=0.0),
        epochs=100,
        checkpoint_every=10,
    )
    run = gi.train(config, tmp_path / "run", task=gi.tasks.multitask(names, 5), progress=False)
    ds = gi.trajectory(run, [multitask.losses(names), multitask.accuracies(names)], progress=False)
    assert ds.accuracy.dims == ("epoch", "operation", "split")
    train = ds.loss.sel(split="train")
    assert bool((train.isel(epoch=-1) < train.isel(epoch=0)).all())
    events = gi.phases.detect(ds.sel(operation="subtraction"), memorized=0.99, sustained=1)
    assert events.event_epoch.sel(event="memorized").item() <= 100
    assert gi.load_run(tmp_path / "run").task.name == "addition, subtraction mod 5"


NEED_A_GROUP = {
    "spectrum": fourier.spectrum,
    "gini": fourier.gini,
    "key_frequencies": fourier.key_frequencies,
    "embedding_circles": fourier.embedding_circles((1,)),
    "logits.fve": logits.fve(),
    "neurons.fve": neurons.fve,
    "restricted_loss": progress.restricted_loss((1,)),
    "excluded_loss": progress.excluded_loss((1,)),
    "trig_loss": progress.trig_loss((1,)),
    "attention.frequency": attention.frequency,
    "score_spectrum": attention.score_spectrum,
    "frequency": lambda snapshot: interventions.ablate(interventions.frequency(1))(snapshot).logits,
}


@pytest.mark.parametrize("name", NEED_A_GROUP)
def test_analyses_of_groups_refuse_several_operations_in_one_line(name: str, untrained: gi.Snapshot) -> None:
    wanted = r"^this analysis requires a group operation, got 'division, addition, random mod 5', which has no group; "
    with pytest.raises(ValueError, match=wanted):
        NEED_A_GROUP[name](untrained)


def test_each_operation_has_a_time_of_grokking_a_mark_at_it_and_a_panel() -> None:
    epochs, at = np.arange(0, 200, 10), {"addition": 50, "division": 120}
    test = np.stack([epochs >= first for first in at.values()], axis=1).astype(float)
    accuracy = (("epoch", "operation", "split"), np.stack([np.ones_like(test), test], axis=2))
    coords = {"epoch": epochs, "operation": list(at), "split": ["train", "test"]}
    ds = xr.Dataset({"accuracy": accuracy, "loss": accuracy, "squared_weight_norm": ("epoch", epochs + 1.0)}, coords)
    for name, first in at.items():
        times = gi.phases.grokking_times(ds.sel(operation=name), grokked=0.95)
        assert times.grokked.item() == first
        marked = gi.plots.overview(ds.sel(operation=name), times=times)
        assert f"grokked (≥ 0.95), epoch {first}" in [note.text for note in marked.layout.annotations]
    fig = gi.plots.sweep_curves(ds, log_x=True)
    assert [note.text for note in fig.layout.annotations[:2]] == [
        "<b>Operation addition</b>",
        "<b>Operation division</b>",
    ]
    assert fig.layout.xaxis.type == "log"
