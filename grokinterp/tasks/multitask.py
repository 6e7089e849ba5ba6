"""Several operations as one task, so that one model learns them all."""

from collections.abc import Sequence

import torch

from grokinterp import arguments
from grokinterp.tasks.operations import IN_S5, OPERATIONS, Operation, Task, operation


def multitask(names: Sequence[Operation], p: int, *, seed: int = 0) -> Task:
    """Several operations modulo p as one table; each row is an operation and a first operand.

    A table has two inputs, so the operator is part of the first operand: there is one token for "3 +" and another
    for "3 /". The second operands, the answers and all of the model after the embedding are shared. Rows are grouped by
    operation, p each, so `x.unflatten(0, (len(names), p))` separates the operations in any array over pairs: the table,
    the split, the logits. `grokinterp.multitask` measures loss and accuracy per operation. The joint table has no
    group, so analyses that require one reject it.

    Args:
        names: At least two different operations from `OPERATIONS`, none of them in S_5, in the order of the rows.
        p: The modulus of all operations.
        seed: Seed of the answers of `random`.

    Returns:
        The task. b = 0 is left out if one of the operations is division. The second operands are tokens 0 to p - 1;
        the first operands of operation number i, counted from 1, are tokens i p to i p + p - 1.

    Raises:
        ValueError: If there are fewer than two different operations modulo p, or one is not defined for p.

    Examples:
        >>> task = multitask(("addition", "division"), 5)
        >>> task.name, task.shape, task.a_tokens[[0, 5]].tolist()
        ('addition, division mod 5', (10, 4), [5, 10])
        >>> task.table.unflatten(0, (2, 5))[1, 3].tolist()
        [3, 4, 1, 2]
    """
    modular = [name for name in OPERATIONS if name not in IN_S5]
    names = arguments.some_of(names, OPERATIONS, "names")
    p = arguments.integer(p, "p", minimum=2)
    if len(names) < 2 or len(set(names)) != len(names) or not set(names) <= set(modular):
        msg = f"names must be two or more different operations of {', '.join(modular)}, got {list(names)}."
        raise ValueError(msg)
    tasks, n_tokens = [operation(name, p, seed=seed) for name in names], (len(names) + 1) * p
    a, b = torch.arange(p, n_tokens), torch.arange(1 if "division" in names else 0, p)
    table = torch.cat([task.table[:, torch.isin(task.b_tokens, b)] for task in tasks])
    title = f"{', '.join(names)} mod {p}"
    return Task(name=title, table=table, n_outputs=p, n_tokens=n_tokens, a_tokens=a, b_tokens=b)
