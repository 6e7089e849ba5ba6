"""The decoder-only transformer: TransformerLens' HookedTransformer as pure functions of (parameters, a, b)."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from grokinterp.checked import Count
from grokinterp.models.architecture import (
    ACTIVATIONS,
    HOOK_LOGITS,
    ActFn,
    Architecture,
    Hook,
    Params,
    Shapes,
    no_hook,
)
from grokinterp.tasks.operations import Task


Sequence = Literal["a b =", "a b", "a op b ="]
Biases = Literal["none", "mlp", "all"]

# Tokens after the operands in W_E, in the order of their rows.
EXTRA_TOKENS: Final[dict[Sequence, tuple[str, ...]]] = {"a b =": ("=",), "a b": (), "a op b =": ("=", "op")}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Architecture):
    """A decoder-only transformer that reads the tokens of a and b and answers at the last position.

    Attributes:
        n_layers: Transformer blocks.
        d_model: Width of the residual stream.
        n_heads: Attention heads per block.
        d_head: Width of one head.
        d_mlp: MLP neurons per block.
        act_fn: The MLP's activation function; `quadratic` is x^2.
        normalization: `none`, or `LN` for LayerNorm before each attention, each MLP and the unembedding.
        biases: `none`; `mlp` for b_in and b_out only; `all` for attention and unembedding as well.
        sequence: Input tokens: the operands and '=', the operands only, or the operands with an operation token.
        equals_in_output: Whether '=' is an output class too, which is never correct.
        init: `hooked_transformer` (N(0, 0.64/d_model) in TransformerLens' order) or `paper` (Nanda et al. 2023:
            standard deviation 1/sqrt(d_model), and 1/sqrt(d_vocab) for the unembedding).

    Raises:
        ValueError: If a field is invalid, or `init='paper'` or `equals_in_output` does not fit the other fields.
    """

    REQUIRED: ClassVar[dict[str, int]] = {
        "embed.W_E": 2, "pos_embed.W_pos": 2, "blocks.0.attn.W_Q": 3, "blocks.0.mlp.W_in": 2, "unembed.W_U": 2,
    }  # fmt: skip
    has_positions: ClassVar[bool] = True
    has_attention: ClassVar[bool] = True

    kind: Literal["transformer"] = "transformer"
    n_layers: Count = 1
    d_model: Count = 128
    n_heads: Count = 4
    d_head: Count = 32
    d_mlp: Count = 512
    act_fn: ActFn = "relu"
    normalization: Literal["none", "LN"] = "none"
    biases: Biases = "none"
    sequence: Sequence = "a b ="
    equals_in_output: bool = False
    init: Literal["hooked_transformer", "paper"] = "hooked_transformer"

    def _check(self) -> None:
        fits_paper = self.n_layers == 1 and self.normalization == "none" and self.biases != "all"
        if self.init == "paper" and not (fits_paper and self.sequence == "a b ="):
            msg = (
                "init='paper' requires one layer without normalization or attention biases and sequence 'a b ='; "
                "use 'hooked_transformer'."
            )
            raise ValueError(msg)
        if self.equals_in_output and self.sequence == "a b":
            msg = "equals_in_output requires a sequence with '=', got sequence='a b'; use 'a b ='."
            raise ValueError(msg)

    @property
    def n_positions(self) -> int:
        """Tokens per sequence."""
        return 2 + len(EXTRA_TOKENS[self.sequence])

    def shapes(self, task: Task) -> Shapes:
        """Shape of each parameter by TransformerLens name, in HookedTransformer's order.

        Examples:
            >>> import grokinterp as gi
            >>> gi.TransformerConfig(biases="mlp").shapes(gi.tasks.operation("addition", 113))["blocks.0.attn.W_Q"]
            (4, 128, 32)
        """
        d, h, k, m = self.d_model, self.n_heads, self.d_head, self.d_mlp
        vocab, out = task.n_tokens + len(EXTRA_TOKENS[self.sequence]), task.n_outputs + self.equals_in_output
        result: Shapes = {"embed.W_E": (vocab, d), "pos_embed.W_pos": (self.n_positions, d)}
        for layer in range(self.n_layers):
            block = {
                "ln1.w": (d,), "ln1.b": (d,), "ln2.w": (d,), "ln2.b": (d,),
                "attn.W_Q": (h, d, k), "attn.W_O": (h, k, d), "attn.b_Q": (h, k), "attn.b_O": (d,),
                "attn.W_K": (h, d, k), "attn.W_V": (h, d, k), "attn.b_K": (h, k), "attn.b_V": (h, k),
                "mlp.W_in": (d, m), "mlp.b_in": (m,), "mlp.W_out": (m, d), "mlp.b_out": (d,),
            }  # fmt: skip
            result |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
        result |= {"ln_final.w": (d,), "ln_final.b": (d,), "unembed.W_U": (d, out), "unembed.b_U": (out,)}
        return {name: shape for name, shape in result.items() if self._has(name)}

    def _has(self, name: str) -> bool:
        *_, module, parameter = name.split(".")
        if module.startswith("ln"):
            return self.normalization == "LN"
        if parameter.startswith("W_"):
            return True
        return self.biases == "all" or (self.biases == "mlp" and module == "mlp")

    def draw(self, task: Task, generator: torch.Generator) -> Params:
        """Draw HookedTransformer's or the paper's initial parameters, equal to the bit for equal seeds."""
        shapes = self.shapes(task)
        if self.init == "paper":
            drawn = _paper(self, shapes, generator)
        else:
            # HookedTransformer(seed=...): in the order of the parameters.
            std = 0.8 / math.sqrt(self.d_model)
            drawn = {
                name: torch.empty(shape).normal_(0.0, std, generator=generator)
                for name, shape in shapes.items()
                if "W_" in name
            }
        return {
            name: drawn[name] if name in drawn else torch.full(shape, 1.0 if name.endswith(".w") else 0.0)
            for name, shape in shapes.items()
        }

    def logits(
        self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], hook: Hook = no_hook
    ) -> Float[Tensor, "batch d_vocab_out"]:
        """Compute the logits at the last position, with every position and layer as in TransformerLens."""
        # F.embedding instead of W_E[tokens]: its backward adds in a fixed order, so equal runs are bitwise equal.
        embed = hook("hook_embed", F.embedding(self.tokens(params, a, b), params["embed.W_E"]))
        residual = embed + hook("hook_pos_embed", params["pos_embed.W_pos"].expand_as(embed))
        for layer in range(self.n_layers):
            residual = _block(params, self, f"blocks.{layer}", residual, hook)
        residual = hook("unembed.hook_in", _layer_norm(params, "ln_final", residual))
        out = residual @ params["unembed.W_U"] + params.get("unembed.b_U", 0.0)
        return hook(HOOK_LOGITS, out)[:, -1]

    def hook_names(self) -> tuple[str, ...]:
        """Hook points in the order of the forward pass, all of which exist in TransformerLens 3 and 4.

        Edits have the same effect in both versions, with one exception: in version 4, `hook_resid_mid` is the input of
        the MLP, so an edit there does not affect the skip connection around it.
        """
        block = ["hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_pattern", "attn.hook_z"]
        block += ["hook_attn_out", "hook_resid_mid", "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]
        blocks = [f"blocks.{layer}.{name}" for layer in range(self.n_layers) for name in block]
        return ("hook_embed", "hook_pos_embed", *blocks, "unembed.hook_in", HOOK_LOGITS)

    def tokens(self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch pos"]:
        """The token sequences, e.g. [a, b, '=']; tokens other than operands come last in the vocabulary.

        Examples:
            >>> params = {"embed.W_E": torch.zeros(6 + 2, 1)}
            >>> TransformerConfig(sequence="a op b =").tokens(params, torch.tensor([3]), torch.tensor([4]))
            tensor([[3, 7, 4, 6]])
        """
        extra, first = EXTRA_TOKENS[self.sequence], self.n_operands(params)
        tokens = {"a": a, "b": b} | {word: torch.full_like(a, first + i) for i, word in enumerate(extra)}
        return torch.stack([tokens[word] for word in self.sequence.split()], dim=1)

    def n_operands(self, params: Params) -> int:
        """Number of operand tokens."""
        return len(params["embed.W_E"]) - len(EXTRA_TOKENS[self.sequence])

    def for_task(self, params: Params, task: Task) -> "TransformerConfig":
        """Adapt the config to a task: '=' is a class if the weights have one class more than the task."""
        return replace(self, equals_in_output=params["unembed.W_U"].shape[1] == task.n_outputs + 1)

    @classmethod
    def from_weights(cls, params: Params, act_fn: ActFn, sequence: Sequence) -> tuple[Params, "TransformerConfig"]:
        """Read the config from names and shapes; biases that are zero throughout are dropped."""
        # The model may have more positions than the sequence.
        W_pos = params["pos_embed.W_pos"][: len(sequence.split())].clone()
        biases = _biases(params)
        present = {"none": (), "mlp": (".mlp.",), "all": ("",)}[biases]
        params = {
            name: p for name, p in params.items() if ".b_" not in name or any(part in name for part in present)
        } | {"pos_embed.W_pos": W_pos}
        n_heads, d_model, d_head = params["blocks.0.attn.W_Q"].shape
        n_classes = len(params["embed.W_E"]) - len(EXTRA_TOKENS[sequence])
        config = cls(
            n_layers=sum(name.endswith("attn.W_Q") for name in params),
            d_model=d_model,
            n_heads=n_heads,
            d_head=d_head,
            d_mlp=params["blocks.0.mlp.W_in"].shape[1],
            act_fn=act_fn,
            normalization="LN" if "ln_final.w" in params else "none",
            biases=biases,
            sequence=sequence,
            equals_in_output=sequence != "a b" and params["unembed.W_U"].shape[1] == n_classes + 1,
        )
        return params, config

    def assumptions(self) -> tuple[str, ...]:
        """Assumptions about the model that its weights do not determine."""
        norm = "no normalization" if self.normalization == "none" else "LayerNorm with eps 1e-5"
        direction = () if self.n_layers == 1 else ("causal attention",)
        sequence = f"sequence is {self.sequence!r}"
        return (*super().assumptions(), sequence, norm, *direction, "positions added to the embeddings")

    def describe(self) -> str:
        """Description of the model for a report."""
        layers = f"{self.n_layers} layer{'s' if self.n_layers > 1 else ''}"
        heads = f"{self.n_heads} head{'s' if self.n_heads > 1 else ''}"
        neurons = f"{self.d_mlp:,} neuron{'s' if self.d_mlp > 1 else ''}{' per layer' if self.n_layers > 1 else ''}"
        return f"A transformer of {layers} ({heads}, {neurons})"


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


def _paper(config: TransformerConfig, shapes: Shapes, generator: torch.Generator) -> Params:
    """Draw as Nanda et al. 2023: in their order (K before Q) and layout, transposed to TransformerLens'."""
    d, h, k, m = config.d_model, config.n_heads, config.d_head, config.d_mlp
    v, out = shapes["embed.W_E"][0], shapes["unembed.W_U"][1]

    def draw(*shape: int, fan: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / math.sqrt(fan)

    W_E, W_pos = draw(d, v, fan=d), draw(3, d, fan=d)
    W_K, W_Q, W_V = (draw(h, k, d, fan=d) for _ in range(3))
    W_O, W_in = draw(d, h * k, fan=d), draw(m, d, fan=d)
    # Their code divides W_out by sqrt(d_model) too, not by sqrt(d_mlp).
    W_out, W_U = draw(d, m, fan=d), draw(d, out, fan=out)
    drawn = {
        "embed.W_E": W_E.T,
        "pos_embed.W_pos": W_pos,
        "blocks.0.attn.W_Q": rearrange(W_Q, "h k d -> h d k"),
        "blocks.0.attn.W_K": rearrange(W_K, "h k d -> h d k"),
        "blocks.0.attn.W_V": rearrange(W_V, "h k d -> h d k"),
        "blocks.0.attn.W_O": rearrange(W_O, "d (h k) -> h k d", h=h),
        "blocks.0.mlp.W_in": W_in.T,
        "blocks.0.mlp.W_out": W_out.T,
        "unembed.W_U": W_U,
    }
    return {name: tensor.contiguous() for name, tensor in drawn.items()}


def _biases(params: Params) -> Biases:
    nonzero = [name for name, p in params.items() if ".b_" in name and p.any()]
    if any(".mlp." not in name for name in nonzero):
        return "all"
    return "mlp" if nonzero else "none"
