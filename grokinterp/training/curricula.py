"""What makes a pair difficult, by which a curriculum orders the training pairs."""

from jaxtyping import Float64
from torch import Tensor

from grokinterp.tasks import Task


def difficulty(task: Task) -> Float64[Tensor, "a b"]:
    """The mean of a and b over the largest operand, from 0 to 1: the order `operand_size`.

    Operands are read as their tokens, which are the residues modulo p where the task has these.

    Source:
        The curriculum of an earlier grokking framework, for addition: mean(a, b) / (p - 1). It is kept for comparison:
        residues have no size that modular arithmetic knows of.

    Examples:
        >>> from grokinterp.tasks import operation
        >>> difficulty(operation("addition", 3)).tolist()
        [[0.0, 0.25, 0.5], [0.25, 0.5, 0.75], [0.5, 0.75, 1.0]]
    """
    a, b = task.a_tokens.double()[:, None], task.b_tokens.double()[None, :]
    largest = max(a.max().item(), b.max().item(), 1.0)
    return (a + b) / 2 / largest
