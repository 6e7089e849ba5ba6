"""What learns: parameters, and all that an update reads or changes besides them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from grokinterp.config import RunConfig, Schedule
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import RunError
from grokinterp.runs.resume import OptimizerState, ResumePoint
from grokinterp.runs.tensors import TrainingSet
from grokinterp.tasks import Task, all_pairs
from grokinterp.training.engines import build_engine, loss_of
from grokinterp.training.optimizers import Optimizer
from grokinterp.training.regularization import Grokfast, dropout_hook, filtered, hold_norm, norm
from grokinterp.training.schedules import Plateau, factor


Batch = tuple[Tensor, Tensor, Tensor]
"""Tokens of a, tokens of b, answers."""


class Learner:
    """Parameters, optimizer, filters of gradients, schedules and generator, between two updates.

    Args:
        config: All that decides the run.
        task: What is learned.
        training_set: The pairs that are trained on, and what is asked of them.
        params: Where training stands.
        initial: Where it began.
        device: Of everything but the generator.
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
        self.config = config
        self.params: Params = {name: p.to(device).requires_grad_() for name, p in params.items()}
        self.optimizer = Optimizer(self.params, config.optim, initial=initial, frozen=config.regularization.frozen)
        self.grokfast = Grokfast(config.regularization) if config.regularization.grokfast != "none" else None
        self.plateaus = {name: Plateau(schedule) for name, schedule in _schedules(config).items()}
        self.generator = torch.Generator().manual_seed(config.batch_seed)
        self.step = 0
        multiple = config.regularization.weight_norm
        updated = {name: initial[name] for name in self.optimizer.names}
        self._norm = None if multiple is None else multiple * norm(updated).to(device)
        self._device = device
        self._take_pairs(task, training_set)
        self.logits, loss = build_engine(config.training_engine, config, self.params)
        if config.regularization.dropout:
            hook = dropout_hook(config.regularization.dropout, self.generator)
            loss = loss_of(config, lambda params, a, b: config.model.logits(params, a, b, hook))
        self.loss = torch.compile(loss, dynamic=False) if config.compile else loss
        self._set_rates()

    def _take_pairs(self, task: Task, training_set: TrainingSet) -> None:
        a, b = (tokens.to(self._device) for tokens in all_pairs(task))
        answers = training_set.answers.flatten().long().to(self._device)
        # Column by column. Any order has the same sums but for their rounding, and a run is to have its own bits.
        column, row = training_set.is_train.T.nonzero().T
        pair = (row * training_set.is_train.shape[1] + column).to(self._device)
        self.pairs = (a, b, answers)
        self.train_pairs = (a[pair], b[pair], answers[pair])
        hard = training_set.difficulty
        self._difficulty = None if hard is None else hard.flatten().to(self._device)[pair]

    def resume(self, point: ResumePoint) -> None:
        """Go on from the rest of where training stands; parameters are not part of it.

        Raises:
            KeyError, ValueError: If its states are not of the config's optimizer, filters and schedules.
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
        """Pairs of the next update, where as many are left."""
        size = self.config.optim.batch_size
        whole = len(self.train_pairs[0])
        return whole if size is None else min(whole, max(1, round(size * self._factor("batch_size_schedule"))))

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of the epoch that follows: one of all pairs, or those of a new order; easy ones by a curriculum.

        Raises:
            RunError: If the curriculum shows no pair.
        """
        shown = self._shown(epoch)
        if self.config.optim.batch_size is None:
            yield shown
            return
        order = torch.randperm(len(shown[0]), generator=self.generator).to(self._device)
        for batch in order.split(self.batch_size):
            yield shown[0][batch], shown[1][batch], shown[2][batch]

    def _shown(self, epoch: int) -> Batch:
        if self._difficulty is None:
            return self.train_pairs
        limit = self.config.curriculum.difficulty_at(epoch)
        is_shown = self._difficulty <= limit
        if not is_shown.any():
            easiest = self._difficulty.min().item()
            msg = (
                f"the curriculum shows no pair at epoch {epoch}, whose difficulty is up to {limit}: the easiest "
                f"training pair has {easiest:.3g}; raise the stage's."
            )
            raise RunError(msg)
        a, b, answers = (x[is_shown] for x in self.train_pairs)
        return a, b, answers

    def update(self, batch: Batch) -> None:
        """One update."""
        self.optimizer.zero_grad()
        loss = self.loss(self.params, *batch)
        loss.backward()
        self.apply(loss.detach())

    @torch.no_grad()
    def apply(self, loss: Tensor) -> None:
        """The part of an update that follows its gradients: filters, the optimizer's step, the weight norm.

        Args:
            loss: Of the batch, by which plateaus are found.
        """
        self._filter_gradients()
        self.optimizer.step(self._lr_factor(), self._factor("weight_decay_schedule"))
        if self._norm is not None:
            for name, held in hold_norm(self._updated(), self._norm).items():
                self.params[name].copy_(held)
        for plateau in self.plateaus.values():
            plateau.update(loss.item())
        self.step += 1
        self._set_rates()

    def _filter_gradients(self) -> None:
        grads = {name: p.grad for name, p in self._updated().items() if p.grad is not None}
        for name, grad in filtered(grads, self.params, self.config.regularization, self.grokfast).items():
            self.params[name].grad = grad

    def _updated(self) -> Params:
        """The parameters that are not frozen."""
        return {name: self.params[name] for name in self.optimizer.names}

    def _set_rates(self) -> None:
        """Let the optimizer have the rates of the next update, where the metrics read them."""
        self.optimizer.set_rates(self._lr_factor(), self._factor("weight_decay_schedule"))

    def _lr_factor(self) -> float:
        return self.config.optim.warmup(self.step) * self._factor("lr_schedule")

    def _factor(self, name: str) -> float:
        return factor(getattr(self.config.optim, name), self.step, self.plateaus.get(name))

    def state(self) -> OptimizerState:
        """What the optimizer and the filters remember, by parameter and by their own names."""
        joined = self.optimizer.state()
        for name, entry in (self.grokfast.state() if self.grokfast is not None else {}).items():
            joined[name] = joined.get(name, {}) | entry
        return joined


def _schedules(config: RunConfig) -> dict[str, Schedule]:
    names = ("lr_schedule", "weight_decay_schedule", "batch_size_schedule")
    found = {name: getattr(config.optim, name) for name in names}
    return {name: schedule for name, schedule in found.items() if schedule.kind == "plateau"}
