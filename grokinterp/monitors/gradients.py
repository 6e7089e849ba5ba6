"""The gradient of the train loss: its size by parameter, and how far it lies along the weights.

It is computed here, from copies of the parameters, by one backward pass over all training pairs. So it does not depend
on what an optimizer has zeroed, and a checkpoint has one as well as a model in training.
"""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from grokinterp import labels
from grokinterp.losses import cross_entropy
from grokinterp.measures import measure
from grokinterp.models.architecture import Params
from grokinterp.models.factored import factored_logits, is_factorable
from grokinterp.snapshots import Snapshot, kept
from grokinterp.tasks import all_pairs


@measure("gradient_norm", version=1)
def norm(snapshot: Snapshot) -> xr.DataArray:
    """The Euclidean norm of the train loss's gradient by each parameter; dims (parameter,).

    The loss is the mean float64 cross-entropy over all training pairs and all classes of the model, at the task's own
    answers, whatever a run trains on: without label noise or smoothing, dropout or mini-batches.
    """
    values = [x.double().norm().item() for x in gradients(snapshot).values()]
    return _by_parameter(snapshot, values, "gradient_norm", "nats/weight", "norm of the gradient")


@measure("gradient_alignment", version=1)
def alignment_by_parameter(snapshot: Snapshot) -> xr.DataArray:
    """The cosine of each parameter and its negative gradient, -1 to 1; dims (parameter,).

    Above 0 where a step down the gradient lengthens the parameter. 0 where one of the two is zero; a gradient that is
    rounding alone, as that of a key's bias, gives a cosine of no meaning.
    """
    found = gradients(snapshot)
    values = [_cosine(snapshot.params[name].double(), -found[name].double()) for name in snapshot.params]
    return _by_parameter(snapshot, values, "gradient_alignment", "", "cosine of negative gradient and weights")


@measure("alignment", version=1)
def alignment(snapshot: Snapshot) -> xr.DataArray:
    """The cosine of all parameters, joined to one vector, and their negative gradient, -1 to 1; a number.

    Near 1 a step does little but scale the model, which lowers the loss of what it already gets right and changes no
    answer. 0 where one of the two is zero.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, naive loss minimization.
    """
    found = gradients(snapshot)
    weights = torch.cat([x.double().flatten() for x in snapshot.params.values()])
    downhill = -torch.cat([found[name].double().flatten() for name in snapshot.params])
    long_name = "cosine of negative gradient and weights"
    return labels.array(_cosine(weights, downhill), name="alignment", units="", long_name=long_name)


@kept
def gradients(snapshot: Snapshot) -> Params:
    """The gradient of the mean float64 cross-entropy over the training pairs, by parameter.

    Args:
        snapshot: Its parameters are copied and stay as they are.

    Returns:
        A tensor for each parameter, of its shape and dtype.

    Raises:
        ValueError: If the training pairs are not known.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> gradients(snap).keys() == snap.params.keys()
        True
    """
    copies = {name: x.detach().clone().requires_grad_() for name, x in snapshot.params.items()}
    answers = snapshot.task.table[snapshot.mask("train")]
    with torch.enable_grad():
        loss = cross_entropy(train_logits(snapshot, copies), answers)
    return dict(zip(copies, torch.autograd.grad(loss, list(copies.values())), strict=True))


def train_logits(snapshot: Snapshot, params: Params) -> Float[Tensor, "batch d_vocab_out"]:
    """The logits of the training pairs under some parameters, in their dtype: of all classes, '=' among them."""
    is_train, (a, b) = snapshot.mask("train").flatten(), all_pairs(snapshot.task)
    config = snapshot.config
    if snapshot.hook is not None:
        # An edit is made for the batch of all pairs in order.
        return config.logits(params, a, b, snapshot.hook)[is_train]
    if is_factorable(config):
        return factored_logits(params, config, a[is_train], b[is_train])
    return config.logits(params, a[is_train], b[is_train])


def _by_parameter(snapshot: Snapshot, values: list[float], name: str, units: str, long_name: str) -> xr.DataArray:
    names = [parameter.removeprefix("blocks.0.") for parameter in snapshot.params]
    return labels.array(
        values, ("parameter",), name=name, units=units, long_name=long_name, coords={"parameter": names}
    )


def _cosine(x: Tensor, y: Tensor) -> float:
    lengths = (x.norm() * y.norm()).item()
    return (x.flatten() @ y.flatten()).item() / lengths if lengths > 0 else 0.0
