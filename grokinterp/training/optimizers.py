"""The optimizers: torch's own over groups of parameters, with a state by parameter name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

import torch
from torch import Tensor

from grokinterp.config import OptimConfig
from grokinterp.models.architecture import Params
from grokinterp.runs.resume import OptimizerState


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One of torch's optimizers, and what it updates.

    Attributes:
        optimizer: It has a group for `weight_decay`, the first, and one for each pattern of `decay_of`.
        lr: Its learning rate before any schedule.
        groups: Names of the parameters of each group.
        tensors: What it updates of each parameter: the parameter itself, or the matrices that are views of it.
        keys: What it remembers of a parameter from update to update.
        is_by_matrix: Whether it updates matrices.
    """

    optimizer: torch.optim.Optimizer
    lr: float
    groups: list[list[str]]
    tensors: dict[str, list[Tensor]]
    keys: tuple[str, ...]
    is_by_matrix: bool = False

    def rates(self) -> Iterator[tuple[str, float, float]]:
        """Name, learning rate and weight decay of every parameter, as torch has them."""
        for group, names in zip(self.optimizer.param_groups, self.groups, strict=True):
            for name in names:
                yield name, group["lr"], group["weight_decay"]

    def split(self, name: str, whole: Tensor) -> list[Tensor]:
        """What is shaped as a parameter, shaped as its tensors; a single number is that of each."""
        if whole.ndim == 0 or not self.is_by_matrix:
            return [whole] * len(self.tensors[name])
        return _matrices(whole)

    def join(self, parts: list[Tensor], shape: torch.Size) -> Tensor:
        """The inverse of `split`, as a copy."""
        if parts[0].ndim == 0 or not self.is_by_matrix:
            return parts[0].clone()
        return torch.stack([part.mT for part in parts]).reshape(shape)


class Optimizer:
    """Updates parameters in place from their gradients, as a config says.

    AdamW and SGD are torch's. Muon is torch's for the matrices blocks.*.W_*, one per head, with AdamW for all else; it
    sees each matrix as torch's layers have it, [out, in], which decides the length of its updates.

    Args:
        params: What is updated, by name.
        config: The optimizer, its rates and its decays.
        initial: The parameters before training, which `decay_toward="initial"` decays toward.
        frozen: Patterns of the names of parameters that are left as they are.

    Raises:
        ValueError: If a pattern fits no parameter, or nothing is left to update.
        ImportError: If torch has no Muon.

    Examples:
        >>> w = torch.ones(2).requires_grad_()
        >>> optimizer = Optimizer({"w": w}, OptimConfig(lr=0.1, weight_decay=1.0), initial={"w": torch.ones(2)})
        >>> w.grad = torch.zeros(2)
        >>> optimizer.step(lr_factor=1.0, decay_factor=0.5)
        >>> round(w[0].item(), 6), optimizer.weight_decay
        (0.95, 0.5)
    """

    def __init__(self, params: Params, config: OptimConfig, *, initial: Params, frozen: tuple[str, ...] = ()) -> None:
        patterns = [pattern for pattern, _ in config.decay_of]
        _check_fit("decay_of", patterns, params)
        _check_fit("frozen", frozen, params)
        trained = {name: p for name, p in params.items() if not _fits(name, frozen)}
        if not trained:
            msg = f"frozen={frozen} leaves no parameter to update; there are {', '.join(params)}."
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
        """The parameters that are updated: all that are not frozen."""
        return tuple(name for name in self._params if any(name in part.tensors for part in self._parts))

    @property
    def learning_rate(self) -> float:
        """As torch has it; AdamW's, where others are Muon's."""
        return self._parts[0].optimizer.param_groups[0]["lr"]

    @property
    def weight_decay(self) -> float:
        """As torch has it, of the parameters that no pattern of `decay_of` fits."""
        return self._parts[0].optimizer.param_groups[0]["weight_decay"]

    def set_rates(self, lr_factor: float, decay_factor: float) -> None:
        """Set the rates of the next update, as `step` does before it."""
        for part in self._parts:
            for group, decay in zip(part.optimizer.param_groups, self._decays, strict=True):
                group["lr"], group["weight_decay"] = part.lr * lr_factor, decay * decay_factor

    def zero_grad(self) -> None:
        """Drop the gradients, those of frozen parameters too."""
        for p in self._params.values():
            p.grad = None

    @torch.no_grad()
    def step(self, lr_factor: float, decay_factor: float) -> None:
        """Update the parameters from their gradients, and leave these as they are.

        Args:
            lr_factor: Of every learning rate: warm-up times schedule.
            decay_factor: Of every weight decay.
        """
        self.set_rates(lr_factor, decay_factor)
        for part in self._parts:
            grads = {name: p.grad for name in part.tensors if (p := self._params[name]).grad is not None}
            for name, _, decay in part.rates():
                self._give(part, name, grads.get(name), decay)
            part.optimizer.step()
            for name, lr, decay in part.rates():
                self._params[name].grad = grads.get(name)
                if self._initial and not self._is_coupled and name in grads:
                    # torch has taken lr * decay of the whole weight away.
                    self._params[name].add_(self._initial[name], alpha=lr * decay)

    def _give(self, part: _Part, name: str, grad: Tensor | None, decay: float) -> None:
        """Hand a parameter's gradient to what torch updates of it."""
        if grad is not None and self._initial and self._is_coupled:
            # torch adds decay * weight.
            grad = grad - decay * self._initial[name]
        tensors = part.tensors[name]
        grads = [None] * len(tensors) if grad is None else part.split(name, grad)
        for tensor, tensor_grad in zip(tensors, grads, strict=True):
            tensor.grad = tensor_grad

    def state(self) -> OptimizerState:
        """What is remembered from update to update, by parameter name and torch's own: a copy.

        Tensors are shaped as the parameter or, such as AdamW's `step`, are single numbers. A parameter that has not
        been updated has no entry.
        """
        found: OptimizerState = {}
        for part in self._parts:
            for name, tensors in part.tensors.items():
                entries = [part.optimizer.state.get(tensor, {}) for tensor in tensors]
                if all(entries):
                    shape = self._params[name].shape
                    found[name] = {key: part.join([entry[key] for entry in entries], shape) for key in part.keys}
        return {name: found[name] for name in self._params if name in found}

    def load(self, state: OptimizerState) -> None:
        """Go on from a `state`.

        Entries of frozen parameters, and what other parts of training remember of a parameter, are left alone. A
        parameter without an entry begins anew.

        Raises:
            ValueError: If it is of another model or another optimizer.
        """
        unknown = sorted(state.keys() - self._params.keys())
        if unknown:
            msg = f"the optimizer's state is of another model: {unknown[0]!r} is none of {', '.join(self._params)}."
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

    def check_whole(self, state: OptimizerState) -> None:
        """Check that a `state` has all that this optimizer remembers, and nothing that another one does.

        Raises:
            ValueError: If a parameter's entry is missing or is another optimizer's.
        """
        for part in self._parts:
            for name in part.tensors:
                found = {key for key in state.get(name, {}) if not key.startswith("grokfast")}
                if found != set(part.keys):
                    kind, has = type(part.optimizer).__name__, ", ".join(sorted(found)) or "nothing"
                    msg = f"the state of {name!r} must be {', '.join(part.keys) or 'empty'} of {kind}, got {has}."
                    raise ValueError(msg)

    def _entries(self, part: _Part, name: str, entry: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """What torch remembers of each tensor that it updates of a parameter."""
        missing = [key for key in part.keys if key not in entry]
        if missing:
            kind = type(part.optimizer).__name__
            msg = f"the optimizer's state of {name!r} is of another one than {kind}: it lacks {missing[0]!r}."
            raise ValueError(msg)
        for key in part.keys:
            # Torch does not check, and writes beyond the memory of a moment that is smaller than its parameter.
            shape = () if key == "step" else tuple(self._params[name].shape)
            if entry[key].shape != shape:
                found = tuple(entry[key].shape)
                msg = f"the optimizer's state of {name!r} is of another model: {key} is {found}, not {shape}."
                raise ValueError(msg)
        split = {key: part.split(name, entry[key]) for key in part.keys}
        return [{key: values[i].clone() for key, values in split.items()} for i in range(len(part.tensors[name]))]


def _check_fit(option: str, patterns: Iterable[str], params: Params) -> None:
    for pattern in patterns:
        if not any(_fits(name, [pattern]) for name in params):
            msg = f"{option} has the pattern {pattern!r}, which fits none of the parameters {', '.join(params)}."
            raise ValueError(msg)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _parts(params: Params, config: OptimConfig, patterns: list[str]) -> list[_Part]:
    """Torch's optimizers: one, or for Muon AdamW and itself."""
    if config.name == "SGD":
        tensors = {name: [p] for name, p in params.items()}
        keys = ("momentum_buffer",) if config.momentum else ()
        groups = _groups(tensors, patterns)
        sgd = torch.optim.SGD(_param_groups(groups, tensors), lr=config.lr, momentum=config.momentum)
        return [_Part(optimizer=sgd, lr=config.lr, groups=groups, tensors=tensors, keys=keys)]
    matrices = {name: _matrices(p) for name, p in params.items() if config.name == "Muon" and _is_matrix(name)}
    rest = {name: [p] for name, p in params.items() if name not in matrices}
    groups = _groups(rest, patterns)
    adamw = torch.optim.AdamW(_param_groups(groups, rest), lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
    keys = ("step", "exp_avg", "exp_avg_sq")
    parts = [_Part(optimizer=adamw, lr=config.lr, groups=groups, tensors=rest, keys=keys)]
    if config.name == "Muon":
        parts.append(_muon(matrices, config, patterns))
    return parts


def _muon(tensors: dict[str, list[Tensor]], config: OptimConfig, patterns: list[str]) -> _Part:
    if not hasattr(torch.optim, "Muon"):
        msg = f"name='Muon' needs torch.optim.Muon, which came with torch 2.9, got torch {torch.__version__}."
        raise ImportError(msg)
    if not tensors:
        msg = "name='Muon' is for weight matrices blocks.*.W_*, and there is none to update; use name='AdamW'."
        raise ValueError(msg)
    groups = _groups(tensors, patterns)
    muon = torch.optim.Muon(_param_groups(groups, tensors), lr=config.muon_lr, momentum=config.momentum)
    return _Part(
        optimizer=muon,
        lr=config.muon_lr,
        groups=groups,
        tensors=tensors,
        keys=("momentum_buffer",),
        is_by_matrix=True,
    )


def _groups(names: Iterable[str], patterns: list[str]) -> list[list[str]]:
    """The names that no pattern fits, and those of each pattern but for what an earlier one has."""
    groups: list[list[str]] = [[] for _ in range(1 + len(patterns))]
    for name in names:
        place = next((i for i, pattern in enumerate(patterns, start=1) if _fits(name, [pattern])), 0)
        groups[place].append(name)
    return groups


def _param_groups(groups: list[list[str]], tensors: dict[str, list[Tensor]]) -> list[dict[str, list[Tensor]]]:
    return [{"params": [tensor for name in names for tensor in tensors[name]]} for names in groups]


def _is_matrix(name: str) -> bool:
    return fnmatchcase(name, "blocks.*.W_*")


def _matrices(tensor: Tensor) -> list[Tensor]:
    """Views [out, in] of the matrices [in, out] that a tensor is made of."""
    tensor = tensor.detach()
    return [tensor[index].mT for index in product(*map(range, tensor.shape[:-2]))]
