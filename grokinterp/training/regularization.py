"""Regularization of gradients (⊥Grad, Grokfast, clipping), of the weight norm, and of activations (dropout)."""

from typing import Final

import torch
from torch import Tensor

from grokinterp.config import RegularizationConfig
from grokinterp.models.architecture import Hook, Params
from grokinterp.runs.resume import OptimizerState


def process_gradients(
    grads: Params, params: Params, config: RegularizationConfig, grokfast: "Grokfast | None"
) -> Params:
    """The gradients after ⊥Grad, Grokfast and clipping, in this order, as the config enables them.

    Args:
        grads: Gradients by parameter name.
        params: Parameters by name, at least those with a gradient.
        config: Regularization settings.
        grokfast: The gradient filter, or None if `config.grokfast` is "none".
    """
    if config.orthogonal_gradient:
        grads = orthogonal(grads, params)
    if grokfast is not None:
        grads = grokfast(grads)
    return grads if config.clip_norm is None else clip(grads, config.clip_norm)


def orthogonal(grads: Params, params: Params) -> Params:
    """⊥Grad: each gradient projected orthogonally to its parameter and rescaled to its original norm.

    Source:
        Prieto et al. 2025, arXiv:2501.04697: `_orthogonalize_gradients` in their code, including epsilon = 1e-30.

    Examples:
        >>> orthogonal({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([0.0, 2.0])})["w"].tolist()
        [5.0, 0.0]
    """
    return {name: _orthogonal(grad, params[name].detach()) for name, grad in grads.items()}


def _orthogonal(grad: Tensor, weight: Tensor) -> Tensor:
    coefficient = (weight * grad).sum() / ((weight * weight).sum() + 1e-30)
    projected = grad - coefficient * weight
    return projected * (torch.linalg.vector_norm(grad) / (torch.linalg.vector_norm(projected) + 1e-30))


def clip(grads: Params, max_norm: float) -> Params:
    """The gradients scaled so that their global norm is at most `max_norm`, as by torch's `clip_grad_norm_`.

    Examples:
        >>> clip({"w": torch.tensor([3.0, 4.0])}, 1.0)["w"]
        tensor([0.6000, 0.8000])
    """
    scale = (max_norm / (norm(grads) + 1e-6)).clamp(max=1.0)
    return {name: grad * scale for name, grad in grads.items()}


def norm(tensors: Params) -> Tensor:
    """The global L2 norm, in the dtype of the tensors.

    Examples:
        >>> norm({"w": torch.tensor([2.0, 3.0]), "b": torch.tensor([6.0])}).item()
        7.0
    """
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors.values()]))


def hold_norm(params: Params, length: float | Tensor) -> Params:
    """The parameters multiplied by one factor so that their global norm is `length`.

    Source:
        Liu et al. 2023, arXiv:2210.01117 (Omnigrok): training at a constant weight norm. Their code scales only the
        layers after the embedding.

    Examples:
        >>> hold_norm({"w": torch.tensor([3.0, 4.0])}, 10.0)["w"].tolist()
        [6.0, 8.0]
    """
    detached = {name: p.detach() for name, p in params.items()}
    scale = length / norm(detached)
    return {name: p * scale for name, p in detached.items()}


class Grokfast:
    """Grokfast: adds to each gradient `grokfast_gain` times a running mean of past gradients.

    `ema` is an exponential moving average that starts at the first gradient. `ma` is the mean of the last
    `grokfast_window` gradients, including the current one; it adds nothing until the window is full.

    Source:
        Lee et al. 2024, arXiv:2405.20233, algorithms 1 and 2: `gradfilter_ema` and, with `warmup`, `gradfilter_ma` in
        their code.

    Examples:
        >>> grokfast = Grokfast(RegularizationConfig(grokfast="ema", grokfast_decay=0.5, grokfast_gain=2.0))
        >>> [grokfast({"w": torch.tensor(g)})["w"].item() for g in (1.0, 0.0, 0.0)]
        [3.0, 1.0, 0.5]
    """

    def __init__(self, config: RegularizationConfig) -> None:
        self._config = config
        self._means: Params = {}
        # The gradient of update i is at index i modulo the window's length.
        self._windows: Params = {}
        self._updates = 0

    @torch.no_grad()
    def __call__(self, grads: Params) -> Params:
        """The filtered gradients of the next update."""
        add = {"ema": self._ema, "ma": self._ma, "none": lambda _, grad: grad}[self._config.grokfast]
        filtered = {name: add(name, grad) for name, grad in grads.items()}
        self._updates += 1
        return filtered

    def _ema(self, name: str, grad: Tensor) -> Tensor:
        decay = self._config.grokfast_decay
        # A state that was read from a file is on the CPU.
        previous = self._means.get(name, grad).to(grad.device)
        self._means[name] = previous * decay + grad * (1 - decay)
        return grad + self._means[name] * self._config.grokfast_gain

    def _ma(self, name: str, grad: Tensor) -> Tensor:
        length = self._config.grokfast_window
        if name not in self._windows:
            self._windows[name] = grad.new_zeros(length, *grad.shape)
        window = self._windows[name] = self._windows[name].to(grad.device)
        window[self._updates % length] = grad
        if self._updates + 1 < length:
            return grad
        return grad + window.mean(dim=0) * self._config.grokfast_gain

    def state(self) -> OptimizerState:
        """A copy of the state by parameter name; its keys differ from the optimizers' keys."""
        if self._config.grokfast == "ema":
            return {name: {"grokfast_mean": mean.clone()} for name, mean in self._means.items()}
        updates = torch.tensor(self._updates)
        return {
            name: {"grokfast_window": window.clone(), "grokfast_updates": updates.clone()}
            for name, window in self._windows.items()
        }

    def load(self, state: OptimizerState) -> None:
        """Restore a `state`; the filter starts empty if the state has no entries of this kind of filter.

        Raises:
            ValueError: If the saved window has a different length.
        """
        is_ema, length = self._config.grokfast == "ema", self._config.grokfast_window
        self._means, self._windows, self._updates = {}, {}, 0
        for name, entry in state.items():
            if is_ema and "grokfast_mean" in entry:
                self._means[name] = entry["grokfast_mean"].clone()
            if not is_ema and "grokfast_window" in entry:
                window = entry["grokfast_window"].clone()
                if len(window) != length:
                    msg = f"grokfast_window must match the saved optimizer state, {len(window)}, got {length}."
                    raise ValueError(msg)
                self._windows[name], self._updates = window, int(entry["grokfast_updates"])


# Suffixes of the hook names at which dropout is applied.
DROPOUT_HOOKS: Final = ("attn.hook_pattern", "hook_attn_out", "mlp.hook_post", "hook_mlp_out")


def dropout_hook(rate: float, generator: torch.Generator) -> Hook:
    """A hook that applies dropout to attention patterns, neurons, and the outputs of attention and MLP.

    Each entry is set to zero with probability `rate` and is otherwise divided by 1 - rate.

    Args:
        rate: Dropout probability, at least 0 and below 1.
        generator: Random generator, whose device need not be the activations' device.

    Source:
        Srivastava et al. 2014, applied at the same activations as in torch's TransformerEncoderLayer.

    Examples:
        >>> hook = dropout_hook(0.5, torch.Generator().manual_seed(0))
        >>> [hook(f"blocks.0.mlp.{name}", torch.ones(1000)).unique().tolist() for name in ("hook_post", "hook_pre")]
        [[0.0, 2.0], [1.0]]
    """

    def drop(name: str, activation: Tensor) -> Tensor:
        if not name.endswith(DROPOUT_HOOKS):
            return activation
        mask = torch.empty(activation.shape, device=generator.device).bernoulli_(1 - rate, generator=generator)
        return activation * mask.to(activation) / (1 - rate)

    return drop
