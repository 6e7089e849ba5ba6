"""The shape of a model, apart from what its task decides (how many tokens and classes there are)."""

from dataclasses import dataclass
from typing import Final, Literal

from grokinterp.checked import Checked, Count


ActFn = Literal["relu", "gelu", "quadratic"]
Sequence = Literal["a b =", "a b", "a op b ="]

# The tokens beside the operands', in the order of their rows in W_E, which come after the operands'.
EXTRA_TOKENS: Final[dict[Sequence, tuple[str, ...]]] = {"a b =": ("=",), "a b": (), "a op b =": ("=", "op")}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Checked):
    """A decoder-only transformer that reads the tokens of a and b, and gives the answer at the last position.

    Attributes:
        n_layers: Transformer blocks.
        d_model: Width of the residual stream.
        n_heads: Attention heads per block.
        d_head: Width of one head.
        d_mlp: MLP neurons per block.
        act_fn: The MLP's activation; `quadratic` is x^2.
        normalization: `none`, or `LN` for LayerNorm before each attention, each MLP and the unembedding.
        biases: `none`; `mlp` for b_in and b_out alone; `all` for those of attention and unembedding too.
        sequence: What is read: the operands and '=', the operands alone, or with a token of the operation between.
        equals_in_output: Whether '=' is an output class as well, never the right one.
        init: `hooked_transformer` (N(0, 0.64/d_model) in TransformerLens' order) or `paper` (that of Nanda
            et al., whose standard deviations are 1/sqrt(d_model), and 1/sqrt(d_vocab) for the unembedding).

    Raises:
        ValueError: If a field is invalid (see `grokinterp.checked`), or the paper's initialisation or
            `equals_in_output` does not fit the rest of the model.
    """

    kind: Literal["transformer"] = "transformer"
    n_layers: Count = 1
    d_model: Count = 128
    n_heads: Count = 4
    d_head: Count = 32
    d_mlp: Count = 512
    act_fn: ActFn = "relu"
    normalization: Literal["none", "LN"] = "none"
    biases: Literal["none", "mlp", "all"] = "none"
    sequence: Sequence = "a b ="
    equals_in_output: bool = False
    init: Literal["hooked_transformer", "paper"] = "hooked_transformer"

    def _check(self) -> None:
        is_papers = self.n_layers == 1 and self.normalization == "none" and self.biases != "all"
        if self.init == "paper" and not (is_papers and self.sequence == "a b ="):
            msg = (
                "init='paper' is that of one layer without normalization or attention biases, reading 'a b ='; "
                "use 'hooked_transformer'."
            )
            raise ValueError(msg)
        if self.equals_in_output and self.sequence == "a b":
            msg = "equals_in_output needs a sequence with '=', got sequence='a b'; use 'a b ='."
            raise ValueError(msg)

    @property
    def n_positions(self) -> int:
        """Tokens of a sequence."""
        return 2 + len(EXTRA_TOKENS[self.sequence])

    @property
    def is_tabulable(self) -> bool:
        """Whether the engine `kernels` trains this model: one layer, no normalization, read at a '='."""
        return self.n_layers == 1 and self.normalization == "none" and self.sequence != "a b"

    @property
    def is_factorable(self) -> bool:
        """Whether `factored.factored_logits` computes this model: one layer, no normalization, 'a b ='."""
        return self.n_layers == 1 and self.normalization == "none" and self.sequence == "a b ="


@dataclass(frozen=True, kw_only=True)
class MLPConfig(Checked):
    """A multi-layer perceptron on a pair of operands.

    Attributes:
        inputs: `onehot`, the two operands' one-hot vectors side by side (their first layer is a sum of two rows);
            `concatenated` or `summed`, their embeddings side by side or added.
        d_model: Width of an embedding; without a meaning for `onehot`.
        n_layers: Hidden layers.
        d_mlp: Neurons of each.
        act_fn: Activation of each; `quadratic` is x^2.
        biases: `all` layers, or `none`.
        init: `torch`, that of `torch.nn.Linear` and `torch.nn.Embedding`.

    Raises:
        ValueError: If a field is invalid.

    Source:
        Gromov 2023, arXiv:2301.02679 (one hidden layer, quadratic); Liu et al. 2022, arXiv:2205.10343 (summed
        embeddings).
    """

    kind: Literal["mlp"] = "mlp"
    inputs: Literal["onehot", "concatenated", "summed"] = "onehot"
    d_model: Count = 128
    n_layers: Count = 2
    d_mlp: Count = 128
    act_fn: ActFn = "relu"
    biases: Literal["none", "all"] = "all"
    init: Literal["torch"] = "torch"

    @property
    def is_tabulable(self) -> bool:
        """Never: that is a way to train transformers."""
        return False

    @property
    def is_factorable(self) -> bool:
        """Never: that is a way to compute transformers."""
        return False


ModelConfig = TransformerConfig | MLPConfig
