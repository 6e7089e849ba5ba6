"""Short reprs for large objects, as text and as HTML tables for notebooks."""

import dataclasses
import html
from collections.abc import Mapping
from typing import Any


class Shown:
    """Base class of objects whose repr lists a few facts."""

    def _facts(self) -> Mapping[str, object]:
        """The facts by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align: left">{html.escape(name)}</th>'
            f'<td style="text-align: left">{html.escape(str(value))}</td></tr>'
            for name, value in self._facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption><tbody>{rows}</tbody></table>"


def reason(error: Exception) -> str:
    """The message of an error on one line, for display."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RuntimeError | OSError) else f"{type(error).__name__}: {text}"


def call(config: Any) -> str:
    """A config as a constructor call with its non-default fields.

    Examples:
        >>> import grokinterp as gi
        >>> call(gi.RunConfig(task=gi.TaskConfig(p=59), epochs=500))
        'RunConfig(task=TaskConfig(p=59), epochs=500)'
    """
    default = type(config)()
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    words = [
        f"{name}={call(value) if dataclasses.is_dataclass(value) else repr(value)}"
        for name, value in values.items()
        if value != getattr(default, name)
    ]
    return f"{type(config).__name__}({', '.join(words)})"
