"""A run's safetensors files: parameters, task and training set."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Bool, Float64, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from grokinterp.arguments import integer
from grokinterp.models.architecture import Params, Shapes
from grokinterp.runs.layout import RunError, check_is_file, from_json, valid_content, write_atomically
from grokinterp.tasks import Group, Task
from grokinterp.tasks.split import as_split


_INTEGERS: Final = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
# Number of axes of each tensor of a task; all are integers.
_TASK_AXES: Final = {"table": 2, "a_tokens": 1, "b_tokens": 1, "elements": 1, "group_table": 2, "group_logarithm": 1}


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any] | None = None) -> None:
    """Write tensors from any device atomically, with JSON values in the file's header.

    Raises:
        OSError: If the file cannot be written. (`save_file` would raise a different error.)
    """
    # Cloned because safetensors rejects tensors that share memory.
    on_cpu = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    content = save(on_cpu, {key: json.dumps(value) for key, value in (about or {}).items()})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file and the values of its header; a missing or damaged file raises a RunError."""
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            # Cloned because the memory alignment of a tensor can change the rounding of a matrix product.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, {key: _from_json(value) for key, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        msg = f"there is no {path}; restore it from a backup."
        raise RunError(msg) from None
    except (SafetensorError, OSError) as error:
        msg = f"{path} must be a complete safetensors file, got: {error}; restore it from a backup, or retrain."
        raise RunError(msg) from None


def _from_json(value: str) -> Any:
    """A value from a header; files from other programs hold plain text there."""
    try:
        return from_json(value)
    except ValueError:
        return value


def read_params(path: Path, like: Shapes, epoch: int | None = None) -> Params:
    """The parameters in a checkpoint.

    Args:
        path: Checkpoint file.
        like: Shape of each model parameter by name.
        epoch: Expected epoch; not checked if the file's header has none.

    Raises:
        RunError: If the file is damaged, or its names, shapes, dtypes or epoch are wrong, or a number is not finite.
    """
    params, about = read_tensors(path)
    if epoch is not None and about.get("epoch", epoch) != epoch:
        msg = f"{path} must hold epoch {epoch}, but was written at epoch {about['epoch']}; rename it to that epoch."
        raise RunError(msg)
    shapes = {name: tuple(tensor.shape) for name, tensor in params.items()}
    if differ := sorted(name for name in shapes.keys() | like.keys() if shapes.get(name) != like.get(name)):
        name = differ[0]
        msg = (
            f"{path} must fit the run's config, but {name} has shape {shapes.get(name, 'none')}, expected "
            f"{like.get(name, 'none')} ({len(differ)} differ); restore it from a backup."
        )
        raise RunError(msg)
    for name, tensor in params.items():
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            got = tensor.dtype if tensor.dtype != torch.float32 else "NaN or infinite values"
            msg = f"{path} must hold finite float32 parameters, but {name} has {got}; restore it from a backup."
            raise RunError(msg)
    return {name: params[name] for name in like}


def write_task(path: Path, task: Task) -> None:
    """Write a task with its group, so that it is never derived again."""
    tensors = {"table": task.table, "a_tokens": task.a_tokens, "b_tokens": task.b_tokens}
    about: dict[str, Any] = {"name": task.name, "n_outputs": task.n_outputs, "n_tokens": task.n_tokens}
    if task.group is not None and task.elements is not None:
        tensors |= {"elements": task.elements, "group_table": task.group.table}
        about |= {"group_name": task.group.name, "group_labels": task.group.labels}
        if task.group.logarithm is not None:
            tensors["group_logarithm"] = task.group.logarithm
    write_tensors(path, tensors, about)


def read_task(path: Path) -> Task:
    """Read a file written by `write_task`; invalid content raises a RunError."""
    tensors, about = read_tensors(path)
    with valid_content(path, "a task"):
        for name in tensors.keys() & _TASK_AXES.keys():
            tensor = tensors[name]
            if tensor.dtype not in _INTEGERS or tensor.ndim != _TASK_AXES[name] or not tensor.numel():
                msg = f"{name} must have integers and {_TASK_AXES[name]} axes, got {tensor.dtype} {tuple(tensor.shape)}"
                raise ValueError(msg)
            tensors[name] = tensor.long()
        return Task(
            name=str(about["name"]),
            table=tensors["table"],
            n_outputs=integer(about["n_outputs"], "n_outputs", minimum=1, maximum=2**31),
            n_tokens=integer(about["n_tokens"], "n_tokens", minimum=1, maximum=2**31),
            a_tokens=tensors["a_tokens"],
            b_tokens=tensors["b_tokens"],
            group=_group(tensors, about) if "group_table" in tensors else None,
            elements=tensors.get("elements"),
        )


def _group(tensors: dict[str, Tensor], about: dict[str, Any]) -> Group:
    return Group(
        name=str(about["group_name"]),
        table=tensors["group_table"],
        labels=tuple(_as_label(label) for label in about["group_labels"]),
        logarithm=tensors.get("group_logarithm"),
    )


def _as_label(label: Any) -> Any:
    return tuple(_as_label(x) for x in label) if isinstance(label, list) else label


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """The training pairs and their labels.

    Attributes:
        is_train: True at training pairs.
        answers: Label of each pair: the task's table, with label noise if there is any.
        difficulty: Difficulty of each pair for a curriculum, 0 to 1; None without a curriculum.
    """

    is_train: Bool[Tensor, "a b"]
    answers: Int[Tensor, "a b"]
    difficulty: Float64[Tensor, "a b"] | None = None


def write_training_set(path: Path, training_set: TrainingSet, task: Task) -> None:
    """Write the split, the difficulty, and the answers if they differ from the task's; none is ever derived again."""
    tensors = {"is_train": training_set.is_train}
    if not torch.equal(training_set.answers, task.table):
        tensors["answers"] = training_set.answers
    if training_set.difficulty is not None:
        tensors["difficulty"] = training_set.difficulty
    write_tensors(path, tensors)


def read_training_set(path: Path, task: Task) -> TrainingSet:
    """Read a file written by `write_training_set`; invalid content raises a RunError."""
    tensors = read_tensors(path)[0]
    with valid_content(path, "a training set"):
        for name in ("is_train", *(tensors.keys() & {"answers", "difficulty"})):
            if (shape := tuple(tensors[name].shape)) != task.shape:
                msg = f"{name} must have shape {task.shape}, got {shape}"
                raise ValueError(msg)
        answers, difficulty = tensors.get("answers", task.table), tensors.get("difficulty")
        is_train = as_split(tensors["is_train"], task)
        if int(is_train.view(torch.uint8).max()) > 1:
            msg = "is_train must have bytes 0 and 1 only"
            raise ValueError(msg)
        if answers.dtype not in _INTEGERS or not 0 <= int(answers.min()) <= int(answers.max()) < task.n_outputs:
            msg = f"answers must be integers from 0 to {task.n_outputs - 1}"
            raise ValueError(msg)
        if difficulty is not None and not (
            difficulty.dtype == torch.float64 and bool(((difficulty >= 0) & (difficulty <= 1)).all())
        ):
            msg = f"difficulty must be float64 from 0 to 1, got {difficulty.dtype}"
            raise ValueError(msg)
        return TrainingSet(is_train=is_train, answers=answers, difficulty=difficulty)
