import dataclasses
import json

import pytest
import torch

from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig, check_device, from_dict, to_dict
from grokinterp.models.config import TransformerConfig
from grokinterp.tasks import operation, paper_split, uniform_split


UNUSUAL = RunConfig(
    task=TaskConfig(operation="random", p=7, seed=3),
    split=SplitConfig(fraction=0.5, rule="paper", seed=9),
    model=TransformerConfig(n_layers=2, normalization="LN", biases="all", act_fn="gelu", d_model=32),
    optim=OptimConfig(lr=2e-3, weight_decay=0.0, betas=(0.8, 0.9), eps=1e-9, warmup_steps=4, batch_size=16),
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
    for part in ("task", "split", "optim"):
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
        ("split.fraction", ..., r"config.split lacks the keys \['fraction'\]; a full config is what"),
        ("optim", ..., r"config lacks the keys \['optim'\]"),
    ],
)
def test_keys_must_all_be_there_and_none_besides(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", 3.0, r"config.epochs must be of type int, got 3\.0"),
        ("epochs", True, "config.epochs must be of type int, got True"),
        ("epochs", "3", "config.epochs must be of type int, got '3'"),
        ("epochs", None, "config.epochs must be of type int, got None"),
        ("compile", 1, "config.compile must be of type bool, got 1"),
        ("device", 0, "config.device must be of type str, got 0"),
        ("optim.lr", "fast", "config.optim.lr must be of type float, got 'fast'"),
        ("optim.lr", True, "config.optim.lr must be of type float, got True"),
        ("optim.batch_size", 0.5, r"config.optim.batch_size must be of type int or null, got 0\.5"),
        ("optim.batch_size", False, "config.optim.batch_size must be of type int or null, got False"),
        ("optim.betas", [0.9], r"config.optim.betas must be a list of 2 numbers, got \[0\.9\]"),
        ("optim.betas", 0.9, r"config.optim.betas must be a list of 2 numbers, got 0\.9"),
        ("optim.betas", [0.9, "x"], "config.optim.betas must be of type float, got 'x'"),
        ("task.operation", "add", "task.operation must be one of addition, .*, random or one of custom, got 'add'"),
        ("model.act_fn", None, "config.model.act_fn must be one of relu, gelu, quadratic, got None"),
        ("model.kind", "mlp", "config.model.kind must be one of transformer, got 'mlp'"),
        ("model", 5, "config.model must be a table of keys, got 5"),
        ("engine", ["full"], r"config.engine must be one of auto, factored, full, hooked, got \['full'\]"),
    ],
)
def test_a_value_of_another_type_is_refused(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got epochs=0"),
        ("log_every", -1, "log_every must be at least 1, got log_every=-1"),
        ("checkpoint_every", 0, "checkpoint_every must be at least 1, got checkpoint_every=0"),
        ("optim.lr", 0, "lr and eps must be positive and weight_decay not negative, all of them finite, got lr=0"),
        (
            "optim.lr",
            float("nan"),
            "lr and eps must be positive and weight_decay not negative, all of them finite, got lr=nan",
        ),
        ("optim.eps", 0.0, r"lr and eps must be positive .* eps=0\.0"),
        ("optim.weight_decay", -0.1, r"weight_decay not negative, .* weight_decay=-0\.1"),
        ("optim.weight_decay", float("nan"), "weight_decay not negative, .* weight_decay=nan"),
        ("optim.betas", [0.9, 1.0], r"betas must be from 0 up to, not including, 1, got betas=\(0\.9, 1\.0\)"),
        ("optim.betas", [-0.1, 0.9], r"betas must be from 0 up to, not including, 1, got betas=\(-0\.1, 0\.9\)"),
        ("optim.warmup_steps", -1, "warmup_steps must not be negative .* got warmup_steps=-1"),
        ("optim.batch_size", 0, "batch_size at least 1, .* batch_size=0"),
        ("model.d_mlp", 0, "d_mlp must be at least 1, got d_mlp=0"),
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
    with pytest.raises(ValueError, match="engine='factored' needs one layer without normalization; use engine='full'"):
        RunConfig(engine="factored", model=TransformerConfig(normalization="LN"))
    assert RunConfig(engine="factored").model.is_factorable


@pytest.mark.parametrize(
    ("warmup_steps", "wanted"), [(0, [1.0, 1.0, 1.0, 1.0]), (1, [0.0, 1.0, 1.0, 1.0]), (4, [0.0, 0.25, 0.75, 1.0])]
)
def test_the_learning_rate_warms_up_from_zero(warmup_steps, wanted):
    optim = OptimConfig(lr=2.0, warmup_steps=warmup_steps)
    assert [optim.learning_rate(step) / 2.0 for step in (0, 1, 3, 100)] == wanted


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
    with pytest.raises(ValueError, match=r"device 'cuda:99' was asked for, but torch finds .* use device='cpu'"):
        check_device("cuda:99")
    with pytest.raises(ValueError, match="device 'meta' was asked for, but torch finds 0 of its kind"):
        check_device("meta")
