"""What is learned, and from which pairs."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

from jaxtyping import Bool
from torch import Tensor

from grokinterp.arguments import integer, number, one_of
from grokinterp.checked import Checked, NotNegativeInt, Seed
from grokinterp.tasks import Operation, Task, multitask, operation, paper_split, uniform_split
from grokinterp.tasks.operations import OTHER_NAMES


# One Literal and no union, whose choices tyro lists in any order.
_Name = Literal[Operation, "custom"]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Checked):
    """What is learned.

    Attributes:
        operation: By name; `custom` stands for a Task that was handed to `train` itself.
        p: The modulus; without a meaning for the operations in S_5, which read 120 permutations whatever it is.
        also: Further operations that the same model learns, told apart by their tokens; see `tasks.multitask`.
        seed: Of the answers of `random`.

    Raises:
        ValueError: If a field is invalid, or a custom task has further operations.
    """

    operation: Annotated[_Name, partial(one_of, choices=get_args(_Name), aliases=OTHER_NAMES)] = "addition"
    p: Annotated[int, partial(integer, minimum=2)] = 113
    also: tuple[Annotated[Operation, partial(one_of, choices=get_args(Operation), aliases=OTHER_NAMES)], ...] = ()
    seed: Seed = 0

    def _check(self) -> None:
        if self.also and self.operation == "custom":
            msg = f"a custom task is whole as it is handed over, got also={self.also}; make it with gi.tasks.multitask."
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
            return multitask((self.operation, *self.also), self.p, seed=self.seed)
        return operation(self.operation, self.p, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Checked):
    """Which pairs are trained on.

    Attributes:
        fraction: Of all pairs, between 0 and 1.
        rule: `uniform` draws with torch's generator, `paper` with Python's shuffle as Nanda et al. did; `custom`
            stands for a mask that was handed to `train` itself.
        seed: Of the draw; none: the run's seed.

    Raises:
        ValueError: If a field is invalid.
    """

    fraction: Annotated[float, partial(number, above=0, below=1)] = 0.3
    rule: Literal["uniform", "paper", "custom"] = "uniform"
    seed: Seed | None = None

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
class Curriculum(Checked):
    """Which of the training pairs are shown when: the easy ones first. It changes the setting; metrics stay whole.

    Attributes:
        order: What makes a pair difficult, from 0 to 1: `operand_size` is the mean of a and b over the largest one;
            `custom` stands for a function that was handed to `train`; `none` shows all pairs from the first update.
        stages: Pairs of an epoch and the difficulty up to which pairs are shown from that epoch on, in order.

    Raises:
        ValueError: If a field is invalid, stages and order do not come together, or the stages do not begin at epoch
            0, are not in order, or do not end with all pairs.

    Examples:
        >>> Curriculum(order="operand_size", stages=((0, 0.3), (1000, 0.6), (5000, 1.0))).difficulty_at(1200)
        0.6
    """

    order: Literal["none", "operand_size", "custom"] = "none"
    stages: tuple[tuple[NotNegativeInt, Annotated[float, partial(number, above=0, maximum=1)]], ...] = ()

    def _check(self) -> None:
        if (self.order == "none") != (not self.stages):
            msg = (
                "a curriculum needs both an order and stages, such as order='operand_size', stages=((0, 0.3), "
                f"(1000, 1.0)), got order={self.order!r}, stages={self.stages}."
            )
            raise ValueError(msg)
        epochs, difficulties = [epoch for epoch, _ in self.stages], [difficulty for _, difficulty in self.stages]
        is_ordered = epochs == sorted(set(epochs)) and epochs[:1] in ([], [0])
        if not (is_ordered and difficulties[-1:] in ([], [1.0])):
            msg = f"stages must begin at epoch 0, rise in epoch, and end at difficulty 1, got stages={self.stages}."
            raise ValueError(msg)

    def difficulty_at(self, epoch: int) -> float:
        """The difficulty up to which pairs are shown after this many epochs."""
        return next((difficulty for start, difficulty in reversed(self.stages) if start <= epoch), 1.0)
