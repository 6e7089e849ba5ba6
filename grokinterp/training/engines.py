"""How the logits of a training step are computed. Every engine is a function of (parameters, a, b)."""

from collections.abc import Callable

from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.models import lens
from grokinterp.models.architecture import Params
from grokinterp.models.factored import factored_logits, is_factorable
from grokinterp.models.kinds.transformer import TransformerConfig


Engine = Callable[[Params, Tensor, Tensor], Tensor]


def engine_name(config: RunConfig) -> str:
    """`factored`, `full` or `hooked`: what a config asks for, or what `auto` means for its model."""
    if config.engine != "auto":
        return config.engine
    return "factored" if is_factorable(config.model) else "full"


def build_engine(config: RunConfig, params: Params) -> tuple[str, Engine]:
    """The engine a config asks for, and its name.

    Args:
        config: The run's.
        params: Gives the shapes to the engine that builds a model.

    Returns:
        One of `factored`, `full` and `hooked`; and the logits [batch, d_vocab_out] as a function.

    Raises:
        ImportError: If `hooked` is asked for and TransformerLens is not of version 3.
    """
    model, name = config.model, engine_name(config)
    if isinstance(model, TransformerConfig) and name == "hooked":
        return name, lens.hooked_logits(params, model)
    if is_factorable(model) and name == "factored":
        return name, lambda params, a, b: factored_logits(params, model, a, b)
    return name, lambda params, a, b: model.logits(params, a, b)
