"""Weights that were saved elsewhere."""

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
    return {**snapshot.params, **zeros, **buffers}


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
    torch.save({**state, "config": _Trap()}, tmp_path / "model.pt")
    with pytest.raises(gi.RunError, match="must hold tensors alone, for nothing else is unpickled"):
        gi.load_model(tmp_path / "model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(gi.RunError, match="must hold tensors alone"):
        gi.load_model(tmp_path / "plain.pt")


def test_broken_and_missing_files(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(gi.RunError, match="there is no"):
        gi.load_model(tmp_path / "none.pt")
    torch.save(state, tmp_path / "model.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:5000])
    with pytest.raises(gi.RunError, match="must hold tensors alone"):
        gi.load_model(tmp_path / "cut.pt")
    for name, content in {"empty.pt": b"", "text.pt": b"hello world, this is no pickle"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(gi.RunError, match="must hold tensors alone"):
            gi.load_model(tmp_path / name)
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(gi.RunError, match="must hold a state dict, names with tensors, got list"):
        gi.load_model(tmp_path / "list.pt")


def test_other_names_are_refused(tmp_path: Path) -> None:
    torch.save({"linear.weight": torch.zeros(2, 2)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"TransformerLens' names, but embed.W_E is missing; got linear.weight"):
        gi.load_model(tmp_path / "model.pt")


def test_a_model_of_another_task_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="pass the task that the model was trained on"):
        gi.load_model(tmp_path / "model.pt", task=gi.tasks.operation("addition", 11))
