"""Snapshot: a model at one epoch with its task and split, with the cached activations that analyses use."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import Any, Final, TypeVar, get_args
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.arguments import Shown
from grokinterp.basis import Basis, product_means, task_basis
from grokinterp.labels import SPLITS, Split
from grokinterp.losses import accuracy
from grokinterp.models import lens
from grokinterp.models.architecture import Architecture, Hook, Params, chain
from grokinterp.models.factored import FactoredActivations, factored_activations, is_factorable
from grokinterp.models.kinds.transformer import Sequence, TransformerConfig
from grokinterp.models.weights import addition_of, check_numbers
from grokinterp.tasks import Task, all_pairs
from grokinterp.tasks.operations import as_task
from grokinterp.tasks.split import AnySplit, as_split


R = TypeVar("R")

_KNOWN: Final = "grokinterp"  # attribute of a TransformerLens model with its task, split, epoch and sequence


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Snapshot(Shown):
    """A model at one epoch, with its task and split.

    Attributes:
        params: Parameters by TransformerLens name, on the CPU and detached; float16 and bfloat16 are cast to float32.
        config: Architecture of the model.
        task: Task that the model was trained on.
        is_train: Training mask; None if unknown.
        epoch: Training epoch; None if unknown.
        hook: Edit of activations in every forward pass, called as in `Architecture.logits` with the batch of all pairs
            in order; None for the unedited model.
        assumed: Assumptions about the model that neither the weights nor the caller determined, in words.

    Raises:
        ValueError: If the parameters are not finite or do not have the shapes that the config and the task require, or
            the training mask is not boolean, has the wrong shape, or leaves a split empty.
    """

    params: Params
    config: Architecture
    task: Task
    is_train: Bool[Tensor, "a b"] | None = None
    epoch: int | None = None
    hook: Hook | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.epoch is not None:
            object.__setattr__(self, "epoch", arguments.integer(self.epoch, "epoch", minimum=0))
        check_numbers(self.params)
        self._check_shapes()
        dtype = next(p.dtype for p in self.params.values())
        is_short = torch.finfo(dtype).bits < torch.finfo(torch.float32).bits
        params = {name: p.detach().float() if is_short else p.detach() for name, p in self.params.items()}
        object.__setattr__(self, "params", params)
        if is_short:
            object.__setattr__(self, "assumed", (*self.assumed, f"weights cast from {dtype} to float32"))
        if self.is_train is not None:
            object.__setattr__(self, "is_train", as_split(self.is_train, self.task))

    def _facts(self) -> dict[str, object]:
        sizes = ("n_layers", "d_model", "n_heads", "d_mlp", "act_fn")
        model = " ".join(f"{name}={getattr(self.config, name)}" for name in sizes if hasattr(self.config, name))
        facts: dict[str, object] = {"task": self.task.name, "epoch": self.epoch, "model": f"{self.config.kind} {model}"}
        n_train = "unknown" if self.is_train is None else int(self.is_train.sum())
        facts |= {"pairs": self.task.table.numel(), "train_pairs": n_train}
        facts |= {"edited": True} if self.hook is not None else {}
        return facts | ({"assumed": "; ".join(self.assumed)} if self.assumed else {})

    def _check_shapes(self) -> None:
        wanted = self.config.shapes(as_task(self.task))
        shapes = {name: tuple(p.shape) for name, p in self.params.items()}
        for name in sorted(wanted.keys() | shapes.keys()):
            if name not in wanted:
                msg = f"the weights include {name}, which is not a parameter of this {self.config.kind} config."
                raise ValueError(msg)
            if wanted[name] != shapes.get(name):
                msg = f"{name} must have shape {wanted[name]} for {self.task.name}, got {shapes.get(name, 'none')}; "
                msg += "pass the task that the model was trained on."
                raise ValueError(msg)

    @cached_property
    def logits(self) -> Float64[Tensor, "a b c"]:
        """The logits at the last position for every pair, without the class '=' if the model has it."""
        flat = self._at_equals.logits[:, : self.task.n_outputs].double()
        return flat.reshape(*self.task.shape, -1)

    @cached_property
    def neurons(self) -> Float[Tensor, "a b neuron"]:
        """The last layer's MLP activations (`hook_post`) for every pair, at the last position of a transformer."""
        return self._at_equals.neurons.reshape(*self.task.shape, -1)

    @cached_property
    def attention(self) -> Float[Tensor, "a b head pos"]:
        """The last layer's attention from the last position (usually '=') to every position, for every pair.

        Raises:
            ValueError: If the model is not a transformer.
        """
        config = self.require_transformer()
        return self._at_equals.pattern.reshape(*self.task.shape, config.n_heads, config.n_positions)

    @cached_property
    def product_means(self) -> Float64[Tensor, "s c"]:
        """Mean logits over the pairs that have each answer s; zero for an answer that no pair has.

        For a group's operation, projecting these on a block is projecting the logits of all pairs on it, at
        1/n of the cost.
        """
        return product_means(self.logits, self.task)

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding of the operand tokens, without '='.

        For an MLP on one-hot inputs, each token's two rows of the first layer (as a and as b), concatenated.
        """
        return self.config.operand_rows(self.params, self.task)

    @property
    def W_L(self) -> Float[Tensor, "neuron c"]:
        """The neuron-logit map of the last layer, without the class '=': W_out W_U, or W_U for an MLP.

        Papers with column vectors use its transpose.
        """
        W_U = self.params["unembed.W_U"][:, : self.task.n_outputs]
        W_out = self.params.get(f"blocks.{self.config.n_layers - 1}.mlp.W_out")
        return W_U if W_out is None else W_out @ W_U

    def require_transformer(self) -> TransformerConfig:
        """The config of a transformer; any other kind of model raises a ValueError."""
        if not isinstance(self.config, TransformerConfig):
            msg = f"this analysis requires a transformer with attention, got a model of kind {self.config.kind!r}."
            raise ValueError(msg)
        return self.config

    @property
    def basis(self) -> Basis:
        """The basis of the task's group over tokens and output classes; without a group, a ValueError is raised."""
        return _basis_of(self.task)

    def activation(self, name: str) -> Float[Tensor, "a b ..."]:
        """An activation by its TransformerLens hook name, for every pair, with the edits of `hook`.

        Transformers give the last position: a pattern [batch, head, query, key] becomes [a, b, head, key], any other
        activation [batch, pos, ...] becomes [a, b, ...].

        Raises:
            ValueError: If the model has no such hook.
        """
        names = self.config.hook_names()
        _, (activation,) = self._forward(arguments.one_of(name, names, "hook"))
        return activation.reshape(*self.task.shape, *activation.shape[1:])

    @property
    def tokens(self) -> Int[Tensor, "batch pos"]:
        """The token sequences of all pairs in order, e.g. [a, b, '='], as input for a TransformerLens model."""
        return self.config.tokens(self.params, *all_pairs(self.task))

    def model(self) -> Any:
        """A TransformerLens model with copies of the weights, which knows its task, split, epoch and sequence.

        Returns:
            As `models.lens.to_transformer_lens`.

        Raises:
            ValueError: If the snapshot is edited, or the installed TransformerLens does not support the model.
        """
        if self.hook is not None:
            msg = "an edited snapshot has no TransformerLens model; convert the unedited snapshot and edit the model."
            raise ValueError(msg)
        model = lens.to_transformer_lens(self.params, self.config)
        sequence = self.config.sequence or "a b ="
        known = {"task": self.task, "is_train": self.is_train, "epoch": self.epoch, "sequence": sequence}
        setattr(model, _KNOWN, known)
        return model

    @property
    def splits(self) -> tuple[Split, ...]:
        """The available splits: only `all` if the training pairs are unknown."""
        return ("all",) if self.is_train is None else SPLITS

    def mask(self, split: str) -> Bool[Tensor, "a b"]:
        """True at the pairs of the split `train`, `test` or `all`.

        Raises:
            ValueError: If the split has a different name, or the training pairs are unknown.
        """
        if arguments.one_of(split, SPLITS, "split") == "all":
            return torch.ones(self.task.shape, dtype=torch.bool)
        if self.is_train is None:
            msg = f"split={split!r} requires the training pairs; pass is_train to gi.snapshot, or use split='all'."
            raise ValueError(msg)
        return self.is_train if split == "train" else ~self.is_train

    @cached_property
    def _at_equals(self) -> FactoredActivations:
        if self.hook is None and is_factorable(self.config):
            with torch.no_grad():
                return factored_activations(self.params, self.config, *all_pairs(self.task))
        last = f"blocks.{self.config.n_layers - 1}"
        names = [f"{last}.mlp.hook_post", *([f"{last}.attn.hook_pattern"] if self.config.has_attention else [])]
        logits, (neurons, *patterns) = self._forward(*names)
        return FactoredActivations(patterns[0] if patterns else torch.empty(len(logits), 0, 0), neurons, logits)

    def _forward(self, *names: str) -> tuple[Tensor, list[Tensor]]:
        """The logits and some activations at the last position in a full forward pass with `hook`."""
        seen: dict[str, Tensor] = {}

        def see(name: str, activation: Tensor) -> Tensor:
            if name in names:
                seen[name] = self.config.at_answer(name, activation)
            return activation

        with torch.no_grad():
            logits = self.config.logits(self.params, *all_pairs(self.task), chain(self.hook, see))
        return logits, [seen[name] for name in names]


def snapshot(
    model: object,
    *,
    task: Task | None = None,
    is_train: AnySplit | None = None,
    epoch: int | None = None,
    sequence: Sequence | None = None,
) -> Snapshot:
    """Make a snapshot of a TransformerLens model.

    Models from `run.model()` and their copies know their task, split, epoch and sequence. For any other model, the
    task defaults to addition, with a warning if fewer than half of all answers are correct.

    Args:
        model: A `HookedTransformer`, a `TransformerBridge`, or an MLP from `run.model()`. Its weights are copied. A
            Snapshot is returned unchanged.
        task: Task that the model was trained on; default: the model's, or addition modulo the number of operand tokens.
        is_train: Training mask, required for losses by split; default: the model's, unless a task is given.
        epoch: Epoch, for labels; default: the model's.
        sequence: Input tokens of a transformer; '=' and the operation token are the last ones of the vocabulary.
            Default: the model's, or 'a b ='.

    Raises:
        TypeError: If the argument is not a TransformerLens model.
        ValueError: If the architecture is not supported or does not fit the task, or the model is a Snapshot and a
            second argument is given.
    """
    if isinstance(model, Snapshot):
        if any(given is not None for given in (task, is_train, epoch, sequence)):
            msg = "a Snapshot already has a task, split and epoch; change them with dataclasses.replace(snapshot, ...)."
            raise ValueError(msg)
        return model
    known = getattr(model, "__dict__", {}).get(_KNOWN, {})
    if sequence is not None:
        sequence = arguments.one_of(sequence, get_args(Sequence), "sequence")
    params, config = lens.from_transformer_lens(model, sequence or known.get("sequence", "a b ="))
    if task is None and is_train is None:  # a split does not apply to a different task
        is_train = known.get("is_train")
    task, is_assumed = task or known.get("task"), False
    if task is None:
        task, is_assumed = addition_of(params, config), True
    reads = () if config.sequence is None else (f"sequence is {config.sequence!r}",)
    result = Snapshot(
        params=params,
        config=config.for_task(params, as_task(task)),
        task=task,
        is_train=None if is_train is None else as_split(is_train, task),
        epoch=known.get("epoch") if epoch is None else epoch,
        assumed=(f"the task is {task.name}", *reads) if is_assumed else (),
    )
    if is_assumed:
        warn_of_chance(result, "pass gi.snapshot(model, task=..., sequence=...)")
    return result


def as_snapshot(model: object) -> Snapshot:
    """Read the argument of an analysis: a Snapshot or a TransformerLens model."""
    return snapshot(model)


def warn_of_chance(snapshot: Snapshot, remedy: str) -> None:
    """Warn that an assumption may be wrong if fewer than half of all answers are correct."""
    right = accuracy(snapshot.logits, snapshot.task.table).item()
    if right < 0.5:
        msg = (
            f"the model's accuracy on all pairs of {snapshot.task.name} is only {right:.1%}, assuming that "
            f"{', '.join(snapshot.assumed)}; if this is wrong, {remedy}."
        )
        warnings.warn(msg, stacklevel=3)


def cached(function: Callable[[Snapshot], R]) -> Callable[[Snapshot], R]:
    """Cache a function's result for the lifetime of its snapshot."""
    results: WeakKeyDictionary[Snapshot, R] = WeakKeyDictionary()

    @wraps(function)
    def look_up(snapshot: Snapshot) -> R:
        if snapshot not in results:
            results[snapshot] = function(snapshot)
        return results[snapshot]

    return look_up


@lru_cache(maxsize=16)
def _basis_of(task: Task) -> Basis:
    return task_basis(task)
