"""The multiplier of a schedule at an update: a function of the update's number or of the loss history."""

import math
from typing import Any

from grokinterp.config import Schedule


# Torch's default: a loss below this multiple of the minimum is a new minimum.
_NEW_MINIMUM = 1 - 1e-4


class Plateau:
    """Tracks the train loss for a `kind="plateau"` schedule.

    Attributes:
        schedule: The plateau schedule's settings.
        factor: Multiplier applied to the base value at the next update.

    Source:
        torch's ReduceLROnPlateau in `min` mode, with a relative threshold of 1e-4 and no cooldown.

    Examples:
        >>> plateau = Plateau(Schedule(kind="plateau", steps=2, factor=0.5))
        >>> for loss in (3.0, 2.0, 2.0, 2.0, 2.0):
        ...     plateau.update(loss)
        >>> plateau.state()
        {'factor': 0.5, 'lowest': 2.0, 'waited': 0}
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.factor: float = 1.0
        self._lowest = math.inf
        # Updates since the last new minimum or change of the factor.
        self._waited = 0

    def update(self, loss: float) -> None:
        """Record the train loss of an update."""
        if loss < self._lowest * _NEW_MINIMUM:
            self._lowest, self._waited = loss, 0
        elif self._waited < self.schedule.steps:
            self._waited += 1
        else:
            multiplier, limit = self.schedule.factor, self.schedule.limit
            bound = max if multiplier < 1 else min
            self.factor, self._waited = bound(self.factor * multiplier, limit), 0

    def state(self) -> dict[str, Any]:
        """The state as JSON values; `lowest` is None before the first update."""
        lowest = None if self._lowest == math.inf else self._lowest
        return {"factor": self.factor, "lowest": lowest, "waited": self._waited}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self.factor = state["factor"]
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._waited = state["waited"]


def factor(schedule: Schedule, step: int, plateau: Plateau | None) -> float:
    """The multiplier of a schedule at an update.

    Args:
        schedule: A schedule of any kind.
        step: Number of the update, from 0.
        plateau: Tracker of the loss history, for a `kind="plateau"` schedule only.

    Raises:
        ValueError: If a `kind="plateau"` schedule has no tracker.

    Examples:
        >>> factor(Schedule(kind="linear", steps=10, factor=0.0), 5, None)
        0.5
    """
    if schedule.kind != "plateau":
        return schedule.at(step)
    if plateau is None:
        msg = "the factor of a schedule with kind='plateau' depends on the loss history; pass a Plateau tracker."
        raise ValueError(msg)
    return plateau.factor
