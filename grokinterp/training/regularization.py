"""Regularization: what is done to gradients and weights at an update, and dropout of activations.

Gradients and weights are dictionaries of plain tensors by parameter name.
"""

from typing import Final

import torch
from torch import Tensor

from grokinterp.config import RegularizationConfig
from grokinterp.models.architecture import Hook, Params
from grokinterp.runs.resume import OptimizerState


def filtered(grads: Params, params: Params, config: RegularizationConfig, grokfast: "Grokfast | None") -> Params:
    """The gradients made orthogonal, amplified and clipped, in this order, as far as a config asks for it.

    Args:
        grads: Of the parameters that are updated.
        params: Those parameters, and perhaps others.
        config: The regularization.
        grokfast: What remembers earlier gradients; none where `config.grokfast` is.
    """
    if config.orthogonal_gradient:
        grads = orthogonal(grads, params)
    if grokfast is not None:
        grads = grokfast(grads)
    return grads if config.clip_norm is None else clip(grads, config.clip_norm)


def orthogonal(grads: Params, params: Params) -> Params:
    """⊥Grad: each gradient without its part along its parameter, at the gradient's own length.

    Source:
        Prieto et al. 2025, arXiv:2501.04697, the code's `_orthogonalize_gradients`, with its epsilons of 1e-30.

    Examples:
        >>> orthogonal({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([0.0, 2.0])})["w"].tolist()
        [5.0, 0.0]
    """
    return {name: _orthogonal(grad, params[name].detach()) for name, grad in grads.items()}


def _orthogonal(grad: Tensor, weight: Tensor) -> Tensor:
    along = (weight * grad).sum() / ((weight * weight).sum() + 1e-30)
    across = grad - along * weight
    return across * (torch.linalg.vector_norm(grad) / (torch.linalg.vector_norm(across) + 1e-30))


def clip(grads: Params, max_norm: float) -> Params:
    """All gradients scaled down so that their joint norm is at most `max_norm`, as torch's `clip_grad_norm_` does it.

    Examples:
        >>> clip({"w": torch.tensor([3.0, 4.0])}, 1.0)["w"]
        tensor([0.6000, 0.8000])
    """
    scale = (max_norm / (norm(grads) + 1e-6)).clamp(max=1.0)
    return {name: grad * scale for name, grad in grads.items()}


def norm(tensors: Params) -> Tensor:
    """The root of the sum of all squares, in the dtype of the tensors.

    Examples:
        >>> norm({"w": torch.tensor([2.0, 3.0]), "b": torch.tensor([6.0])}).item()
        7.0
    """
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors.values()]))


def hold_norm(params: Params, length: float | Tensor) -> Params:
    """The parameters scaled, all by one factor, so that their joint norm is `length`.

    Source:
        Liu et al. 2023, arXiv:2210.01117 (Omnigrok): training at a constant weight norm. Their code scales the layers
        after the embedding alone.

    Examples:
        >>> hold_norm({"w": torch.tensor([3.0, 4.0])}, 10.0)["w"].tolist()
        [6.0, 8.0]
    """
    detached = {name: p.detach() for name, p in params.items()}
    scale = length / norm(detached)
    return {name: p * scale for name, p in detached.items()}


class Grokfast:
    """Adds to each gradient `grokfast_gain` times a mean over updates, which it remembers.

    `ema` is an exponential mean that begins at the first gradient; `ma` is that of the last `grokfast_window`
    gradients, this one among them, and adds nothing before there are as many.

    Source:
        Lee et al. 2024, arXiv:2405.20233, algorithms 1 and 2; the code's `gradfilter_ema`, and its `gradfilter_ma` with
        `warmup`.

    Examples:
        >>> grokfast = Grokfast(RegularizationConfig(grokfast="ema", grokfast_decay=0.5, grokfast_gain=2.0))
        >>> [grokfast({"w": torch.tensor(g)})["w"].item() for g in (1.0, 0.0, 0.0)]
        [3.0, 1.0, 0.5]
    """

    def __init__(self, config: RegularizationConfig) -> None:
        self._config = config
        self._means: Params = {}
        # The gradient of update i is in place i modulo the window's length.
        self._windows: Params = {}
        self._updates = 0

    @torch.no_grad()
    def __call__(self, grads: Params) -> Params:
        """The amplified gradients of the next update."""
        add = {"ema": self._exponential, "ma": self._moving, "none": lambda _, grad: grad}[self._config.grokfast]
        amplified = {name: add(name, grad) for name, grad in grads.items()}
        self._updates += 1
        return amplified

    def _exponential(self, name: str, grad: Tensor) -> Tensor:
        decay = self._config.grokfast_decay
        # A state that was read from a file is on the CPU.
        before = self._means.get(name, grad).to(grad.device)
        self._means[name] = before * decay + grad * (1 - decay)
        return grad + self._means[name] * self._config.grokfast_gain

    def _moving(self, name: str, grad: Tensor) -> Tensor:
        length = self._config.grokfast_window
        if name not in self._windows:
            self._windows[name] = grad.new_zeros(length, *grad.shape)
        window = self._windows[name] = self._windows[name].to(grad.device)
        window[self._updates % length] = grad
        if self._updates + 1 < length:
            return grad
        return grad + window.mean(dim=0) * self._config.grokfast_gain

    def state(self) -> OptimizerState:
        """What is remembered, by parameter name: a copy, beside which an optimizer's state has room."""
        if self._config.grokfast == "ema":
            return {name: {"grokfast_mean": mean.clone()} for name, mean in self._means.items()}
        updates = torch.tensor(self._updates)
        return {
            name: {"grokfast_window": window.clone(), "grokfast_updates": updates.clone()}
            for name, window in self._windows.items()
        }

    def load(self, state: OptimizerState) -> None:
        """Go on from a `state`; from one without a filter's, or with that of the other kind, begin anew.

        Raises:
            ValueError: If its window is of another length.
        """
        is_ema, length = self._config.grokfast == "ema", self._config.grokfast_window
        self._means, self._windows, self._updates = {}, {}, 0
        for name, entry in state.items():
            if is_ema and "grokfast_mean" in entry:
                self._means[name] = entry["grokfast_mean"].clone()
            if not is_ema and "grokfast_window" in entry:
                window = entry["grokfast_window"].clone()
                if len(window) != length:
                    msg = f"grokfast_window must be that of the state, {len(window)}, got {length}."
                    raise ValueError(msg)
                self._windows[name], self._updates = window, int(entry["grokfast_updates"])


# The ends of the names of hooks at which activations are dropped.
DROPPED: Final = ("attn.hook_pattern", "hook_attn_out", "mlp.hook_post", "hook_mlp_out")


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
