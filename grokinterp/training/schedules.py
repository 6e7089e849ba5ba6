"""The factor of a schedule at an update: a function of its number, or of what the train loss has done so far."""

import math
from typing import Any

from grokinterp.config import Schedule


# Torch's default: a loss is a new low if it is below this share of the lowest.
_NEW_LOW = 1 - 1e-4


class Plateau:
    """Follows the train loss for a schedule of the kind `plateau`.

    Attributes:
        schedule: What happens on a plateau.
        factor: Of the base value, at the next update.

    Source:
        torch's ReduceLROnPlateau, in its mode `min` with a relative threshold of 1e-4 and no cooldown.

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
        # Updates since the lowest loss, or since the factor changed.
        self._waited = 0

    def update(self, loss: float) -> None:
        """Take note of an update's train loss."""
        if loss < self._lowest * _NEW_LOW:
            self._lowest, self._waited = loss, 0
        elif self._waited < self.schedule.steps:
            self._waited += 1
        else:
            self.factor, self._waited = self._changed(), 0

    def _changed(self) -> float:
        """The next factor, at most as far as the limit."""
        times, limit = self.schedule.factor, self.schedule.limit
        return max(self.factor * times, limit) if times < 1 else min(self.factor * times, limit)

    def state(self) -> dict[str, Any]:
        """What has been noted, as JSON values; the lowest loss is None before the first."""
        lowest = None if self._lowest == math.inf else self._lowest
        return {"factor": self.factor, "lowest": lowest, "waited": self._waited}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.factor = state["factor"]
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._waited = state["waited"]


def factor(schedule: Schedule, step: int, plateau: Plateau | None) -> float:
    """The factor of an update.

    Args:
        schedule: Of whatever kind.
        step: The update's number, counted from 0.
        plateau: What has followed the losses so far; read for the kind `plateau` alone.

    Raises:
        ValueError: If the schedule is of that kind, and there is none.

    Examples:
        >>> factor(Schedule(kind="linear", steps=10, factor=0.0), 5, None)
        0.5
    """
    if schedule.kind != "plateau":
        return schedule.at(step)
    if plateau is None:
        msg = "the factor of a schedule of kind 'plateau' follows from the losses so far; pass its Plateau."
        raise ValueError(msg)
    return plateau.factor
