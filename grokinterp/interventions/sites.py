"""Sites where a model can be edited: activations at '=', token embeddings, and the unembedding.

A site is the TransformerLens name of a hook, or of W_E or W_U. An edit gets the values that `Snapshot.activation`
returns, [a, b, ...], or W_E over the operand tokens, or W_U over the answers: the token '=' and the class '=' are never
edited. Negative layers count from the end: `blocks.-1.mlp.hook_post`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from grokinterp.models.architecture import HOOK_LOGITS as LOGITS
from grokinterp.models.architecture import Architecture, Params
from grokinterp.snapshots import Snapshot


W_E: Final = "embed.W_E"
W_U: Final = "unembed.W_U"
WEIGHTS: Final = (W_E, W_U)
NEURONS: Final = "blocks.-1.mlp.hook_post"

Change = Callable[[Tensor], Tensor]
"""Maps the activation or weight at a site to its replacement."""


def in_layer(layer: int, hook: str) -> str:
    """The site of a hook in a layer.

    Examples:
        >>> in_layer(-1, "mlp.hook_post")
        'blocks.-1.mlp.hook_post'
    """
    return f"blocks.{layer}.{hook}"


def resolve(site: str, config: Architecture) -> str:
    """The site with a nonnegative layer index.

    Raises:
        ValueError: If the model has no such layer or site.

    Examples:
        >>> import grokinterp as gi
        >>> resolve("blocks.-1.mlp.hook_post", gi.TransformerConfig(n_layers=2))
        'blocks.1.mlp.hook_post'
    """
    if site.startswith("blocks."):
        _, layer, name = site.split(".", maxsplit=2)
        n = config.n_layers
        if not -n <= int(layer) < n:
            msg = f"layer must be in {-n}..{n - 1} for a model with {n} layers, got {layer}."
            raise ValueError(msg)
        site = in_layer(int(layer) % n, name)
    known = (*WEIGHTS, *config.hook_names())
    if site not in known:
        msg = f"site must be one of {', '.join(known)} for a model of kind {config.kind!r}, got {site!r}."
        raise ValueError(msg)
    return site


def read(snapshot: Snapshot, site: str) -> Float[Tensor, "..."]:
    """The value at a site, without a forward pass if the snapshot has it."""
    resolved = resolve(site, snapshot.config)
    if resolved == W_E:
        return snapshot.W_E
    if resolved == W_U:
        return snapshot.params[W_U][:, : snapshot.task.n_outputs]
    if resolved == LOGITS:
        return snapshot.logits
    if resolved == resolve(NEURONS, snapshot.config):
        return snapshot.neurons
    return snapshot.activation(resolved)


def project_tokens(snapshot: Snapshot, x: Tensor, blocks: Sequence[int]) -> Tensor:
    """The projection of W_E [token, d_model] onto blocks of the basis over tokens."""
    rows = snapshot.basis.rows(blocks).to(x.dtype)
    return rows.T @ (rows @ x)


def mean(snapshot: Snapshot, site: str, x: Tensor) -> Tensor:
    """The value that mean ablation leaves: the mean over pairs, or, at W_E, the background (constant and zero)."""
    return project_tokens(snapshot, x, [0]) if site == W_E else x.mean(dim=(0, 1)).expand_as(x)


def write_weights(snapshot: Snapshot, changes: dict[str, Change]) -> Params:
    """The parameters with edited `W_E` and `W_U`; all other tensors are shared."""
    params = dict(snapshot.params)
    for site, change in changes.items():
        changed = change(read(snapshot, site))
        if site == W_E:
            params = snapshot.config.set_operand_rows(params, changed)
        else:
            params[site] = params[site].clone()
            params[site][:, : snapshot.task.n_outputs] = changed.to(params[site])
    return params


def hook(snapshot: Snapshot, site: str, change: Change) -> tuple[str, Change]:
    """The TransformerLens hook that makes a change: its name, and the function of its activation.

    The activation is [batch, pos, ...] for all pairs in order. A change of `W_U` must be linear in each row, since it
    is applied to the logits minus their bias.

    Raises:
        ValueError: If the model has no such site, or TransformerLens versions edit it differently.
    """
    answers = slice(snapshot.task.n_outputs)
    last = (slice(None), -1) if snapshot.config.has_positions else (slice(None),)
    if site == W_E and "hook_embed" not in snapshot.config.hook_names():
        msg = f"a model with one-hot inputs has no hook for {W_E}; edit its Snapshot instead."
        raise ValueError(msg)
    if site == W_E:
        rows = write_weights(snapshot, {W_E: change})[W_E]
        return "hook_embed", lambda x: F.embedding(snapshot.tokens, rows).to(_require_all_pairs(snapshot, x))
    if site == W_U:
        bias = snapshot.params.get("unembed.b_U")
        b_U = 0.0 if bias is None else bias[answers]
        return LOGITS, _at(snapshot, (*last, answers), lambda x: change(x - b_U) + b_U)
    resolved = resolve(site, snapshot.config)
    if resolved.endswith("hook_resid_mid"):
        msg = f"{resolved} cannot be edited: in TransformerLens 4 that affects only the MLP; edit hook_attn_out."
        raise ValueError(msg)
    if resolved.endswith("hook_pattern"):
        return resolved, _at(snapshot, (slice(None), slice(None), -1), change)
    return resolved, _at(snapshot, (*last, answers) if resolved == LOGITS else last, change)


def _at(snapshot: Snapshot, index: tuple[slice | int, ...], change: Change) -> Change:
    """The change applied to a slice of the activations of all pairs."""

    def make(activation: Tensor) -> Tensor:
        edited = _require_all_pairs(snapshot, activation).clone()
        # The snapshot is on the CPU; the model may be on another device.
        x = activation[index].cpu().unflatten(0, snapshot.task.shape)
        edited[index] = change(x).flatten(0, 1).to(activation)
        return edited

    return make


def _require_all_pairs(snapshot: Snapshot, activation: Tensor) -> Tensor:
    n_pairs = snapshot.task.table.numel()
    if len(activation) != n_pairs:
        msg = (
            f"an intervention edits the batch of all {n_pairs} pairs of {snapshot.task.name} in order, got a batch of "
            f"{len(activation)}; run model(snapshot.tokens)."
        )
        raise ValueError(msg)
    return activation
