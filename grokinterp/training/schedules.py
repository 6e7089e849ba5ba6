"""The factor of a schedule at an update: a function of its number, or of what the train loss has done so far."""

import math
from dataclasses import dataclass

from grokinterp.config import Schedule


# Torch's default: a loss is a new low if it is below this share of the lowest.
_NEW_LOW = 1 - 1e-4


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """What a schedule of the kind `plateau` knows of the train losses before an update.

    `dataclasses.asdict` makes JSON of it, and `Plateau(**...)` reads that.

    Attributes:
        factor: Of the base value.
        lowest: The loss that a new one has to be below; None before the first.
        waited: Updates since that was set, or since the factor changed.

    Source:
        torch's ReduceLROnPlateau, in its mode `min` with a relative threshold of 1e-4 and no cooldown.

    Examples:
        >>> schedule, plateau = Schedule(kind="plateau", steps=2, factor=0.5), Plateau()
        >>> for loss in (3.0, 2.0, 2.0, 2.0, 2.0):
        ...     plateau = plateau.after(schedule, loss)
        >>> plateau
        Plateau(factor=0.5, lowest=2.0, waited=0)
    """

    factor: float = 1.0
    lowest: float | None = None
    waited: int = 0

    def after(self, schedule: Schedule, loss: float) -> "Plateau":
        """What is known after an update that had this train loss."""
        if loss < (math.inf if self.lowest is None else self.lowest * _NEW_LOW):
            return Plateau(factor=self.factor, lowest=loss, waited=0)
        if self.waited < schedule.steps:
            return Plateau(factor=self.factor, lowest=self.lowest, waited=self.waited + 1)
        changed = self.factor * schedule.factor
        # A factor that falls does not rise to its limit, nor the other way round.
        if schedule.factor < 1:
            changed = min(self.factor, max(changed, schedule.limit))
        else:
            changed = max(self.factor, min(changed, schedule.limit))
        return Plateau(factor=changed, lowest=self.lowest, waited=0)


def factor(schedule: Schedule, step: int, plateau: Plateau) -> float:
    """The factor of an update, counted from 0.

    Examples:
        >>> factor(Schedule(kind="linear", steps=10, factor=0.0), 5, Plateau())
        0.5
        >>> factor(Schedule(kind="plateau"), 5, Plateau(factor=0.25))
        0.25
    """
    return plateau.factor if schedule.kind == "plateau" else schedule.at(step)
