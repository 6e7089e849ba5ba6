"""Config of the loss, the optimizer, its schedules and the regularization."""

import math
from dataclasses import dataclass, field
from typing import Literal

from grokinterp.checked import BelowOne, Checked, Count, NotNegative, NotNegativeInt, Positive, Seed


@dataclass(frozen=True, kw_only=True)
class Schedule(Checked):
    """A schedule: the factor by which a hyperparameter's base value is multiplied at each update.

    Attributes:
        kind: `constant`: 1 throughout. `linear`, `cosine`: from 1 to `factor` over `steps` updates, then constant.
            `cyclic`: a triangle wave that rises from `factor` to 1 in `steps` updates and falls in as many. `plateau`:
            multiplied by `factor` each time the train loss has not fallen by a relative 1e-4 for more than `steps`
            updates, up to `limit`.
        steps: Number of updates.
        factor: Multiplier, as described under `kind`; above 1, the value increases.
        limit: Bound of a `plateau` schedule: the minimum if `factor` is below 1, else the maximum.

    Raises:
        ValueError: If a field is invalid, or only one of a plateau's factor and limit is below 1.

    Source:
        torch's CyclicLR in `triangular` mode, ReduceLROnPlateau, and CosineAnnealingLR up to its minimum.

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
                "a plateau's factor and limit must both be below 1 (decreasing) or both at least 1 (increasing), "
                f"got factor={self.factor}, limit={self.limit}."
            )
            raise ValueError(msg)

    def at(self, step: int) -> float:
        """The factor at an update, counted from 0; 1 for `plateau`, which depends on the loss history."""
        progress = min(step / self.steps, 1.0)
        if self.kind == "linear":
            return 1 + progress * (self.factor - 1)
        if self.kind == "cosine":
            return self.factor + (1 - self.factor) * (1 + math.cos(math.pi * progress)) / 2
        if self.kind == "cyclic":
            height = 1 - abs(step / self.steps % 2 - 1)
            return self.factor + (1 - self.factor) * height
        return 1.0


@dataclass(frozen=True, kw_only=True)
class LossConfig(Checked):
    """The training loss. Logged metrics are always the float64 cross-entropy.

    Attributes:
        name: `cross_entropy`; or `stablemax`: cross-entropy with exp replaced by s(x) = x + 1 for x >= 0 and
            1 / (1 - x) for x < 0.
        dtype: Dtype of the loss. `float32` is exact to 1e-6 down to the smallest losses, for devices without float64.
            `torch_float32` is torch's cross-entropy in float32, whose softmax collapses: once the correct logit exceeds
            one other by about 17, or 112 others by 21, the loss of the pair and its gradient at that logit are
            exactly 0.
        label_smoothing: Fraction of the target that is spread evenly over all classes, as in torch.

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
            msg = f"label_smoothing requires name='cross_entropy', got name={self.name!r}."
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Checked):
    """The optimizer, with torch's semantics, and its schedules.

    Attributes:
        name: `AdamW`; `SGD`, with weight decay added to the gradient as in torch; or `Muon` for weight matrices
            (separately per head), with AdamW for embeddings, unembedding, biases and norms.
        lr: Learning rate after the warmup.
        weight_decay: Decoupled weight decay, except for SGD: each update multiplies the weights by
            1 - lr * weight_decay, and Muon's matrices by 1 - muon_lr * weight_decay.
        betas: AdamW's decay rates of the first and the second moment.
        eps: Term added to the root of AdamW's second moment.
        momentum: Momentum of SGD and Muon.
        muon_lr: Learning rate of Muon's matrices, whose updates are orthogonalized; follows `lr_schedule` too.
        decay_toward: Target of the weight decay: `zero`, or the `initial` parameters.
        decay_of: Weight decay by pattern of parameter names, e.g. ("embed.*", 0.0); the first match wins, and
            `weight_decay` applies to the rest.
        warmup_steps: Length of the linear warmup: update i uses lr * min(i / warmup_steps, 1), so the first one uses 0;
            0 for no warmup.
        batch_size: Pairs per update; None for full batches.
        seed: Seed of the batch order and of dropout; None for the run's seed.
        lr_schedule: Schedule of the learning rates, multiplied by the warmup.
        weight_decay_schedule: Schedule of all weight decays.
        batch_size_schedule: Schedule of the batch size, which is rounded.

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
            msg = "batch_size_schedule requires a batch_size, got batch_size=None (full batches)."
            raise ValueError(msg)

    def warmup(self, step: int) -> float:
        """The warmup factor of the learning rate at an update, counted from 0.

        Examples:
            >>> [OptimConfig(warmup_steps=10).warmup(step) for step in (0, 5, 10, 99)]
            [0.0, 0.5, 1.0, 1.0]
        """
        return min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0


@dataclass(frozen=True, kw_only=True)
class RegularizationConfig(Checked):
    """Regularization beyond the optimizer, all off by default.

    An update computes the gradient, orthogonalizes it against the weights, applies Grokfast, clips it, takes the
    optimizer step and rescales the weights, in this order.

    Attributes:
        dropout: Dropout probability for attention patterns, attention and MLP outputs, or the neurons of an MLP model;
            off in evaluation.
        orthogonal_gradient: ⊥Grad: remove each gradient's component along its parameter, then restore its norm.
        grokfast: Amplify the slow component of the gradient, a mean over updates: `ema`, exponential, or `ma`, over a
            window (once it is full).
        grokfast_decay: Decay rate of `ema` (alpha in the paper).
        grokfast_window: Window length of `ma` in updates (w in the paper).
        grokfast_gain: Multiplier of the mean before it is added to the gradient (lambda in the paper).
        clip_norm: Maximum norm of the full gradient; None for no clipping.
        weight_norm: Fixed norm of all trained parameters together, as a multiple of its initial value; None to let it
            change.
        label_noise: Fraction of the training pairs whose labels are replaced by wrong ones, once, before training.
        frozen: Patterns of names of parameters that are not updated, e.g. "embed.*".

    Raises:
        ValueError: If a field is invalid.

    Source:
        Lee et al. 2024, arXiv:2405.20233 (Grokfast); Prieto et al. 2025, arXiv:2501.04697 (⊥Grad); Liu et al. 2023,
        arXiv:2210.01117 (Omnigrok: fixed weight norm).
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
