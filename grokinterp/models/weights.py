"""Read a model's config from a dict of weights with TransformerLens names."""

from collections.abc import Mapping
from typing import Final, get_args

import torch
from torch import Tensor

from grokinterp import arguments
from grokinterp.models.architecture import KINDS, ActFn, Architecture, Params
from grokinterp.models.kinds.transformer import Sequence
from grokinterp.tasks.operations import Task, operation


_DTYPES: Final = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


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
        # Quantized tensors have different dtypes, and meta tensors have no data.
        if p.dtype not in _DTYPES or p.layout != torch.strided or p.is_meta:
            kind = "a meta tensor" if p.is_meta else f"{p.dtype}, {p.layout}"
            msg = f"weights must be dense float16, bfloat16, float32 or float64 tensors, but {name} is {kind}."
            raise ValueError(msg)
        if p.dtype != weights[first].dtype:
            msg = f"weights must have one dtype, but {first} is {weights[first].dtype} and {name} is {p.dtype}."
            raise ValueError(msg)
        # A finite sum implies finite terms, at a third of the cost of checking each one.
        if not p.detach().sum().isfinite() and not p.isfinite().all():
            n_bad = int((~p.isfinite()).sum())
            msg = f"weights must be finite, but {n_bad} of the {p.numel()} numbers of {name} are NaN or infinite."
            raise ValueError(msg)


def read_weights(
    weights: Mapping[str, Tensor], act_fn: ActFn, sequence: Sequence = "a b ="
) -> tuple[Params, Architecture]:
    """The parameters (copied to the CPU) and the config that their names and shapes imply.

    Biases that are zero throughout are dropped, so that a model without biases stays one; so are HookedTransformer's
    buffers.

    Args:
        weights: Weights by TransformerLens name, as in a HookedTransformer's state dict.
        act_fn: Activation function, which the weights do not determine.
        sequence: Input tokens of a transformer, which the weights do not determine either.

    Returns:
        Parameters, in their order in `weights`; and the config.

    Raises:
        ValueError: If `act_fn` or `sequence` is unknown, a weight that every model has is missing or is not a dense,
            finite tensor, or the weights fit no kind of model or several.
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
    complete = [
        kind
        for kind in KINDS.values()
        if all(params[x].ndim == n for x, n in kind.REQUIRED.items() if x in params)
        and params.keys() >= kind.REQUIRED.keys()
    ]
    models = [model for kind in complete if (model := kind.from_weights(params, act_fn, sequence)) is not None]
    if not models:
        raise _unknown(params)
    if len(models) > 1:
        kinds = ", ".join(repr(config.kind) for _, config in models)
        msg = f"weights must fit one kind of model, but fit {kinds}; pass a gi.Snapshot with its config instead."
        raise ValueError(msg)
    return models[0]


def _unknown(params: Params) -> ValueError:
    """The error that names what the weights lack, compared with the most similar kind of model."""
    nearest = max(KINDS.values(), key=lambda kind: (len(params.keys() & kind.REQUIRED.keys()), len(kind.REQUIRED)))
    for name, n_axes in nearest.REQUIRED.items():
        if name not in params:
            given = ", ".join(sorted(params)[:4])
            return ValueError(f"weights must have TransformerLens' names, but {name} is missing; got {given}, ...")
        if params[name].ndim != n_axes:
            shape = tuple(params[name].shape)
            return ValueError(f"{name} must have {n_axes} axes, as in TransformerLens, got shape {shape}.")
    return ValueError(
        f"weights must be of a known kind of model ({', '.join(KINDS)}), got {', '.join(sorted(params)[:4])}, ..."
    )


def addition_of(params: Params, config: Architecture) -> Task:
    """Addition modulo the number of operand tokens: the task assumed for a model without further information."""
    return operation("addition", config.n_operands(params))
