"""Weights that were saved elsewhere."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import grokinterp as gi


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """A HookedTransformer's state dict: biases of zero and buffers included."""
    snapshot = gi.testing.planted_snapshot(13, (2, 5), act_fn="relu")
    heads, width = snapshot.config.n_heads, snapshot.config.d_head
    zeros = {"blocks.0.attn.b_Q": torch.zeros(heads, width), "blocks.0.mlp.b_out": torch.zeros(128)}
    buffers = {"blocks.0.attn.mask": torch.ones(3, 3).tril() > 0, "blocks.0.attn.IGNORE": torch.tensor(-torch.inf)}
    return {name: p.float() for name, p in {**snapshot.params, **zeros}.items()} | buffers


def test_safetensors_and_pt_are_read_alike(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "model.pt")
    torch.save({"model": state, "epoch": torch.tensor(3)}, tmp_path / "nested.pth")
    for name in ("model.safetensors", "model.pt", "nested.pth"):
        snapshot = gi.load_model(tmp_path / name)
        assert gi.fourier.key_frequencies(snapshot) == (2, 5)
        assert snapshot.config.biases == "none"
        assert snapshot.task.name == "addition mod 13"


class _Trap:
    """What a pickle could do to who opens it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_objects_are_never_unpickled(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    for trap, name in ((_Trap(), "exec"), (argparse.Namespace(p=13), "argparse.Namespace")):
        torch.save({**state, "config": trap}, tmp_path / "model.pt")
        wanted = rf"only tensors; nothing else is unpickled \(contains {name}\); save model\.state_dict\(\)\.$"
        with pytest.raises(gi.RunError, match=wanted) as refused:
            gi.load_model(tmp_path / "model.pt")
        assert str(refused.value).isprintable()  # no line breaks, no terminal colors
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(gi.RunError, match="must contain only tensors"):
        gi.load_model(tmp_path / "plain.pt")


def test_broken_and_missing_files(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(gi.RunError, match="there is no"):
        gi.load_model(tmp_path / "none.pt")
    torch.save(state, tmp_path / "model.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:5000])
    with pytest.raises(gi.RunError, match="must contain only tensors"):
        gi.load_model(tmp_path / "cut.pt")
    for name, content in {"empty.pt": b"", "text.pt": b"hello world, this is no pickle"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(gi.RunError, match="must contain only tensors"):
            gi.load_model(tmp_path / name)
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(gi.RunError, match="must contain a dict of tensors by name, got list"):
        gi.load_model(tmp_path / "list.pt")


def test_other_names_are_refused(tmp_path: Path) -> None:
    torch.save({"linear.weight": torch.zeros(2, 2)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"TransformerLens' names, but embed.W_E is missing; got linear.weight"):
        gi.load_model(tmp_path / "model.pt")


def test_a_model_of_another_task_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="pass the task that the model was trained on"):
        gi.load_model(tmp_path / "model.pt", task=gi.tasks.operation("addition", 11))


def test_a_model_of_our_own_is_read_whatever_its_kind(tmp_path: Path, random_params) -> None:
    task = gi.tasks.operation("multiplication", 7)
    for config in (gi.MLPConfig(d_mlp=6, act_fn="quadratic"), gi.TransformerConfig(d_model=8, n_heads=2, d_head=4)):
        snapshot = gi.Snapshot(params=random_params(config, task), config=config, task=task)
        save_file(snapshot.params, tmp_path / "model.safetensors")
        with pytest.warns(UserWarning, match="accuracy on all pairs of multiplication mod 7 is only"):
            found = gi.load_model(tmp_path / "model.safetensors", task=task, act_fn=config.act_fn)
        assert torch.equal(found.logits, snapshot.logits)
        assert f"act_fn is {config.act_fn!r}" in found.assumed


def test_the_weights_of_a_run_s_mlp_are_read(tmp_path: Path) -> None:
    config = gi.RunConfig(task=gi.TaskConfig(p=5), model=gi.MLPConfig(d_mlp=6), epochs=1)
    run = gi.train(config, tmp_path / "run", progress=False)
    accuracy = gi.losses.accuracy(run.snapshot().logits, run.task.table).item()
    found = gi.load_model(run.layout.checkpoint(1), expect={"accuracy": accuracy})
    assert torch.equal(found.logits, run.snapshot().logits)


def test_what_is_expected_is_checked(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, path := tmp_path / "model.pt")
    is_train = gi.tasks.uniform_split(gi.tasks.operation("addition", 13), 0.3, seed=0)
    found = gi.load_model(path, is_train=is_train)
    by_split = {split: gi.progress.losses(found).sel(split=split).item() for split in ("train", "test", "all")}
    values = {"loss": by_split["all"], "train_loss": by_split["train"], "test_loss": by_split["test"]}
    values |= {"accuracy": 1.0, "train_accuracy": 1.0, "test_accuracy": 1.0}
    gi.load_model(path, is_train=is_train, expect=values)
    gi.load_model(path, is_train=is_train, expect={name: 1.04 * x for name, x in values.items() if "loss" in name})
    for name, value in {"test_loss": 1.06 * by_split["test"], "accuracy": 0.99}.items():
        wanted = (
            rf"model\.pt must have {name} {value:.6g} ± .*, got {values[name]:.6g}, assuming that "
            r"the task is addition mod 13, act_fn is 'relu', sequence is 'a b =', no normalization, "
            r"positions added to the embeddings; "
        )
        with pytest.raises(ValueError, match=wanted) as refused:
            gi.load_model(path, is_train=is_train, expect={name: value})
        assert "\n" not in str(refused.value)
    with pytest.raises(
        ValueError, match=r"a name in expect must be one of loss, .*, got 'test_los'; did you mean 'test_l"
    ):
        gi.load_model(path, expect={"test_los": 1.0})
    with pytest.raises(ValueError, match=r"expect\['accuracy'\] must be a number from 0 to 1, got nan"):
        gi.load_model(path, expect={"accuracy": float("nan")})
    with pytest.raises(ValueError, match="split='test' requires the training pairs"):
        gi.load_model(path, expect={"test_loss": 1.0})


def test_a_model_read_as_another_one_is_noticed(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """Shortformer positions, say, have the names of others: only what the model does tells."""
    state["pos_embed.W_pos"] = state["pos_embed.W_pos"] + torch.randn(
        3, 128, generator=torch.Generator().manual_seed(0)
    )
    torch.save(state, tmp_path / "model.pt")
    wanted = r"accuracy on all pairs of addition mod 13 is only .*%, assuming that the task is .*, positions"
    with pytest.warns(UserWarning, match=wanted):
        gi.load_model(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"must have accuracy 1 ± 0\.005, got 0\."):
        gi.load_model(tmp_path / "model.pt", expect={"accuracy": 1.0})


def test_attention_is_assumed_to_be_causal_if_that_matters(tmp_path: Path, random_params) -> None:
    task, config = gi.tasks.operation("addition", 7), gi.TransformerConfig(d_model=8, n_heads=2, n_layers=2)
    save_file(random_params(config, task), tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="no normalization, causal attention, positions"):
        gi.load_model(tmp_path / "model.safetensors")
