"""What the forward passes of every kind of model share: hooks and activation functions."""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor


Hook = Callable[[str, Tensor], Tensor]
"""Called with a hook's name and its activation; what it returns takes the activation's place."""

HOOK_LOGITS: Final = "unembed.hook_out"

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "quadratic": torch.square,
}


def no_hook(_: str, activation: Tensor) -> Tensor:
    """Leave every activation as it is."""
    return activation


def chain(first: Hook | None, second: Hook) -> Hook:
    """The second hook, applied after the first hook if there is one."""
    return second if first is None else lambda name, activation: second(name, first(name, activation))
