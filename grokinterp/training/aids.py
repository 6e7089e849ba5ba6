"""Training aids on activations and labels: dropout, and answers that are wrong on purpose."""

from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from grokinterp.models.hooks import Hook


# The ends of the names of hooks at which activations are dropped.
DROPPED: Final = ("attn.hook_pattern", "hook_attn_out", "mlp.hook_post", "hook_mlp_out")

# Added to the seed of label noise, so that it is no function of the split, which is drawn from the same one.
_NOISE_STREAM = 0x6E6F697365


def dropout_hook(rate: float, generator: torch.Generator) -> Hook:
    """A hook that drops entries of attention patterns, of what attention and MLP write, and neurons.

    Every entry is zero with probability `rate`, else divided by 1 - rate, so that its expected value stays.

    Args:
        rate: From 0 up to, not including, 1.
        generator: Draws what is dropped, on its own device.

    Source:
        Srivastava et al. 2014, in the places where torch's TransformerEncoderLayer has it.

    Examples:
        >>> hook = dropout_hook(0.5, torch.Generator().manual_seed(0))
        >>> [hook(f"blocks.0.mlp.{name}", torch.ones(1000)).unique().tolist() for name in ("hook_post", "hook_pre")]
        [[0.0, 2.0], [1.0]]
    """

    def drop(name: str, activation: Tensor) -> Tensor:
        if not name.endswith(DROPPED):
            return activation
        kept = torch.empty(activation.shape, device=generator.device).bernoulli_(1 - rate, generator=generator)
        return activation * kept.to(activation) / (1 - rate)

    return drop


def noisy_labels(labels: Int[Tensor, " batch"], share: float, *, n_outputs: int, seed: int) -> Int[Tensor, " batch"]:
    """Labels of which a share, rounded to a whole number of them, is replaced by wrong ones.

    Args:
        labels: The right classes; they are left alone.
        share: From 0 to 1.
        n_outputs: Classes; a wrong one is drawn evenly from all but the right one.
        seed: Of the draw.

    Raises:
        ValueError: If there is no wrong class.

    Examples:
        >>> noisy_labels(torch.zeros(8, dtype=torch.long), 0.5, n_outputs=3, seed=0).bool().sum().item()
        4
    """
    if n_outputs < 2:
        msg = f"label noise needs a wrong class to draw, got n_outputs={n_outputs}."
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(seed + _NOISE_STREAM)
    replaced = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    further = torch.randint(1, n_outputs, replaced.shape, generator=generator)
    noisy = labels.clone()
    noisy[replaced] = (labels[replaced] + further.to(labels)) % n_outputs
    return noisy
