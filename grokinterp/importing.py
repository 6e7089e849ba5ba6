"""Weights that were saved elsewhere: a state dict in a file, under TransformerLens' names."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from grokinterp import arguments
from grokinterp.losses import accuracy, cross_entropy
from grokinterp.models.architecture import ActFn
from grokinterp.models.kinds.transformer import Sequence
from grokinterp.models.weights import addition_of, read_weights
from grokinterp.runs.layout import RunError
from grokinterp.runs.tensors import read_tensors
from grokinterp.snapshots import Snapshot, warn_of_chance
from grokinterp.tasks import Task
from grokinterp.tasks.operations import as_task
from grokinterp.tasks.split import AnySplit, as_split


_EXPECTED: Final = ("loss", "train_loss", "test_loss", "accuracy", "train_accuracy", "test_accuracy")
_REMEDY: Final = "pass task, act_fn or sequence (models of other kinds are not read)"


def load_model(
    path: str | Path,
    *,
    task: Task | None = None,
    is_train: AnySplit | None = None,
    act_fn: ActFn = "relu",
    sequence: Sequence = "a b =",
    expect: Mapping[str, float] | None = None,
) -> Snapshot:
    """A snapshot of a model whose state dict lies in a file.

    Weights do not tell everything: a model with normalization without weights, bidirectional attention in several
    layers, or positions added to queries and keys has the same names and shapes as a plain one, and different logits.
    Pass `expect` to be sure. Without it, a model that answers fewer than half of all pairs correctly gives a warning.
    What was assumed is in `Snapshot.assumed`.

    Args:
        path: A `.safetensors` file, or a `.pt` or `.pth` file of tensors alone, which is read with
            `weights_only=True`; its state dict may lie under the key `model` or `state_dict`.
        task: What the model was trained on; default: addition modulo the number of operands' tokens.
        is_train: True at the pairs it was trained on, where losses by split are wanted.
        act_fn: Its activation function, which weights do not tell.
        sequence: What a transformer reads, which they do not tell either.
        expect: Values that the model must have: `loss` (mean cross-entropy over all pairs, nats), `accuracy` (over all
            pairs, 0 to 1), and `train_loss`, `test_loss`, `train_accuracy`, `test_accuracy`, which need `is_train`.
            A loss may differ by 5 % or 1e-5, whichever is more, an accuracy by 0.005.

    Returns:
        The snapshot.

    Raises:
        RunError: If the file is missing or broken, or holds objects besides tensors, which are never unpickled.
        ValueError: If the weights are not those of a model that this library reads, or do not give what is expected.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> found = load_model(run.layout.checkpoint(run.checkpoint_epochs[-1]), expect={"accuracy": 1.0})
        >>> found.task.name
        'addition mod 113'
        >>> found.assumed[1:]
        ("act_fn is 'relu'", "sequence is 'a b ='", 'no normalization', 'positions added to the embeddings')
    """
    wanted = {} if expect is None else arguments.mapping(expect, "expect", "{'accuracy': 1.0}")
    path = Path(path)
    weights = read_tensors(path)[0] if path.suffix == ".safetensors" else _read_pt(path)
    params, config = read_weights(weights, act_fn, sequence)
    of_task = ()
    if task is None:
        task = addition_of(params, config)
        of_task = (f"the task is {task.name}",)
    config = config.for_task(params, as_task(task))
    assumed = (*of_task, *config.assumptions())
    known = None if is_train is None else as_split(is_train, task)
    snapshot = Snapshot(params=params, config=config, task=task, is_train=known, assumed=assumed)
    if wanted:
        _check_expected(snapshot, wanted, path)
    else:
        warn_of_chance(snapshot, _REMEDY)
    return snapshot


def _check_expected(snapshot: Snapshot, expect: Mapping[str, float], path: Path) -> None:
    for name, value in expect.items():
        split, _, quantity = arguments.one_of(name, _EXPECTED, "a name in expect").rpartition("_")
        maximum = 1 if quantity == "accuracy" else None
        wanted = arguments.number(value, f"expect[{name!r}]", minimum=0, maximum=maximum)
        mask = snapshot.mask(split or "all")
        measure, tolerance = (cross_entropy, max(0.05 * wanted, 1e-5)) if quantity == "loss" else (accuracy, 0.005)
        found = measure(snapshot.logits[mask], snapshot.task.table[mask]).item()
        if not abs(found - wanted) <= tolerance:
            msg = (
                f"{path} must have {name} {wanted:.6g} (to within {tolerance:.2g}), but has {found:.6g}, assuming: "
                f"{', '.join(snapshot.assumed)}; if that is wrong, {_REMEDY}."
            )
            raise ValueError(msg)


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
        # The last three are what torch's reader says of bytes that are no pickle, or none at all. About an object it
        # writes several paragraphs, in color, with the class in the middle and advice to unpickle it all the same.
        refused = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
        reason = f"it holds {refused[1]}" if refused else type(error).__name__
        msg = f"{path} must hold tensors alone, for nothing else is unpickled ({reason}); save model.state_dict()."
        raise RunError(msg) from None
    for key in ("model", "state_dict"):
        data = data.get(key, data) if isinstance(data, dict) else data
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        msg = f"{path} must hold a state dict, names with tensors, got {type(data).__name__}; save model.state_dict()."
        raise RunError(msg)
    return data
