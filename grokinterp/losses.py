"""Cross-entropy and accuracy in float64, and how often a lower-precision dtype would lose the loss or its gradient.

After grokking the loss is near 1e-7, which float32 cannot resolve next to logits in the tens.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor


def cross_entropy_per_pair(
    logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]
) -> Float64[Tensor, "*pairs"]:
    """-log softmax at the correct class, in nats, float64.

    Examples:
        >>> cross_entropy_per_pair(torch.zeros(1, 113), torch.tensor([7])).item()
        4.727387818712341
    """
    log_probs = _in_float64(logits).log_softmax(dim=-1)
    return -log_probs.gather(-1, labels.to(log_probs.device)[..., None])[..., 0]


def cross_entropy(
    logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"], label_smoothing: float = 0.0
) -> Float64[Tensor, ""]:
    """The mean of `cross_entropy_per_pair` over pairs, in nats, float64.

    Args:
        logits: Logits of every class.
        labels: The correct classes.
        label_smoothing: Fraction of the target probability that is spread evenly over all classes, as in torch.

    Examples:
        >>> logits, labels = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
        >>> [round(cross_entropy(logits, labels, smoothing).item(), 4) for smoothing in (0.0, 0.1)]
        [0.0181, 0.2181]
    """
    logits = _in_float64(logits)
    labels = labels.to(logits.device).flatten()
    return F.cross_entropy(logits.flatten(0, -2), labels, label_smoothing=label_smoothing)


def cross_entropy_by_log1p(
    logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """As `cross_entropy`, in the dtype of the logits, and in float32 still exact to 1e-6, however small the loss.

    It is log1p(sum of exp(z_j - z_label) over the other classes): nothing is added to 1 and rounded away, neither in
    the loss nor in its gradient.

    Examples:
        >>> logits, labels = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
        >>> [f"{loss(logits, labels).item():.2e}" for loss in (cross_entropy_by_log1p, F.cross_entropy)]
        ['2.06e-09', '0.00e+00']
    """
    index = labels.to(logits.device)[..., None]
    right = logits.gather(-1, index)
    ahead = logits - right
    with torch.no_grad():
        # What the difference lost to rounding, which exp would multiply by the loss's logarithm (Knuth's TwoSum).
        part = ahead - logits
        lost = (logits - (ahead - part)) - (right + part)
        # Above 0 if the answer is wrong: then the largest term is 1, and nothing overflows.
        shift = ahead.amax(dim=-1, keepdim=True)
    others = ((ahead - shift).exp() * (1 + lost)).scatter(-1, index, 0.0).sum(dim=-1)
    shift = shift[..., 0]
    losses = shift + (others + (-shift).expm1()).log1p()
    return (losses - label_smoothing * ahead.mean(dim=-1)).mean()


def stablemax_cross_entropy(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    """-log(s(z) / sum of s(z)) at the correct class, averaged over pairs, in nats, float64.

    s replaces the exponential of softmax: s(x) = x + 1 for x >= 0 and 1 / (1 - x) for x < 0.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, StableMax. Differs: their code divides before it takes the logarithm, so
        its gradient is NaN if a logit is exactly 1.

    Examples:
        >>> round(stablemax_cross_entropy(torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])).exp().item(), 9)
        1.5
    """
    return cross_entropy(log_stable(_in_float64(logits)), labels)


def log_stable(logits: Float[Tensor, "*pairs c"]) -> Float[Tensor, "*pairs c"]:
    """The logarithm of s, in the dtype of the logits: the softmax of these values is the StableMax of the logits.

    Examples:
        >>> log_stable(torch.tensor([2.0, 0.0, -1.0])).exp()
        tensor([3.0000, 1.0000, 0.5000])
    """
    # Clamping keeps the gradient of the unused branch finite: NaN times 0 is NaN.
    above, below = logits.clamp(min=0), (-logits).clamp(min=0)
    return torch.where(logits >= 0, above.log1p(), -below.log1p())


def accuracy(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    """The fraction of pairs whose largest logit is at the correct class, 0 to 1; ties go to the first class.

    Examples:
        >>> accuracy(torch.eye(3), torch.tensor([0, 1, 1])).item()
        0.6666666666666666
    """
    return (logits.argmax(dim=-1) == labels).double().mean()


def softmax_collapse(logits: Float[Tensor, "*pairs c"]) -> Float64[Tensor, ""]:
    """The fraction of pairs whose softmax saturates to one-hot in the logits' dtype: sum exp(z - max z) is exactly 1.

    If that class is correct, its logit has zero gradient.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, the code's `softmax_collapse`.

    Examples:
        >>> logits = torch.tensor([[16.0, 0.0], [17.0, 0.0]])
        >>> softmax_collapse(logits).item(), softmax_collapse(logits.double()).item()
        (0.5, 0.0)
    """
    total = (logits - logits.amax(dim=-1, keepdim=True)).exp().sum(dim=-1)
    return _fraction(total == 1)


def zero_losses(logits: Float[Tensor, "*pairs c"], labels: Int[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    """The fraction of pairs whose cross-entropy is exactly 0 in the logits' dtype.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, the code's `zero_terms`.

    Examples:
        >>> zero_losses(torch.tensor([[17.0, 0.0], [17.0, 0.0]]), torch.tensor([0, 1])).item()
        0.5
    """
    losses = F.cross_entropy(logits.flatten(0, -2), labels.to(logits.device).flatten(), reduction="none")
    return _fraction(losses == 0)


def _fraction(is_true: Bool[Tensor, "*pairs"]) -> Float64[Tensor, ""]:
    return is_true.cpu().double().mean()


def _in_float64(logits: Float[Tensor, "*pairs c"]) -> Float64[Tensor, "*pairs c"]:
    """Logits in float64; on the CPU if the device is Apple's MPS, which has no float64."""
    return (logits.cpu() if logits.device.type == "mps" else logits).double()
