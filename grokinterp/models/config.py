"""The shape of a model, apart from what its task decides (how many tokens and classes there are)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A decoder-only transformer that reads three tokens, a, b and '='.

    Attributes:
        n_layers: Transformer blocks.
        d_model: Width of the residual stream.
        n_heads: Attention heads per block.
        d_head: Width of one head.
        d_mlp: MLP neurons per block.
        act_fn: The MLP's activation; `quadratic` is x^2.
        normalization: `none`, or `LN` for LayerNorm before each attention, each MLP and the unembedding.
        biases: `none`; `mlp` for b_in and b_out alone; `all` for those of attention and unembedding too.
        equals_in_output: Whether '=' is an output class as well, never the right one.
        init: `hooked_transformer` (N(0, 0.64/d_model) in TransformerLens' order) or `paper` (that of Nanda
            et al., whose standard deviations are 1/sqrt(d_model), and 1/sqrt(d_vocab) for the unembedding).

    Raises:
        ValueError: If a size is not positive, or the paper's initialisation is asked for another kind of model.
    """

    kind: Literal["transformer"] = "transformer"
    n_layers: int = 1
    d_model: int = 128
    n_heads: int = 4
    d_head: int = 32
    d_mlp: int = 512
    act_fn: Literal["relu", "gelu", "quadratic"] = "relu"
    normalization: Literal["none", "LN"] = "none"
    biases: Literal["none", "mlp", "all"] = "none"
    equals_in_output: bool = False
    init: Literal["hooked_transformer", "paper"] = "hooked_transformer"

    def __post_init__(self) -> None:
        for size in ("n_layers", "d_model", "n_heads", "d_head", "d_mlp"):
            if getattr(self, size) < 1:
                msg = f"{size} must be at least 1, got {size}={getattr(self, size)}."
                raise ValueError(msg)
        if self.init == "paper" and (self.n_layers != 1 or self.normalization != "none" or self.biases == "all"):
            msg = (
                "init='paper' is that of one layer without normalization or attention biases; use 'hooked_transformer'."
            )
            raise ValueError(msg)

    @property
    def is_factorable(self) -> bool:
        """Whether `transformer.factored_logits` computes this model: one layer without normalization."""
        return self.n_layers == 1 and self.normalization == "none"
