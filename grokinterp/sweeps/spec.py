"""Specifications of sweeps: named ones, TOML files, and values on the command line."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from grokinterp import presets
from grokinterp.config import RunConfig, change
from grokinterp.runs.manifest import flat
from grokinterp.sweeps.directories import grid


# A longer range is a typo that would fill the memory.
_LONGEST_RANGE: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A base config and the axes over which it is varied.

    Attributes:
        config: The base config.
        axes: Values by dotted field name.
    """

    config: RunConfig
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def configs(self) -> list[RunConfig]:
        """Every combination.

        Raises:
            ValueError: If a name is unknown, or a value has the wrong type or is out of range.
        """
        return grid(self.config, self.axes)

    def varied(self, values: Mapping[str, Sequence[Any]]) -> "SweepSpec":
        """A copy with some fields changed: several values make an axis, a single one is set for all runs.

        Args:
            values: Values by dotted field name.
        """
        fixed = {name: given[0] for name, given in values.items() if len(given) == 1}
        varying = {name: given for name, given in values.items() if len(given) > 1}
        unchanged = {name: given for name, given in self.axes.items() if name not in fixed}
        return SweepSpec(config=change(self.config, fixed), axes={**unchanged, **varying})


def read_spec(path: str | Path) -> SweepSpec:
    """A specification from a TOML file: a `preset`, a table `change` and a table `axes`.

    The file names only what differs from the preset, in tables or with dotted keys. Integers may be a range with both
    ends included, "0..4".

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not TOML, has unknown keys, or has no known preset.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "decay.toml"
        >>> _ = file.write_text('''
        ... preset = "quick"
        ... change.epochs = 1000
        ... [axes]
        ... optim.weight_decay = [0.5, 1.0]
        ... seed = "0..2"
        ... ''')
        >>> read_spec(file).axes
        {'optim.weight_decay': [0.5, 1.0], 'seed': [0, 1, 2]}
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file {path}."
        raise FileNotFoundError(msg)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"could not parse {path} as TOML: {error}."
        raise ValueError(msg) from None
    preset: Any = data.get("preset")
    changes, axes = data.get("change", {}), data.get("axes", {})
    is_valid = data.keys() <= {"preset", "change", "axes"} and preset in [*presets.PRESETS]
    if not is_valid or not isinstance(changes, dict) or not isinstance(axes, dict):
        msg = (
            f"{path} must have preset = one of {', '.join(presets.PRESETS)}, and may have the tables change and axes, "
            f"got preset = {preset!r} and the keys {sorted(data)}."
        )
        raise ValueError(msg)
    return SweepSpec(
        config=change(presets.PRESETS[preset](), flat(changes)),
        axes={name: values_of(x) if isinstance(x, str) else x for name, x in flat(axes).items()},
    )


def values_of(*words: str) -> list[Any]:
    """Command-line words as values: numbers, true and false, none, JSON lists and ranges; any other word is a string.

    Raises:
        ValueError: If a range is decreasing or too long.

    Examples:
        >>> values_of("0..2", "7", "1e-3", "none", "AdamW", "[0.9, 0.98]")
        [0, 1, 2, 7, 0.001, None, 'AdamW', [0.9, 0.98]]
    """
    values: list[Any] = []
    for text in words:
        ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
        if ends and not 0 <= int(ends[2]) - int(ends[1]) < _LONGEST_RANGE:
            msg = f"a range must be increasing, e.g. 0..4, with at most {_LONGEST_RANGE:,} values, got {text}."
            raise ValueError(msg)
        values += range(int(ends[1]), int(ends[2]) + 1) if ends else [_value_of(text)]
    return values


def _value_of(text: str) -> Any:
    named = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in named:
        return named[text.lower()]
    for read in (int, float, json.loads):
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def mlp_decay() -> SweepSpec:
    """The MLP over weight decay."""
    return _mlp({"optim.weight_decay": [0.0, 0.1, 0.5, 1.0, 2.0, 5.0]})


def mlp_width() -> SweepSpec:
    """The MLP over the width of its hidden layers."""
    return _mlp({"model.d_mlp": [32, 64, 128, 256, 512]})


def mlp_operation() -> SweepSpec:
    """The MLP over the operation."""
    return _mlp({"task.operation": ["addition", "subtraction", "multiplication"]})


def mlp_fraction() -> SweepSpec:
    """The MLP over the train fraction."""
    return _mlp({"split.fraction": [0.3, 0.5, 0.7, 0.9]})


def division_lr_decay() -> SweepSpec:
    """A two-layer transformer on division over learning rate and weight decay, at p = 29 and a quarter of the width.

    Source:
        Power et al. 2022, arXiv:2201.02177, whose size is `presets.power2022`. This one is smaller, so that the sweep
        takes an hour on two CPU cores instead of a day.
    """
    changes = {
        "task.p": 29,
        "split.fraction": 0.6,
        "model.d_model": 64,
        "model.d_head": 16,
        "model.d_mlp": 256,
        "optim.batch_size": 256,
        "epochs": 1_500,
        "checkpoint_every": 1_500,
    }
    axes = {"optim.lr": [3e-4, 1e-3, 3e-3], "optim.weight_decay": [0.0, 0.001, 0.1, 1.0], "seed": range(2)}
    return SweepSpec(config=change(presets.power2022(), changes), axes=axes)


def _mlp(axes: Mapping[str, list]) -> SweepSpec:
    # One checkpoint: the figures of a sweep need only the last.
    config = change(presets.mlp_onehot(), {"checkpoint_every": 5_000})
    return SweepSpec(config=config, axes={**axes, "seed": range(3)})


# Several seeds each, since a single run says little about a setting.
SWEEPS: Final[Mapping[str, Callable[[], SweepSpec]]] = {
    spec.__name__: spec for spec in (mlp_decay, mlp_width, mlp_operation, mlp_fraction, division_lr_decay)
}
