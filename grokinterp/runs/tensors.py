"""A run's tensors on disk, all of them safetensors: parameters, task and training set."""

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
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import RunError, check_is_file, from_json, write_atomically
from grokinterp.tasks import Group, Task
from grokinterp.tasks.split import as_split


Shapes = dict[str, tuple[int, ...]]
_INTEGERS: Final = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
# Dimensions of the tensors of a task, all of which are integers.
_OF_TASK: Final = {"table": 2, "a_tokens": 1, "b_tokens": 1, "elements": 1, "group_table": 2, "group_logarithm": 1}


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any] | None = None) -> None:
    """Write tensors atomically, from any device.

    Args:
        path: Of the file.
        tensors: By name.
        about: JSON values that go into the file's header.

    Raises:
        OSError: If the disk is full or cannot be written. (`save_file` would raise an error of its own.)
    """
    # Clones, since safetensors takes no two names for one memory.
    on_cpu = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    content = save(on_cpu, {key: json.dumps(value) for key, value in (about or {}).items()})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the JSON values of its header.

    Raises:
        RunError: If the file is missing, truncated or no safetensors file.
    """
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            # The clone lies where torch's own tensors do; how they are aligned can change the bits of a product.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dictionary
            return tensors, {key: _from_json(value) for key, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        msg = f"there is no {path}; the run lacks this file."
        raise RunError(msg) from None
    except (SafetensorError, OSError) as error:
        msg = f"{path} must be a whole safetensors file, got: {error}; restore it from a copy, or train anew."
        raise RunError(msg) from None


def _from_json(value: str) -> Any:
    """A value of a header, which other programs fill with plain text."""
    try:
        return from_json(value)
    except ValueError:
        return value


def read_params(path: Path, like: Shapes, epoch: int | None = None) -> Params:
    """The parameters of a checkpoint.

    Args:
        path: The checkpoint.
        like: Shape of every parameter that the model has.
        epoch: The epoch that it should be of. A file whose header has no epoch is taken for it.

    Raises:
        RunError: If the file is broken, holds other names, shapes or dtypes, numbers that are not finite, or another
            epoch.
    """
    params, about = read_tensors(path)
    if epoch is not None and about.get("epoch", epoch) != epoch:
        msg = f"{path} must hold epoch {epoch}, but was written at epoch {about['epoch']}; rename it to its own epoch."
        raise RunError(msg)
    found = {name: tuple(tensor.shape) for name, tensor in params.items()}
    if found != like:
        differ = sorted(name for name in found.keys() | like.keys() if found.get(name) != like.get(name))
        name = differ[0]
        msg = (
            f"{path} must hold the parameters of the run's config, but {name} has shape "
            f"{found.get(name, 'none')} for {like.get(name, 'none')} ({len(differ)} differ in all)."
        )
        raise RunError(msg)
    for name, tensor in params.items():
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            got = tensor.dtype if tensor.dtype != torch.float32 else "numbers that are not finite"
            msg = f"{path} must hold finite float32 parameters, but {name} has {got}; restore it from a copy."
            raise RunError(msg)
    return {name: params[name] for name in like}


def write_task(path: Path, task: Task) -> None:
    """Write a task with its group, so that it never has to be derived again."""
    tensors = {"table": task.table, "a_tokens": task.a_tokens, "b_tokens": task.b_tokens}
    about: dict[str, Any] = {"name": task.name, "n_outputs": task.n_outputs, "n_tokens": task.n_tokens}
    if task.group is not None and task.elements is not None:
        tensors |= {"elements": task.elements, "group_table": task.group.table}
        about |= {"group_name": task.group.name, "group_labels": task.group.labels}
        if task.group.logarithm is not None:
            tensors["group_logarithm"] = task.group.logarithm
    write_tensors(path, tensors, about)


def read_task(path: Path) -> Task:
    """The task that `write_task` wrote.

    Raises:
        RunError: If the file is broken or holds no task.
    """
    tensors, about = read_tensors(path)
    for name in tensors.keys() & _OF_TASK.keys():
        tensor = tensors[name]
        if tensor.dtype not in _INTEGERS or tensor.ndim != _OF_TASK[name] or not tensor.numel():
            msg = f"{path} must hold a task, but its {name} is {tensor.dtype} of shape {tuple(tensor.shape)}."
            raise RunError(msg)
        tensors[name] = tensor.long()
    try:
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
    except KeyError as error:
        msg = f"{path} must hold a task, but lacks {error}; restore it from a copy."
        raise RunError(msg) from None
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        # The last three are what torch says of tensors that do not fit each other.
        msg = f"{path} must hold a task, got: {' '.join(str(error).split())} Restore it from a copy."
        raise RunError(msg) from None


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
    """The pairs that are trained on, and what is asked of them.

    Attributes:
        is_train: True at the pairs.
        answers: What is asked at each pair: the task's table, but for label noise.
        difficulty: Of each pair, from 0 to 1, by which a curriculum shows them; none without one.
    """

    is_train: Bool[Tensor, "a b"]
    answers: Int[Tensor, "a b"]
    difficulty: Float64[Tensor, "a b"] | None = None


def write_training_set(path: Path, training_set: TrainingSet, task: Task) -> None:
    """Write the split and, where they are not the task's own, answers and difficulty: none is ever derived again."""
    tensors = {"is_train": training_set.is_train}
    if not torch.equal(training_set.answers, task.table):
        tensors["answers"] = training_set.answers
    if training_set.difficulty is not None:
        tensors["difficulty"] = training_set.difficulty
    write_tensors(path, tensors)


def read_training_set(path: Path, task: Task) -> TrainingSet:
    """The training set that `write_training_set` wrote.

    Raises:
        RunError: If the file is broken or holds no split of the task.
    """
    tensors = read_tensors(path)[0]
    for name in ("is_train", *(tensors.keys() & {"answers", "difficulty"})):
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != task.shape:
            msg = f"{path} must hold {name} of shape {task.shape}, got {found}; restore it from a copy."
            raise RunError(msg)
    answers, difficulty = tensors.get("answers", task.table), tensors.get("difficulty")
    try:
        is_train = as_split(tensors["is_train"], task)
    except ValueError as error:
        msg = f"{path} must hold a split of the task: {error} Restore it from a copy."
        raise RunError(msg) from None
    if int(is_train.view(torch.uint8).max()) > 1:
        msg = f"{path} must hold is_train with a bit at each pair, got other bytes; restore it from a copy."
        raise RunError(msg)
    if answers.dtype not in _INTEGERS or not 0 <= int(answers.min()) <= int(answers.max()) < task.n_outputs:
        msg = f"{path} must hold answers from 0 to {task.n_outputs - 1}; restore it from a copy."
        raise RunError(msg)
    if difficulty is not None and not (
        difficulty.dtype == torch.float64 and bool(((difficulty >= 0) & (difficulty <= 1)).all())
    ):
        msg = f"{path} must hold float64 difficulties from 0 to 1; restore it from a copy."
        raise RunError(msg)
    return TrainingSet(is_train=is_train, answers=answers, difficulty=difficulty)
