"""A model at one epoch with its task and split, and what analyses read of it: computed once, then kept."""

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
from grokinterp.basis import Basis, product_means, task_basis
from grokinterp.labels import SPLITS, Split
from grokinterp.losses import accuracy
from grokinterp.models import lens
from grokinterp.models.architecture import Architecture, Hook, Params, chain
from grokinterp.models.factored import FactoredActivations, factored_activations, is_factorable
from grokinterp.models.kinds.transformer import Sequence, TransformerConfig
from grokinterp.models.weights import addition_of, check_numbers
from grokinterp.reprs import Shown
from grokinterp.tasks import Task, all_pairs
from grokinterp.tasks.operations import as_task
from grokinterp.tasks.split import AnySplit, as_split


R = TypeVar("R")

_KNOWN: Final = "grokinterp"  # the attribute of a TransformerLens model that holds what no weight tells


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Snapshot(Shown):
    """A model at one epoch, with its task and split.

    Attributes:
        params: By TransformerLens name, on the CPU; detached from any graph, and float16 and bfloat16 cast to float32.
        config: The model's.
        task: What it was trained on.
        is_train: True at the pairs it was trained on; None where that is not known.
        epoch: Updates of the full batch it has seen; None where that is not known.
        hook: Edits of activations, made in every forward pass; None for the model as its parameters say. It is
            called as that of `Architecture.logits`, with the batch of all pairs in order.
        assumed: What neither the weights nor the caller told, in words.

    Raises:
        ValueError: If the parameters are not finite numbers of the shapes that config and task ask for, or the split is
            not True or False at each of the task's pairs, or leaves a part empty.
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
        found = {name: tuple(p.shape) for name, p in self.params.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in wanted:
                msg = f"the weights hold {name}, which is not read in a {self.config.kind} of this config."
                raise ValueError(msg)
            if wanted[name] != found.get(name):
                msg = (
                    f"a model of {self.task.name} needs {name} of shape {wanted[name]}, "
                    f"got {found.get(name, 'none')}; pass the task that the model was trained on."
                )
                raise ValueError(msg)

    @cached_property
    def logits(self) -> Float64[Tensor, "a b c"]:
        """The logits at the last position of every pair, without the class '=' that training may have had."""
        flat = self._at_equals.logits[:, : self.task.n_outputs].double()
        return flat.reshape(*self.task.shape, -1)

    @cached_property
    def neurons(self) -> Float[Tensor, "a b neuron"]:
        """The last layer's MLP activations (`hook_post`) of every pair; a transformer's at the last position."""
        return self._at_equals.neurons.reshape(*self.task.shape, -1)

    @cached_property
    def attention(self) -> Float[Tensor, "a b head pos"]:
        """The last layer's attention from the last position, '=' as a rule, to every position, for every pair.

        Raises:
            ValueError: If the model is an MLP.
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
        """The embedding of the operands' tokens, without that of '='.

        An MLP on one-hot inputs has two for each token, its row of the first layer as a and that as b; they stand side
        by side.
        """
        return self.config.operand_rows(self.params, self.task)

    @property
    def W_L(self) -> Float[Tensor, "neuron c"]:
        """The neuron-logit map of the last layer, without the class '=': W_out W_U, or W_U of an MLP.

        Papers that multiply from the left write its transpose.
        """
        W_U = self.params["unembed.W_U"][:, : self.task.n_outputs]
        W_out = self.params.get(f"blocks.{self.config.n_layers - 1}.mlp.W_out")
        return W_U if W_out is None else W_out @ W_U

    def require_transformer(self) -> TransformerConfig:
        """The config of a transformer.

        Raises:
            ValueError: If the model is an MLP.
        """
        if not isinstance(self.config, TransformerConfig):
            msg = f"this analysis needs a transformer, with its attention, got a model of kind {self.config.kind!r}."
            raise ValueError(msg)
        return self.config

    @property
    def basis(self) -> Basis:
        """The basis of the task's group over tokens and output classes.

        Raises:
            ValueError: If the task has no group.
        """
        return _basis_of(self.task)

    def activation(self, name: str) -> Float[Tensor, "a b ..."]:
        """An activation by its TransformerLens hook name, for every pair; as edited, if `hook` edits it.

        That of a transformer is the one at the last position: a pattern [batch, head, query, key] gives
        [a, b, head, key], any other [batch, pos, ...] gives [a, b, ...].

        Raises:
            ValueError: If the model has no such hook.
        """
        names = self.config.hook_names()
        _, (kept,) = self._forward(arguments.one_of(name, names, "hook"))
        return kept.reshape(*self.task.shape, *kept.shape[1:])

    @property
    def tokens(self) -> Int[Tensor, "batch pos"]:
        """The sequences, such as [a, b, '='], of all pairs in order, for a TransformerLens model to read."""
        return self.config.tokens(self.params, *all_pairs(self.task))

    def model(self) -> Any:
        """The TransformerLens model with copies of these weights, which knows its task, split, epoch and sequence.

        Returns:
            What `models.lens.to_transformer_lens` gives.

        Raises:
            ValueError: If a hook edits the snapshot, or the installed TransformerLens has no such model.
        """
        if self.hook is not None:
            msg = "an edited snapshot has no TransformerLens model; take the model of the clean one, and edit that."
            raise ValueError(msg)
        model = lens.to_transformer_lens(self.params, self.config)
        sequence = self.config.sequence or "a b ="
        known = {"task": self.task, "is_train": self.is_train, "epoch": self.epoch, "sequence": sequence}
        setattr(model, _KNOWN, known)
        return model

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits whose pairs are known: `all` alone if the training pairs are not."""
        return ("all",) if self.is_train is None else SPLITS

    def mask(self, split: str) -> Bool[Tensor, "a b"]:
        """True at the pairs of `train`, `test` or `all`.

        Raises:
            ValueError: If the split is none of these, or not known to the snapshot.
        """
        if arguments.one_of(split, SPLITS, "split") == "all":
            return torch.ones(self.task.shape, dtype=torch.bool)
        if self.is_train is None:
            msg = f"split={split!r} needs to know the training pairs; pass is_train to gi.snapshot, or use split='all'."
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
        """The logits and some activations at '=' of a forward pass with `hook`, which computes every position."""
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
    """A snapshot of a TransformerLens model, ours or trained elsewhere.

    A model from `run.model()`, or a copy of it, knows its task, split, epoch and sequence. A model that does not, and
    is given no task, is read as a model of addition; if it answers fewer than half of all pairs correctly, a warning
    says so.

    Args:
        model: A `HookedTransformer` or `TransformerBridge`, or what `run.model()` gives of an MLP. Its weights are
            copied. A Snapshot is returned as it is.
        task: What it was trained on; default: what the model knows, else addition modulo the number of operands'
            tokens.
        is_train: True at the pairs it was trained on, where losses by split are wanted; default: what the model knows,
            unless another task is given.
        epoch: For labels; default: what the model knows.
        sequence: What a transformer reads; '=' and the operation's token are the last ones of its vocabulary. Default:
            what the model knows, else 'a b ='.

    Returns:
        The snapshot.

    Raises:
        TypeError: If it is no TransformerLens model.
        ValueError: If the model is of a kind that this library does not read, or does not fit the task; or if it is a
            Snapshot and another argument is given.
    """
    if isinstance(model, Snapshot):
        if any(given is not None for given in (task, is_train, epoch, sequence)):
            msg = (
                "a Snapshot has its task, split and epoch already; change them with dataclasses.replace(snapshot, ...)."
            )
            raise ValueError(msg)
        return model
    known = getattr(model, "__dict__", {}).get(_KNOWN, {})
    if sequence is not None:
        sequence = arguments.one_of(sequence, get_args(Sequence), "sequence")
    params, config = lens.from_transformer_lens(model, sequence or known.get("sequence", "a b ="))
    if task is None and is_train is None:  # the split of one task says nothing about the pairs of another
        is_train = known.get("is_train")
    task, is_assumed = task or known.get("task"), False
    if task is None:
        task, is_assumed = addition_of(params, config), True
    found = Snapshot(
        params=params,
        config=config.for_task(params, as_task(task)),
        task=task,
        is_train=None if is_train is None else as_split(is_train, task),
        epoch=known.get("epoch") if epoch is None else epoch,
        assumed=(f"the task is {task.name}", *_read(config)) if is_assumed else (),
    )
    if is_assumed:
        warn_of_chance(found, "pass gi.snapshot(model, task=..., sequence=...)")
    return found


def _read(config: Architecture) -> tuple[str, ...]:
    return (f"it reads {config.sequence!r}",) if config.sequence is not None else ()


def as_snapshot(model: object) -> Snapshot:
    """A snapshot as it is, or one of a TransformerLens model: the door of every analysis."""
    return snapshot(model)


def warn_of_chance(snapshot: Snapshot, remedy: str) -> None:
    """Warn if a model answers fewer than half of all pairs correctly, which what was assumed of it may explain."""
    right = accuracy(snapshot.logits, snapshot.task.table).item()
    if right < 0.5:
        msg = (
            f"the model answers {right:.1%} of all pairs of {snapshot.task.name} correctly; it was assumed that "
            f"{', '.join(snapshot.assumed)}; if that is wrong, {remedy}."
        )
        warnings.warn(msg, stacklevel=3)


def kept(function: Callable[[Snapshot], R]) -> Callable[[Snapshot], R]:
    """Keep a function's result for as long as the snapshot it is of."""
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
