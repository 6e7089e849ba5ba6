"""The engines: ways to compute the logits and the loss of a training step from parameters and pairs."""

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
    """The functions that training calls.

    Attributes:
        logits: Maps parameters and tokens of a and b to logits [batch, d_vocab_out].
        loss: Maps the same and the labels to the mean loss, which is differentiable in the parameters.
    """

    logits: Logits
    loss: Loss


def build_engine(name: str, config: RunConfig, params: Params) -> Engine:
    """Build the engine `kernels`, `factored`, `full` or `hooked`; only the shapes of `params` are used.

    Raises:
        ImportError: If `name` is `hooked` and TransformerLens 3 is not installed.
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
    return Engine(logits, build_loss(config, logits))


def build_loss(config: RunConfig, logits: Logits) -> Loss:
    """The config's loss, to be differentiated by autograd."""
    loss = objective(config.loss)
    return lambda params, a, b, labels: loss(logits(params, a, b), labels)


def stacked_engine(config: RunConfig) -> str:
    """The engine for several runs at once, which is never `kernels`: vmap cannot batch compiled kernels."""
    name = config.training_engine
    if name != "kernels":
        return name
    return "factored" if is_factorable(config.model) else "full"
