import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

import grokinterp as gi
from grokinterp import labels
from grokinterp.basis import fourier_basis
from grokinterp.fourier import key_frequencies
from grokinterp.measures import Measure
from grokinterp.models import lens
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.snapshots import Snapshot, as_snapshot, snapshot
from grokinterp.tasks import all_pairs, from_table, operation, uniform_split
from grokinterp.testing import planted_snapshot


TASK = operation("addition", 7)
SMALL = {"d_model": 12, "n_heads": 3, "d_head": 4, "d_mlp": 10}
CONFIGS = {
    "factored": TransformerConfig(**SMALL, biases="all"),
    "equals in output": TransformerConfig(**SMALL, biases="mlp", equals_in_output=True),
    "two layers, LN": TransformerConfig(**SMALL, n_layers=2, normalization="LN", biases="all"),
}
TASKS = {"square": TASK, "rectangular": operation("division", 7)}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@each_config
@each_task
def test_what_is_read_is_that_of_a_single_pair(config, task, random_params):
    snap = Snapshot(params=random_params(config, task), config=config, task=task)
    n_a, n_b = task.shape
    assert snap.logits.shape == (n_a, n_b, 7)
    assert snap.logits.dtype == torch.float64
    assert snap.neurons.shape == (n_a, n_b, 10)
    assert snap.attention.shape == (n_a, n_b, 3, 3)
    last = f"blocks.{config.n_layers - 1}"
    for i, j in ((0, 0), (2, 5), (6, 1)):
        cache = config.activations(snap.params, task.a_tokens[i : i + 1], task.b_tokens[j : j + 1])
        wanted = cache["unembed.hook_out"][0, -1, :7].double()
        assert_close(snap.logits[i, j], wanted, atol=1e-5, rtol=1e-5)
        assert_close(snap.neurons[i, j], cache[f"{last}.mlp.hook_post"][0, -1], atol=1e-5, rtol=1e-5)
        assert_close(snap.attention[i, j], cache[f"{last}.attn.hook_pattern"][0, :, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@each_config
def test_activations_are_those_at_equals_by_their_names(config, random_params):
    snap = Snapshot(params=random_params(config, TASK), config=config, task=TASK)
    cache = config.activations(snap.params, *all_pairs(TASK))
    for name in config.hook_names():
        found = snap.activation(name)
        wanted = cache[name][:, :, -1] if name.endswith("pattern") else cache[name][:, -1]
        assert_close(found, wanted.unflatten(0, (7, 7)), atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"hook must be one of hook_embed, .* got 'blocks\.0\.attn\.hook_attn_s"):
        snap.activation("blocks.0.attn.hook_attn_scores")


@each_task
def test_product_means_are_over_the_pairs_of_each_answer(task, random_params):
    snap = Snapshot(params=random_params(CONFIGS["factored"], task), config=CONFIGS["factored"], task=task)
    for s in range(7):
        assert_close(snap.product_means[s], snap.logits[task.table == s].mean(dim=0), atol=1e-12, rtol=1e-12)


def test_an_answer_that_no_pair_has_has_means_of_zero(random_params):
    task = from_table(torch.tensor([[0, 3], [3, 1]]), name="holes")
    snap = Snapshot(params=random_params(CONFIGS["factored"], task), config=CONFIGS["factored"], task=task)
    assert not snap.product_means[2].any()
    assert snap.product_means[3].any()


@each_config
def test_weights_are_without_the_token_and_the_class_equals(config, random_params):
    params = random_params(config, TASK)
    snap = Snapshot(params=params, config=config, task=TASK)
    assert torch.equal(snap.W_E, params["embed.W_E"][:7])
    wanted = params[f"blocks.{config.n_layers - 1}.mlp.W_out"] @ params["unembed.W_U"]
    assert_close(snap.W_L, wanted[:, :7], atol=1e-6, rtol=1e-6)
    assert snap.W_L.shape == (10, 7)


def test_the_basis_is_that_of_the_task_and_made_once(random_params):
    config = CONFIGS["factored"]
    first, second = (Snapshot(params=random_params(config, TASK, seed=s), config=config, task=TASK) for s in (0, 1))
    assert torch.equal(first.basis.matrix, fourier_basis(7).matrix)
    assert first.basis is second.basis
    task = operation("x2+y2", 7)
    with pytest.raises(ValueError, match=r"requires a group operation, got 'x2\+y2 mod 7'"):
        _ = Snapshot(params=random_params(config, task), config=config, task=task).basis


def test_what_is_read_is_computed_once_and_without_gradients(random_params):
    config = CONFIGS["factored"]
    params = {name: p.requires_grad_() for name, p in random_params(config, TASK).items()}
    snap = Snapshot(params=params, config=config, task=TASK)
    assert snap.logits is snap.logits
    assert not snap.logits.requires_grad
    assert not snap.neurons.requires_grad


def test_masks_are_the_training_pairs_the_others_and_all(random_params):
    config, is_train = CONFIGS["factored"], uniform_split(TASK, 0.4, seed=0)
    snap = Snapshot(params=random_params(config, TASK), config=config, task=TASK, is_train=is_train)
    assert torch.equal(snap.mask("train"), is_train)
    assert torch.equal(snap.mask("test"), ~is_train)
    assert snap.mask("all").all()
    with pytest.raises(ValueError, match="split must be one of train, test, all, got 'validation'"):
        snap.mask("validation")
    unknown = dataclasses.replace(snap, is_train=None)
    assert unknown.mask("all").shape == (7, 7)
    with pytest.raises(ValueError, match="split='test' requires the training pairs; pass is_train"):
        unknown.mask("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": operation("addition", 5)},
            r"embed\.W_E must have shape \(6, 12\) for addition mod 5, got \(8, 12\)",
        ),
        (
            {"config": TransformerConfig(**SMALL)},
            r"include blocks\.0\.attn\.b_K, which is not a parameter of thi",
        ),
        ({"params": {}}, r"must have shape .*, got none; pass the task that the model was trained on"),
        (
            {"is_train": torch.ones(7, 6, dtype=torch.bool)},
            r"is_train must be True or False at each of the task's \(7, 7\) pairs, got \(7, 6\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message, random_params):
    config = CONFIGS["factored"]
    good = {"params": random_params(config, TASK), "config": config, "task": TASK}
    Snapshot(**good)
    with pytest.raises(ValueError, match=message):
        Snapshot(**(good | change))


@each_config
def test_a_transformer_lens_model_has_the_snapshot_of_its_weights(config, random_params):
    params, is_train = random_params(config, TASK), uniform_split(TASK, 0.4, seed=0)
    model = lens.to_transformer_lens(params, config)
    with pytest.warns(UserWarning, match=r"the model's accuracy on all pairs of addition mod 7 is only [\d.]+%"):
        found = snapshot(model, is_train=is_train, epoch=12)
    wanted = Snapshot(params=params, config=config, task=TASK)
    assert (found.task.name, found.epoch, found.config) == ("addition mod 7", 12, config)
    assert found.is_train is is_train
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.neurons, wanted.neurons)
    assert torch.equal(as_snapshot(wanted.model()).logits, wanted.logits)


MODELS = CONFIGS | {
    "operands alone": TransformerConfig(**SMALL, sequence="a b"),
    "with the operation": TransformerConfig(**SMALL, sequence="a op b ="),
    "MLP": MLPConfig(d_mlp=6),
}


@pytest.mark.slow
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_a_model_knows_its_task_split_epoch_and_sequence(config, random_params):
    task = operation("multiplication", 7)
    is_train = uniform_split(task, 0.4, seed=0)
    snap = Snapshot(params=random_params(config, task), config=config, task=task, is_train=is_train, epoch=12)
    model = snap.model()
    for carrier in (model, copy.deepcopy(model), model.to("cpu")):
        found = as_snapshot(carrier)
        assert (found.task.name, found.epoch, found.config) == ("multiplication mod 7", 12, config)
        assert torch.equal(found.is_train, is_train)
        assert torch.equal(found.logits, snap.logits)
        assert found.assumed == ()
        assert torch.equal(found.basis.matrix, snap.basis.matrix)
    half = as_snapshot(copy.deepcopy(model).to(torch.float16))
    assert half.task.name == "multiplication mod 7"
    assert half.assumed == ("weights cast from torch.float16 to float32",)
    assert half.params["unembed.W_U"].dtype == torch.float32
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    assert torch.equal(as_snapshot(model).params["unembed.W_U"], 2 * snap.params["unembed.W_U"])


def test_what_is_passed_comes_before_what_the_model_knows(random_params):
    config, is_train = CONFIGS["factored"], uniform_split(TASK, 0.4, seed=0)
    model = Snapshot(params=random_params(config, TASK), config=config, task=TASK, is_train=is_train, epoch=12).model()
    other = snapshot(model, task=operation("subtraction", 7), epoch=3)
    # The split of one task is none of another's.
    assert (other.task.name, other.epoch, other.is_train) == ("subtraction mod 7", 3, None)
    assert torch.equal(snapshot(model, is_train=~is_train).is_train, ~is_train)


def test_a_model_of_a_task_without_a_group_is_refused_as_its_snapshot_is(random_params):
    config, task = CONFIGS["factored"], operation("x2+y2", 7)
    snap = Snapshot(params=random_params(config, task), config=config, task=task)
    for model in (snap, snap.model()):
        with pytest.raises(ValueError, match=r"requires a group operation, got 'x2\+y2 mod 7', which has n"):
            key_frequencies(model)


def test_a_bare_model_that_cannot_add_gives_a_warning_and_one_that_can_gives_none():
    planted = planted_snapshot(13, (2, 6), act_fn="relu")
    assert key_frequencies(lens.to_transformer_lens(planted.params, planted.config)) == (2, 6)
    params = planted.params | {"embed.W_E": planted.params["embed.W_E"].roll(1, 0)}
    bare = lens.to_transformer_lens(params, planted.config)
    wanted = (
        r"^the model's accuracy on all pairs of addition mod 13 is only \d\.\d%, assuming that the task is "
        r"addition mod 13, sequence is 'a b ='; if this is wrong, pass gi\.snapshot\(model, task=\.\.\., sequence"
    )
    with pytest.warns(UserWarning, match=wanted):
        key_frequencies(bare)
    snapshot(bare, task=operation("addition", 13))  # told, and so not warned


def test_an_edited_snapshot_has_no_model(random_params):
    snap = Snapshot(params=random_params(CONFIGS["factored"], TASK), config=CONFIGS["factored"], task=TASK)
    with pytest.raises(ValueError, match="an edited snapshot has no TransformerLens model; convert the unedited"):
        dataclasses.replace(snap, hook=lambda name, activation: activation).model()


def test_a_model_of_another_task_needs_to_be_told_so(random_params):
    task, config = operation("division", 7), CONFIGS["factored"]
    model = lens.to_transformer_lens(random_params(config, task), config)
    assert snapshot(model, task=task).logits.shape == (7, 6, 7)
    with pytest.raises(ValueError, match=r"embed\.W_E must have shape .* for addition mod 9"):
        snapshot(model, task=operation("addition", 9))


def test_as_snapshot_is_the_door(random_params):
    snap = Snapshot(params=random_params(CONFIGS["factored"], TASK), config=CONFIGS["factored"], task=TASK)
    assert as_snapshot(snap) is snap
    with pytest.raises(TypeError, match="model must be a Snapshot, HookedTransformer or TransformerBridge, got 3"):
        as_snapshot(3)


def test_a_measure_gives_its_quantity_its_name_and_its_arguments(random_params):
    config = CONFIGS["factored"]
    params = random_params(config, TASK)
    measure = Measure(
        name="mean_logit",
        compute=lambda snap: labels.array(snap.logits.mean(), name="x", units="logit", long_name="mean logit"),
        arguments={"keys": [1, 3]},
    )
    from_snapshot = measure(Snapshot(params=params, config=config, task=TASK))
    from_model = measure(Snapshot(params=params, config=config, task=TASK).model())
    assert from_snapshot.name == "mean_logit"
    assert from_snapshot.attrs == {"units": "logit", "long_name": "mean logit", "keys": "[1, 3]"}
    assert from_snapshot.identical(from_model)


@each_config
def test_a_hook_edits_what_is_read_after_it_and_nothing_before(config, random_params):
    last = f"blocks.{config.n_layers - 1}"

    def halve_neurons(name, activation):
        return activation / 2 if name == f"{last}.mlp.hook_post" else activation

    plain = Snapshot(params=random_params(config, TASK, dtype=torch.float64), config=config, task=TASK)
    edited = dataclasses.replace(plain, hook=halve_neurons)
    assert_close(edited.neurons, plain.neurons / 2, atol=1e-12, rtol=0)
    assert_close(edited.activation(f"{last}.mlp.hook_post"), plain.neurons / 2, atol=1e-12, rtol=0)
    assert_close(edited.attention, plain.attention, atol=1e-12, rtol=0)
    params = {name: p / 2 if name == f"{last}.mlp.W_out" else p for name, p in plain.params.items()}
    assert_close(edited.logits, dataclasses.replace(plain, params=params).logits, atol=1e-12, rtol=0)
    assert_close(edited.activation("unembed.hook_out")[..., :7], edited.logits, atol=1e-12, rtol=0)
    # One that only looks changes nothing.
    looking = dataclasses.replace(plain, hook=lambda name, activation: activation)
    assert_close(looking.logits, plain.logits, atol=1e-12, rtol=0)


@each_config
@each_task
def test_tokens_are_what_a_transformer_lens_model_reads(config, task, random_params):
    snap = Snapshot(params=random_params(config, task), config=config, task=task)
    with torch.no_grad():
        theirs = lens.to_transformer_lens(snap.params, config)(snap.tokens)[:, -1, :7]
    assert_close(theirs.double().unflatten(0, task.shape), snap.logits, atol=1e-4, rtol=1e-4)


def test_the_paper_s_initial_logits_drop_the_class_equals():
    task = operation("addition", 13)
    config = TransformerConfig(**SMALL, biases="mlp", equals_in_output=True, init="paper")
    snap = Snapshot(params=config.initial_params(task, seed=0), config=config, task=task)
    assert snap.params["unembed.W_U"].shape[1] == 14
    assert snap.logits.shape == (13, 13, 13)


@pytest.mark.parametrize("equals_in_output", [False, True])
@pytest.mark.parametrize("n_outputs", [4, 5, 6])
def test_a_model_is_read_whatever_number_of_answers_its_task_has(n_outputs, equals_in_output, random_params):
    task = from_table(torch.arange(25).reshape(5, 5) % n_outputs, name="remainders")
    config = TransformerConfig(**SMALL, equals_in_output=equals_in_output)
    snap = Snapshot(params=random_params(config, task), config=config, task=task)
    again = snapshot(lens.to_transformer_lens(snap.params, config), task=task)
    assert again.config == config
    assert_close(again.logits, snap.logits, atol=0, rtol=0)


@pytest.mark.filterwarnings("ignore:the model's accuracy")
def test_every_door_reads_a_split_alike(unchecked, random_params, tmp_path):
    config = CONFIGS["factored"]
    parts = {"params": random_params(config, TASK), "config": config, "task": TASK}
    model, path = lens.to_transformer_lens(parts["params"], config), tmp_path / "model.safetensors"
    save_file(parts["params"], path)
    mask = torch.eye(7, dtype=torch.bool)
    doors = (
        lambda is_train: Snapshot(**parts, is_train=is_train),
        lambda is_train: snapshot(model, task=TASK, is_train=is_train),
        lambda is_train: gi.load_model(path, task=TASK, is_train=is_train),
    )
    for door in doors:
        for spelling in (mask, mask.numpy(), mask.tolist()):
            assert torch.equal(door(spelling).mask("train"), mask)
        for wrong in (mask.long(), mask.tolist()[:6], torch.ones(7, 7, dtype=torch.bool), "train"):
            with pytest.raises(ValueError, match=r"is_train (must be True or False at each of the|leaves the test)"):
                door(wrong)


def test_a_deep_model_takes_one_forward_pass(monkeypatch, random_params):
    config = CONFIGS["two layers, LN"]
    passes = []
    logits = TransformerConfig.logits
    monkeypatch.setattr(TransformerConfig, "logits", lambda *args: passes.append(1) or logits(*args))
    snap = Snapshot(params=random_params(config, TASK), config=config, task=TASK)
    assert snap.logits.shape + snap.neurons.shape + snap.attention.shape == (7, 7, 7, 7, 7, 10, 7, 7, 3, 3)
    assert len(passes) == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model", [gi.load_run("nanda2023"), "runs/quick", None, 3])
def test_what_is_no_model_names_what_gives_one(model: object) -> None:
    ablation = gi.interventions.ablate(gi.interventions.head(0))
    wanted = r"model must be a Snapshot, .*; use run\.snapshot\(epoch\) for a run, gi\.load_model\(path\) for a file"
    for read in (gi.fourier.key_frequencies, gi.progress.losses, gi.neurons.fit, ablation, ablation.fwd_hooks):
        with pytest.raises(TypeError, match=wanted):
            read(model)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=wanted), ablation.on(model):
        pass


@pytest.mark.usefixtures("unchecked")
def test_the_name_of_an_operation_is_no_task(tmp_path: Path) -> None:
    run = gi.load_run("nanda2023")
    snapshot = run.snapshot()
    wanted = r"task must be a Task, such as gi\.tasks\.operation\('multiplication', p\), got 'multiplication'"
    for use in (
        lambda task: gi.load_model(run.layout.checkpoint(40_000), task=task),
        lambda task: gi.Snapshot(params=snapshot.params, config=snapshot.config, task=task),
        lambda task: gi.train(gi.presets.quick(), tmp_path / "run", task=task),
    ):
        with pytest.raises(TypeError, match=wanted):
            use("multiplication")
    with pytest.raises(TypeError, match=r"such as gi\.tasks\.operation\('addition', p\), got 113"):
        gi.load_model(run.layout.checkpoint(40_000), task=113)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_config_is_refused(tmp_path: Path) -> None:
    wanted = r"config must be a RunConfig, e.g. gi\.presets\.quick\(\), got"
    for use in (
        lambda config: gi.train(config, tmp_path / "run"),
        lambda config: gi.train_many(config, [tmp_path / "run"]),
        lambda config: gi.grid(config, {"seed": [0]}),
        lambda config: gi.sweep(config, tmp_path / "run"),
    ):
        for config in ("quick", {"epochs": 3}, gi.presets.quick, None):
            with pytest.raises(TypeError, match=wanted):
                use(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unchecked")
def test_what_is_measured_under_an_intervention_is_a_measure() -> None:
    ablation = gi.interventions.ablate(gi.interventions.head(0))
    with pytest.raises(TypeError, match=r"must be a Measure such as gi\.progress\.losses, got <function restr"):
        gi.interventions.under(ablation, gi.progress.restricted_loss)  # type: ignore[arg-type]
