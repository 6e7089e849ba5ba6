"""Load models trained elsewhere from a state dict with TransformerLens names."""

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
_REMEDY: Final = "pass task, act_fn or sequence (other architectures are not supported)"


def load_model(
    path: str | Path,
    *,
    task: Task | None = None,
    is_train: AnySplit | None = None,
    act_fn: ActFn = "relu",
    sequence: Sequence = "a b =",
    expect: Mapping[str, float] | None = None,
) -> Snapshot:
    """Load a model from a state dict in a file.

    Weights do not determine a model: normalization without weights, bidirectional attention in several layers, and
    positions added to queries and keys leave all names and shapes the same but change the logits. Pass `expect` to
    verify the model. Without it, a warning is given if fewer than half of all answers are correct. `Snapshot.assumed`
    lists the assumptions.

    Args:
        path: A `.safetensors` file, or a `.pt` or `.pth` file with tensors only, which is loaded with
            `weights_only=True`; the state dict can be under the key `model` or `state_dict`.
        task: Task that the model was trained on; default: addition modulo the number of operand tokens.
        is_train: Training mask, required for losses by split.
        act_fn: Activation function, which the weights do not determine.
        sequence: Input tokens of a transformer, which the weights do not determine either.
        expect: Expected values: `loss` (mean cross-entropy over all pairs, nats), `accuracy` (over all pairs, 0 to 1),
            and, with `is_train`, `train_loss`, `test_loss`, `train_accuracy`, `test_accuracy`. The tolerance is 5% or
            1e-5 for losses, whichever is larger, and 0.005 for accuracies.

    Raises:
        RunError: If the file is missing or damaged, or holds objects other than tensors, which are never unpickled.
        ValueError: If no supported architecture fits the weights, or an expected value is not met.

    Examples:
        >>> import grokinterp as gi
        >>> run = gi.load_run("nanda2023")
        >>> snapshot = load_model(run.layout.checkpoint(run.checkpoint_epochs[-1]), expect={"accuracy": 1.0})
        >>> snapshot.task.name
        'addition mod 113'
        >>> snapshot.assumed[1:]
        ("act_fn is 'relu'", "sequence is 'a b ='", 'no normalization', 'positions added to the embeddings')
    """
    wanted = {} if expect is None else arguments.mapping(expect, "expect", "{'accuracy': 1.0}")
    path = Path(path)
    weights = read_tensors(path)[0] if path.suffix == ".safetensors" else _read_pt(path)
    params, config = read_weights(weights, act_fn, sequence)
    assumed = ()
    if task is None:
        task = addition_of(params, config)
        assumed = (f"the task is {task.name}",)
    config = config.for_task(params, as_task(task))
    assumed = (*assumed, *config.assumptions())
    is_train = None if is_train is None else as_split(is_train, task)
    snapshot = Snapshot(params=params, config=config, task=task, is_train=is_train, assumed=assumed)
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
        actual = measure(snapshot.logits[mask], snapshot.task.table[mask]).item()
        if not abs(actual - wanted) <= tolerance:
            msg = (
                f"{path} must have {name} {wanted:.6g} ± {tolerance:.2g}, got {actual:.6g}, assuming that "
                f"{', '.join(snapshot.assumed)}; if this is wrong, {_REMEDY}."
            )
            raise ValueError(msg)


def _read_pt(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        msg = f"there is no file {path}."
        raise RunError(msg)
    try:
        with warnings.catch_warnings():
            # torch warns about a pickle that it did not write, and then rejects it.
            warnings.simplefilter("ignore", UserWarning)
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError) as error:
        # torch's reader raises the last three for invalid or missing data. For an object, its message is several
        # paragraphs in color with advice to unpickle it anyway, so only the class is shown.
        refused = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
        reason = f"contains {refused[1]}" if refused else type(error).__name__
        msg = f"{path} must contain only tensors; nothing else is unpickled ({reason}); save model.state_dict()."
        raise RunError(msg) from None
    for key in ("model", "state_dict"):
        data = data.get(key, data) if isinstance(data, dict) else data
    if not isinstance(data, dict) or not all(isinstance(value, Tensor) for value in data.values()):
        msg = f"{path} must contain a dict of tensors by name, got {type(data).__name__}; save model.state_dict()."
        raise RunError(msg)
    return data
