"""How the loss of a training step and its logits are computed. Every engine is a function of parameters and pairs."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.models import lens
from grokinterp.models.architecture import Params
from grokinterp.models.factored import factored_logits, is_factorable, is_tabulable
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.training.objective import objective
from grokinterp.training.tabulated import TabulatedEngine


Logits = Callable[[Params, Tensor, Tensor], Tensor]
Loss = Callable[[Params, Tensor, Tensor, Tensor], Tensor]


class Engine(NamedTuple):
    """What a training step and its evaluation call.

    Attributes:
        logits: [batch, d_vocab_out], of parameters and tokens of a and b.
        loss: The mean over pairs, of the same and the right answers; differentiable in the parameters.
    """

    logits: Logits
    loss: Loss


def build_engine(name: str, config: RunConfig, params: Params) -> Engine:
    """An engine.

    Args:
        name: `kernels`, `factored`, `full` or `hooked`.
        config: The run's.
        params: Gives the shapes to the engine that builds a model.

    Raises:
        ImportError: If `hooked` is asked for and TransformerLens is not of version 3.
    """
    model = config.model
    if is_tabulable(model) and name == "kernels":
        tabulated = TabulatedEngine(model, config.loss)
        return Engine(tabulated.logits, tabulated.loss)
    if isinstance(model, TransformerConfig) and name == "hooked":
        logits = lens.hooked_logits(params, model)
    elif is_factorable(model) and name == "factored":
        logits = lambda params, a, b: factored_logits(params, model, a, b)  # noqa: E731
    else:
        logits = lambda params, a, b: model.logits(params, a, b)  # noqa: E731
    return Engine(logits, loss_of(config, logits))


def loss_of(config: RunConfig, logits: Logits) -> Loss:
    """The loss of a config, by autograd through logits."""
    wanted = objective(config.loss)
    return lambda params, a, b, answers: wanted(logits(params, a, b), answers)


def stacked_name(config: RunConfig) -> str:
    """The engine that takes the gradients of several runs at once: compiled kernels take those of one."""
    name = config.training_engine
    if name != "kernels":
        return name
    return "factored" if is_factorable(config.model) else "full"
