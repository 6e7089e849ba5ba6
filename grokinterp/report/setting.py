"""Sentences from the config: what was trained, and captions that depend on it."""

import json
from dataclasses import replace

from grokinterp.config import OptimConfig, RunConfig, to_dict
from grokinterp.models.architecture import Architecture
from grokinterp.report.findings import words
from grokinterp.runs.manifest import Fork, flat


# Settings in the first sentence, or in the task's name.
_SAID = {
    *("task.operation", "task.p", "task.also", "split.fraction", "epochs", "seed"),
    *("model.kind", "model.n_layers", "model.n_heads", "model.d_mlp"),
    *("optim.name", "optim.lr", "optim.weight_decay", "optim.decay_toward", "optim.decay_of", "optim.batch_size"),
}


def setting(config: RunConfig, task: str, n_train: int, n_pairs: int, fork: Fork | None = None) -> str:
    """Describe the config in a few sentences, with every setting that differs from its default.

    Args:
        config: Config of the run.
        task: Name of the task.
        n_train: Number of training pairs.
        n_pairs: Number of all pairs.
        fork: Parent checkpoint, if the run is a fork.

    Examples:
        >>> from grokinterp.models.kinds.mlp import MLPConfig
        >>> config = RunConfig(model=MLPConfig(), optim=OptimConfig(name="SGD"), epochs=50, compile=True, seed=7)
        >>> setting(config, "addition mod 5", 10, 25)
        'An MLP of 2 hidden layers (128 neurons per layer) was trained on 10 of the 25 pairs of addition mod 5 (0.4) for
        up to 50 epochs, with SGD at learning rate 0.001, weight decay 1 and full batches, from seed 7. Settings other
        than the defaults: compile = true.'
    """
    pairs = f"{n_train:,} of the {n_pairs:,} pairs of {task} ({n_train / n_pairs:.2g})"
    said = (
        f"{config.model.describe()} was trained on {pairs} for up to {config.epochs:,} epochs, with "
        f"{_optimizer(config.optim)}, from seed {config.seed}."
    )
    if fork is not None:
        said += (
            f" It continues {fork.run} from epoch {fork.epoch:,}; the initial parameters are from seed "
            f"{fork.initial_seed}."
        )
    default = flat(to_dict(replace(RunConfig(), model=type(config.model)())))
    known = {*_SAID, "optim.muon_lr"} if config.optim.name == "Muon" else _SAID
    other = [
        f"{name} = {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in flat(to_dict(config)).items()
        if name not in known and value != default[name]
    ]
    said += f" Settings other than the defaults: {', '.join(other)}." if other else ""
    if config.regularization.label_noise:
        said += (
            " Label noise replaced answers of training pairs: the logged train loss and accuracy use the replaced "
            "answers, and the progress measures use the task's answers."
        )
    return said


def _optimizer(config: OptimConfig) -> str:
    """The optimizer with its rates, which are base rates if they change during training."""
    is_constant = config.lr_schedule.kind == "constant" and not config.warmup_steps
    lr, rate = _exact(config.lr), "learning rate" if is_constant else "base learning rate"
    said = f"{config.name} at {rate} {lr}"
    if config.name == "Muon":
        said = f"Muon at {rate} {_exact(config.muon_lr)} (AdamW at {lr} for embeddings, unembedding, biases and norms)"
    decay = "weight decay" if config.weight_decay_schedule.kind == "constant" else "base weight decay"
    said += f", {decay} {_exact(config.weight_decay)}"
    if config.decay_of:
        said += f" ({words([f'{_exact(value)} for {pattern}' for pattern, value in config.decay_of])})"
    said += " toward the initial parameters" if config.decay_toward == "initial" else ""
    if config.batch_size is None:
        return f"{said} and full batches"
    size = "batch size" if config.batch_size_schedule.kind == "constant" else "base batch size"
    return f"{said} and {size} {config.batch_size}"


def _exact(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def weights_caption(config: RunConfig) -> str:
    """The caption of the weight norms, which depends on weight decay and regularization."""
    head, optim = "The sum of squared weights of each matrix.", config.optim
    if config.regularization.weight_norm is not None:
        multiple = _exact(config.regularization.weight_norm)
        return f"{head} The norm of all trained parameters together is held at {multiple} times its initial value."
    if not any((optim.weight_decay, *(decay for _, decay in optim.decay_of))):
        return f"{head} This run has no weight decay."
    if optim.decay_toward == "initial":
        return f"{head} Weight decay pulls the weights toward their initial values."
    return f"{head} Weight decay reduces it once large weights no longer lower the loss."


def attention_caption(config: Architecture) -> str:
    """The caption of the attention to the first input, which depends on the sequence."""
    last, rest = {
        "a b =": ("'='", "the second input and '='"),
        "a b": ("the second input", "the second input"),
        "a op b =": ("'='", "the operation, the second input and '='"),
    }[config.sequence]
    layer = " of the last layer" if config.n_layers > 1 else ""
    return (
        f"Attention of each head{layer} from {last} to the first input, for every pair of inputs; the rest goes to "
        f"{rest}. Stripes mean that a head attends by value, periodic stripes that it has a frequency."
    )
