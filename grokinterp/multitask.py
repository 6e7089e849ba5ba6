"""Loss and accuracy per operation of a model that learned several operations.

Only for tasks of `tasks.multitask`. The measures have the same names as in `progress` and one more dimension, so
`phases.detect` and the learning curves accept `ds.sel(operation="division")`.
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
    """The loss per operation and split.

    Args:
        names: The operations, as passed to `tasks.multitask`.

    Returns:
        Measure giving `loss`, dims (operation, split), nats; NaN if an operation has no pair in a split.

    Raises:
        ValueError: If a name is unknown; when called on a snapshot, if its task was not built from these operations.
    """
    names = arguments.some_of(names, OPERATIONS, "names")

    def compute(snapshot: Snapshot) -> xr.DataArray:
        per_pair = cross_entropy_per_pair(snapshot.logits, snapshot.task.table)
        return _by_operation(snapshot, names, per_pair, long_name="loss", units="nats")

    return Measure(name="loss", compute=compute, version=1, arguments={"operations": list(names)})


def accuracies(names: Sequence[Operation]) -> Measure:
    """The accuracy per operation and split.

    Args:
        names: The operations, as passed to `tasks.multitask`.

    Returns:
        Measure giving `accuracy`, dims (operation, split), 0 to 1; NaN if an operation has no pair in a split.

    Raises:
        ValueError: If a name is unknown; when called on a snapshot, if its task was not built from these operations.

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
        is_correct = (snapshot.logits.argmax(dim=-1) == snapshot.task.table).double()
        return _by_operation(snapshot, names, is_correct, long_name="accuracy")

    return Measure(name="accuracy", compute=compute, version=1, arguments={"operations": list(names)})


def _by_operation(
    snapshot: Snapshot, names: Sequence[Operation], per_pair: Float64[Tensor, "a b"], **attrs: str
) -> xr.DataArray:
    task = snapshot.task
    if task.name != f"{', '.join(names)} mod {task.n_outputs}":
        msg = (
            f"this measure requires the task of tasks.multitask({list(names)}, {task.n_outputs}), got {task.name!r}; "
            "pass the operations that the task was built from."
        )
        raise ValueError(msg)
    rows = (len(names), task.n_outputs)
    masks = torch.stack([snapshot.mask(split).unflatten(0, rows) for split in snapshot.splits], dim=1)
    means = torch.where(masks, per_pair.unflatten(0, rows)[:, None], 0.0).sum(dim=(2, 3)) / masks.sum(dim=(2, 3))
    coords = {"operation": list(names), "split": snapshot.splits}
    return labels.array(means, ("operation", "split"), coords=coords, **attrs)
