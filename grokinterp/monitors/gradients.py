"""The gradient of the train loss, and the fraction of training pairs with zero gradient due to softmax collapse."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from grokinterp import labels, losses
from grokinterp.losses import cross_entropy
from grokinterp.measures import measure
from grokinterp.models.architecture import Params
from grokinterp.models.factored import factored_logits, is_factorable
from grokinterp.snapshots import Snapshot, cached
from grokinterp.tasks import all_pairs


@measure("gradient_norm", version=1)
def norm(snapshot: Snapshot) -> xr.DataArray:
    """The Euclidean norm of the train loss's gradient for each parameter; dims (parameter,).

    The loss is the mean float64 cross-entropy over all training pairs and all classes of the model, including '=', with
    the task's answers: without label noise, label smoothing, dropout or mini-batches.
    """
    values = [x.double().norm().item() for x in gradients(snapshot).values()]
    return _by_parameter(snapshot, values, "norm of the gradient", units="nats/weight")


@measure("gradient_alignment", version=1)
def alignment_by_parameter(snapshot: Snapshot) -> xr.DataArray:
    """The cosine similarity between each parameter and its negative gradient, -1 to 1; dims (parameter,).

    Positive if a gradient step increases the norm of the parameter; 0 if either is zero. For a gradient that is only
    rounding error, such as a key bias's, the cosine is meaningless.
    """
    by_name = gradients(snapshot)
    values = [_cosine(x.double(), -by_name[name].double()) for name, x in snapshot.params.items()]
    return _by_parameter(snapshot, values, "cosine of negative gradient and weights")


@measure("alignment", version=1)
def alignment(snapshot: Snapshot) -> xr.DataArray:
    """Cosine similarity between the flattened parameters and the negative gradient, -1 to 1; scalar.

    Near 1, a gradient step mostly scales up the model, lowering loss on already-correct examples without changing
    predictions. 0 if either is zero.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, naive loss minimization.
    """
    by_name = gradients(snapshot)
    weights = torch.cat([x.double().flatten() for x in snapshot.params.values()])
    downhill = -torch.cat([by_name[name].double().flatten() for name in snapshot.params])
    return labels.array(_cosine(weights, downhill), long_name="cosine of negative gradient and weights")


@cached
def gradients(snapshot: Snapshot) -> Params:
    """The gradient of the mean float64 cross-entropy over the training pairs, by parameter.

    Args:
        snapshot: The model; its parameters are copied and do not change.

    Returns:
        One tensor per parameter, with its shape and dtype.

    Raises:
        ValueError: If the snapshot has no train mask.

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
    """The logits of the training pairs for the given parameters, in their dtype, including the class '='."""
    is_train, (a, b) = snapshot.mask("train").flatten(), all_pairs(snapshot.task)
    config = snapshot.config
    if snapshot.hook is not None:
        # Edits expect the batch of all pairs in order.
        return config.logits(params, a, b, snapshot.hook)[is_train]
    if is_factorable(config):
        return factored_logits(params, config, a[is_train], b[is_train])
    return config.logits(params, a[is_train], b[is_train])


def _by_parameter(snapshot: Snapshot, values: list[float], long_name: str, units: str = "") -> xr.DataArray:
    names = [parameter.removeprefix("blocks.0.") for parameter in snapshot.params]
    return labels.array(values, ("parameter",), units=units, long_name=long_name, coords={"parameter": names})


def _cosine(x: Tensor, y: Tensor) -> float:
    norms = (x.norm() * y.norm()).item()
    return (x.flatten() @ y.flatten()).item() / norms if norms > 0 else 0.0


@measure("softmax_collapse", version=1)
def softmax_collapse(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of training pairs whose softmax saturates to one-hot in the parameters' dtype, 0 to 1.

    All other logits are so much smaller that adding their exponentials changes nothing: in float32 by about 17 nats.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, softmax collapse.
    """
    return _fraction(_logits(snapshot), losses.softmax_collapse(_logits(snapshot)), "fraction of collapsed softmaxes")


@measure("zero_losses", version=1)
def zero_losses(snapshot: Snapshot) -> xr.DataArray:
    """The fraction of training pairs whose cross-entropy is exactly 0 in the parameters' dtype, 0 to 1.

    If a run computes its loss in that dtype, these pairs have no gradient; in float64, the default here, they do.

    Source:
        Prieto et al. 2025, arXiv:2501.04697.

    Examples:
        >>> import grokinterp as gi
        >>> zero_losses(gi.testing.planted_snapshot(7, keys=(1, 3), amplitude=400.0)).item()
        1.0
    """
    answers = snapshot.task.table[snapshot.mask("train")]
    return _fraction(_logits(snapshot), losses.zero_losses(_logits(snapshot), answers), "fraction of zero losses")


@cached
def _logits(snapshot: Snapshot) -> Float[Tensor, "batch c"]:
    with torch.no_grad():
        return train_logits(snapshot, snapshot.params)


def _fraction(logits: Tensor, value: Tensor, long_name: str) -> xr.DataArray:
    dtype = str(logits.dtype).removeprefix("torch.")
    return labels.array(value, long_name=f"{long_name}, {dtype}", dtype=dtype, split="train")
