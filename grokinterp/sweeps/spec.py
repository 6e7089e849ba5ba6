"""What to sweep over, from a preset, a file or words of the command line."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from grokinterp import presets
from grokinterp.config import RunConfig, change
from grokinterp.runs.manifest import flat
from grokinterp.sweeps.axes import grid


# A longer one is a slip that would fill the memory.
_LONGEST_RANGE: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A config and the axes over which it is varied.

    Attributes:
        config: What all runs have in common.
        axes: Values by dotted name of a field.
    """

    config: RunConfig
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def configs(self) -> list[RunConfig]:
        """Every combination.

        Raises:
            ValueError: If a name is unknown, or a value is of another type or out of its range.
        """
        return grid(self.config, self.axes)

    def varied(self, values: Mapping[str, Sequence[Any]]) -> "SweepSpec":
        """With some fields set otherwise: several values make an axis, one is for all runs.

        Args:
            values: By dotted name.
        """
        fixed = {name: given[0] for name, given in values.items() if len(given) == 1}
        kept = {name: given for name, given in self.axes.items() if name not in fixed}
        several = {name: given for name, given in values.items() if len(given) > 1}
        return SweepSpec(config=change(self.config, fixed), axes={**kept, **several})


def read_spec(path: str | Path) -> SweepSpec:
    """A plan from a TOML file: a `preset`, what to `change` in it, and the `axes`.

    Only what differs from the preset is named, in tables or with dots. Whole numbers may be a range, "0..4", with
    both ends.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no TOML, or has keys or a preset that are unknown, or no preset.

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
        msg = f"{path} must be TOML, got: {error}."
        raise ValueError(msg) from None
    unknown = data.keys() - {"preset", "change", "axes"}
    if (
        unknown
        or data.get("preset") not in [*presets.PRESETS]
        or not all(isinstance(data.get(table, {}), dict) for table in ("change", "axes"))
    ):
        msg = (
            f"{path} must have preset = one of {', '.join(presets.PRESETS)}, and may have the tables change and axes, "
            f"got preset = {data.get('preset')!r} and the keys {sorted(data)}."
        )
        raise ValueError(msg)
    axes = {
        name: values_of(values) if isinstance(values, str) else values
        for name, values in flat(data.get("axes", {})).items()
    }
    config = change(presets.PRESETS[data["preset"]](), flat(data.get("change", {})))
    return SweepSpec(config=config, axes=axes)


def values_of(*words: str) -> list[Any]:
    """Words of a command line as values: numbers, true and false, none, JSON lists, ranges, else as they are.

    Raises:
        ValueError: If a range goes downwards or is too long.

    Examples:
        >>> values_of("0..2", "7", "1e-3", "none", "AdamW", "[0.9, 0.98]")
        [0, 1, 2, 7, 0.001, None, 'AdamW', [0.9, 0.98]]
    """
    values: list[Any] = []
    for text in words:
        ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
        if ends and not 0 <= int(ends[2]) - int(ends[1]) < _LONGEST_RANGE:
            msg = f"a range must go upwards, such as 0..4, over at most {_LONGEST_RANGE:,} values, got {text}."
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
