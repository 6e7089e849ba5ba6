"""The multi-layer perceptron (MLP): `blocks.{i}.mlp.W_in` maps to hidden layer i, `unembed.W_U` to the logits."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
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


@dataclass(frozen=True, kw_only=True)
class MLPConfig(Architecture):
    """A multi-layer perceptron on a pair of operands.

    Attributes:
        inputs: Input of the first layer: concatenated one-hot vectors (`onehot`), or `concatenated` or `summed`
            embeddings of the operands.
        d_model: Embedding dimension; unused for `onehot`.
        n_layers: Hidden layers.
        d_mlp: Neurons per hidden layer.
        act_fn: Activation function of each layer; `quadratic` is x^2.
        biases: `all` layers, or `none`.
        init: `torch`: as `torch.nn.Linear` and `torch.nn.Embedding`.

    Raises:
        ValueError: If a field is invalid.

    Source:
        Gromov 2023, arXiv:2301.02679 (one hidden layer, quadratic); Liu et al. 2022, arXiv:2205.10343 (summed
        embeddings).
    """

    REQUIRED: ClassVar[dict[str, int]] = {"blocks.0.mlp.W_in": 2, "unembed.W_U": 2}

    kind: Literal["mlp"] = "mlp"
    inputs: Literal["onehot", "concatenated", "summed"] = "onehot"
    d_model: Count = 128
    n_layers: Count = 2
    d_mlp: Count = 128
    act_fn: ActFn = "relu"
    biases: Literal["none", "all"] = "all"
    init: Literal["torch"] = "torch"

    def shapes(self, task: Task) -> Shapes:
        """Shape of each parameter by name.

        Examples:
            >>> import grokinterp as gi
            >>> gi.MLPConfig().shapes(gi.tasks.operation("addition", 97))["blocks.0.mlp.W_in"]
            (194, 128)
        """
        n, d, m = task.n_tokens, self.d_model, self.d_mlp
        result: Shapes = {} if self.inputs == "onehot" else {"embed.W_E": (n, d)}
        width = {"onehot": 2 * n, "concatenated": 2 * d, "summed": d}[self.inputs]
        for layer in range(self.n_layers):
            result |= {f"blocks.{layer}.mlp.W_in": (width, m), f"blocks.{layer}.mlp.b_in": (m,)}
            width = m
        result |= {"unembed.W_U": (m, task.n_outputs), "unembed.b_U": (task.n_outputs,)}
        return {name: shape for name, shape in result.items() if self.biases == "all" or ".b_" not in name}

    def draw(self, task: Task, generator: torch.Generator) -> Params:
        """Draw as torch.nn.Embedding and torch.nn.Linear: in layout [out, in], each weight before its bias."""
        params: Params = {}
        bound = 0.0
        for name, shape in self.shapes(task).items():
            if name == "embed.W_E":
                params[name] = torch.empty(shape).normal_(generator=generator)
            elif ".W_" in name:
                bound = 1 / math.sqrt(shape[0])  # also for the bias that follows
                weights = torch.empty(shape[::-1])
                torch.nn.init.kaiming_uniform_(weights, a=math.sqrt(5), generator=generator)
                params[name] = weights.T.contiguous()
            else:
                params[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        return params

    def logits(
        self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], hook: Hook = no_hook
    ) -> Float[Tensor, "batch d_vocab_out"]:
        """Compute the logits of each pair of operands."""
        pre = self._first(params, a, b, hook)
        for layer in range(self.n_layers):
            pre = hook(f"blocks.{layer}.mlp.hook_pre", pre + params.get(f"blocks.{layer}.mlp.b_in", 0.0))
            post = hook(f"blocks.{layer}.mlp.hook_post", ACTIVATIONS[self.act_fn](pre))
            pre = post @ params[f"blocks.{layer + 1}.mlp.W_in" if layer + 1 < self.n_layers else "unembed.W_U"]
        return hook(HOOK_LOGITS, pre + params.get("unembed.b_U", 0.0))

    def _first(self, params: Params, a: Tensor, b: Tensor, hook: Hook) -> Float[Tensor, "batch d_mlp"]:
        """The input of the first hidden layer, without its bias."""
        W_in = params["blocks.0.mlp.W_in"]
        if self.inputs == "onehot":
            # F.embedding instead of W_in[a], because its backward adds in a fixed order.
            rows_a, rows_b = W_in.chunk(2)
            return F.embedding(a, rows_a) + F.embedding(b, rows_b)
        embed = hook("hook_embed", F.embedding(torch.stack([a, b], dim=1), params["embed.W_E"]))
        return (embed.flatten(1) if self.inputs == "concatenated" else embed.sum(dim=1)) @ W_in

    def hook_names(self) -> tuple[str, ...]:
        """Hook points in the order of the forward pass.

        `hook_embed` is [batch, operand, d_model] and absent for one-hot inputs; the others are [batch, ...].
        """
        embed = () if self.inputs == "onehot" else ("hook_embed",)
        layers = (f"blocks.{layer}.mlp.{name}" for layer in range(self.n_layers) for name in ("hook_pre", "hook_post"))
        return (*embed, *layers, HOOK_LOGITS)

    def n_operands(self, params: Params) -> int:
        """Number of operand tokens."""
        return len(params["blocks.0.mlp.W_in"]) // 2 if self.inputs == "onehot" else len(params["embed.W_E"])

    def operand_rows(self, params: Params, task: Task) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding; for one-hot inputs, each token's two rows of the first layer, concatenated."""
        if self.inputs != "onehot":
            return super().operand_rows(params, task)
        return torch.cat(params["blocks.0.mlp.W_in"].chunk(2), dim=1)

    def set_operand_rows(self, params: Params, rows: Float[Tensor, "d_vocab d_model"]) -> Params:
        """Copy the parameters with different `operand_rows`."""
        if self.inputs != "onehot":
            return super().set_operand_rows(params, rows)
        W_in = params["blocks.0.mlp.W_in"]
        return params | {"blocks.0.mlp.W_in": torch.cat(rows.to(W_in).chunk(2, dim=1))}

    @classmethod
    def from_weights(cls, params: Params, act_fn: ActFn, sequence: object) -> tuple[Params, "MLPConfig"] | None:
        """Read the config from names and shapes; biases that are zero throughout are dropped."""
        del sequence
        if any(".W_out" in name or "attn." in name or "pos_embed" in name for name in params):
            return None
        has_biases = any(".b_" in name and p.any() for name, p in params.items())
        params = {name: p for name, p in params.items() if has_biases or ".b_" not in name}
        width, d_mlp = params["blocks.0.mlp.W_in"].shape
        d_model = params["embed.W_E"].shape[-1] if "embed.W_E" in params else cls.d_model
        embedded: Literal["summed", "concatenated"] = "summed" if width == d_model else "concatenated"
        config = cls(
            inputs=embedded if "embed.W_E" in params else "onehot",
            d_model=d_model,
            n_layers=sum(name.endswith("mlp.W_in") for name in params),
            d_mlp=d_mlp,
            act_fn=act_fn,
            biases="all" if has_biases else "none",
        )
        return params, config

    def describe(self) -> str:
        """Description of the model for a report."""
        plural, each = ("s", " per layer") if self.n_layers > 1 else ("", "")
        neurons = f"{self.d_mlp:,} neuron{'s' if self.d_mlp > 1 else ''}{each}"
        return f"An MLP of {self.n_layers} hidden layer{plural} ({neurons})"
