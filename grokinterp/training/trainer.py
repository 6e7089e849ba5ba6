"""The trainer of a run directory, which makes updates and writes metrics and checkpoints, and the training loop."""

import copy
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from safetensors.torch import save

from grokinterp.config import RunConfig
from grokinterp.losses import accuracy, cross_entropy, softmax_collapse, zero_losses
from grokinterp.measures import Measure
from grokinterp.models.architecture import Params
from grokinterp.runs import metrics, tensors
from grokinterp.runs.cache import CachedMeasure, digest
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.lock import Start, disk_errors, gone
from grokinterp.runs.manifest import Fork
from grokinterp.runs.resume import ResumePoint, write_resume
from grokinterp.runs.run import Run
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task
from grokinterp.training.learner import Learner
from grokinterp.training.objective import Float32Monitor
from grokinterp.training.runtime import deterministic, interruption, progress_bar


# Called with the epoch and a copy of its entry in metrics.jsonl.
OnLog = Callable[[int, dict[str, Any]], object]


class Monitors:
    """Computes measures at every logged epoch and caches the results as `trajectory` does."""

    def __init__(self, run: Run, measures: Sequence[Measure]) -> None:
        self._run = run
        self._cached = [CachedMeasure(run, measure, cache=True) for measure in measures]

    def compute(self, epoch: int, params: Params) -> None:
        """Compute all measures on the current parameters."""
        on_cpu = {name: p.detach().cpu().clone().contiguous() for name, p in params.items()}
        run, checkpoint = self._run, digest(save(on_cpu))
        snapshot = Snapshot(params=on_cpu, config=run.config.model, task=run.task, is_train=run.is_train, epoch=epoch)
        for measure in self._cached:
            measure.add(epoch, snapshot, checkpoint)

    def save(self) -> None:
        """Write the results to the cache."""
        for measure in self._cached:
            measure.save()


class Trainer:
    """The trainer of one run directory.

    Raises:
        RunError: If the saved optimizer state does not fit the config.
        ValueError: If a pattern in the config matches no parameter, or the start of a fork does not fit its config.
    """

    def __init__(self, config: RunConfig, layout: Layout, task: Task, device: torch.device, start: Start) -> None:
        self.config, self.layout, self.device = config, layout, device
        self.monitors: Monitors | None = None
        self.on_log: OnLog | None = None
        fork, point = start.forked_from, start.point
        initial = config.model.initial_params(task, seed=config.seed if fork is None else fork.initial_seed)
        # Clones: updates are made in place, and weight decay may need the initial parameters.
        params = {name: p.clone() for name, p in (start.params or initial).items()}
        self.learner = Learner(config, task, start.training_set, params, initial=initial, device=device)
        if point is not None:
            self._resume(point, fork, is_new=start.identity is None)
        self.is_train = start.training_set.is_train.flatten().to(device)
        self.epoch, self.seconds = (0, 0.0) if point is None else (point.epoch, point.seconds)
        self._float32_monitor = Float32Monitor(config.loss.dtype)
        # Identifies the directory, in case a different one takes its place.
        self._root = layout.root.stat()

    def _resume(self, point: ResumePoint, fork: Fork | None, *, is_new: bool) -> None:
        try:
            if point.step and (fork is None or point.epoch > fork.epoch):
                # A fork may start with a different optimizer or fewer frozen parameters than its parent.
                self.learner.optimizer.check_complete(point.optimizer)
            self.learner.resume(point)
        except (KeyError, ValueError) as error:
            if is_new:
                msg = f"the parent's state does not fit the fork's config: {error} Pass fresh_optimizer=True."
                raise ValueError(msg) from None
            msg = f"{self.layout.resume} does not fit the run's config: {error} Restore it from a backup."
            raise RunError(msg) from None

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is reached."""
        return self.epoch == self.config.epochs

    def fit(self, *, progress: bool) -> None:
        """Train to the last epoch."""
        fit([self], lambda trainers: [trainer.advance() for trainer in trainers], progress=progress)

    def advance(self) -> None:
        """Make one epoch of updates."""
        for batch in self.learner.batches(self.epoch):
            self.learner.update(batch)
        self.epoch += 1

    def finish(self) -> None:
        """Mark the run as finished."""
        with disk_errors(self.layout):
            self.layout.finished.touch()

    def record(self, *, save: bool) -> dict[str, Any] | None:
        """Log and save the current epoch if it is due; `save` forces a checkpoint.

        Returns:
            The entry of the metrics if the epoch was logged.
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
                self._float32_monitor.update(entry)
                if self.monitors is not None:
                    self.monitors.compute(self.epoch, self.learner.params)
            if save:
                self._save()
        if not log:
            return None
        if self.on_log is not None:
            # Called outside disk_errors, since an OSError of the user's function is not an error of this disk.
            self.on_log(self.epoch, copy.deepcopy(entry))
        return entry

    @torch.no_grad()
    def _evaluate(self) -> dict[str, Any]:
        """The entry of the metrics for the current epoch."""
        learner = self.learner
        a, b, labels = learner.pairs
        logits = learner.logits(learner.params, a, b)
        masks = {"train": self.is_train, "test": ~self.is_train}
        entry = {
            "epoch": self.epoch,
            "loss": {split: cross_entropy(logits[mask], labels[mask]).item() for split, mask in masks.items()},
            "accuracy": {split: accuracy(logits[mask], labels[mask]).item() for split, mask in masks.items()},
            "squared_weight_norm": sum(p.cpu().double().square().sum().item() for p in learner.params.values()),
            "learning_rate": learner.optimizer.learning_rate,
            "weight_decay": learner.optimizer.weight_decay,
            "batch_size": learner.batch_size,
            "seconds": round(self.seconds, 3),
        }
        if self.config.loss.dtype == "torch_float32":
            train_logits = logits[self.is_train]
            entry["softmax_collapse"] = softmax_collapse(train_logits).item()
            entry["zero_losses"] = zero_losses(train_logits, labels[self.is_train]).item()
        return entry

    def _check_finite(self, entry: dict[str, Any]) -> None:
        loss, norm = entry["loss"], entry["squared_weight_norm"]
        if not all(math.isfinite(x) for x in (*loss.values(), norm)):
            last = max(self.layout.checkpoint_epochs(), default=None)
            msg = (
                f"the loss at epoch {self.epoch} is not finite (train {loss['train']}, test {loss['test']}, squared "
                f"weight norm {norm}); the last valid checkpoint is epoch {last}. Lower the learning rate, in a new "
                "directory."
            )
            raise RunError(msg)

    def _save(self) -> None:
        """Write a checkpoint, the monitors' results, and then the resume point, which requires the other two."""
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
        if self.monitors is not None:
            self.monitors.save()
        write_resume(self.layout.resume, point)


def fit(trainers: list[Trainer], advance: Callable[[list[Trainer]], object], *, progress: bool) -> None:
    """Train one or several runs to their last epochs.

    Args:
        trainers: One trainer per run.
        advance: Makes one epoch of updates of each trainer that it is passed.
        progress: Whether to show one progress bar for all runs.

    Raises:
        RunError: If runs failed, after the others have finished.
        KeyboardInterrupt: On Ctrl-C, after checkpoints are written.
    """
    if not trainers:
        return
    first, n = trainers[0], len(trainers)
    label = first.layout.root.name if n == 1 else f"{n} runs"
    total, done = sum(trainer.config.epochs for trainer in trainers), sum(trainer.epoch for trainer in trainers)
    # TransformerLens indexes rows of the embedding, whose gradients are otherwise summed in varying order.
    ordered = deterministic(first.device) if first.config.training_engine == "hooked" else nullcontext()
    failures: list[RunError] = []
    with progress_bar(label, total, done, show=progress) as line, ordered, interruption() as interrupted:
        active, last = trainers, time.perf_counter()
        while active:
            now = time.perf_counter()
            for trainer in active:
                trainer.seconds += (now - last) / n
            last = now
            # Read once: a Ctrl-C after this line takes effect an epoch later, and not between saving and stopping.
            stop = interrupted.is_set()
            remaining: list[Trainer] = []
            for trainer in active:
                try:
                    entry = trainer.record(save=stop)
                    if entry is not None and n == 1:
                        line.set_postfix_str(_summary(entry), refresh=False)
                    if trainer.is_done:
                        trainer.finish()
                    else:
                        remaining.append(trainer)
                except RunError as error:
                    failures.append(error)
            active = remaining
            if stop and active:
                where = f"at epoch {first.epoch}" if n == 1 else f"{len(active)} of {n} runs"
                into = first.layout.root if n == 1 else "the same directories"
                msg = f"stopped {where}; train the same config into {into} to resume."
                raise KeyboardInterrupt(msg)
            advance(active)
            line.update(len(active))
    if failures:
        raise failures[0] if len(failures) == 1 else RunError("; ".join(map(str, failures)))
    if interrupted.is_set():
        msg = f"stopped after the last epoch; {first.layout.root if n == 1 else 'every run'} is finished."
        raise KeyboardInterrupt(msg)


def _summary(entry: dict[str, Any]) -> str:
    """The text next to the progress bar."""
    loss, acc = entry["loss"], entry["accuracy"]
    return f"loss {loss['train']:.2e} train {loss['test']:.2e} test, accuracy {acc['train']:.2f} {acc['test']:.2f}"


def is_checkpoint(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch is saved: five per decade below `every`, all multiples of `every`, and the last.

    The log-spaced ones are there because a run's first hundred epochs change as much as the next thousands.

    Examples:
        >>> [epoch for epoch in range(251) if is_checkpoint(epoch, every=100, last=250)]
        [0, 1, 2, 3, 4, 6, 10, 16, 25, 40, 63, 100, 200, 250]
    """
    return epoch == last or epoch % every == 0 or (epoch < every and _is_log_spaced(epoch))


def _is_log_spaced(epoch: int) -> bool:
    """Whether an epoch is 10^(i/5), rounded, for some integer i."""
    i = 5 * math.log10(epoch)
    return epoch in (round(10 ** (math.floor(i) / 5)), round(10 ** (math.ceil(i) / 5)))


def is_logged(epoch: int, every: int, last: int) -> bool:
    """Whether an epoch is logged: all multiples of `every`, and the last."""
    return epoch == last or epoch % every == 0
