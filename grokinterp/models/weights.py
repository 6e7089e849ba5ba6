"""What a dictionary of weights says of its model: TransformerLens' names, any origin."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from grokinterp import arguments
from grokinterp.models.config import EXTRA_TOKENS, ActFn, MLPConfig, ModelConfig, Sequence, TransformerConfig
from grokinterp.models.init import Params
from grokinterp.tasks.operations import Task, as_task, operation


Biases = Literal["none", "mlp", "all"]

_DTYPES: Final = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# The weights that give the sizes, with their number of axes.
_OF_MLP: Final = {"blocks.0.mlp.W_in": 2, "unembed.W_U": 2}
_OF_TRANSFORMER: Final = {"embed.W_E": 2, "pos_embed.W_pos": 2, "blocks.0.attn.W_Q": 3, **_OF_MLP}


def check_numbers(weights: Mapping[str, Tensor]) -> None:
    """Check that weights are dense, finite floating-point numbers of one dtype.

    Raises:
        ValueError: If a tensor is not.

    Examples:
        >>> check_numbers({"embed.W_E": torch.tensor([0.5, torch.nan])})
        Traceback (most recent call last):
        ValueError: weights must be finite, but 1 of the 2 numbers of embed.W_E are NaN or infinite.
    """
    first = next(iter(weights), "")
    for name, p in weights.items():
        # A quantized tensor has a dtype of its own, a meta tensor no numbers.
        if p.dtype not in _DTYPES or p.layout != torch.strided or p.is_meta:
            kind = "a meta tensor" if p.is_meta else f"{p.dtype}, {p.layout}"
            msg = f"weights must be dense float16, bfloat16, float32 or float64 tensors, but {name} is {kind}."
            raise ValueError(msg)
        if p.dtype != weights[first].dtype:
            msg = f"weights must have one dtype, but {first} is {weights[first].dtype} and {name} is {p.dtype}."
            raise ValueError(msg)
        # A finite sum has finite terms, and costs a third of looking at each of them.
        if not p.detach().sum().isfinite() and not p.isfinite().all():
            n_bad = int((~p.isfinite()).sum())
            msg = f"weights must be finite, but {n_bad} of the {p.numel()} numbers of {name} are NaN or infinite."
            raise ValueError(msg)


def read_weights(
    weights: Mapping[str, Tensor], act_fn: ActFn, sequence: Sequence = "a b ="
) -> tuple[Params, ModelConfig]:
    """The parameters (copied to the CPU) and the config that their names and shapes imply.

    Biases that are zero throughout are left out, so that a model without them stays one; so are
    HookedTransformer's buffers. Weights without attention are those of an MLP.

    Args:
        weights: By TransformerLens name, as in a HookedTransformer's state dict.
        act_fn: Which no shape tells.
        sequence: What a transformer reads, which none tells either.

    Returns:
        Parameters, in the library's order; and the config.

    Raises:
        ValueError: If `act_fn` or `sequence` is unknown, a weight that every model has is missing, or a
            weight is not a dense, finite number.
    """
    act_fn = arguments.one_of(act_fn, get_args(ActFn), "act_fn")
    sequence = arguments.one_of(sequence, get_args(Sequence), "sequence")
    weights = {name: p for name, p in weights.items() if not name.endswith(("attn.mask", "attn.IGNORE"))}
    check_numbers(weights)
    for name, p in weights.items():
        if any(size > 1 and not step for size, step in zip(p.shape, p.stride(), strict=True)):
            msg = f"{name} repeats one slice along an axis (stride 0), got {tuple(p.shape)}; pass the trained weights."
            raise ValueError(msg)
    params = {name: p.detach().cpu().clone().contiguous() for name, p in weights.items()}
    is_mlp = params.keys() >= _OF_MLP.keys() and not any("attn." in x or x.startswith("pos_embed") for x in params)
    for name, n_axes in (_OF_MLP if is_mlp else _OF_TRANSFORMER).items():
        if name not in params:
            found = ", ".join(sorted(params)[:4])
            msg = f"weights must have TransformerLens' names, but {name} is missing; got {found}, ..."
            raise ValueError(msg)
        if params[name].ndim != n_axes:
            msg = f"{name} must have {n_axes} axes, as in TransformerLens, got shape {tuple(params[name].shape)}."
            raise ValueError(msg)
    return _read_mlp(params, act_fn) if is_mlp else _read_transformer(params, act_fn, sequence)


def _read_transformer(params: Params, act_fn: ActFn, sequence: Sequence) -> tuple[Params, TransformerConfig]:
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


def _read_mlp(params: Params, act_fn: ActFn) -> tuple[Params, MLPConfig]:
    has_biases = _biases(params) != "none"
    params = {name: p for name, p in params.items() if has_biases or ".b_" not in name}
    width, d_mlp = params["blocks.0.mlp.W_in"].shape
    n_layers = sum(name.endswith("mlp.W_in") for name in params)
    biases: Literal["none", "all"] = "all" if has_biases else "none"
    config = MLPConfig(n_layers=n_layers, d_mlp=d_mlp, act_fn=act_fn, biases=biases)
    if "embed.W_E" not in params:
        return params, config
    d_model = params["embed.W_E"].shape[-1]
    return params, replace(config, d_model=d_model, inputs="summed" if width == d_model else "concatenated")


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
