"""What happens inside a network while it groks: train, checkpoint, decompose, measure, report.

Names are loaded when first used, so that `import grokinterp` costs little beyond torch.
"""

import importlib
from typing import Any, Final


_MODULES: Final = (
    "attention",
    "basis",
    "fourier",
    "labels",
    "logits",
    "losses",
    "models",
    "neurons",
    "phases",
    "plots",
    "presets",
    "progress",
    "report",
    "tasks",
    "testing",
)
_OBJECTS: Final = {
    "Group": "grokinterp.tasks",
    "Measure": "grokinterp.snapshot",
    "OptimConfig": "grokinterp.config",
    "Run": "grokinterp.runs.run",
    "RunConfig": "grokinterp.config",
    "RunError": "grokinterp.runs.layout",
    "Snapshot": "grokinterp.snapshot",
    "SplitConfig": "grokinterp.config",
    "Task": "grokinterp.tasks",
    "TaskConfig": "grokinterp.config",
    "TransformerConfig": "grokinterp.models.config",
    "load_run": "grokinterp.runs.run",
    "snapshot": "grokinterp.snapshot",
    "train": "grokinterp.training.loop",
    "trajectory": "grokinterp.trajectory",
}

__all__ = [*_MODULES, *_OBJECTS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _OBJECTS:
        value = getattr(importlib.import_module(_OBJECTS[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"grokinterp.{name}")
    else:
        msg = f"module 'grokinterp' has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
