"""The learner of one run: its parameters and all other state that an update reads or changes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from grokinterp.config import RunConfig
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import RunError
from grokinterp.runs.resume import OptimizerState, ResumePoint
from grokinterp.runs.tensors import TrainingSet
from grokinterp.tasks import Task, all_pairs
from grokinterp.training.engines import build_engine, build_loss
from grokinterp.training.optimizers import Optimizer
from grokinterp.training.regularization import Grokfast, dropout_hook, hold_norm, norm, process_gradients
from grokinterp.training.schedules import Plateau, factor


Batch = tuple[Tensor, Tensor, Tensor]
"""Tokens of a, tokens of b, labels."""

_SCHEDULES = ("lr_schedule", "weight_decay_schedule", "batch_size_schedule")


class Learner:
    """Parameters, optimizer, gradient filter, schedules and random generator between two updates.

    Args:
        config: The run's config.
        task: The task to learn.
        training_set: Training pairs, labels and difficulties.
        params: Current parameters.
        initial: Parameters at initialization.
        device: Device of everything except the generator.
    """

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        training_set: TrainingSet,
        params: Params,
        *,
        initial: Params,
        device: torch.device,
    ) -> None:
        self.config, self._device = config, device
        self.params: Params = {name: p.to(device).requires_grad_() for name, p in params.items()}
        self.optimizer = Optimizer(self.params, config.optim, initial=initial, frozen=config.regularization.frozen)
        self.grokfast = Grokfast(config.regularization) if config.regularization.grokfast != "none" else None
        schedules = {name: getattr(config.optim, name) for name in _SCHEDULES}
        self.plateaus = {name: Plateau(s) for name, s in schedules.items() if s.kind == "plateau"}
        self.generator = torch.Generator().manual_seed(config.batch_seed)
        self.step = 0
        multiple = config.regularization.weight_norm
        updated = {name: initial[name] for name in self.optimizer.names}
        self._norm = None if multiple is None else multiple * norm(updated).to(device)
        self._set_pairs(task, training_set)
        self.logits, loss = build_engine(config.training_engine, config, self.params)
        if config.regularization.dropout:
            hook = dropout_hook(config.regularization.dropout, self.generator)
            loss = build_loss(config, lambda params, a, b: config.model.logits(params, a, b, hook))
        self.loss = torch.compile(loss, dynamic=False) if config.compile else loss
        self._set_rates()

    def _set_pairs(self, task: Task, training_set: TrainingSet) -> None:
        a, b = (tokens.to(self._device) for tokens in all_pairs(task))
        labels = training_set.answers.flatten().long().to(self._device)
        # Sorted by b, then a. The order changes the rounding of sums, so it must stay the same for a run's bits.
        column, row = training_set.is_train.T.nonzero().T
        pair = (row * training_set.is_train.shape[1] + column).to(self._device)
        self.pairs = (a, b, labels)
        self.train_pairs = (a[pair], b[pair], labels[pair])
        difficulty = training_set.difficulty
        self._difficulty = None if difficulty is None else difficulty.flatten().to(self._device)[pair]

    def resume(self, point: ResumePoint) -> None:
        """Restore everything except the parameters.

        Raises:
            KeyError, ValueError: If the states do not fit the config's optimizer, gradient filter and schedules.
        """
        self.optimizer.load(point.optimizer)
        if self.grokfast is not None:
            self.grokfast.load(point.optimizer)
        for name, plateau in self.plateaus.items():
            if name in point.schedules:
                plateau.load(point.schedules[name])
        self.generator.set_state(point.generator)
        self.step = point.step
        self._set_rates()

    @property
    def batch_size(self) -> int:
        """The scheduled size of the next batch, at most the number of training pairs."""
        size, n_pairs = self.config.optim.batch_size, len(self.train_pairs[0])
        return n_pairs if size is None else min(n_pairs, max(1, round(size * self._factor("batch_size_schedule"))))

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch: all pairs of the curriculum's stage, shuffled and divided if `batch_size` is set.

        Raises:
            RunError: If no training pair belongs to the stage.
        """
        pairs = self._stage_pairs(epoch)
        if self.config.optim.batch_size is None:
            yield pairs
            return
        order = torch.randperm(len(pairs[0]), generator=self.generator).to(self._device)
        for batch in order.split(self.batch_size):
            yield pairs[0][batch], pairs[1][batch], pairs[2][batch]

    def _stage_pairs(self, epoch: int) -> Batch:
        if self._difficulty is None:
            return self.train_pairs
        limit = self.config.curriculum.difficulty_at(epoch)
        is_included = self._difficulty <= limit
        if not is_included.any():
            easiest = self._difficulty.min().item()
            msg = (
                f"the curriculum includes no training pair at epoch {epoch}: the easiest has difficulty {easiest:.3g}, "
                f"but this stage includes difficulties up to {limit}; raise it."
            )
            raise RunError(msg)
        a, b, labels = (x[is_included] for x in self.train_pairs)
        return a, b, labels

    def update(self, batch: Batch) -> None:
        """Make one update."""
        self.optimizer.zero_grad()
        loss = self.loss(self.params, *batch)
        loss.backward()
        self.apply(loss.detach())

    @torch.no_grad()
    def apply(self, loss: Tensor) -> None:
        """Update the parameters from their gradients; `loss` is the batch's loss, which plateau schedules read."""
        updated = {name: self.params[name] for name in self.optimizer.names}
        grads = {name: p.grad for name, p in updated.items() if p.grad is not None}
        for name, grad in process_gradients(grads, updated, self.config.regularization, self.grokfast).items():
            updated[name].grad = grad
        self.optimizer.step()
        if self._norm is not None:
            for name, scaled in hold_norm(updated, self._norm).items():
                updated[name].copy_(scaled)
        for plateau in self.plateaus.values():
            plateau.update(loss.item())
        self.step += 1
        self._set_rates()

    def _set_rates(self) -> None:
        """Set the rates of the next update now, because the metrics read them from the optimizer before it."""
        lr_factor = self.config.optim.warmup(self.step) * self._factor("lr_schedule")
        self.optimizer.set_rates(lr_factor, self._factor("weight_decay_schedule"))

    def _factor(self, name: str) -> float:
        return factor(getattr(self.config.optim, name), self.step, self.plateaus.get(name))

    def state(self) -> OptimizerState:
        """The state of the optimizer and of the gradient filter, by parameter name and key."""
        state = self.optimizer.state()
        for name, entry in (self.grokfast.state() if self.grokfast is not None else {}).items():
            state[name] = state.get(name, {}) | entry
        return state
