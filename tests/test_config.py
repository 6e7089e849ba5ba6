import dataclasses
import json

import pytest
import torch

from grokinterp.config import (
    Curriculum,
    LossConfig,
    OptimConfig,
    RegularizationConfig,
    RunConfig,
    Schedule,
    SplitConfig,
    TaskConfig,
    change,
    check_device,
    from_dict,
    to_dict,
)
from grokinterp.models.factored import is_factorable
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import multitask, operation, paper_split, uniform_split


UNUSUAL = RunConfig(
    task=TaskConfig(operation="random", p=7, also=("addition",), seed=3),
    split=SplitConfig(fraction=0.5, rule="paper", seed=9),
    model=TransformerConfig(n_layers=2, normalization="LN", biases="all", act_fn="gelu", d_model=32),
    optim=OptimConfig(
        name="Muon",
        lr=2e-3,
        weight_decay=0.0,
        betas=(0.8, 0.9),
        eps=1e-9,
        momentum=0.5,
        muon_lr=0.1,
        decay_toward="initial",
        decay_of=(("embed.*", 0.5),),
        warmup_steps=4,
        batch_size=16,
        seed=11,
        lr_schedule=Schedule(kind="cyclic", steps=7, factor=0.3, limit=0.5),
        weight_decay_schedule=Schedule(kind="linear", factor=10.0),
        batch_size_schedule=Schedule(kind="plateau"),
    ),
    loss=LossConfig(label_smoothing=0.1, dtype="float32"),
    regularization=RegularizationConfig(
        dropout=0.1,
        orthogonal_gradient=True,
        grokfast="ma",
        grokfast_decay=0.9,
        grokfast_window=5,
        grokfast_gain=1.0,
        clip_norm=2.0,
        weight_norm=1.5,
        label_noise=0.25,
        frozen=("unembed.*",),
    ),
    curriculum=Curriculum(order="operand_size", stages=((0, 0.5), (3, 1.0))),
    epochs=5,
    seed=1,
    engine="full",
    compile=True,
    device="cuda:1",
    log_every=3,
    checkpoint_every=2,
)


def changed(path: str, value: object) -> dict:
    """The JSON form of a config with one value replaced, or removed where it is `...`."""
    data = json.loads(json.dumps(to_dict(RunConfig())))
    *parts, last = path.split(".")
    table = data
    for part in parts:
        table = table[part]
    if value is ...:
        del table[last]
    else:
        table[last] = value
    return data


@pytest.mark.parametrize("config", [RunConfig(), UNUSUAL], ids=["defaults", "unusual"])
def test_a_config_survives_json(config):
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_no_field_of_the_unusual_config_has_its_default():
    defaults = RunConfig()
    for part in ("task", "split", "optim", "regularization", "curriculum"):
        for field in dataclasses.fields(getattr(defaults, part)):
            assert getattr(getattr(UNUSUAL, part), field.name) != getattr(getattr(defaults, part), field.name)


def test_a_dictionary_holds_json_types_and_every_field():
    data = to_dict(UNUSUAL)
    assert set(data) == {field.name for field in dataclasses.fields(RunConfig)}
    assert data["optim"]["betas"] == [0.8, 0.9]
    assert data["model"]["kind"] == "transformer"
    assert data["split"] == {"fraction": 0.5, "rule": "paper", "seed": 9}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epoch", 3, "config has an unknown key 'epoch'; did you mean 'epochs'"),
        ("optim.weight_decy", 1.0, "config.optim has an unknown key 'weight_decy'; did you mean 'weight_decay'"),
        ("model.zzz", 1, "config.model has an unknown key 'zzz'; did you mean "),
        ("split.fraction", ..., r"config.split lacks the keys \['fraction'\]; `grokinterp config PRESET` prints"),
        ("optim", ..., r"config lacks the keys \['optim'\]"),
    ],
)
def test_keys_must_all_be_there_and_none_besides(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", 3.0, r"config.epochs must be an integer of at least 1, got 3\.0"),
        ("epochs", True, "config.epochs must be an integer of at least 1, got True"),
        ("epochs", "3", "config.epochs must be an integer of at least 1, got '3'"),
        ("epochs", None, "config.epochs must be an integer of at least 1, got None"),
        ("compile", 1, "config.compile must be true or false, got 1"),
        ("device", 0, "config.device must be cpu, cuda, cuda:N or mps, got 0"),
        ("optim.lr", "fast", "config.optim.lr must be a number above 0, got 'fast'"),
        ("optim.lr", True, "config.optim.lr must be a number above 0, got True"),
        ("optim.batch_size", 0.5, r"config.optim.batch_size must be None or an integer of at least 1, got 0\.5"),
        ("optim.batch_size", False, "config.optim.batch_size must be None or an integer of at least 1, got False"),
        ("optim.betas", [0.9], r"config.optim.betas must be a list of 2 values, got \[0\.9\]"),
        ("optim.betas", 0.9, r"config.optim.betas must be a list of 2 values, got 0\.9"),
        ("optim.betas", [0.9, "x"], r"config.optim.betas\[1\] must be a number of at least 0 and below 1, got 'x'"),
        ("regularization.frozen", "embed", "config.regularization.frozen must be a list, got 'embed'"),
        ("regularization.frozen", [1], r"config.regularization.frozen\[0\] must be a string, got 1"),
        ("task.operation", "add", "task.operation must be one of addition, .*, random, custom, got 'add'"),
        ("model.act_fn", None, "config.model.act_fn must be one of relu, gelu, quadratic, got None"),
        ("model.kind", "mlp", "config.model has an unknown key 'n_heads'; did you mean"),
        ("model.kind", "rnn", "config.model.kind must be one of mlp, transformer, got 'rnn'"),
        ("model", 5, "config.model must be of type MLPConfig or TransformerConfig, or a table of its keys, got 5"),
        ("engine", ["full"], r"config.engine must be one of auto, kernels, factored, full, hooked, got \['full'\]"),
    ],
)
def test_a_value_of_another_type_is_refused(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", 0, "config.epochs must be an integer of at least 1, got 0"),
        ("optim.lr", 0, "config.optim.lr must be a number above 0, got 0"),
        ("optim.lr", float("nan"), "config.optim.lr must be a number above 0, got nan"),
        ("optim.weight_decay", -0.1, r"config.optim.weight_decay must be a number of at least 0, got -0\.1"),
        ("optim.decay_of", [["embed.*", -1.0]], r"optim.decay_of\[0\]\[1\] must be a number of at least 0, got -1"),
        ("optim.batch_size", 0, "optim.batch_size must be None or an integer of at least 1, got 0"),
        ("optim.batch_size_schedule.kind", "linear", "batch_size_schedule requires a batch_size"),
        (
            "optim.lr_schedule",
            {"kind": "plateau", "steps": 9, "factor": 2.0, "limit": 0.01},
            r"a plateau's factor and limit must both be below 1 .* got factor=2\.0, limit=0\.01",
        ),
        (
            "regularization.grokfast_gain",
            float("nan"),
            "config.regularization.grokfast_gain must be a finite number, got nan",
        ),
        ("curriculum.stages", [[0, 1.0]], "a curriculum requires both order and stages"),
        ("split.fraction", 1, "config.split.fraction must be a number above 0 and below 1, got 1"),
        ("seed", 2**64, "config.seed must be an integer from 0 to 9223372036854775807"),
    ],
)
def test_a_value_out_of_its_range_is_refused(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, changed(path, value))


def test_an_int_is_read_as_the_float_that_a_field_asks_for():
    config = from_dict(RunConfig, changed("optim.weight_decay", 2))
    assert config.optim.weight_decay == 2.0
    assert isinstance(config.optim.weight_decay, float)
    assert from_dict(RunConfig, changed("optim.betas", [0, 0])).optim.betas == (0.0, 0.0)


def test_the_factored_engine_needs_a_model_that_factors():
    with pytest.raises(ValueError, match=r"engine=.factored. requires a 1-layer transformer .* use engine=.full."):
        RunConfig(engine="factored", model=TransformerConfig(normalization="LN"))
    with pytest.raises(ValueError, match=r"engine=.factored. requires a 1-layer transformer .* use engine=.full."):
        RunConfig(engine="factored", model=MLPConfig())
    assert is_factorable(RunConfig(engine="factored").model)


def test_engines_that_do_not_compute_a_model_are_refused():
    with pytest.raises(ValueError, match=r"engine='kernels' requires .* got device='cuda', .*; use engine='auto'"):
        RunConfig(engine="kernels", device="cuda")
    with pytest.raises(ValueError, match="engine='hooked' requires a transformer, got a model of kind 'mlp'"):
        RunConfig(engine="hooked", model=MLPConfig())
    with pytest.raises(ValueError, match=r"dropout=0\.1 requires engine='full' or 'auto', got engine='hooked'"):
        RunConfig(engine="hooked", regularization=RegularizationConfig(dropout=0.1))


def test_label_smoothing_is_of_the_cross_entropy():
    with pytest.raises(ValueError, match="label_smoothing requires name='cross_entropy', got name='stablemax'"):
        LossConfig(name="stablemax", label_smoothing=0.1)


def test_a_sequence_has_a_place_for_what_else_is_asked():
    with pytest.raises(ValueError, match="equals_in_output requires a sequence with '='"):
        TransformerConfig(sequence="a b", equals_in_output=True)
    with pytest.raises(ValueError, match="init='paper' requires one layer"):
        TransformerConfig(sequence="a op b =", init="paper")
    assert [TransformerConfig(sequence=s).n_positions for s in ("a b", "a b =", "a op b =")] == [2, 3, 4]


@pytest.mark.parametrize(
    "stages",
    [((1, 1.0),), ((0, 0.5),), ((0, 0.5), (0, 1.0)), ((0, 0.2), (5, 0.3), (4, 1.0))],
)
def test_stages_begin_at_once_rise_and_end_with_all_pairs(stages):
    with pytest.raises(ValueError, match="stages must start at epoch 0, be in order"):
        Curriculum(order="operand_size", stages=stages)


def test_an_mlp_survives_json_and_is_known_by_its_kind():
    config = RunConfig(model=MLPConfig(inputs="summed", n_layers=1, act_fn="quadratic", biases="none"))
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_a_config_of_an_older_version_lacks_what_came_later():
    data = to_dict(UNUSUAL)
    del data["regularization"], data["optim"]["name"], data["model"]["sequence"]
    older = from_dict(RunConfig, data, is_older=True)
    assert (older.regularization, older.optim.name, older.model.sequence) == (RegularizationConfig(), "AdamW", "a b =")
    assert older.optim.betas == (0.8, 0.9)
    # `regularization` was called `aids` when `float32` was torch's own cross-entropy.
    data["aids"] = to_dict(UNUSUAL)["regularization"]
    data["loss"]["dtype"] = "float32"
    older = from_dict(RunConfig, data, is_older=True)
    assert (older.regularization, older.loss.dtype) == (UNUSUAL.regularization, "torch_float32")
    assert from_dict(RunConfig, to_dict(older), is_older=True) == older
    data["regularization"] = data.pop("aids")
    assert from_dict(RunConfig, data, is_older=True).loss.dtype == "float32"
    data["aids"] = data.pop("regularization")
    with pytest.raises(ValueError, match="config has an unknown key 'aids'"):
        from_dict(RunConfig, data)
    with pytest.raises(ValueError, match="config has an unknown key 'epoch'"):
        from_dict(RunConfig, data | {"epoch": 1}, is_older=True)


def test_fields_are_changed_by_their_dotted_names():
    changed = change(RunConfig(), {"optim.weight_decay": 2, "optim.lr_schedule.kind": "cosine", "seed": 4})
    assert (changed.optim.weight_decay, changed.optim.lr_schedule.kind, changed.seed) == (2.0, "cosine", 4)
    assert change(RunConfig(), {"model": MLPConfig(), "model.d_mlp": 8}).model == MLPConfig(d_mlp=8)
    assert change(RunConfig(), {}) == RunConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim.weight_decy": 1.0}, "config.optim has an unknown key 'weight_decy'; did you mean 'weight_decay'"),
        ({"optm.lr": 1.0}, "config has an unknown key 'optm'; did you mean 'optim'"),
        ({"optim.lr": "fast"}, "config.optim.lr must be a number above 0, got 'fast'"),
        ({"seed.x": 1}, r"config.seed has no fields, got config.seed.x; change seed itself"),
        ({"optim.lr": -1.0}, r"config.optim.lr must be a number above 0, got -1\.0"),
    ],
)
def test_changes_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        change(RunConfig(), changes)


@pytest.mark.parametrize(
    ("warmup_steps", "wanted"), [(0, [1.0, 1.0, 1.0, 1.0]), (1, [0.0, 1.0, 1.0, 1.0]), (4, [0.0, 0.25, 0.75, 1.0])]
)
def test_the_learning_rate_warms_up_from_zero(warmup_steps, wanted):
    assert [OptimConfig(warmup_steps=warmup_steps).warmup(step) for step in (0, 1, 3, 100)] == wanted


@pytest.mark.parametrize(("theirs", "ours"), [("sub", "subtraction"), ("mult", "multiplication"), ("div", "division")])
def test_a_word_near_one_of_the_choices_leads_to_it(theirs: str, ours: str) -> None:
    with pytest.raises(
        ValueError, match=rf"config\.task\.operation must be .* got '{theirs}'; did you mean '{ours}'\?"
    ):
        change(RunConfig(), {"task.operation": theirs})
    with pytest.raises(ValueError, match=r"config\.split\.rule must be .*, custom, got 'zzz'\.$"):
        change(RunConfig(), {"split.rule": "zzz"})


def test_a_task_in_s5_can_be_named_in_a_config_whatever_its_modulus():
    config = change(RunConfig(), {"task.operation": "s5", "task.p": 97})
    assert config.task.build().shape == (120, 120)


def test_a_task_is_built_from_its_config():
    built = TaskConfig(operation="random", p=7, seed=3).build()
    assert torch.equal(built.table, operation("random", 7, seed=3).table)
    with pytest.raises(ValueError, match="a custom task cannot be built from its config; pass task="):
        TaskConfig(operation="custom").build()


@pytest.mark.parametrize(("seed", "used"), [(None, 4), (0, 0), (9, 9)])
@pytest.mark.parametrize(("rule", "draw"), [("uniform", uniform_split), ("paper", paper_split)])
def test_a_split_has_its_own_seed_or_the_run_s(rule, draw, seed, used):
    task = operation("addition", 11)
    built = SplitConfig(fraction=0.4, rule=rule, seed=seed).build(task, 4)
    assert torch.equal(built, draw(task, 0.4, seed=used))


def test_a_device_is_checked():
    assert check_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device must be cpu, cuda, cuda:N or mps, got 'tpu5'"):
        check_device("tpu5")
    with pytest.raises(ValueError, match=r"device 'cuda:99' is missing: torch finds .* use device='cpu'"):
        check_device("cuda:99")
    with pytest.raises(ValueError, match="device must be cpu, cuda, cuda:N or mps, got 'auto'"):
        check_device("auto")
    with pytest.raises(ValueError, match="device must be cpu, cuda, cuda:N or mps, got 'meta'"):
        check_device("meta")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        *[
            ("task.operation", name, f"task.operation must be one of addition, .* got '{name}'")
            for name in ("matrix_multiplication", "sequence_prediction", "symbolic_reasoning", "language", "visual")
        ],
        ("optim.weight_decay_schedule.kind", "adaptive", "kind must be one of constant, .*, plateau, got 'adaptive'"),
        ("optim.weight_decay_schedule.kind", "increasing", "kind must be one of constant, .*, plateau, got 'incr"),
        ("optim.batch_size_schedule.kind", "curriculum", "kind must be one of constant, .*, plateau, got 'curr"),
        ("tensorboard", True, "config has an unknown key 'tensorboard'"),
        ("amp", True, "config has an unknown key 'amp'"),
        ("loss.dtype", "float16", "config.loss.dtype must be one of float64, float32, torch_float32, got 'float16'"),
        ("early_grok_detection", True, "config has an unknown key 'early_grok_detection'"),
    ],
)
def test_what_other_systems_name_and_we_do_not_do_is_refused(path, value, message):
    with pytest.raises(ValueError, match=message):
        change(RunConfig(), {path: value})


def test_several_operations_can_be_named_in_a_config():
    config = TaskConfig(operation="division", p=7, also=("addition", "multiplication"))
    assert config.build().name == "division, addition, multiplication mod 7"
    assert torch.equal(config.build().table, multitask(("division", "addition", "multiplication"), 7).table)
    with pytest.raises(ValueError, match=r"a custom task must have also=\(\), got also=\('addition',\)"):
        TaskConfig(operation="custom", also=("addition",))
    with pytest.raises(ValueError, match="names must be two or more different operations of"):
        TaskConfig(operation="addition", also=("addition",)).build()


def test_batches_have_the_run_s_seed_or_their_own():
    assert RunConfig(seed=3).batch_seed == 3
    assert RunConfig(seed=3, optim=OptimConfig(seed=5)).batch_seed == 5
