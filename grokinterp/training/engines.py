"""How the logits of a training step are computed. Every engine is a function of (parameters, a, b)."""

from collections.abc import Callable

from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.models import forward, lens
from grokinterp.models.config import TransformerConfig
from grokinterp.models.factored import factored_logits
from grokinterp.models.init import Params


Engine = Callable[[Params, Tensor, Tensor], Tensor]


def build_engine(config: RunConfig, params: Params) -> tuple[str, Engine]:
    """The engine a config asks for, and its name.

    Args:
        config: `auto` takes `factored` where that applies, else `full`.
        params: Gives the shapes to the engine that builds a model.

    Returns:
        One of `factored`, `full` and `hooked`; and the logits [batch, d_vocab_out] as a function.

    Raises:
        ImportError: If `hooked` is asked for and TransformerLens is not of version 3.
    """
    model = config.model
    name = config.engine
    if name == "auto":
        name = "factored" if model.is_factorable else "full"
    if isinstance(model, TransformerConfig) and name == "hooked":
        return name, lens.hooked_logits(params, model)
    if isinstance(model, TransformerConfig) and name == "factored":
        return name, lambda params, a, b: factored_logits(params, model, a, b)
    return name, lambda params, a, b: forward.logits(params, model, a, b)
