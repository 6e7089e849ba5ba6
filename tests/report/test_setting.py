"""What a report says of a setting is read back for every field and choice, and compared with the config."""

import json
import re
import typing
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Literal

import pytest

import grokinterp as gi
from grokinterp.checked import Checked
from grokinterp.config import RunConfig, change, to_dict
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.report.setting import attention_caption, setting, weights_caption
from grokinterp.runs.manifest import Fork, flat


# The task's name and the counts of pairs say these.
ELSEWHERE = {"task.operation", "task.p", "task.also", "split.fraction"}
# Values that an introspected type alone does not give.
VALUES: dict[str, list[Any]] = {
    "optim.betas": [(0.5, 0.25)],
    "optim.decay_of": [(("embed.*", 0.5),), (("embed.*", 0.0), ("blocks.*", 0.12345678))],
    "regularization.frozen": [("embed.*", "unembed.*")],
    "curriculum.stages": [((0, 0.5), (9, 1.0))],
    "device": ["cuda:1"],
    "task.also": [("subtraction",)],
}
# What has to change together with a field.
TOGETHER: dict[str, dict[str, Any]] = {
    "curriculum.order": {"curriculum.stages": ((0, 0.5), (9, 1.0))},
    "curriculum.stages": {"curriculum.order": "operand_size"},
    "optim.batch_size_schedule.kind": {"optim.batch_size": 16},
    "model.sequence": {"model.init": "hooked_transformer"},
}


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a config by its dotted name, with its type."""
    for name, hint in ((f.name, typing.get_type_hints(cls)[f.name]) for f in fields(cls)):
        parts = [
            part for part in (hint, *typing.get_args(hint)) if isinstance(part, type) and issubclass(part, Checked)
        ]
        if parts and prefix + name != "model":
            yield from leaves(parts[0], f"{prefix}{name}.")
        elif prefix + name != "model":
            yield prefix + name, hint


def values(path: str, hint: Any, default: Any) -> list[Any]:
    if path in VALUES:
        return VALUES[path]
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    kind = next(part for part in (*typing.get_args(hint), hint) if part is not type(None))
    return {bool: [True, False], int: [7, (default or 1) + 3], float: [0.5, 0.12345678]}[kind]


def cases() -> Iterator[Any]:
    for model in (TransformerConfig(), MLPConfig()):
        start = RunConfig(model=model)
        defaults = flat(to_dict(start))
        for path, hint in [*leaves(RunConfig), *leaves(type(model), "model.")]:
            for value in values(path, hint, defaults.get(path)):
                if path == "engine" and model.kind == "mlp" and value in ("kernels", "factored", "hooked"):
                    continue
                together = {} if value == defaults[path] else TOGETHER.get(path, {})
                yield pytest.param(start, {path: value, **together}, id=f"{model.kind}-{path}={value}")


def read_back(text: str) -> dict[str, Any]:
    """The settings that a text names, by an own reading of its sentences."""
    said: dict[str, Any] = {}
    if found := re.match(r"A transformer of (\d+) layers? \((\d+) heads?, ([\d,]+) neurons?( per layer)?\) was", text):
        said |= {"model.kind": "transformer", "model.n_heads": int(found[2])}
    elif found := re.match(r"An MLP of (\d+) hidden layers? \((([\d,]+)) neurons?( per layer)?\) was", text):
        said |= {"model.kind": "mlp"}
    assert found
    said |= {"model.n_layers": int(found[1]), "model.d_mlp": int(found[3].replace(",", ""))}
    assert bool(found[4]) == (said["model.n_layers"] > 1)
    found = re.search(
        r"for up to ([\d,]+) epochs, with (\w+) at (base )?learning rate (\S+?)(?: \(AdamW at (\S+) for embeddings, "
        r"unembedding, biases and norms\))?, (base )?weight decay (\S+?)(?: \((.+?)\))?"
        r"( toward the initial parameters)? and (?:full batches|(base )?batch size (\d+)), from seed (-?\d+)\.",
        text,
    )
    assert found
    rates = {"optim.lr": float(found[4])}
    if found[2] == "Muon":
        rates = {"optim.muon_lr": float(found[4]), "optim.lr": float(found[5])}
    patterns = re.split(", | and ", found[8]) if found[8] else []
    decays = [part.split(" for ") for part in patterns]
    said |= rates | {
        "epochs": int(found[1].replace(",", "")),
        "optim.name": found[2],
        "optim.weight_decay": float(found[7]),
        "optim.decay_of": [[pattern, float(decay)] for decay, pattern in decays],
        "optim.decay_toward": "initial" if found[9] else "zero",
        "optim.batch_size": int(found[11]) if found[11] else None,
        "seed": int(found[12]),
    }
    listed = re.search(r"Settings other than the defaults: (.+?)\.(?: Label|$)", text)
    for part in re.split(r", (?=[a-z_.]+ = )", listed[1]) if listed else []:
        name, value = part.split(" = ", 1)
        assert name not in said
        said[name] = value
    is_base = {"lr": bool(found[3]), "weight_decay": bool(found[6]), "batch_size": bool(found[10])}
    for name, is_said in is_base.items():
        changes = said.get(f"optim.{name}_schedule.kind", "constant") != "constant"
        assert is_said == (changes or (name == "lr" and int(said.get("optim.warmup_steps", 0)) > 0))
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("start", "changes"), list(cases()))
def test_every_setting_is_said_as_the_config_has_it(start, changes):
    config = change(start, changes)
    said = read_back(setting(config, "addition mod 113", 3, 10))
    default = flat(to_dict(replace(RunConfig(), model=type(config.model)())))
    for name, value in flat(to_dict(config)).items():
        if name in said:
            is_json = isinstance(said[name], str) and not isinstance(value, str)
            assert (json.loads(said[name]) if is_json else said[name]) == value
        else:
            assert value == default[name] or name in ELSEWHERE
    assert said.keys() <= flat(to_dict(config)).keys()


def test_a_run_with_sgd_is_not_said_to_have_another_optimizer():
    config = RunConfig(optim=gi.config.OptimConfig(name="SGD", lr=0.1, weight_decay=0.0))
    said = setting(config, "addition mod 113", 3_830, 12_769)
    assert "with SGD at learning rate 0.1, weight decay 0 and full batches, from seed 0." in said
    assert "AdamW" not in said


def test_what_every_run_is_said_in_one_sentence_by_default():
    assert setting(RunConfig(), "addition mod 113", 3_831, 12_769) == (
        "A transformer of 1 layer (4 heads, 512 neurons) was trained on 3,831 of the 12,769 pairs of addition mod 113 "
        "(0.3) for up to 40,000 epochs, with AdamW at learning rate 0.001, weight decay 1 and full batches, from "
        "seed 0."
    )


def test_label_noise_and_a_fork_are_said():
    config = change(RunConfig(), {"regularization.label_noise": 0.25})
    said = setting(config, "t", 3, 10, Fork(run="runs/parent", epoch=1200, initial_seed=5))
    assert "It continues runs/parent from epoch 1,200; the initial parameters are from seed 5." in said
    assert "regularization.label_noise = 0.25." in said
    assert "the logged train loss and accuracy use the replaced answers" in said
    assert "Label noise" not in setting(RunConfig(), "t", 3, 10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Weight decay reduces it"),
        ({"optim.weight_decay": 0.0}, "This run has no weight decay."),
        ({"optim.weight_decay": 0.0, "optim.decay_of": (("embed.*", 0.5),)}, "Weight decay reduces it"),
        ({"optim.decay_toward": "initial"}, "Weight decay pulls the weights toward their initial values."),
        ({"regularization.weight_norm": 1.5}, "held at 1.5 times its initial value."),
    ],
)
def test_the_weights_are_read_by_what_pulls_them(changes, said):
    assert said in weights_caption(change(RunConfig(), changes))


@pytest.mark.parametrize(
    ("sequence", "n_layers", "said"),
    [
        (
            "a b =",
            1,
            "from '=' to the first input, for every pair of inputs; the rest goes to the second input and '='.",
        ),
        (
            "a b",
            1,
            "from the second input to the first input, for every pair of inputs; the rest goes to the second input.",
        ),
        ("a op b =", 2, "each head of the last layer from '=' to the first input"),
    ],
)
def test_the_attention_is_read_by_the_sequence(sequence, n_layers, said):
    assert said in attention_caption(TransformerConfig(sequence=sequence, n_layers=n_layers))
