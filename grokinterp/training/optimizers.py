"""AdamW, SGD and Muon: torch's optimizers, with weight decay and state by parameter name."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import torch
from torch import Tensor

from grokinterp.config import OptimConfig
from grokinterp.models.architecture import Params
from grokinterp.runs.resume import OptimizerState


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One torch optimizer and its parameters.

    Attributes:
        optimizer: The torch optimizer, with one parameter group for `weight_decay` and one per pattern of `decay_of`.
        groups: Parameter names of each group.
        tensors: Tensors that torch updates, by parameter name: the parameter itself, or views of its matrices.
        keys: Names of torch's state entries per parameter.
        is_by_matrix: Whether `tensors` holds matrices.
    """

    optimizer: torch.optim.Optimizer
    groups: list[list[str]]
    tensors: dict[str, list[Tensor]]
    keys: tuple[str, ...]
    is_by_matrix: bool = False

    def rates(self) -> Iterator[tuple[str, float, float]]:
        """Name, learning rate and weight decay of every parameter, read from torch."""
        for group, names in zip(self.optimizer.param_groups, self.groups, strict=True):
            for name in names:
                yield name, group["lr"], group["weight_decay"]

    def split(self, name: str, tensor: Tensor) -> list[Tensor]:
        """Split a tensor with the parameter's shape to match `tensors`; a scalar is repeated."""
        if tensor.ndim == 0 or not self.is_by_matrix:
            return [tensor] * len(self.tensors[name])
        return _matrices(tensor)

    def join(self, tensors: list[Tensor], shape: torch.Size) -> Tensor:
        """The inverse of `split`, as a copy."""
        if tensors[0].ndim == 0 or not self.is_by_matrix:
            return tensors[0].clone()
        return torch.stack([tensor.mT for tensor in tensors]).reshape(shape)


class Optimizer:
    """Updates parameters in place from their gradients.

    AdamW and SGD are torch's. Muon is torch's Muon on the matrices blocks.*.W_*, one per head, and AdamW on all other
    parameters. Muon receives each matrix in the layout [out, in] of torch's layers, which sets the size of its updates.

    Args:
        params: Parameters by name.
        config: The optimizer's settings.
        initial: Parameters at initialization, the target of `decay_toward="initial"`.
        frozen: Patterns of names of parameters that are never updated.

    Raises:
        ValueError: If a pattern matches no parameter, or all parameters are frozen.
        ImportError: If torch has no Muon.

    Examples:
        >>> w = torch.ones(2).requires_grad_()
        >>> optimizer = Optimizer({"w": w}, OptimConfig(lr=0.1, weight_decay=1.0), initial={"w": torch.ones(2)})
        >>> w.grad = torch.zeros(2)
        >>> optimizer.set_rates(lr_factor=1.0, decay_factor=0.5)
        >>> optimizer.step()
        >>> round(w[0].item(), 6), optimizer.weight_decay
        (0.95, 0.5)
    """

    def __init__(self, params: Params, config: OptimConfig, *, initial: Params, frozen: tuple[str, ...] = ()) -> None:
        patterns = [pattern for pattern, _ in config.decay_of]
        _check_matches("decay_of", patterns, params)
        _check_matches("frozen", frozen, params)
        trained = {name: p for name, p in params.items() if not _matches(name, frozen)}
        if not trained:
            msg = f"frozen must leave a parameter to update, but {frozen} matches all of {', '.join(params)}."
            raise ValueError(msg)
        self._params, self._is_coupled = params, config.name == "SGD"
        self._decays = [config.weight_decay, *(decay for _, decay in config.decay_of)]
        self._parts = _parts(trained, config, patterns)
        self._initial: Params = {}
        if config.decay_toward == "initial":
            self._initial = {name: initial[name].detach().to(p.device, copy=True) for name, p in trained.items()}
        self.set_rates(1.0, 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters that are not frozen."""
        return tuple(name for name in self._params if any(name in part.tensors for part in self._parts))

    @property
    def learning_rate(self) -> float:
        """The current learning rate, read from torch; with Muon, AdamW's."""
        return self._parts[0].optimizer.param_groups[0]["lr"]

    @property
    def weight_decay(self) -> float:
        """The current weight decay of the parameters that match no pattern of `decay_of`, read from torch."""
        return self._parts[0].optimizer.param_groups[0]["weight_decay"]

    def set_rates(self, lr_factor: float, decay_factor: float) -> None:
        """Set the rates of the next updates: multiples of the config's learning rates and weight decays."""
        for part in self._parts:
            for group, decay in zip(part.optimizer.param_groups, self._decays, strict=True):
                group["lr"], group["weight_decay"] = part.optimizer.defaults["lr"] * lr_factor, decay * decay_factor

    def zero_grad(self) -> None:
        """Clear all gradients, including the frozen parameters'."""
        for p in self._params.values():
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters; their gradients stay unchanged."""
        for part in self._parts:
            grads = {name: p.grad for name in part.tensors if (p := self._params[name]).grad is not None}
            for name, _, decay in part.rates():
                self._set_grad(part, name, grads.get(name), decay)
            part.optimizer.step()
            for name, lr, decay in part.rates():
                self._params[name].grad = grads.get(name)
                if self._initial and not self._is_coupled and name in grads:
                    # torch has subtracted lr * decay * weight.
                    self._params[name].add_(self._initial[name], alpha=lr * decay)

    def _set_grad(self, part: _Part, name: str, grad: Tensor | None, decay: float) -> None:
        """Set the gradients of the tensors that torch updates."""
        if grad is not None and self._initial and self._is_coupled:
            # torch will add decay * weight.
            grad = grad - decay * self._initial[name]
        tensors = part.tensors[name]
        grads = [None] * len(tensors) if grad is None else part.split(name, grad)
        for tensor, tensor_grad in zip(tensors, grads, strict=True):
            tensor.grad = tensor_grad

    def state(self) -> OptimizerState:
        """A copy of torch's state by parameter name and key; a parameter that was never updated has no entry.

        Each tensor has the parameter's shape or, like AdamW's `step`, is a scalar.
        """
        state: OptimizerState = {}
        for part in self._parts:
            for name, tensors in part.tensors.items():
                entries = [part.optimizer.state.get(tensor, {}) for tensor in tensors]
                if all(entries):
                    shape = self._params[name].shape
                    state[name] = {key: part.join([entry[key] for entry in entries], shape) for key in part.keys}
        return {name: state[name] for name in self._params if name in state}

    def load(self, state: OptimizerState) -> None:
        """Restore a `state`, ignoring entries of frozen parameters and of Grokfast.

        A parameter without an entry starts with an empty state.

        Raises:
            ValueError: If the state belongs to a different model or optimizer.
        """
        unknown = sorted(state.keys() - self._params.keys())
        if unknown:
            msg = (
                f"the optimizer's state belongs to a different model: {unknown[0]!r} is not one of "
                f"{', '.join(self._params)}."
            )
            raise ValueError(msg)
        for part in self._parts:
            loaded, index = {}, 0
            for names in part.groups:
                for name in names:
                    entries = self._entries(part, name, state[name]) if name in state else []
                    loaded |= {index + i: entry for i, entry in enumerate(entries)}
                    index += len(part.tensors[name])
            groups = part.optimizer.state_dict()["param_groups"]
            part.optimizer.load_state_dict({"state": loaded, "param_groups": groups})

    def check_complete(self, state: OptimizerState) -> None:
        """Check that a `state` has exactly this optimizer's entries, for every parameter.

        Raises:
            ValueError: If an entry is missing or belongs to a different optimizer.
        """
        for part in self._parts:
            for name in part.tensors:
                keys = {key for key in state.get(name, {}) if not key.startswith("grokfast")}
                if keys != set(part.keys):
                    kind, got = type(part.optimizer).__name__, ", ".join(sorted(keys)) or "nothing"
                    expected = ", ".join(part.keys) or "nothing"
                    msg = f"the state of {name!r} must hold {expected}, as {kind} does, got {got}."
                    raise ValueError(msg)

    def _entries(self, part: _Part, name: str, entry: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Torch's state of each tensor of a parameter."""
        missing = [key for key in part.keys if key not in entry]
        if missing:
            kind = type(part.optimizer).__name__
            msg = f"the state of {name!r} belongs to a different optimizer than {kind}: it lacks {missing[0]!r}."
            raise ValueError(msg)
        for key in part.keys:
            # Torch does not check this: it would write beyond the memory of a moment that is too small.
            shape = () if key == "step" else tuple(self._params[name].shape)
            if entry[key].shape != shape:
                got = tuple(entry[key].shape)
                msg = f"the state of {name!r} belongs to a different model: {key} is {got}, not {shape}."
                raise ValueError(msg)
        split = {key: part.split(name, entry[key]) for key in part.keys}
        return [{key: values[i].clone() for key, values in split.items()} for i in range(len(part.tensors[name]))]


def _check_matches(option: str, patterns: Iterable[str], params: Params) -> None:
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for name in params):
            msg = f"{option} has the pattern {pattern!r}, which matches none of the parameters {', '.join(params)}."
            raise ValueError(msg)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _parts(params: Params, config: OptimConfig, patterns: list[str]) -> list[_Part]:
    """The torch optimizers of a config: one, or both AdamW and Muon."""
    is_muon = config.name == "Muon"
    matrices = {name: _matrices(p) for name, p in params.items() if is_muon and fnmatchcase(name, "blocks.*.W_*")}
    rest = {name: [p] for name, p in params.items() if name not in matrices}
    if config.name == "SGD":
        keys = ("momentum_buffer",) if config.momentum else ()
        return [_part(torch.optim.SGD, rest, patterns, keys, lr=config.lr, momentum=config.momentum)]
    options = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "fused": True}
    adamw = _part(torch.optim.AdamW, rest, patterns, ("step", "exp_avg", "exp_avg_sq"), **options)
    if not is_muon:
        return [adamw]
    if not hasattr(torch.optim, "Muon"):
        msg = f"name='Muon' needs torch 2.9 or later, which has torch.optim.Muon, got torch {torch.__version__}."
        raise ImportError(msg)
    if not matrices:
        msg = "name='Muon' updates weight matrices blocks.*.W_*, but there are none to update; use name='AdamW'."
        raise ValueError(msg)
    options = {"lr": config.muon_lr, "momentum": config.momentum}
    muon = _part(torch.optim.Muon, matrices, patterns, ("momentum_buffer",), **options)
    return [adamw, replace(muon, is_by_matrix=True)]


def _part(
    kind: Callable[..., torch.optim.Optimizer],
    tensors: dict[str, list[Tensor]],
    patterns: list[str],
    keys: tuple[str, ...],
    **options: Any,
) -> _Part:
    """A torch optimizer with a group for the names that match no pattern, and one for those that match each first."""
    groups: list[list[str]] = [[] for _ in range(1 + len(patterns))]
    for name in tensors:
        group = next((i for i, pattern in enumerate(patterns, start=1) if _matches(name, [pattern])), 0)
        groups[group].append(name)
    param_groups = [{"params": [tensor for name in names for tensor in tensors[name]]} for names in groups]
    return _Part(optimizer=kind(param_groups, **options), groups=groups, tensors=tensors, keys=keys)


def _matrices(tensor: Tensor) -> list[Tensor]:
    """Views [out, in] of the matrices [in, out] in a tensor's last two dimensions."""
    tensor = tensor.detach()
    return [tensor[index].mT for index in product(*map(range, tensor.shape[:-2]))]
