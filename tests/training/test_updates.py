"""The updates: those of a plain loop, the same with every engine, and bit for bit the same again."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from grokinterp.config import OptimConfig, RunConfig, change, to_dict
from grokinterp.models import lens
from grokinterp.models.architecture import Params
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.runs.run import Run
from grokinterp.training.learner import Learner
from grokinterp.training.loop import train


COMPILED = """
import json, sys, torch
from pathlib import Path
from grokinterp.config import RunConfig, from_dict
from grokinterp.training.loop import train
torch.set_num_threads(1)
train(from_dict(RunConfig, json.loads(Path(sys.argv[1]).read_text())), sys.argv[2], progress=False)
"""


def plain_logits(params: Params, a: Tensor, b: Tensor) -> Tensor:
    """The one-layer transformer, written out; queries, keys and values of every position."""
    w = {name.rsplit(".", 1)[-1]: p for name, p in params.items()}
    equals = torch.full_like(a, len(w["W_E"]) - 1)
    x = w["W_E"][torch.stack([a, b, equals], dim=1)] + w["W_pos"]
    q, k, v = (torch.einsum("npd,hdk->nhpk", x, w[name]) for name in ("W_Q", "W_K", "W_V"))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    mask = torch.ones(3, 3, dtype=torch.bool).triu(1)
    z = scores.masked_fill(mask, -math.inf).softmax(-1) @ v
    x = x + torch.einsum("nhpk,hkd->npd", z, w["W_O"])
    x = x + (x @ w["W_in"] + w["b_in"]).relu() @ w["W_out"] + w["b_out"]
    return (x @ w["W_U"])[:, -1]


def plain_loop(config: RunConfig, run: Run) -> Params:
    """AdamW on the mean cross-entropy, in float64 as ours is."""
    params = {k: p.requires_grad_() for k, p in config.model.initial_params(run.task, seed=config.seed).items()}
    b, a = run.is_train.T.nonzero().T
    labels = run.task.table[a, b]
    optim = config.optim
    optimizer = torch.optim.AdamW(params.values(), betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay)
    generator, step = torch.Generator().manual_seed(config.seed), 0
    for _ in range(config.epochs):
        size = optim.batch_size
        batches = [torch.arange(len(a))] if size is None else torch.randperm(len(a), generator=generator).split(size)
        for batch in batches:
            optimizer.param_groups[0]["lr"] = optim.lr * min(step / optim.warmup_steps, 1)
            optimizer.zero_grad()
            logits = plain_logits(params, a[batch], b[batch]).double()
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            step += 1
    return {name: p.detach() for name, p in params.items()}


def assert_same_weights(found: Params, wanted: Params, *, atol: float) -> None:
    assert found.keys() == wanted.keys()
    for name, p in found.items():
        torch.testing.assert_close(p, wanted[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 8])
def test_training_is_a_plain_loop(tiny: RunConfig, batch_size: int | None, tmp_path: Path) -> None:
    optim = dataclasses.replace(tiny.optim, batch_size=batch_size)
    config = dataclasses.replace(tiny, optim=optim, epochs=20)
    run = train(config, tmp_path, progress=False)
    wanted = plain_loop(config, run)

    moved = (wanted["embed.W_E"] - run.params(0)["embed.W_E"]).abs().max()
    assert moved > 1e-3
    assert_same_weights(run.params(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "engine",
    [
        "kernels",
        "full",
        pytest.param(
            "hooked",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    not lens.has_hooked_transformer(), reason="TransformerLens 4 has no HookedTransformer to train"
                ),
            ],
        ),
    ],
)
def test_engines_train_to_the_same_weights(tiny: RunConfig, engine: str, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, epochs=5)
    factored = train(dataclasses.replace(config, engine="factored"), tmp_path / "factored", progress=False)
    other = train(dataclasses.replace(config, engine=engine), tmp_path / engine, progress=False)
    assert_same_weights(other.params(), factored.params(), atol=1e-5)


@pytest.mark.skipif(lens.has_hooked_transformer(), reason="TransformerLens 3 has HookedTransformer")
def test_the_hooked_engine_needs_version_3(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"engine='hooked' requires transformer-lens<4.*use engine='full'"):
        train(dataclasses.replace(tiny, engine="hooked"), tmp_path, progress=False)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "kernels"),
        ({"model.sequence": "a op b ="}, "kernels"),
        ({"compile": True}, "factored"),
        ({"device": "mps"}, "factored"),
        ({"regularization.dropout": 0.1}, "factored"),
        ({"model.n_layers": 2}, "full"),
        ({"model": MLPConfig()}, "full"),
    ],
)
def test_auto_takes_the_fastest_engine_that_applies(tiny: RunConfig, changes: dict[str, object], wanted: str) -> None:
    config = change(tiny, changes)
    assert config.training_engine == wanted
    if wanted != "kernels":
        with pytest.raises(ValueError, match="engine='kernels' requires a 1-layer transformer without normalization"):
            change(config, {"engine": "kernels"})


def test_a_run_records_its_engine_and_threads(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(dataclasses.replace(tiny, epochs=1), tmp_path, progress=False)
    assert (run.made_by["engine"], run.made_by["threads"]) == ("kernels", 1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("engine", ["kernels", "factored", "full"])
def test_equal_runs_have_equal_bits_with_two_threads(tiny: RunConfig, engine: str, tmp_path: Path) -> None:
    # Large enough that torch shares the work out.
    task, model = dataclasses.replace(tiny.task, p=43), dataclasses.replace(tiny.model, d_model=64, d_mlp=128)
    config = dataclasses.replace(tiny, task=task, model=model, engine=engine, optim=OptimConfig(), epochs=3)
    torch.set_num_threads(2)
    first, second = (train(config, tmp_path / name, progress=False) for name in ("first", "second"))
    assert all(torch.equal(p, second.params()[name]) for name, p in first.params().items())
    assert first.metrics.drop_vars("seconds").identical(second.metrics.drop_vars("seconds").assign_attrs(run="first"))


def test_another_seed_gives_other_weights(tiny: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, epochs=1)
    first = train(config, tmp_path / "0", progress=False).params()
    second = train(dataclasses.replace(config, seed=1), tmp_path / "1", progress=False).params()
    assert not torch.equal(first["embed.W_E"], second["embed.W_E"])


@pytest.mark.slow
def test_training_leaves_the_random_state_of_the_caller_alone(tiny: RunConfig, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(tiny, tmp_path, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_every_checkpoint_is_a_state_of_its_own_and_the_last_is_the_final_one(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(dataclasses.replace(tiny, epochs=13, log_every=1), tmp_path, progress=False)
    assert run.checkpoint_epochs[-1] == 13 % tiny.checkpoint_every + tiny.checkpoint_every
    states = [run.params(epoch) for epoch in run.checkpoint_epochs]
    for before, after in itertools.pairwise(states):
        assert all(not torch.equal(p, after[name]) for name, p in before.items() if p.any())
    for epoch in run.checkpoint_epochs:
        norm = sum(p.double().square().sum().item() for p in run.params(epoch).values())
        assert norm == pytest.approx(run.metrics.squared_weight_norm.sel(epoch=epoch).item(), rel=1e-12)


def test_the_split_has_a_seed_and_all_else_that_is_drawn_has_the_run_s(tiny: RunConfig, tmp_path: Path) -> None:
    changes = ({"split.seed": 5}, {"split.seed": 5, "seed": 1}, {"split.seed": 6})
    runs = [
        train(change(tiny, {**each, "epochs": 1}), tmp_path / str(i), progress=False) for i, each in enumerate(changes)
    ]
    first, other_seed, other_split = runs
    assert torch.equal(first.is_train, other_seed.is_train)
    assert not torch.equal(first.params(0)["embed.W_E"], other_seed.params(0)["embed.W_E"])
    assert not torch.equal(first.is_train, other_split.is_train)
    assert all(torch.equal(p, other_split.params(0)[name]) for name, p in first.params(0).items())


def test_the_order_of_batches_follows_the_seed(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(dataclasses.replace(tiny, epochs=1), tmp_path, progress=False)

    def order(seed: int) -> list[int]:
        params = run.params(0)
        config = dataclasses.replace(tiny, seed=seed)
        learner = Learner(config, run.task, run.training_set, params, initial=params, device=torch.device("cpu"))
        return [pair for a, b, _ in learner.batches(0) for pair in (7 * a + b).tolist()]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1)) == run.is_train.flatten().nonzero().flatten().tolist()


@pytest.mark.exhaustive
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler, found none"
)
def test_the_compiled_loss_trains_to_the_same_weights(tiny: RunConfig, tmp_path: Path) -> None:
    """With SGD, whose weights are a smooth function of the gradients.

    AdamW divides a gradient by its own size, so that where it is near zero rounding decides the sign of a whole step.
    """
    config = dataclasses.replace(tiny, optim=OptimConfig(name="SGD", lr=0.1, momentum=0.9), epochs=5)
    plain = train(config, tmp_path / "plain", progress=False)
    # In a process without the type checks of the tests, which are no part of what is compiled. And with the processor's
    # own instructions: told to use none of them, torch 2.13's compiler writes vector code all the same, and fails.
    environment = {key: value for key, value in os.environ.items() if key != "ATEN_CPU_CAPABILITY"}
    (tmp_path / "config.json").write_text(json.dumps(to_dict(dataclasses.replace(config, compile=True))))
    command = [sys.executable, "-c", COMPILED, tmp_path / "config.json", tmp_path / "compiled"]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    moved = max((plain.params()[name] - p).abs().max().item() for name, p in plain.params(0).items())
    assert moved > 1e-3
    # Float32 gradients of sums of up to 32 terms differ by some 2^-24 * 32 = 2e-6 of their size.
    assert_same_weights(Run(tmp_path / "compiled").params(), plain.params(), atol=1e-5 * moved)
