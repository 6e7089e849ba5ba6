"""RunConfig: all that decides a training run, as a frozen dataclass, as JSON and as command-line flags."""

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from grokinterp.models.config import TransformerConfig
from grokinterp.tasks import Operation, Task, operation, paper_split, uniform_split


C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learned.

    Attributes:
        operation: By name; `custom` stands for a Task that was handed to `train` itself.
        p: The modulus.
        seed: Of the answers of `random`.

    Raises:
        ValueError: If p is below 2.
    """

    operation: Operation | Literal["custom"] = "addition"
    p: int = 113
    seed: int = 0

    def __post_init__(self) -> None:
        if self.p < 2:
            msg = f"p must be at least 2, got p={self.p}."
            raise ValueError(msg)

    def build(self) -> Task:
        """The task.

        Raises:
            ValueError: If the operation is `custom`, or not defined for p.
        """
        if self.operation == "custom":
            msg = "a custom task cannot be built from its config; pass task=... to train, or read it from its run."
            raise ValueError(msg)
        return operation(self.operation, self.p, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which pairs are trained on.

    Attributes:
        fraction: Of all pairs, between 0 and 1.
        rule: `uniform` draws with torch's generator, `paper` with Python's shuffle as Nanda et al. did.
        seed: Of the draw; none: the run's seed.

    Raises:
        ValueError: If the fraction is not between 0 and 1.
    """

    fraction: float = 0.3
    rule: Literal["uniform", "paper"] = "uniform"
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            msg = f"fraction must be between 0 and 1, got fraction={self.fraction}."
            raise ValueError(msg)

    def build(self, task: Task, run_seed: int) -> Bool[Tensor, "a b"]:
        """True at the pairs that are trained on."""
        draw = {"uniform": uniform_split, "paper": paper_split}[self.rule]
        return draw(task, self.fraction, seed=run_seed if self.seed is None else self.seed)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, with torch's semantics, on one group of all parameters.

    Attributes:
        lr: Learning rate after the warm-up.
        weight_decay: Decoupled; each update takes lr * weight_decay of every weight away.
        betas: Decay of the two running means.
        eps: Added to the root of the second.
        warmup_steps: Update i has the share min(i / warmup_steps, 1) of lr, so the first has none; 0: no warm-up.
        batch_size: Pairs per update; none: all of them, the full batch.

    Raises:
        ValueError: If a value is out of its range.
    """

    lr: float = 1e-3
    weight_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    warmup_steps: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        # JSON files may hold nan and inf.
        is_finite = all(map(math.isfinite, (self.lr, self.weight_decay, self.eps)))
        if not (is_finite and self.lr > 0 and self.weight_decay >= 0 and self.eps > 0):
            msg = (
                "lr and eps must be positive and weight_decay not negative, all of them finite, "
                f"got lr={self.lr}, eps={self.eps}, weight_decay={self.weight_decay}."
            )
            raise ValueError(msg)
        if not all(0 <= beta < 1 for beta in self.betas):
            msg = f"betas must be from 0 up to, not including, 1, got betas={self.betas}."
            raise ValueError(msg)
        if self.warmup_steps < 0 or (self.batch_size is not None and self.batch_size < 1):
            msg = (
                "warmup_steps must not be negative and batch_size at least 1, "
                f"got warmup_steps={self.warmup_steps}, batch_size={self.batch_size}."
            )
            raise ValueError(msg)

    def learning_rate(self, step: int) -> float:
        """The learning rate of an update, counted from 0.

        Examples:
            >>> [OptimConfig(lr=1.0, warmup_steps=10).learning_rate(step) for step in (0, 5, 10, 99)]
            [0.0, 0.5, 1.0, 1.0]
        """
        return self.lr * (min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that decides a training run.

    Attributes:
        task: What is learned.
        split: Which pairs are trained on.
        model: The model's shape and initialisation.
        optim: The optimizer.
        epochs: Passes over the training pairs; an epoch is one update with the full batch.
        seed: Of the initial parameters and the batches; of the split too, unless that has its own.
        engine: How logits are computed while training: `factored` (exact and fast, for one layer without
            normalization), `full` (any model), `hooked` (TransformerLens' own HookedTransformer, version 3),
            or `auto`: factored where that applies, else full.
        compile: Whether the loss goes through torch.compile (needs a C++ compiler). Quicker, but its sums have no
            fixed order, so that equal runs have equal bits only without it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        log_every: Epochs between entries of the metrics.
        checkpoint_every: Epochs between checkpoints, after those early ones that are log-spaced.

    Raises:
        ValueError: If a value is out of its range.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: TransformerConfig = field(default_factory=TransformerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    epochs: int = 40_000
    seed: int = 0
    engine: Literal["auto", "factored", "full", "hooked"] = "auto"
    compile: bool = False
    device: str = "cpu"
    log_every: int = 10
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, got {name}={getattr(self, name)}."
                raise ValueError(msg)
        if self.engine == "factored" and not self.model.is_factorable:
            msg = "engine='factored' needs one layer without normalization; use engine='full'."
            raise ValueError(msg)


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON types; `from_dict` is its inverse.

    Examples:
        >>> to_dict(SplitConfig())
        {'fraction': 0.3, 'rule': 'uniform', 'seed': None}
    """
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(config).items()
    } | {
        f.name: to_dict(getattr(config, f.name))
        for f in dataclasses.fields(config)
        if dataclasses.is_dataclass(getattr(config, f.name))
    }


def from_dict(cls: type[C], data: object, *, where: str = "config") -> C:
    """A config dataclass from JSON types, with every key there and none besides.

    Args:
        cls: `RunConfig` or one of its parts.
        data: As `to_dict` makes it.
        where: What the keys are called in an error.

    Returns:
        The config.

    Raises:
        ValueError: If a key is unknown (the nearest valid one is named) or missing, or a value is of another
            type or out of its range.

    Examples:
        >>> from_dict(SplitConfig, {"fraction": 0.3, "rule": "uniform", "sed": 0})
        Traceback (most recent call last):
        ValueError: config has an unknown key 'sed'; did you mean 'seed'?
    """
    if not isinstance(data, dict):
        msg = f"{where} must be a table of keys, got {data!r}."
        raise ValueError(msg)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(typing.cast("Any", cls))]
    for key in data:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            msg = f"{where} has an unknown key {key!r}; did you mean {near[0]!r}?"
            raise ValueError(msg)
    missing = [name for name in names if name not in data]
    if missing:
        msg = f"{where} lacks the keys {missing}; a full config is what `grokinterp config PRESET` prints."
        raise ValueError(msg)
    return cls(**{name: _read(hints[name], data[name], f"{where}.{name}") for name in names})


def _read(hint: Any, value: Any, where: str) -> Any:
    """A JSON value as the type that a field asks for."""
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where=where)
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if isinstance(value, (list, tuple)) and len(value) == len(parts):
            return tuple(_read(part, x, where) for part, x in zip(parts, value, strict=True))
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif _accepts(hint, value):
        return value
    msg = f"{where} must be {_describe(hint)}, got {value!r}."
    raise ValueError(msg)


def _accepts(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(part, value) for part in args)
    if hint is type(None):
        return value is None
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in args)
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    return "null" if hint is type(None) else f"of type {hint.__name__}"


def check_device(name: str) -> torch.device:
    """The device of a name, if it is there.

    Raises:
        ValueError: If torch does not know or cannot reach it.

    Examples:
        >>> check_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        msg = f"device must be cpu, cuda, cuda:N or mps, got {name!r}."
        raise ValueError(msg) from None
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= available:
        msg = f"device {name!r} was asked for, but torch finds {available} of its kind here; use device='cpu'."
        raise ValueError(msg)
    return device
