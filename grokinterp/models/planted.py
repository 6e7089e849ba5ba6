"""Planted models: constructed weights with a known algorithm and known key frequencies, for tests of analyses.

They compute sum_k cos(w_k (a + b - c)), w_k = 2 pi k / p, with an MLP that reads phase-shifted cosines of a and b:
exactly with activation x^2, and up to harmonics that the phases do not cancel with ReLU.
"""

import math
from collections.abc import Iterable
from typing import Final, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from grokinterp import arguments
from grokinterp.basis import fourier_basis
from grokinterp.models.architecture import Params
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks.operations import operation


# Phases per input, and the amplitude that each neuron contributes to cos(w (a + b - c)): 1 from 2 cos x cos y =
# cos(x + y) + cos(x - y), and (2/pi) (4/(3 pi)) from the Fourier series of |cos u| |cos v|.
_PHASES: Final = {"quadratic": 4, "relu": 8}
_GAIN: Final = {"quadratic": 1.0, "relu": 8 / (3 * math.pi**2)}
_SCORE: Final = 60.0  # an attention score this much higher than the others gives attention 1 in float64


def cosine_logits(p: int, keys: Iterable[int], *, amplitude: float = 1.0) -> Float64[Tensor, "a b c"]:
    """The logits amplitude * sum_k cos(2 pi k (a + b - c) / p) in closed form.

    Examples:
        >>> cosine_logits(7, (1, 3))[2, 3, 5].item()
        2.0
    """
    p, keys = _check(p, keys)
    x = torch.arange(p)
    difference = x[:, None, None] + x[None, :, None] - x[None, None, :]
    waves = [(2 * math.pi * (k * difference % p).double() / p).cos() for k in keys]
    return arguments.number(amplitude, "amplitude") * torch.stack(waves).sum(dim=0)


def transformer(
    p: int,
    keys: Iterable[int],
    *,
    act_fn: Literal["quadratic", "relu"] = "quadratic",
    amplitude: float = 1.0,
) -> tuple[Params, TransformerConfig]:
    """A 1-layer transformer that adds modulo p with the given key frequencies.

    The embedding has cos and sin of each key. Head 0 copies them from a to '=', head 1 from b. Each neuron reads
    cos(w a + f) + cos(w b + g) for one pair of phases (f, g) on a grid, with output weight cos(f + g + w c). All other
    heads, directions and frequencies are zero.

    Args:
        p: Modulus.
        keys: Up to 15 key frequencies from 1 to p // 2.
        act_fn: `quadratic` equals `cosine_logits` up to rounding. `relu` is approximate: `cosine_logits` explain more
            than 99.9% of the logit variance, and no logit is off by more than 5% of the sum of the amplitudes.
        amplitude: Amplitude of each frequency's logits.

    Returns:
        Parameters (float64) by TransformerLens name, and the config.

    Raises:
        ValueError: If a key is not a frequency of Z_p, or there are more than 15.

    Source:
        Gromov 2023, arXiv:2301.02679, for the phases of a quadratic network. Differs: a grid of phases instead of
        random ones, so that unwanted terms cancel at any width.

    Examples:
        >>> params, config = transformer(7, (1, 3))
        >>> config.d_mlp
        32
    """
    p, keys = _check(p, keys)
    amplitude = arguments.number(amplitude, "amplitude")
    act_fn = arguments.one_of(act_fn, _PHASES, "act_fn")
    n_phases = _PHASES[act_fn]
    waves = 2 * len(keys)
    config = TransformerConfig(d_model=128, d_mlp=n_phases**2 * len(keys), act_fn=act_fn)
    if 4 * waves + 3 > config.d_model or waves > config.d_head:
        msg = f"keys must be at most 15 frequencies, got {len(keys)}."
        raise ValueError(msg)
    params = {
        name: torch.zeros(shape, dtype=torch.float64) for name, shape in config.shapes(operation("addition", p)).items()
    }
    # Directions of the residual stream: cosines of the token, copies from a and from b, the output, and positions.
    token, from_a, from_b, out = (slice(i * waves, (i + 1) * waves) for i in range(4))
    position = [4 * waves + i for i in range(3)]

    params["embed.W_E"][:p, token] = _waves(p, keys)
    for i, direction in enumerate(position):
        params["pos_embed.W_pos"][i, direction] = 1.0
    gain = math.sqrt(_SCORE * math.sqrt(config.d_head))
    identity = torch.eye(waves, dtype=torch.float64)
    for head, written in enumerate((from_a, from_b)):
        params["blocks.0.attn.W_Q"][head, position[2], 0] = gain
        params["blocks.0.attn.W_K"][head, position[head], 0] = gain
        params["blocks.0.attn.W_V"][head, token, :waves] = identity
        params["blocks.0.attn.W_O"][head, :waves, written] = identity

    grid = 2 * math.pi * torch.arange(n_phases, dtype=torch.float64) / n_phases
    f, g = (phase.flatten() for phase in torch.meshgrid(grid, grid, indexing="ij"))
    scale = 2 * amplitude / (n_phases**2 * _GAIN[act_fn])
    for i in range(len(keys)):
        neurons = slice(i * n_phases**2, (i + 1) * n_phases**2)
        pair = slice(2 * i, 2 * i + 2)
        params["blocks.0.mlp.W_in"][from_a, neurons][pair] = torch.stack([f.cos(), -f.sin()])
        params["blocks.0.mlp.W_in"][from_b, neurons][pair] = torch.stack([g.cos(), -g.sin()])
        params["blocks.0.mlp.W_out"][neurons, out][:, pair] = scale * torch.stack([(f + g).cos(), -(f + g).sin()], 1)
    params["unembed.W_U"][out] = _waves(p, keys).T
    return params, config


def _check(p: int, keys: Iterable[int]) -> tuple[int, list[int]]:
    p = arguments.integer(p, "p", minimum=2)
    return p, fourier_basis(p).check(arguments.keys(keys))


def _waves(p: int, keys: Iterable[int]) -> Float64[Tensor, "p component"]:
    """Cos and sin of each key at each residue."""
    x = torch.arange(p)
    angles = torch.stack([2 * math.pi * (k * x % p).double() / p for k in keys])
    return torch.stack([angles.cos(), angles.sin()], dim=1).flatten(0, 1).T
