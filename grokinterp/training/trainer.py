"""The trainer of one run: updates, metrics and checkpoints, epoch by epoch."""

import copy
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NoReturn, Protocol, runtime_checkable

import torch

from grokinterp.config import RunConfig
from grokinterp.losses import accuracy, cross_entropy, softmax_collapse, zero_losses
from grokinterp.models.architecture import Params
from grokinterp.runs import metrics, tensors
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.lock import Start, disk_errors, gone
from grokinterp.runs.manifest import Fork
from grokinterp.runs.resume import ResumePoint, write_resume
from grokinterp.tasks import Task
from grokinterp.training.learner import Learner
from grokinterp.training.objective import Float32Monitor
from grokinterp.training.runtime import bar, deterministic, interruption


# Called with each logged epoch and a copy of its entry in metrics.jsonl.
OnLog = Callable[[int, dict[str, Any]], object]


@runtime_checkable
class Observer(Protocol):
    """What looks at training."""

    def observe(self, epoch: int, params: Params) -> None:
        """Called at every logged epoch with the parameters, which it must not change."""

    def save(self) -> None:
        """Called before each resume point is written: what was observed before that epoch is not seen again."""


class Trainer:
    """The trainer of one run directory: a learner, its epoch, and what is written of it.

    Raises:
        RunError: If what the directory has to resume from is of another optimizer than the config's.
        ValueError: If a pattern of the config fits no parameter, or the start of a fork does not fit its config.
    """

    def __init__(
        self,
        config: RunConfig,
        layout: Layout,
        task: Task,
        device: torch.device,
        start: Start,
    ) -> None:
        self.config, self.layout = config, layout
        self.observer: Observer | None = None
        self.on_log: OnLog | None = None
        fork, point = start.forked_from, start.point
        initial = config.model.initial_params(task, seed=config.seed if fork is None else fork.initial_seed)
        # Copies, since updates are made in place, and decay may lead back to where training began.
        params = {name: p.clone() for name, p in (start.params or initial).items()}
        self.learner = Learner(config, task, start.training_set, params, initial=initial, device=device)
        if point is not None:
            self._resume(point, fork, is_new=start.identity is None)
        self.is_train = start.training_set.is_train.flatten().to(device)
        self.device = device
        self.epoch, self.seconds = (0, 0.0) if point is None else (point.epoch, point.seconds)
        self._precision = Float32Monitor(config.loss.dtype)
        # By which the directory is told from another one that was put in its place.
        self._root = layout.root.stat()

    def _resume(self, point: ResumePoint, fork: Fork | None, *, is_new: bool) -> None:
        try:
            if point.step and (fork is None or point.epoch > fork.epoch):
                # A fork may start with another optimizer, or with fewer frozen parameters, than its parent.
                self.learner.optimizer.check_whole(point.optimizer)
            self.learner.resume(point)
        except (KeyError, ValueError) as error:
            if is_new:
                msg = f"the parent's state does not fit the fork's config: {error} Pass fresh_optimizer=True."
                raise ValueError(msg) from None
            msg = f"{self.layout.resume} does not fit the run's config: {error} Restore it from a copy."
            raise RunError(msg) from None

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is reached."""
        return self.epoch == self.config.epochs

    def fit(self, *, progress: bool) -> None:
        """Train to the last epoch."""
        # Reading rows by index, as TransformerLens does, adds gradients in no fixed order unless told to.
        ordered = deterministic(self.device) if self.config.training_engine == "hooked" else nullcontext()
        label = self.layout.root.name
        with bar(label, self.config.epochs, self.epoch, show=progress) as line, ordered, interruption() as interrupted:
            started = time.perf_counter() - self.seconds
            while True:
                self.seconds = time.perf_counter() - started
                # Read once: what comes after this line is seen an epoch later, and not between saving and stopping.
                stop = interrupted.is_set()
                entry = self.record(save=stop)
                if entry is not None:
                    line.set_postfix_str(_in_short(entry), refresh=False)
                if self.is_done:
                    break
                if stop:
                    self.stop()
                self.advance()
                line.update()
            self.finish()
            if interrupted.is_set():
                msg = f"stopped after the last epoch; {self.layout.root} is finished."
                raise KeyboardInterrupt(msg)

    def stop(self) -> NoReturn:
        """Tell that training was interrupted.

        Raises:
            KeyboardInterrupt: Always.
        """
        msg = f"stopped at epoch {self.epoch}; train the same config into {self.layout.root} to go on."
        raise KeyboardInterrupt(msg)

    def advance(self) -> None:
        """One epoch of updates."""
        for batch in self.learner.batches(self.epoch):
            self.learner.update(batch)
        self.epoch += 1

    def finish(self) -> None:
        """Mark the run as finished."""
        with disk_errors(self.layout):
            self.layout.finished.touch()

    def record(self, *, save: bool) -> dict[str, Any] | None:
        """Log and save what this epoch is due, after a look at whether it is worth keeping.

        Returns:
            The entry of the metrics, where there is one.
        """
        config = self.config
        log = is_logged(self.epoch, config.log_every, config.epochs)
        save = save or is_checkpoint(self.epoch, config.checkpoint_every, config.epochs)
        if not (log or save):
            return None
        entry = self._evaluate()
        self._check_finite(entry)
        with disk_errors(self.layout):
            if not os.path.samestat(self._root, self.layout.root.stat()):
                raise gone(self.layout)
            if log:
                metrics.append_metrics(self.layout.metrics, entry)
                self._precision.look(entry)
                if self.observer is not None:
                    self.observer.observe(self.epoch, self.learner.params)
            if save:
                self._save()
        if not log:
            return None
        if self.on_log is not None:
            # Last, when everything is on disk, and outside disk_errors: an OSError in it is no fault of our disk.
            self.on_log(self.epoch, copy.deepcopy(entry))
        return entry

    @torch.no_grad()
    def _evaluate(self) -> dict[str, Any]:
        """An entry of the metrics."""
        learner = self.learner
        a, b, labels = learner.pairs
        logits = learner.logits(learner.params, a, b)
        parts = {"train": self.is_train, "test": ~self.is_train}
        entry = {
            "epoch": self.epoch,
            "loss": {split: cross_entropy(logits[part], labels[part]).item() for split, part in parts.items()},
            "accuracy": {split: accuracy(logits[part], labels[part]).item() for split, part in parts.items()},
            "squared_weight_norm": sum(p.cpu().double().square().sum().item() for p in learner.params.values()),
            "learning_rate": learner.optimizer.learning_rate,
            "weight_decay": learner.optimizer.weight_decay,
            "batch_size": learner.batch_size,
            "seconds": round(self.seconds, 3),
        }
        if self.config.loss.dtype == "torch_float32":
            trained = logits[self.is_train]
            entry["softmax_collapse"] = softmax_collapse(trained).item()
            entry["zero_losses"] = zero_losses(trained, labels[self.is_train]).item()
        return entry

    def _check_finite(self, entry: dict[str, Any]) -> None:
        loss, norm = entry["loss"], entry["squared_weight_norm"]
        if not all(math.isfinite(x) for x in (*loss.values(), norm)):
            good = max(self.layout.checkpoint_epochs(), default=None)
            msg = (
                f"the loss at epoch {self.epoch} is not finite (train {loss['train']}, test {loss['test']}, squared "
                f"norm of the weights {norm}); the last good checkpoint is that of epoch {good}. "
                "Lower the learning rate, in a new directory."
            )
            raise RunError(msg)

    def _save(self) -> None:
        """Write a checkpoint, what was observed, and then the state to resume from, which needs the other two."""
        learner = self.learner
        tensors.write_tensors(self.layout.checkpoint(self.epoch), learner.params, {"epoch": self.epoch})
        point = ResumePoint(
            epoch=self.epoch,
            step=learner.step,
            seconds=self.seconds,
            generator=learner.generator.get_state(),
            optimizer=learner.state(),
            schedules={name: plateau.state() for name, plateau in learner.plateaus.items()},
        )
        if self.observer is not None:
            self.observer.save()
        write_resume(self.layout.resume, point)


def _in_short(entry: dict[str, Any]) -> str:
    """An entry for the progress bar, train before test."""
    loss, acc = entry["loss"], entry["accuracy"]
    return f"loss {loss['train']:.2e} train {loss['test']:.2e} test, accuracy {acc['train']:.2f} {acc['test']:.2f}"


def is_checkpoint(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch is saved: five to a decade up to `every`, then each `every`, and the last.

    A run's first hundred epochs change as much as the next thousands.

    Examples:
        >>> [epoch for epoch in range(251) if is_checkpoint(epoch, every=100, last=250)]
        [0, 1, 2, 3, 4, 6, 10, 16, 25, 40, 63, 100, 200, 250]
    """
    return epoch == last or epoch % every == 0 or (epoch < every and _is_log_spaced(epoch))


def _is_log_spaced(epoch: int) -> bool:
    """Whether an epoch is 10^(i/5), rounded, for some i."""
    i = 5 * math.log10(epoch)
    return epoch in (round(10 ** (math.floor(i) / 5)), round(10 ** (math.ceil(i) / 5)))


def is_logged(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch has an entry in the metrics: each `every`, from 0 on, and the last."""
    return epoch == last or epoch % every == 0
