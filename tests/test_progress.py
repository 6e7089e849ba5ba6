"""Progress measures: exact on planted models, and against plain loops on an untrained one."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import grokinterp as gi
from grokinterp import labels, progress


KEYS = (4, 15)


@pytest.fixture(scope="module")
def planted() -> gi.Snapshot:
    return gi.testing.planted_snapshot(31, KEYS, amplitude=4.0)


@pytest.fixture(scope="module")
def untrained() -> gi.Snapshot:
    task = gi.tasks.operation("addition", 11)
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24, equals_in_output=True)
    params = {name: 4 * p for name, p in config.initial_params(task, seed=3).items()}
    return gi.Snapshot(params=params, config=config, task=task, is_train=gi.tasks.uniform_split(task, 0.4, seed=0))


def _projected(snapshot: gi.Snapshot, keys: tuple[int, ...]) -> Tensor:
    """The paper's projection of the logits on cos and sin(w_k(a+b)), pair by pair."""
    p = snapshot.task.n_outputs
    a, b = gi.tasks.all_pairs(snapshot.task)
    flat = snapshot.logits.flatten(0, 1)
    total = torch.zeros_like(flat)
    for k in keys:
        angle = 2 * math.pi * k * (a + b).double() / p
        for wave in (angle.cos() / angle.cos().norm(), angle.sin() / angle.sin().norm()):
            total += wave[:, None] * (wave @ flat)[None, :]
    return total.reshape(snapshot.logits.shape)


def _cross_entropy(snapshot: gi.Snapshot, logits: Tensor, split: str) -> float:
    mask = snapshot.mask(split)
    return F.cross_entropy(logits[mask], snapshot.task.table[mask]).item()


def test_restricted_loss_of_a_planted_model_is_its_loss(planted: gi.Snapshot) -> None:
    whole = progress.losses(planted)
    for split in ("train", "test", "all"):
        found = progress.restricted_loss(KEYS, split=split)(planted).item()
        assert found == pytest.approx(whole.sel(split=split).item(), abs=1e-12)
        assert progress.trig_loss(KEYS, split=split)(planted).item() == pytest.approx(found, abs=1e-12)


def test_excluded_loss_of_a_planted_model_is_log_p(planted: gi.Snapshot) -> None:
    assert progress.excluded_loss(KEYS)(planted).item() == pytest.approx(math.log(31), abs=1e-12)


def test_excluding_other_frequencies_changes_nothing_in_a_planted_model(planted: gi.Snapshot) -> None:
    by_frequency = progress.excluded_loss_by_frequency()(planted)
    assert by_frequency.frequency.values.tolist() == list(range(1, 16))
    others = by_frequency.drop_sel(frequency=list(KEYS))
    assert others.values == pytest.approx(progress.losses(planted).sel(split="train").item(), abs=1e-12)
    assert (by_frequency.sel(frequency=list(KEYS)) > others.max() + 0.1).all()


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_losses_and_accuracies_are_those_of_torch(untrained: gi.Snapshot, split: str) -> None:
    mask = untrained.mask(split)
    assert progress.losses(untrained).sel(split=split).item() == pytest.approx(
        _cross_entropy(untrained, untrained.logits, split)
    )
    right = untrained.logits[mask].argmax(-1) == untrained.task.table[mask]
    assert progress.accuracies(untrained).sel(split=split).item() == pytest.approx(right.double().mean().item())


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_restricted_loss_is_the_papers(untrained: gi.Snapshot, split: labels.Split, bias_correction: bool) -> None:
    kept = _projected(untrained, (2, 5))
    if bias_correction:
        kept = kept + (untrained.logits - kept).mean(dim=(0, 1))
    measure = progress.restricted_loss((2, 5), split=split, bias_correction=bias_correction)
    assert measure(untrained).item() == pytest.approx(_cross_entropy(untrained, kept, split), abs=1e-12)


def test_defaults_are_the_papers(untrained: gi.Snapshot) -> None:
    assert progress.restricted_loss((2,))(untrained).attrs["split"] == "all"
    assert progress.restricted_loss((2,))(untrained).attrs["bias_correction"] == 1
    assert progress.excluded_loss((2,))(untrained).attrs["split"] == "train"
    assert progress.excluded_loss((2,))(untrained).attrs["key_frequencies"] == "[2]"


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_excluded_loss_is_the_papers(untrained: gi.Snapshot, split: labels.Split) -> None:
    left = untrained.logits - _projected(untrained, (1, 5))
    found = progress.excluded_loss((1, 5), split=split)(untrained).item()
    assert found == pytest.approx(_cross_entropy(untrained, left, split), abs=1e-12)


def test_excluded_loss_without_keys_takes_out_all_that_is_of_the_product(untrained: gi.Snapshot) -> None:
    means = untrained.product_means[untrained.task.table]
    left = untrained.logits - means + untrained.logits.mean(dim=(0, 1))
    found = progress.excluded_loss()(untrained).item()
    assert found == pytest.approx(_cross_entropy(untrained, left, "train"), abs=1e-12)
    assert found == progress.excluded_loss((1, 2, 3, 4, 5))(untrained).item()


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_excluded_loss_by_frequency_is_a_loop_of_excluded_losses(untrained: gi.Snapshot, split: labels.Split) -> None:
    found = progress.excluded_loss_by_frequency(split=split)(untrained)
    for k in range(1, 6):
        expected = progress.excluded_loss((k,), split=split)(untrained).item()
        assert found.sel(frequency=k).item() == pytest.approx(expected, abs=1e-12)


def test_excluded_loss_by_frequency_of_enormous_logits_is_a_loop_too(untrained: gi.Snapshot) -> None:
    """Where products of exponentials would underflow."""
    params = {name: p * (20.0 if name == "unembed.W_U" else 1.0) for name, p in untrained.params.items()}
    large = gi.Snapshot(params=params, config=untrained.config, task=untrained.task, is_train=untrained.is_train)
    assert (large.logits.amax(-1) - large.logits.amin(-1)).max() > 600
    found = progress.excluded_loss_by_frequency((2, 5))(large)
    expected = [progress.excluded_loss((k,))(large).item() for k in (2, 5)]
    assert found.values.tolist() == pytest.approx(expected)


def test_trig_loss_replaces_the_logits_by_their_waves(untrained: gi.Snapshot) -> None:
    x = torch.arange(11, dtype=torch.float64)
    logits = untrained.logits.mean(dim=(0, 1)).expand_as(untrained.logits)
    for k in (2, 5):
        wave = (2 * math.pi * k * (x[:, None, None] + x[None, :, None] - x[None, None, :]) / 11).cos()
        logits = logits + wave * (wave * untrained.logits).sum() / wave.square().sum()
    found = progress.trig_loss((2, 5))(untrained).item()
    assert found == pytest.approx(_cross_entropy(untrained, logits, "all"), abs=1e-12)


def test_all_keys_excluded_and_kept_give_back_the_logits_of_the_product(untrained: gi.Snapshot) -> None:
    every = untrained.basis.blocks
    means = untrained.product_means[untrained.task.table]
    expected = _cross_entropy(untrained, means, "all")
    assert progress.restricted_loss(every)(untrained).item() == pytest.approx(expected, abs=1e-12)


def test_the_zero_of_multiplication_is_no_frequency() -> None:
    """Excluding the keys leaves its logits alone; restricting to them leaves it the mean logits of each class."""
    task = gi.tasks.operation("multiplication", 13)
    config = gi.TransformerConfig(d_model=4, n_heads=1, d_head=4, d_mlp=4)
    params = config.initial_params(task, seed=0)
    snapshot = gi.Snapshot(params=params, config=config, task=task, is_train=gi.tasks.uniform_split(task, 0.5, seed=0))
    rows = snapshot.basis.rows([1, 4])
    by_product = 20 * rows.T @ rows
    by_product[0, 0] = 30.0
    object.__setattr__(snapshot, "logits", by_product[task.table])
    kept = by_product + by_product[0] * len(task.table.flatten()[task.table.flatten() == 0]) / 169
    kept[0] -= by_product[0]
    expected = _cross_entropy(snapshot, kept[task.table], "all")
    assert progress.restricted_loss((1, 4))(snapshot).item() == pytest.approx(expected, abs=1e-12)
    without = progress.excluded_loss((1, 4), split="all")(snapshot).item()
    zeros = (task.table == 0).double().mean().item()
    at_zero = math.log(math.exp(30) + 12) - 30
    assert without == pytest.approx((1 - zeros) * math.log(13) + zeros * at_zero, abs=1e-9)


def test_weight_norm_is_the_sum_of_squares_of_each_parameter(untrained: gi.Snapshot) -> None:
    norms = progress.weight_norm(untrained)
    expected = untrained.params["blocks.0.mlp.W_in"].double().square().sum().item()
    assert norms.sel(parameter="mlp.W_in").item() == pytest.approx(expected)
    assert norms.sum().item() == pytest.approx(sum(p.double().square().sum().item() for p in untrained.params.values()))


@pytest.mark.parametrize(
    "measure",
    [progress.restricted_loss, progress.excluded_loss, progress.trig_loss, progress.excluded_loss_by_frequency],
)
def test_keys_that_are_no_frequencies_are_refused(planted: gi.Snapshot, measure: object) -> None:
    with pytest.raises(ValueError, match=r"keys must be blocks of the task's basis, 1..15, got \[16\]"):
        measure((4, 16))(planted)  # pyright: ignore
    with pytest.raises(ValueError, match=r"keys must be one or more integers of at least 1, got \[0\]\."):
        measure((0,))(planted)  # pyright: ignore


def test_a_split_that_is_not_known_is_refused() -> None:
    planted = gi.testing.planted_snapshot(7, (1,))
    unknown = gi.Snapshot(params=planted.params, config=planted.config, task=planted.task)
    with pytest.raises(ValueError, match="split='train' requires the training pairs; pass is_train"):
        progress.excluded_loss((1,))(unknown)
    assert progress.restricted_loss((1,))(unknown).item() > 0


def _waves(snapshot: gi.Snapshot, keys: tuple[int, ...]) -> Tensor:
    """The part of the logits along cos w_k(a+b-c), over all triples."""
    p = snapshot.task.n_outputs
    x = torch.arange(p, dtype=torch.float64)
    difference = x[:, None, None] + x[None, :, None] - x[None, None, :]
    waves = [(2 * math.pi * k * difference / p).cos() for k in keys]
    return torch.stack([wave * (wave * snapshot.logits).sum() / wave.square().sum() for wave in waves]).sum(dim=0)


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_the_3d_form_takes_out_the_waves_alone(untrained: gi.Snapshot, split: labels.Split) -> None:
    every = (1, 2, 3, 4, 5)
    for keys in ((1, 5), None):
        left = untrained.logits - _waves(untrained, keys or every)
        found = progress.excluded_loss(keys, split=split, form="3D")(untrained).item()
        assert found == pytest.approx(_cross_entropy(untrained, left, split), abs=1e-12)
    by_frequency = progress.excluded_loss_by_frequency(split=split, form="3D")(untrained)
    expected = [_cross_entropy(untrained, untrained.logits - _waves(untrained, (k,)), split) for k in every]
    assert by_frequency.values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", ["2D", "3D"])
@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_excluded_accuracy_is_that_of_what_is_left(
    untrained: gi.Snapshot, split: labels.Split, form: progress.Form
) -> None:
    part = _projected(untrained, (1, 5)) if form == "2D" else _waves(untrained, (1, 5))
    mask = untrained.mask(split)
    right = (untrained.logits - part)[mask].argmax(dim=-1) == untrained.task.table[mask]
    found = progress.excluded_accuracy((1, 5), split=split, form=form)(untrained)
    assert found.item() == pytest.approx(right.double().mean().item())
    assert found.attrs["form"] == form


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_restricted_accuracy_is_that_of_what_is_kept(
    untrained: gi.Snapshot, split: labels.Split, bias_correction: bool
) -> None:
    kept = _projected(untrained, (2, 5)) + (untrained.logits.mean(dim=(0, 1)) if bias_correction else 0.0)
    mask = untrained.mask(split)
    right = kept[mask].argmax(dim=-1) == untrained.task.table[mask]
    found = progress.restricted_accuracy((2, 5), split=split, bias_correction=bias_correction)(untrained)
    assert found.item() == pytest.approx(right.double().mean().item())


def test_a_planted_model_has_all_its_answers_in_its_keys(planted: gi.Snapshot) -> None:
    assert progress.restricted_accuracy(KEYS)(planted).item() == 1.0
    assert progress.restricted_accuracy((3, 8))(planted).item() < 0.3
    assert progress.excluded_accuracy((3, 8), split="all")(planted).item() == 1.0
    # Without its keys its logits are rounding.
    assert progress.excluded_loss((4,), form="3D")(planted).item() == pytest.approx(
        progress.excluded_loss((4,))(planted).item()
    )


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_form_is_refused(planted: gi.Snapshot) -> None:
    with pytest.raises(ValueError, match="form must be one of 2D, 3D, got '4D'"):
        progress.excluded_loss(KEYS, form="4D")(planted)


TASKS = {name: gi.tasks.operation(name, 11) for name in ("addition", "subtraction", "multiplication", "division")}
TASKS["S_3"] = gi.tasks.from_group(gi.tasks.groups.symmetric(3))


def _random(task: gi.tasks.Task, **about: object) -> gi.Snapshot:
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24)
    params = {name: 4 * p for name, p in config.initial_params(task, seed=3).items()}
    return gi.Snapshot(params=params, config=config, task=task, **about)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("form", ["2D", "3D"])
def test_the_bias_correction_gives_each_class_its_mean_over_all_pairs(name: str, form: progress.Form) -> None:
    """The paper's code: center what is left over all pairs, and add the mean of the model's own logits."""
    snapshot, task = _random(TASKS[name]), TASKS[name]
    waves = [row[task.table].double() for row in snapshot.basis.rows([1, 2])]
    left = torch.zeros_like(snapshot.logits)
    for wave in waves if form == "2D" else ():
        left += wave[:, :, None] * torch.einsum("ab,abc->c", wave, snapshot.logits) / wave.square().sum()
    for k in (1, 2) if form == "3D" else ():
        kernel = sum(row[task.table][:, :, None] * row for row in snapshot.basis.rows([k]))
        left += kernel * (kernel * snapshot.logits).sum() / kernel.square().sum()
    left += snapshot.logits.mean(dim=(0, 1)) - left.mean(dim=(0, 1))
    expected = _cross_entropy(snapshot, left, "all")
    measure = progress.restricted_loss if form == "2D" else progress.trig_loss
    assert measure((1, 2))(snapshot).item() == pytest.approx(expected, abs=1e-11)
    if form == "2D":
        right = (left.argmax(-1) == task.table).double().mean().item()
        assert progress.restricted_accuracy((1, 2))(snapshot).item() == pytest.approx(right, abs=1e-12)


@pytest.mark.parametrize("name", TASKS)
def test_excluded_loss_and_variance_explained_are_a_plain_loop_for_every_task(name: str) -> None:
    snapshot, task = _random(TASKS[name]), TASKS[name]
    snapshot = _random(task, is_train=gi.tasks.uniform_split(task, 0.4, seed=0))
    left, explained = snapshot.logits.clone(), 0.0
    centered = snapshot.logits - snapshot.logits.mean(dim=(0, 1))
    for row in snapshot.basis.rows([1, 2]):
        wave = row[task.table]
        left -= wave[:, :, None] * torch.einsum("ab,abc->c", wave, snapshot.logits) / wave.square().sum()
    for k in (1, 2):
        kernel = sum(row[task.table][:, :, None] * row for row in snapshot.basis.rows([k]))
        explained += ((kernel * centered).sum() ** 2 / kernel.square().sum() / centered.square().sum()).item()
    assert progress.excluded_loss((1, 2))(snapshot).item() == pytest.approx(_cross_entropy(snapshot, left, "train"))
    assert gi.logits.variance_explained(snapshot, (1, 2)) == pytest.approx(explained, abs=1e-12)


@pytest.mark.parametrize("measure", [progress.losses, progress.accuracies])
def test_without_the_training_pairs_there_is_the_loss_over_all_pairs(measure: gi.Measure) -> None:
    known = _random(TASKS["addition"], is_train=gi.tasks.uniform_split(TASKS["addition"], 0.4, seed=0))
    found = measure(_random(TASKS["addition"]))
    assert found.split.values.tolist() == ["all"]
    assert found.item() == measure(known).sel(split="all").item()
