"""Architecture: base class of the model configs, with shapes, initialization, forward pass and hook names."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.checked import Checked
from grokinterp.tasks.operations import Task


Params = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
ActFn = Literal["relu", "gelu", "quadratic"]
Hook = Callable[[str, Tensor], Tensor]
"""Called with a hook's name and its activation; returns the activation to use instead."""

HOOK_LOGITS: Final = "unembed.hook_out"
ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "quadratic": torch.square,
}

KINDS: Final[dict[str, "type[Architecture]"]] = {}
"""Config classes by kind, filled as they are defined."""


def no_hook(_: str, activation: Tensor) -> Tensor:
    """Return the activation unchanged."""
    return activation


def chain(first: Hook | None, second: Hook) -> Hook:
    """The second hook, applied after the first hook if there is one."""
    return second if first is None else lambda name, activation: second(name, first(name, activation))


class Architecture(Checked):
    """A kind of model. A subclass is a frozen dataclass with a default for `kind`; defining it registers the kind.

    Configs, command line, training, snapshots, analyses, interventions and reports then accept it. Parameters and hooks
    have TransformerLens names: the last layer's MLP is `blocks.{n_layers - 1}.mlp.W_in` (and `W_out`, if it has one),
    its neurons are `blocks.{n_layers - 1}.mlp.hook_post`, and the unembedding is `unembed.W_U`.

    The default methods suit a model that embeds its operands with `embed.W_E` and has no token positions.

    Attributes:
        REQUIRED: Number of axes of each weight that all models of the kind have, to recognize the kind from weights.
        has_positions: Whether activations have a position axis; the last position gives the answer.
        has_attention: Whether the last layer has `attn.hook_pattern`.
        sequence: Input tokens; None if the model reads only the operands.
    """

    kind: Any
    n_layers: int
    d_mlp: int
    act_fn: ActFn
    sequence: Any = None
    REQUIRED: ClassVar[dict[str, int]] = {}
    has_positions: ClassVar[bool] = False
    has_attention: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        known = KINDS.setdefault(cls.kind, cls)
        # Rerunning a notebook cell redefines the class.
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            msg = f"kind must be unused, got {cls.kind!r}, the kind of {known.__qualname__}; choose a different name."
            raise ValueError(msg)
        KINDS[cls.kind] = cls

    @classmethod
    def choices(cls) -> tuple[type[Checked], ...]:
        """The config classes of all kinds, or only this one."""
        return tuple(KINDS.values()) if cls is Architecture else (cls,)

    @abstractmethod
    def shapes(self, task: Task) -> Shapes:
        """Shape of each parameter by name, in a fixed order."""

    @abstractmethod
    def draw(self, task: Task, generator: torch.Generator) -> Params:
        """Draw the initial parameters in float32."""

    @abstractmethod
    def logits(
        self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], hook: Hook = no_hook
    ) -> Float[Tensor, "batch d_vocab_out"]:
        """Compute the logits of each pair of operands.

        Args:
            params: Parameters by name.
            a: Tokens of the first operand.
            b: Tokens of the second operand.
            hook: Function that receives, and may replace, the activation at each of `hook_names`.
        """

    @abstractmethod
    def hook_names(self) -> tuple[str, ...]:
        """Hook points in the order of the forward pass."""

    @classmethod
    @abstractmethod
    def from_weights(cls, params: Params, act_fn: ActFn, sequence: Any) -> tuple[Params, "Architecture"] | None:
        """Read the config from names and shapes; None if the weights are of a different kind.

        Args:
            params: Dense, finite weights by TransformerLens name, including all REQUIRED ones.
            act_fn: Activation function, which the weights do not determine.
            sequence: Input tokens, which the weights do not determine either.

        Returns:
            The parameters that the config's forward pass reads, and the config.
        """

    def initial_params(self, task: Task, *, seed: int) -> Params:
        """Draw the initial parameters from a seed, in float32.

        Examples:
            >>> import grokinterp as gi
            >>> params = gi.TransformerConfig().initial_params(gi.tasks.operation("addition", 113), seed=999)
            >>> round(params["embed.W_E"].std().item(), 6)
            0.071178
        """
        return self.draw(task, torch.Generator().manual_seed(arguments.seed(seed)))

    def activations(self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Params:
        """All activations by hook name, as TransformerLens' `run_with_cache`.

        Returns:
            Tensors with TransformerLens shapes: [batch, pos, ...], or [batch, ...] without positions; attention
            patterns are [batch, head, query, key].
        """
        cache: Params = {}

        def record(name: str, activation: Tensor) -> Tensor:
            cache[name] = activation
            return activation

        self.logits(params, a, b, record)
        return cache

    def at_answer(self, name: str, activation: Tensor) -> Tensor:
        """The activation at the last position, which gives the answer; the full activation without positions.

        Attention patterns [batch, head, query, key] give [batch, head, key], any other activation [batch, ...].
        """
        if not self.has_positions:
            return activation
        return activation[:, :, -1] if name.endswith("hook_pattern") else activation[:, -1]

    def tokens(self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch pos"]:
        """The input tokens of the TransformerLens model."""
        del params
        return torch.stack([a, b], dim=1)

    def n_operands(self, params: Params) -> int:
        """Number of operand tokens."""
        return len(params["embed.W_E"])

    def operand_rows(self, params: Params, task: Task) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding W_E of the operand tokens."""
        return params["embed.W_E"][: task.n_tokens]

    def set_operand_rows(self, params: Params, rows: Float[Tensor, "d_vocab d_model"]) -> Params:
        """Copy the parameters with different `operand_rows`."""
        W_E = params["embed.W_E"].clone()
        W_E[: len(rows)] = rows.to(W_E)
        return params | {"embed.W_E": W_E}

    def for_task(self, params: Params, task: Task) -> "Architecture":
        """Adapt the config to a task if the weights alone do not determine it."""
        del params, task
        return self

    def assumptions(self) -> tuple[str, ...]:
        """Assumptions about the model that its weights do not determine."""
        return (f"act_fn is {self.act_fn!r}",)

    def describe(self) -> str:
        """Description of the model for a report."""
        plural, each = ("s", " per layer") if self.n_layers > 1 else ("", "")
        return f"A model of kind {self.kind} with {self.n_layers} layer{plural} ({_count(self.d_mlp, 'neuron')}{each})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number > 1 else ''}"
