"""How parameters are updated: the optimizer, its schedules, the loss, and what else is done while training."""

import math
from dataclasses import dataclass, field
from typing import Literal

from grokinterp.checked import BelowOne, Checked, Count, NotNegative, NotNegativeInt, Positive, Seed


@dataclass(frozen=True, kw_only=True)
class Schedule(Checked):
    """How a hyperparameter changes over the updates: a factor on its base value.

    Attributes:
        kind: `constant`: 1 throughout. `linear`, `cosine`: from 1 to `factor` over `steps` updates, and there from
            then on. `cyclic`: a triangle, from `factor` up to 1 in `steps` updates, and down again in as many.
            `plateau`: multiplied by `factor` whenever the train loss has set no new low (by a part in ten thousand)
            for more than `steps` updates, not past `limit`.
        steps: Updates.
        factor: Of the base value; above 1 it grows.
        limit: Of `plateau` alone: the factor's bound, a lower one where `factor` is below 1, else an upper one.

    Raises:
        ValueError: If a field is invalid, or a plateau's factor and limit do not lie on one side of 1.

    Source:
        `cyclic` is torch's CyclicLR in its triangular mode, `plateau` its ReduceLROnPlateau, `cosine` its
        CosineAnnealingLR up to the minimum.

    Examples:
        >>> cosine = Schedule(kind="cosine", steps=100, factor=0.0)
        >>> [round(cosine.at(step), 3) for step in (0, 50, 100, 500)]
        [1.0, 0.5, 0.0, 0.0]
    """

    kind: Literal["constant", "linear", "cosine", "cyclic", "plateau"] = "constant"
    steps: Count = 1000
    factor: NotNegative = 0.1
    limit: NotNegative = 0.01

    def _check(self) -> None:
        if self.kind == "plateau" and (self.factor < 1) != (self.limit < 1):
            msg = (
                "a plateau's factor and limit must both be below 1, to fall, or both 1 and above, to grow, got "
                f"factor={self.factor}, limit={self.limit}."
            )
            raise ValueError(msg)

    def at(self, step: int) -> float:
        """The factor of an update, counted from 0; that of `plateau` is not a function of it, and is 1 here."""
        part = min(step / self.steps, 1.0)
        if self.kind == "linear":
            return 1 + part * (self.factor - 1)
        if self.kind == "cosine":
            return self.factor + (1 - self.factor) * (1 + math.cos(math.pi * part)) / 2
        if self.kind == "cyclic":
            height = 1 - abs(step / self.steps % 2 - 1)
            return self.factor + (1 - self.factor) * height
        return 1.0


@dataclass(frozen=True, kw_only=True)
class LossConfig(Checked):
    """What an update lowers. Metrics are always the plain cross-entropy in float64, whatever is trained on.

    Attributes:
        name: `cross_entropy`; or `stablemax`, cross-entropy with s(x) = x + 1 for x >= 0, 1 / (1 - x) below, in
            place of exp.
        dtype: In which it is computed. `float32` is exact to 1e-6 down to the smallest losses, for devices without
            float64. `torch_float32` is torch's own cross-entropy in float32, whose softmax collapses: once the right
            logit is ahead of one other by 17 or so, of 112 others by 21, the loss of the pair is exactly 0, and so is
            its gradient at that logit.
        label_smoothing: Share of the target that is spread evenly over all classes, as in torch.

    Raises:
        ValueError: If a field is invalid, or stablemax has label smoothing.

    Source:
        Prieto et al. 2025, arXiv:2501.04697 (StableMax, softmax collapse).
    """

    name: Literal["cross_entropy", "stablemax"] = "cross_entropy"
    dtype: Literal["float64", "float32", "torch_float32"] = "float64"
    label_smoothing: BelowOne = 0.0

    def _check(self) -> None:
        if self.label_smoothing and self.name != "cross_entropy":
            msg = f"label_smoothing is of name='cross_entropy', got name={self.name!r}."
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Checked):
    """The optimizer, with torch's semantics, and what changes over training.

    Attributes:
        name: `AdamW`; `SGD`, whose decay is torch's: a part of the gradient; `Muon` for weight matrices (one of them
            per head), with AdamW for embeddings, unembedding, biases and norms.
        lr: Learning rate after the warm-up.
        weight_decay: Decoupled but for SGD: each update takes lr * weight_decay of every weight away, muon_lr *
            weight_decay of Muon's matrices.
        betas: Decay of AdamW's two running means.
        eps: Added to the root of the second.
        momentum: Of SGD and Muon.
        muon_lr: Learning rate of Muon's matrices, whose updates have a length of their own; its schedule is lr's.
        decay_toward: `zero`, or the `initial` parameters.
        decay_of: Pairs of a pattern of parameter names and their own weight decay, such as ("embed.*", 0.0); the
            first that fits decides, `weight_decay` where none does.
        warmup_steps: Update i has the share min(i / warmup_steps, 1) of lr, so the first has none; 0: no warm-up.
        batch_size: Pairs per update; none: all of them, the full batch.
        seed: Of the order of the batches and of dropout; none: the run's seed.
        lr_schedule: Of the learning rates; the warm-up comes on top.
        weight_decay_schedule: Of all weight decays.
        batch_size_schedule: Of the batch size, rounded.

    Raises:
        ValueError: If a field is invalid.
    """

    name: Literal["AdamW", "SGD", "Muon"] = "AdamW"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1.0
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.98)
    eps: Positive = 1e-8
    momentum: BelowOne = 0.95
    muon_lr: Positive = 0.02
    decay_toward: Literal["zero", "initial"] = "zero"
    decay_of: tuple[tuple[str, NotNegative], ...] = ()
    warmup_steps: NotNegativeInt = 0
    batch_size: Count | None = None
    seed: Seed | None = None
    lr_schedule: Schedule = field(default_factory=Schedule)
    weight_decay_schedule: Schedule = field(default_factory=Schedule)
    batch_size_schedule: Schedule = field(default_factory=Schedule)

    def _check(self) -> None:
        if self.batch_size is None and self.batch_size_schedule.kind != "constant":
            msg = "a batch_size_schedule needs a batch_size to begin with, got batch_size=None, the full batch."
            raise ValueError(msg)

    def warmup(self, step: int) -> float:
        """The share of the learning rate that the warm-up leaves an update, counted from 0.

        Examples:
            >>> [OptimConfig(warmup_steps=10).warmup(step) for step in (0, 5, 10, 99)]
            [0.0, 0.5, 1.0, 1.0]
        """
        return min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0


@dataclass(frozen=True, kw_only=True)
class RegularizationConfig(Checked):
    """What is done to activations, gradients, weights and labels while training, beyond the optimizer. All off here.

    An update takes the gradient, makes it orthogonal to the weights, filters it, clips it, steps, and then scales the
    weights, in that order.

    Attributes:
        dropout: Probability with which an entry of the attention pattern, the attention's and the MLP's output, or an
            MLP's neuron, is dropped; evaluation drops none.
        orthogonal_gradient: ⊥Grad: take the part of each parameter's gradient along that parameter away, and keep the
            gradient's length.
        grokfast: Amplify the slow part of the gradient, a mean over updates: `ema`, exponential, or `ma`, over a
            window (from when that is full).
        grokfast_decay: Of `ema`: the share of the mean that stays in an update (the paper's alpha).
        grokfast_window: Of `ma`: updates (the paper's w).
        grokfast_gain: What the mean is multiplied by before it is added to the gradient (the paper's lambda).
        clip_norm: Largest norm of the whole gradient; none: any.
        weight_norm: Hold the norm of all parameters that are not frozen at this multiple of its initial value; none:
            let it go.
        label_noise: Share of the training pairs whose answer is replaced by another one, once, before training.
        frozen: Patterns of the names of parameters that are not updated, such as "embed.*".

    Raises:
        ValueError: If a field is invalid.

    Source:
        Lee et al. 2024, arXiv:2405.20233 (Grokfast); Prieto et al. 2025, arXiv:2501.04697 (⊥Grad); Liu et al. 2023,
        arXiv:2210.01117 (Omnigrok: the weight norm held).
    """

    dropout: BelowOne = 0.0
    orthogonal_gradient: bool = False
    grokfast: Literal["none", "ema", "ma"] = "none"
    grokfast_decay: BelowOne = 0.98
    grokfast_window: Count = 100
    grokfast_gain: float = 2.0
    clip_norm: Positive | None = None
    weight_norm: Positive | None = None
    label_noise: BelowOne = 0.0
    frozen: tuple[str, ...] = ()
