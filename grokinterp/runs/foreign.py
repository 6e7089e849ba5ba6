"""Weights that were saved elsewhere: a state dict in a file, under TransformerLens' names."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from grokinterp.models.config import ActFn, Sequence
from grokinterp.models.weights import addition_of, for_task, read_weights
from grokinterp.runs.layout import RunError
from grokinterp.runs.tensors import read_tensors
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


def load_model(
    path: str | Path,
    *,
    task: Task | None = None,
    is_train: Bool[Tensor, "a b"] | None = None,
    act_fn: ActFn = "relu",
    sequence: Sequence = "a b =",
) -> Snapshot:
    """A snapshot of a model whose state dict lies in a file.

    Args:
        path: A `.safetensors` file, or a `.pt` or `.pth` file of tensors alone, which is read with
            `weights_only=True`; its state dict may lie under the key `model` or `state_dict`.
        task: What the model was trained on; default: addition modulo the number of operands' tokens.
        is_train: True at the pairs it was trained on, where losses by split are wanted.
        act_fn: Its activation function, which weights do not tell.
        sequence: What it reads, which they do not tell either.

    Returns:
        The snapshot.

    Raises:
        RunError: If the file is missing or broken, or holds objects besides tensors, which are never unpickled.
        ValueError: If the weights are not those of a model that this library reads.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> load_model(run.layout.checkpoint(run.epochs[-1])).task.name
        'addition mod 113'
    """
    path = Path(path)
    weights = read_tensors(path)[0] if path.suffix == ".safetensors" else _read_pt(path)
    params, config = read_weights(weights, act_fn, sequence)
    task = addition_of(params, config) if task is None else task
    return Snapshot(params=params, config=for_task(params, config, task), task=task, is_train=is_train)


def _read_pt(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        msg = f"there is no file {path}."
        raise RunError(msg)
    try:
        with warnings.catch_warnings():
            # Of a pickle that torch did not write it warns first, and refuses it then.
            warnings.simplefilter("ignore", UserWarning)
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        # The last three are what torch's reader says of bytes that are no pickle, or none at all.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        msg = f"{path} must hold tensors alone, for nothing else is unpickled ({reason}); save model.state_dict()."
        raise RunError(msg) from None
    for key in ("model", "state_dict"):
        data = data.get(key, data) if isinstance(data, dict) else data
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        msg = f"{path} must hold a state dict, names with tensors, got {type(data).__name__}; save model.state_dict()."
        raise RunError(msg)
    return data
