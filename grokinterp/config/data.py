"""Config of the task, the train/test split and the curriculum."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

from jaxtyping import Bool
from torch import Tensor

from grokinterp.arguments import integer, number, one_of
from grokinterp.checked import Checked, NotNegativeInt, Seed
from grokinterp.tasks import Operation, Task, multitask, operation, paper_split, uniform_split
from grokinterp.tasks.operations import OTHER_NAMES


# One Literal, because tyro lists the choices of a union in no fixed order.
_Name = Literal[Operation, "custom"]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Checked):
    """The task to train on.

    Attributes:
        operation: Name of the operation; `custom` if a Task is passed to `train`.
        p: Modulus; unused by the operations in S_5, whose operands are the 120 permutations.
        also: Further operations for the same model, distinguished by their tokens; see `tasks.multitask`.
        seed: Seed of the answers of `random`.

    Raises:
        ValueError: If a field is invalid, or a custom task has further operations.
    """

    operation: Annotated[_Name, partial(one_of, choices=get_args(_Name), aliases=OTHER_NAMES)] = "addition"
    p: Annotated[int, partial(integer, minimum=2)] = 113
    also: tuple[Annotated[Operation, partial(one_of, choices=get_args(Operation), aliases=OTHER_NAMES)], ...] = ()
    seed: Seed = 0

    def _check(self) -> None:
        if self.also and self.operation == "custom":
            msg = f"a custom task must have also=(), got also={self.also}; combine tasks with gi.tasks.multitask."
            raise ValueError(msg)

    def build(self) -> Task:
        """Build the task; a ValueError says that the operation is `custom`, undefined for p, or repeated."""
        if self.operation == "custom":
            msg = "a custom task cannot be built from its config; pass task=... to train, or read it from its run."
            raise ValueError(msg)
        if self.also:
            return multitask((self.operation, *self.also), self.p, seed=self.seed)
        return operation(self.operation, self.p, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Checked):
    """The train/test split.

    Attributes:
        fraction: Train fraction, strictly between 0 and 1.
        rule: `uniform` draws with torch's generator, `paper` with Python's shuffle as in Nanda et al. 2023; `custom` if
            a mask is passed to `train`.
        seed: Seed of the draw; None for the run's seed.

    Raises:
        ValueError: If a field is invalid.
    """

    fraction: Annotated[float, partial(number, above=0, below=1)] = 0.3
    rule: Literal["uniform", "paper", "custom"] = "uniform"
    seed: Seed | None = None

    def build(self, task: Task, run_seed: int) -> Bool[Tensor, "a b"]:
        """Draw the training mask; a ValueError says that the rule is `custom`, or that a split would be empty."""
        if self.rule == "custom":
            msg = "a custom split cannot be built from its config; pass is_train=... to train, or read it from its run."
            raise ValueError(msg)
        draw = {"uniform": uniform_split, "paper": paper_split}[self.rule]
        return draw(task, self.fraction, seed=run_seed if self.seed is None else self.seed)


@dataclass(frozen=True, kw_only=True)
class Curriculum(Checked):
    """A curriculum: training starts on easy pairs and adds harder ones. Metrics still cover all training pairs.

    Attributes:
        order: Difficulty of a pair, 0 to 1: `operand_size` is the mean of a and b divided by the largest operand;
            `custom` if a function is passed to `train`; `none` trains on all pairs from the first update.
        stages: (epoch, difficulty) in ascending order: from this epoch, train on pairs up to this difficulty.

    Raises:
        ValueError: If a field is invalid, only one of order and stages is given, or the stages do not start at epoch 0,
            are not in ascending order, or do not end at difficulty 1.

    Examples:
        >>> Curriculum(order="operand_size", stages=((0, 0.3), (1000, 0.6), (5000, 1.0))).difficulty_at(1200)
        0.6
    """

    order: Literal["none", "operand_size", "custom"] = "none"
    stages: tuple[tuple[NotNegativeInt, Annotated[float, partial(number, above=0, maximum=1)]], ...] = ()

    def _check(self) -> None:
        if (self.order == "none") != (not self.stages):
            msg = (
                "a curriculum requires both order and stages, e.g. order='operand_size', stages=((0, 0.3), "
                f"(1000, 1.0)), got order={self.order!r}, stages={self.stages}."
            )
            raise ValueError(msg)
        epochs, difficulties = [epoch for epoch, _ in self.stages], [difficulty for _, difficulty in self.stages]
        is_ordered = epochs == sorted(set(epochs)) and epochs[:1] in ([], [0])
        if not (is_ordered and difficulties[-1:] in ([], [1.0])):
            msg = f"stages must start at epoch 0, be in order, and end at difficulty 1, got stages={self.stages}."
            raise ValueError(msg)

    def difficulty_at(self, epoch: int) -> float:
        """The highest difficulty trained on at an epoch."""
        return next((difficulty for start, difficulty in reversed(self.stages) if start <= epoch), 1.0)
