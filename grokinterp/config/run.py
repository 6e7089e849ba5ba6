"""All that decides a training run."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch

from grokinterp.arguments import shown
from grokinterp.checked import Checked, Count, Seed
from grokinterp.config.data import Curriculum, SplitConfig, TaskConfig
from grokinterp.config.optim import LossConfig, OptimConfig, RegularizationConfig
from grokinterp.models.architecture import Architecture
from grokinterp.models.factored import is_factorable, is_tabulable
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.reprs import call


def _read_device(value: object, what: str) -> str:
    """A device's name, whether or not this machine has the device."""
    try:
        if isinstance(value, str) and torch.device(value).type in ("cpu", "cuda", "mps"):
            return value
    except RuntimeError:
        pass
    msg = f"{what} must be cpu, cuda, cuda:N or mps, got {shown(value)}."
    raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """All that decides a training run.

    Attributes:
        task: What is learned.
        split: Which pairs are trained on.
        model: The model's shape and initialisation.
        optim: The optimizer and its schedules.
        loss: What an update lowers.
        regularization: What else is done while training.
        curriculum: Which of the training pairs are shown when.
        epochs: Passes over the training pairs; an epoch is one update with the full batch.
        seed: Of the initial parameters and the label noise; of the split, and of batches and dropout too, unless those
            have their own.
        engine: How a training step is computed: `kernels` (compiled for the CPU, the fastest, for one layer without
            normalization that is read at '='), `factored` (the same model in torch's operations, on any device),
            `full` (any model), `hooked` (TransformerLens' own HookedTransformer, version 3), or `auto`: the first of
            kernels, factored and full that applies. All compute the same up to rounding.
        compile: Whether the loss goes through torch.compile (needs a C++ compiler). Quicker, but its sums have no
            fixed order, so that equal runs have equal bits only without it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        log_every: Epochs between entries of the metrics.
        checkpoint_every: Epochs between checkpoints, after those early ones that are log-spaced.

    Raises:
        ValueError: If a field is invalid, or the engine does not compute the model or dropout.
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
        """The JSON form of an older version, with today's names and values."""
        if "regularization" in data:
            return data
        # It was called `aids` when `float32` named torch's own cross-entropy.
        data = {**data, "regularization": data.get("aids", {})}
        data.pop("aids", None)
        if isinstance(data.get("loss"), dict) and data["loss"].get("dtype") == "float32":
            data["loss"] = {**data["loss"], "dtype": "torch_float32"}
        return data

    @property
    def batch_seed(self) -> int:
        """Of the order of the batches and of dropout."""
        return self.seed if self.optim.seed is None else self.optim.seed

    @property
    def training_engine(self) -> str:
        """The engine that a run of this config is trained by: `engine`, or what `auto` means for it."""
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
                "engine='kernels' needs a transformer of one layer without normalization, read at '=', on the CPU, "
                f"without compile and dropout, got device={self.device!r}, compile={self.compile}, "
                f"dropout={self.regularization.dropout} and {self.model!r}; use engine='auto'."
            )
            raise ValueError(msg)
        if self.engine == "factored" and not is_factorable(self.model):
            msg = (
                "engine='factored' needs a transformer of one layer without normalization, reading 'a b ='; "
                "use engine='full'."
            )
            raise ValueError(msg)
        if self.engine == "hooked" and self.model.kind != "transformer":
            msg = (
                f"engine='hooked' is TransformerLens' transformer, got a model of kind {self.model.kind!r}; use 'full'."
            )
            raise ValueError(msg)
        if self.regularization.dropout and self.engine in ("factored", "hooked"):
            msg = f"dropout={self.regularization.dropout} needs engine='full' or 'auto', got engine={self.engine!r}."
            raise ValueError(msg)


def as_run_config(config: object) -> RunConfig:
    """A RunConfig as it is.

    Raises:
        TypeError: If it is something else, such as a preset's name or a dictionary.
    """
    if isinstance(config, RunConfig):
        return config
    msg = f"config must be a RunConfig, such as gi.presets.quick(), got {shown(config)}."
    raise TypeError(msg)


def as_run_configs(configs: object) -> list[RunConfig]:
    """RunConfigs as a list; a single one is a list of one.

    Raises:
        TypeError: If one of them is something else.
    """
    if isinstance(configs, str) or not isinstance(configs, Iterable):
        return [as_run_config(configs)]
    return [as_run_config(config) for config in configs]


def check_device(name: str) -> torch.device:
    """The device of a name, if it is there.

    Raises:
        ValueError: If it is no device of a known kind, or torch does not find it here.

    Examples:
        >>> check_device("cpu")
        device(type='cpu')
    """
    device = torch.device(_read_device(name, "device"))
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= available:
        msg = f"device {name!r} was asked for, but torch finds {available} of its kind here; use device='cpu'."
        raise ValueError(msg)
    return device
