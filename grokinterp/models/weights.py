"""What a dictionary of weights says of its model: TransformerLens' names, any origin."""

from dataclasses import replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from grokinterp.models.config import EXTRA_TOKENS, ActFn, ModelConfig, Sequence, TransformerConfig
from grokinterp.models.init import Params
from grokinterp.tasks.operations import Task, as_task, operation


Biases = Literal["none", "mlp", "all"]


def read_weights(
    weights: dict[str, Float[Tensor, "..."]], act_fn: ActFn, sequence: Sequence = "a b ="
) -> tuple[Params, TransformerConfig]:
    """The parameters (copied to the CPU) and the config that their shapes imply.

    Biases that are zero throughout are left out, so that a model without them stays one; so are
    HookedTransformer's buffers.

    Args:
        weights: By TransformerLens name, as in a HookedTransformer's state dict.
        act_fn: Which no shape tells.
        sequence: What the model reads, which none tells either.

    Returns:
        Parameters, in the library's order; and the config.

    Raises:
        ValueError: If a weight that every model has is missing.
    """
    params = {
        name: p.detach().cpu().clone().contiguous()
        for name, p in weights.items()
        if p.ndim and not name.endswith("attn.mask")
    }
    needed = ("embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_Q", "blocks.0.mlp.W_in", "unembed.W_U")
    missing = [name for name in needed if name not in params]
    if missing:
        found = ", ".join(sorted(params)[:4])
        msg = f"weights must have TransformerLens' names, but {missing[0]} is missing; got {found}, ..."
        raise ValueError(msg)
    # A model may have room for more positions than are read.
    params["pos_embed.W_pos"] = params["pos_embed.W_pos"][: len(sequence.split())].clone()
    biases = _biases(params)
    kept = {"none": (), "mlp": (".mlp.",), "all": ("",)}[biases]
    params = {name: p for name, p in params.items() if ".b_" not in name or any(part in name for part in kept)}
    n_heads, d_model, d_head = params["blocks.0.attn.W_Q"].shape
    config = TransformerConfig(
        n_layers=sum(name.endswith("attn.W_Q") for name in params),
        d_model=d_model,
        n_heads=n_heads,
        d_head=d_head,
        d_mlp=params["blocks.0.mlp.W_in"].shape[1],
        act_fn=act_fn,
        normalization="LN" if "ln_final.w" in params else "none",
        biases=biases,
        sequence=sequence,
        equals_in_output=sequence != "a b" and params["unembed.W_U"].shape[1] == _n_operands(params, sequence) + 1,
    )
    return params, config


def addition_of(params: Params, config: ModelConfig) -> Task:
    """Addition modulo the number of operands' tokens: what a model of which nothing else is known has learned."""
    if isinstance(config, TransformerConfig):
        return operation("addition", _n_operands(params, config.sequence))
    rows = params["blocks.0.mlp.W_in" if config.inputs == "onehot" else "embed.W_E"]
    return operation("addition", len(rows) // 2 if config.inputs == "onehot" else len(rows))


def for_task(params: Params, config: ModelConfig, task: Task) -> ModelConfig:
    """The config of these weights as a model of a task: '=' is a class if there is one class more than the answers.

    Example:
        >>> import torch
        >>> from grokinterp.tasks.operations import from_table
        >>> six_answers_to_25_pairs = from_table(torch.arange(25).reshape(5, 5) % 6, name="x")
        >>> for_task({"unembed.W_U": torch.zeros(8, 6)}, TransformerConfig(), six_answers_to_25_pairs).equals_in_output
        False
    """
    n_outputs = as_task(task).n_outputs
    if not isinstance(config, TransformerConfig):
        return config
    return replace(config, equals_in_output=params["unembed.W_U"].shape[1] == n_outputs + 1)


def _n_operands(params: Params, sequence: Sequence) -> int:
    return len(params["embed.W_E"]) - len(EXTRA_TOKENS[sequence])


def _biases(params: Params) -> Biases:
    nonzero = [name for name, p in params.items() if ".b_" in name and p.any()]
    if any(".mlp." not in name for name in nonzero):
        return "all"
    return "mlp" if nonzero else "none"
