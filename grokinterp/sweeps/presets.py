"""Sweeps with a name and a source, each with seeds, since one run says little of a setting."""

from collections.abc import Callable, Mapping
from typing import Final

from grokinterp import presets
from grokinterp.config import change
from grokinterp.sweeps.spec import SweepSpec


# The last checkpoint is all that a sweep's figures need.
_ONE_CHECKPOINT: Final = {"checkpoint_every": 5_000}


def mlp_decay() -> SweepSpec:
    """The perceptron over weight decay: none at 0 and .1, and the more the sooner."""
    return _mlp({"optim.weight_decay": [0.0, 0.1, 0.5, 1.0, 2.0, 5.0]})


def mlp_width() -> SweepSpec:
    """The perceptron over the width of its hidden layers."""
    return _mlp({"model.d_mlp": [32, 64, 128, 256, 512]})


def mlp_operation() -> SweepSpec:
    """The perceptron over the operation that is learned."""
    return _mlp({"task.operation": ["addition", "subtraction", "multiplication"]})


def mlp_fraction() -> SweepSpec:
    """The perceptron over the share of the pairs that is trained on."""
    return _mlp({"split.fraction": [0.3, 0.5, 0.7, 0.9]})


def division_lr_decay() -> SweepSpec:
    """Two layers on division over learning rate and weight decay, at p = 29 and a quarter of the width.

    Source:
        Power et al. 2022, arXiv:2201.02177, whose own size is `presets.power2022`. Smaller here, so that the table is
        an hour's work for two CPU cores and not a day's.
    """
    config = change(
        presets.power2022(),
        {
            "task.p": 29,
            "split.fraction": 0.6,
            "model.d_model": 64,
            "model.d_head": 16,
            "model.d_mlp": 256,
            "optim.batch_size": 256,
            "epochs": 1_500,
            "checkpoint_every": 1_500,
        },
    )
    axes = {"optim.lr": [3e-4, 1e-3, 3e-3], "optim.weight_decay": [0.0, 0.001, 0.1, 1.0], "seed": range(2)}
    return SweepSpec(config=config, axes=axes)


def _mlp(axes: Mapping[str, list]) -> SweepSpec:
    return SweepSpec(config=change(presets.mlp_onehot(), _ONE_CHECKPOINT), axes={**axes, "seed": range(3)})


SWEEPS: Final[Mapping[str, Callable[[], SweepSpec]]] = {
    "mlp_decay": mlp_decay,
    "mlp_width": mlp_width,
    "mlp_operation": mlp_operation,
    "mlp_fraction": mlp_fraction,
    "division_lr_decay": division_lr_decay,
}
