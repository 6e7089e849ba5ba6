"""How the logits of a training step are computed. Every engine is a function of (parameters, a, b)."""

from collections.abc import Callable

from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.models import forward, lens
from grokinterp.models.config import TransformerConfig
from grokinterp.models.factored import factored_logits
from grokinterp.models.init import Params


Engine = Callable[[Params, Tensor, Tensor], Tensor]


def engine_name(config: RunConfig) -> str:
    """`factored`, `full` or `hooked`: what a config asks for, or what `auto` means for its model."""
    if config.engine != "auto":
        return config.engine
    return "factored" if config.model.is_factorable else "full"


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
    if isinstance(model, TransformerConfig) and name == "factored":
        return name, lambda params, a, b: factored_logits(params, model, a, b)
    return name, lambda params, a, b: forward.logits(params, model, a, b)
