"""Cross-entropy, accuracy and margins, always computed in float64.

After grokking the loss is near 1e-7, below what float32 resolves next to logits of some tens.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor


def cross_entropy_per_pair(
    logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]
) -> Float64[Tensor, "*pairs"]:
    """-log softmax at the right class, in nats, float64.

    Examples:
        >>> cross_entropy_per_pair(torch.zeros(1, 113), torch.tensor([7])).item()
        4.727387818712341
    """
    log_probs = _in_float64(logits).log_softmax(dim=-1)
    return -log_probs.gather(-1, labels.to(log_probs.device)[..., None])[..., 0]


def cross_entropy(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    """The mean over pairs of `cross_entropy_per_pair`, in nats, float64."""
    logits = _in_float64(logits)
    return F.cross_entropy(logits.flatten(0, -2), labels.to(logits.device).flatten())


def accuracy(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    """The share of pairs whose largest logit is at the right class, from 0 to 1; the first of equal logits counts.

    Examples:
        >>> accuracy(torch.eye(3), torch.tensor([0, 1, 1])).item()
        0.6666666666666666
    """
    return (logits.argmax(dim=-1) == labels).double().mean()


def margin(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, "*pairs"]:
    """The logit of the right class less the largest other one; negative where the answer is wrong.

    Examples:
        >>> margin(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1])).item()
        2.0
    """
    logits = _in_float64(logits)
    labels = labels.to(logits.device)
    right = logits.gather(-1, labels[..., None])
    others = logits.scatter(-1, labels[..., None], -torch.inf)
    return right[..., 0] - others.amax(dim=-1)


def _in_float64(logits: Float[Tensor, "*pairs c"]) -> Float64[Tensor, "*pairs c"]:
    """In float64, on the CPU where the device has none: Apple's MPS."""
    return (logits.cpu() if logits.device.type == "mps" else logits).double()
