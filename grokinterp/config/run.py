"""The full configuration of a training run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import torch

from grokinterp.arguments import call, shown
from grokinterp.checked import Checked, Count, Seed
from grokinterp.config.data import Curriculum, SplitConfig, TaskConfig
from grokinterp.config.optim import LossConfig, OptimConfig, RegularizationConfig
from grokinterp.models.architecture import Architecture
from grokinterp.models.factored import is_factorable, is_tabulable
from grokinterp.models.kinds.transformer import TransformerConfig


def _read_device(value: object, what: str) -> str:
    """Check a device name; the device need not exist on this machine."""
    try:
        if isinstance(value, str) and torch.device(value).type in ("cpu", "cuda", "mps"):
            return value
    except RuntimeError:
        pass
    msg = f"{what} must be cpu, cuda, cuda:N or mps, got {shown(value)}."
    raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """The full configuration of a training run.

    Attributes:
        task: Task to train on.
        split: Train/test split.
        model: Architecture and initialization.
        optim: Optimizer and schedules.
        loss: Training loss.
        regularization: Regularization beyond the optimizer.
        curriculum: Order in which training pairs are added.
        epochs: Total number of passes over the training pairs; one update each with full batches.
        seed: Seed of the initial parameters and the label noise, and, unless they have their own, of the split, the
            batch order and dropout.
        engine: Implementation of a training step: `kernels` (compiled for the CPU, fastest; for 1-layer transformers
            without normalization that answer at '='), `factored` (the same models in torch operations, on any device),
            `full` (any model), `hooked` (HookedTransformer of TransformerLens 3), or `auto`: the first of kernels,
            factored and full that supports the model. All compute the same up to rounding.
        compile: Whether to use torch.compile (requires a C++ compiler). Faster, but sums have no fixed order, so equal
            runs are no longer bitwise equal.
        device: `cpu`, `cuda`, `cuda:1` or `mps`.
        log_every: Number of epochs between log entries.
        checkpoint_every: Number of epochs between checkpoints, after the log-spaced early ones.

    Raises:
        ValueError: If a field is invalid, or the engine does not support the model or dropout.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: Architecture = field(default_factory=TransformerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    curriculum: Curriculum = field(default_factory=Curriculum)
    epochs: Count = 40_000
    seed: Seed = 0
    engine: Literal["auto", "kernels", "factored", "full", "hooked"] = "auto"
    compile: bool = False
    device: Annotated[str, _read_device] = "cpu"
    log_every: Count = 10
    checkpoint_every: Count = 100

    def __repr__(self) -> str:
        return call(self)

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Convert the JSON form of an older version to the current names and values."""
        if "regularization" in data:
            return data
        # Older versions called it `aids`, and torch's own cross-entropy `float32`.
        data = {**data, "regularization": data.get("aids", {})}
        data.pop("aids", None)
        if isinstance(data.get("loss"), dict) and data["loss"].get("dtype") == "float32":
            data["loss"] = {**data["loss"], "dtype": "torch_float32"}
        return data

    @property
    def batch_seed(self) -> int:
        """Seed of the batch order and of dropout."""
        return self.seed if self.optim.seed is None else self.optim.seed

    @property
    def training_engine(self) -> str:
        """The engine that trains this config: `engine`, or the one that `auto` selects."""
        if self.engine != "auto":
            return self.engine
        if self._has_kernels:
            return "kernels"
        return "factored" if is_factorable(self.model) else "full"

    @property
    def _has_kernels(self) -> bool:
        return (
            is_tabulable(self.model) and self.device == "cpu" and not self.compile and not self.regularization.dropout
        )

    def _check(self) -> None:
        if self.engine == "kernels" and not self._has_kernels:
            msg = (
                "engine='kernels' requires a 1-layer transformer without normalization, read at '=', on the CPU, "
                f"without compile or dropout, got device={self.device!r}, compile={self.compile}, "
                f"dropout={self.regularization.dropout} and {self.model!r}; use engine='auto'."
            )
            raise ValueError(msg)
        if self.engine == "factored" and not is_factorable(self.model):
            msg = "engine='factored' requires a 1-layer transformer without normalization and sequence 'a b ='; "
            msg += "use engine='full'."
            raise ValueError(msg)
        if self.engine == "hooked" and self.model.kind != "transformer":
            msg = f"engine='hooked' requires a transformer, got a model of kind {self.model.kind!r}; use engine='full'."
            raise ValueError(msg)
        if self.regularization.dropout and self.engine in ("factored", "hooked"):
            msg = f"dropout={self.regularization.dropout} requires engine='full' or 'auto', got engine={self.engine!r}."
            raise ValueError(msg)


def as_run_config(config: object) -> RunConfig:
    """Return a RunConfig; anything else, e.g. a preset's name or a dictionary, raises a TypeError."""
    if isinstance(config, RunConfig):
        return config
    msg = f"config must be a RunConfig, e.g. gi.presets.quick(), got {shown(config)}."
    raise TypeError(msg)


def as_run_configs(configs: object) -> list[RunConfig]:
    """Return one or more RunConfigs as a list; anything else raises a TypeError."""
    if isinstance(configs, str) or not isinstance(configs, Iterable):
        return [as_run_config(configs)]
    return [as_run_config(config) for config in cast("Iterable[object]", configs)]


def check_device(name: str) -> torch.device:
    """The device with a name; a ValueError says that the name is invalid or torch does not find the device."""
    device = torch.device(_read_device(name, "device"))
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= available:
        msg = f"device {name!r} is missing: torch finds {available} {device.type} devices; use device='cpu'."
        raise ValueError(msg)
    return device
