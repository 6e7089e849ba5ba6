"""A run's tensors on disk, all of them safetensors: parameters, task, split and the state to resume from."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from grokinterp.models.init import Params
from grokinterp.runs.layout import RunError, write_atomically
from grokinterp.tasks import Group, Task


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any] | None = None) -> None:
    """Write tensors atomically, from any device.

    Args:
        path: Of the file.
        tensors: By name.
        about: JSON values that go into the file's header.
    """
    on_cpu = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    metadata = {key: json.dumps(value) for key, value in (about or {}).items()}
    write_atomically(path, lambda temporary: save_file(on_cpu, temporary, metadata=metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the JSON values of its header.

    Raises:
        RunError: If the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            about = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        msg = f"there is no {path}; the run lacks this file."
        raise RunError(msg) from None
    except (SafetensorError, ValueError) as error:
        msg = f"{path} must be a whole safetensors file, got {error}; delete it and train on to write it again."
        raise RunError(msg) from None
    return tensors, about


def read_params(path: Path, like: dict[str, tuple[int, ...]]) -> Params:
    """The parameters of a checkpoint.

    Args:
        path: Of the checkpoint.
        like: Shape of every parameter that the model has.

    Raises:
        RunError: If the file is broken or holds other names or shapes.
    """
    params, _ = read_tensors(path)
    found = {name: tuple(tensor.shape) for name, tensor in params.items()}
    if found != like:
        differ = sorted(name for name in found.keys() | like.keys() if found.get(name) != like.get(name))
        name = differ[0]
        msg = (
            f"{path} must hold the parameters of the run's config, but {name} has shape "
            f"{found.get(name, 'none')} for {like.get(name, 'none')} ({len(differ)} differ in all)."
        )
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
    """The task that `write_task` wrote."""
    tensors, about = read_tensors(path)
    group = None
    if "group_table" in tensors:
        group = Group(
            name=about["group_name"],
            table=tensors["group_table"],
            labels=tuple(_as_label(label) for label in about["group_labels"]),
            logarithm=tensors.get("group_logarithm"),
        )
    return Task(
        name=about["name"],
        table=tensors["table"],
        n_outputs=about["n_outputs"],
        n_tokens=about["n_tokens"],
        a_tokens=tensors["a_tokens"],
        b_tokens=tensors["b_tokens"],
        group=group,
        elements=tensors.get("elements"),
    )


def read_split(path: Path) -> Bool[Tensor, "a b"]:
    """True at the pairs that were trained on."""
    return read_tensors(path)[0]["is_train"].bool()


def write_resume(path: Path, optimizer: torch.optim.Optimizer, names: list[str], about: dict[str, Any]) -> None:
    """Write the optimizer's state, by parameter name, with the JSON values that say where training stands.

    One file and not two, since two cannot be renamed at once.
    """
    state = optimizer.state_dict()["state"]
    tensors = {f"{names[i]}/{key}": value for i, entry in state.items() for key, value in entry.items()}
    write_tensors(path, tensors, about)


def read_resume(path: Path, optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Any]:
    """Load what `write_resume` wrote into an optimizer, and return its JSON values."""
    tensors, about = read_tensors(path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, entry = key.rsplit("/", 1)
        state.setdefault(names.index(name), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return about


def _as_label(label: Any) -> Any:
    return tuple(_as_label(x) for x in label) if isinstance(label, list) else label
