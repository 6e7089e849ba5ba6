"""What is learned, and from which pairs."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool
from torch import Tensor

from grokinterp.tasks import Operation, Task, operation, paper_split, several, uniform_split


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learned.

    Attributes:
        operation: By name; `custom` stands for a Task that was handed to `train` itself.
        p: The modulus; without a meaning for the operations in S_5, which read 120 permutations whatever it is.
        also: Further operations that the same model learns, told apart by their tokens; see `tasks.several`.
        seed: Of the answers of `random`.

    Raises:
        ValueError: If p is below 2, or a custom task has further operations.
    """

    # One Literal and no union, whose choices tyro lists in any order.
    operation: Literal[Operation, "custom"] = "addition"
    p: int = 113
    also: tuple[Operation, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.p < 2:
            msg = f"p must be at least 2, got p={self.p}."
            raise ValueError(msg)
        if self.also and self.operation == "custom":
            msg = f"a custom task is whole as it is handed over, got also={self.also}; make it with gi.tasks.several."
            raise ValueError(msg)

    def build(self) -> Task:
        """The task.

        Raises:
            ValueError: If the operation is `custom`, or not defined for p; or one is there twice.
        """
        if self.operation == "custom":
            msg = "a custom task cannot be built from its config; pass task=... to train, or read it from its run."
            raise ValueError(msg)
        if self.also:
            return several((self.operation, *self.also), self.p, seed=self.seed)
        return operation(self.operation, self.p, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which pairs are trained on.

    Attributes:
        fraction: Of all pairs, between 0 and 1.
        rule: `uniform` draws with torch's generator, `paper` with Python's shuffle as Nanda et al. did; `custom`
            stands for a mask that was handed to `train` itself.
        seed: Of the draw; none: the run's seed.

    Raises:
        ValueError: If the fraction is not between 0 and 1.
    """

    fraction: float = 0.3
    rule: Literal["uniform", "paper", "custom"] = "uniform"
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            msg = f"fraction must be between 0 and 1, got fraction={self.fraction}."
            raise ValueError(msg)

    def build(self, task: Task, run_seed: int) -> Bool[Tensor, "a b"]:
        """True at the pairs that are trained on.

        Raises:
            ValueError: If the rule is `custom`, or a part of the split would be empty.
        """
        if self.rule == "custom":
            msg = "a custom split cannot be built from its config; pass is_train=... to train, or read it from its run."
            raise ValueError(msg)
        draw = {"uniform": uniform_split, "paper": paper_split}[self.rule]
        return draw(task, self.fraction, seed=run_seed if self.seed is None else self.seed)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Which of the training pairs are shown when: the easy ones first. It changes the setting; metrics stay whole.

    Attributes:
        order: What makes a pair difficult, from 0 to 1: `operand_size` is the mean of a and b over the largest one;
            `custom` stands for a function that was handed to `train`; `none` shows all pairs from the first update.
        stages: Pairs of an epoch and the difficulty up to which pairs are shown from that epoch on, in order.

    Raises:
        ValueError: If stages and order do not come together, or the stages do not begin at epoch 0, are not in order,
            or do not end with all pairs.

    Examples:
        >>> Curriculum(order="operand_size", stages=((0, 0.3), (1000, 0.6), (5000, 1.0))).difficulty_at(1200)
        0.6
    """

    order: Literal["none", "operand_size", "custom"] = "none"
    stages: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if (self.order == "none") != (not self.stages):
            msg = (
                "a curriculum needs both an order and stages, such as order='operand_size', stages=((0, 0.3), "
                f"(1000, 1.0)), got order={self.order!r}, stages={self.stages}."
            )
            raise ValueError(msg)
        epochs, difficulties = [epoch for epoch, _ in self.stages], [difficulty for _, difficulty in self.stages]
        is_ordered = epochs == sorted(set(epochs)) and epochs[:1] in ([], [0])
        if not (is_ordered and all(0 < x <= 1 for x in difficulties) and difficulties[-1:] in ([], [1.0])):
            msg = (
                "stages must begin at epoch 0, rise in epoch, and have difficulties above 0 and up to 1, the last of "
                f"them 1, got stages={self.stages}."
            )
            raise ValueError(msg)

    def difficulty_at(self, epoch: int) -> float:
        """The difficulty up to which pairs are shown after this many epochs."""
        return next((difficulty for start, difficulty in reversed(self.stages) if start <= epoch), 1.0)
