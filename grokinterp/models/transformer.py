"""The transformer's forward pass as a pure function of (parameters, a, b): all positions, with hooks.

Parameters carry TransformerLens' names and shapes; biases and norms that a dictionary lacks are absent from
the model. Activations carry TransformerLens' hook names.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.models.config import EXTRA_TOKENS, TransformerConfig
from grokinterp.models.hooks import ACTIVATIONS, HOOK_LOGITS, Hook, no_hook
from grokinterp.models.init import Params


def logits(
    params: Params,
    config: TransformerConfig,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    hook: Hook = no_hook,
) -> Float[Tensor, "batch d_vocab_out"]:
    """The logits at the last position, computed at every position and layer as TransformerLens does.

    Args:
        params: By TransformerLens name.
        config: The model's.
        a: Token of the first operand.
        b: Token of the second operand.
        hook: Sees, and may replace, every activation of `hook_names`.

    Returns:
        Logits of the output classes, in the dtype of the parameters.
    """
    tokens = sequences(params, config, a, b)
    # F.embedding and not W_E[tokens]: its backward adds in a fixed order, so that equal runs have equal bits.
    embed = hook("hook_embed", F.embedding(tokens, params["embed.W_E"]))
    pos = hook("hook_pos_embed", params["pos_embed.W_pos"].expand_as(embed))
    residual = embed + pos
    for layer in range(config.n_layers):
        residual = _block(params, config, f"blocks.{layer}", residual, hook)
    residual = hook("unembed.hook_in", _layer_norm(params, "ln_final", residual))
    out = residual @ params["unembed.W_U"] + params.get("unembed.b_U", 0.0)
    return hook(HOOK_LOGITS, out)[:, -1]


def hook_names(config: TransformerConfig) -> tuple[str, ...]:
    """The hook points of the forward pass, all of them TransformerLens' in its versions 3 and 4.

    An edit does the same here and there, but for one: version 4's `hook_resid_mid` is the input of the MLP, so that
    an edit does not reach the residual stream that goes past it.
    """
    block = ["hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_pattern", "attn.hook_z"]
    block += ["hook_attn_out", "hook_resid_mid", "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]
    blocks = [f"blocks.{layer}.{name}" for layer in range(config.n_layers) for name in block]
    return ("hook_embed", "hook_pos_embed", *blocks, "unembed.hook_in", HOOK_LOGITS)


def sequences(
    params: Params, config: TransformerConfig, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> Int[Tensor, "batch pos"]:
    """What is read of each pair, such as [a, b, '=']; the tokens beside the operands' are the last of the vocabulary.

    Examples:
        >>> params = {"embed.W_E": torch.zeros(6 + 2, 1)}
        >>> sequences(params, TransformerConfig(sequence="a op b ="), torch.tensor([3]), torch.tensor([4]))
        tensor([[3, 7, 4, 6]])
    """
    extra = EXTRA_TOKENS[config.sequence]
    first = len(params["embed.W_E"]) - len(extra)
    tokens = {"a": a, "b": b} | {word: torch.full_like(a, first + i) for i, word in enumerate(extra)}
    return torch.stack([tokens[word] for word in config.sequence.split()], dim=1)


def _block(params: Params, config: TransformerConfig, block: str, residual: Tensor, hook: Hook) -> Tensor:
    def weight(name: str) -> Tensor:
        return params[f"{block}.{name}"]

    def bias(name: str) -> Tensor | float:
        return params.get(f"{block}.{name}", 0.0)

    residual = hook(f"{block}.hook_resid_pre", residual)
    normed = _layer_norm(params, f"{block}.ln1", residual)
    q, k, v = (
        hook(
            f"{block}.attn.hook_{x.lower()}",
            einsum(normed, weight(f"attn.W_{x}"), "batch pos d, head d k -> batch pos head k") + bias(f"attn.b_{x}"),
        )
        for x in "QKV"
    )
    scores = einsum(q, k, "batch query head k, batch key head k -> batch head query key") / math.sqrt(config.d_head)
    is_future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    pattern = hook(f"{block}.attn.hook_pattern", scores.masked_fill(is_future, -torch.inf).softmax(dim=-1))
    z = hook(
        f"{block}.attn.hook_z",
        einsum(pattern, v, "batch head query key, batch key head k -> batch query head k"),
    )
    attn_out = einsum(z, weight("attn.W_O"), "batch pos head k, head k d -> batch pos d") + bias("attn.b_O")
    residual = hook(f"{block}.hook_resid_mid", residual + hook(f"{block}.hook_attn_out", attn_out))
    normed = _layer_norm(params, f"{block}.ln2", residual)
    pre = hook(f"{block}.mlp.hook_pre", normed @ weight("mlp.W_in") + bias("mlp.b_in"))
    post = hook(f"{block}.mlp.hook_post", ACTIVATIONS[config.act_fn](pre))
    mlp_out = hook(f"{block}.hook_mlp_out", post @ weight("mlp.W_out") + bias("mlp.b_out"))
    return hook(f"{block}.hook_resid_post", residual + mlp_out)


def _layer_norm(params: Params, name: str, x: Tensor) -> Tensor:
    if f"{name}.w" not in params:
        return x
    return F.layer_norm(x, x.shape[-1:], params[f"{name}.w"], params[f"{name}.b"], eps=1e-5)
