"""What a model of several operations has learned of each of them.

Only for tasks of `tasks.multitask`. The measures have the names of those in `progress` and one dimension more, so that
`ds.sel(operation="division")` is what `phases.detect` and the learning curves read.
"""

from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.losses import cross_entropy_per_pair
from grokinterp.measures import Measure
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import OPERATIONS, Operation


def losses(names: Sequence[Operation]) -> Measure:
    """The loss of each operation by split.

    Args:
        names: The operations, as they were given to `tasks.multitask`.

    Returns:
        Measure giving `loss`, dims (operation, split), nats; NaN where an operation has no pair in a split.

    Raises:
        ValueError: If a name is unknown; when applied, if the task is not that of these operations.
    """
    names = arguments.some_of(names, OPERATIONS, "names")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        per_pair = cross_entropy_per_pair(snapshot.logits, snapshot.task.table)
        return _by_operation(snapshot, names, per_pair, name="loss", units="nats")

    return Measure(name="loss", compute=compute, version=1, arguments={"operations": list(names)})


def accuracies(names: Sequence[Operation]) -> Measure:
    """The share of right answers of each operation by split.

    Args:
        names: The operations, as they were given to `tasks.multitask`.

    Returns:
        Measure giving `accuracy`, dims (operation, split), 0 to 1; NaN where an operation has no pair in a split.

    Raises:
        ValueError: If a name is unknown; when applied, if the task is not that of these operations.

    Examples:
        >>> import grokinterp as gi
        >>> names = ("addition", "subtraction")
        >>> task = gi.tasks.multitask(names, 7)
        >>> params = gi.TransformerConfig().initial_params(task, seed=0)
        >>> is_train = gi.tasks.uniform_split(task, 0.3, seed=0)
        >>> snap = gi.Snapshot(params=params, config=gi.TransformerConfig(), task=task, is_train=is_train)
        >>> dict(accuracies(names)(snap).sizes)
        {'operation': 2, 'split': 3}
    """
    names = arguments.some_of(names, OPERATIONS, "names")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        is_right = (snapshot.logits.argmax(dim=-1) == snapshot.task.table).double()
        return _by_operation(snapshot, names, is_right, name="accuracy", units="")

    return Measure(name="accuracy", compute=compute, version=1, arguments={"operations": list(names)})


def _by_operation(
    snapshot: Snapshot, names: Sequence[Operation], per_pair: Float64[Tensor, "a b"], *, name: str, units: str
) -> xr.DataArray:
    task = snapshot.task
    if task.name != f"{', '.join(names)} mod {task.n_outputs}":
        msg = (
            f"this measure needs the task of tasks.multitask({list(names)}, {task.n_outputs}), got {task.name!r}; "
            "give the operations as the task was made of them."
        )
        raise ValueError(msg)
    rows = (len(names), task.n_outputs)
    of_each = per_pair.unflatten(0, rows)
    masks = torch.stack([snapshot.mask(split).unflatten(0, rows) for split in snapshot.splits], dim=1)
    return labels.array(
        torch.where(masks, of_each[:, None], 0.0).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)),
        ("operation", "split"),
        name=name,
        units=units,
        long_name=name,
        coords={"operation": list(names), "split": snapshot.splits},
    )
