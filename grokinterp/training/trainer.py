"""The trainer of one run: updates, metrics and checkpoints, epoch by epoch."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from grokinterp.config import RunConfig
from grokinterp.losses import accuracy, cross_entropy
from grokinterp.models.init import Params, initial_params, shapes
from grokinterp.runs import metrics, tensors
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.opening import disk_errors
from grokinterp.runs.resume import OptimizerState, ResumePoint, read_resume, write_resume
from grokinterp.tasks import Task, all_pairs
from grokinterp.training.engines import Engine, build_engine
from grokinterp.training.interrupt import interruption
from grokinterp.training.schedule import is_checkpoint, is_logged


class Trainer:
    """The state that an update changes: parameters, optimizer, generator, and the epoch they belong to."""

    def __init__(
        self, config: RunConfig, layout: Layout, task: Task, is_train: Bool[Tensor, "a b"], device: torch.device
    ) -> None:
        self.config, self.layout, self.device = config, layout, device
        a, b = (tokens.to(device) for tokens in all_pairs(task))
        labels = task.table.flatten().long().to(device)
        self.pairs = (a, b, labels)
        self.is_train = is_train.flatten().to(device)
        # Column by column. Any order has the same sums but for their rounding, and a run is to have its own bits.
        column, row = is_train.T.nonzero().to(device).T
        pair = row * is_train.shape[1] + column
        self.train_pairs = (a[pair], b[pair], labels[pair])

        point = read_resume(layout)
        params = (
            initial_params(config.model, task, seed=config.seed)
            if point is None
            else tensors.read_params(layout.checkpoint(point.epoch), shapes(config.model, task))
        )
        self.params: Params = {name: p.to(device).requires_grad_() for name, p in params.items()}
        self.optimizer = torch.optim.AdamW(
            self.params.values(),
            lr=config.optim.lr,
            betas=config.optim.betas,
            eps=config.optim.eps,
            weight_decay=config.optim.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        if point is not None:
            self._go_on_from(point)
        with disk_errors(layout):
            metrics.keep_metrics_before(layout.metrics, self.epoch)

        self.engine_name, self.logits = build_engine(config, self.params)
        loss = _loss_of(self.logits)
        self.loss = torch.compile(loss, dynamic=False) if config.compile else loss

    def _go_on_from(self, point: ResumePoint) -> None:
        names = list(self.params)
        if not point.optimizer.keys() <= set(names):
            unknown = min(point.optimizer.keys() - set(names))
            msg = f"{self.layout.resume} is of another model: it has a state of {unknown!r}; restore it from a copy."
            raise RunError(msg)
        state = {names.index(name): entry for name, entry in point.optimizer.items()}
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.generator.set_state(point.generator)
        self.epoch, self.step, self.seconds = point.epoch, point.step, point.seconds

    def fit(self, *, progress: bool) -> None:
        """Train to the last epoch."""
        # Reading rows by index, as TransformerLens does, adds gradients in no fixed order unless told to.
        ordered = _deterministic(self.device) if self.engine_name == "hooked" else nullcontext()
        with self._bar(show=progress) as bar, ordered, interruption() as interrupted:
            started = time.perf_counter() - self.seconds
            while True:
                self.seconds = time.perf_counter() - started
                # Read once: what comes after this line is seen an epoch later, and not between saving and stopping.
                stop = interrupted.is_set()
                self._record(bar, save=stop)
                if self.epoch == self.config.epochs:
                    break
                if stop:
                    msg = f"stopped at epoch {self.epoch}; train the same config into {self.layout.root} to go on."
                    raise KeyboardInterrupt(msg)
                self._update()
                self.epoch += 1
                bar.update()
            with disk_errors(self.layout):
                self.layout.finished.touch()
            if interrupted.is_set():
                msg = f"stopped after the last epoch; {self.layout.root} is finished."
                raise KeyboardInterrupt(msg)

    def _bar(self, *, show: bool) -> tqdm:
        """A line for people: at once in a terminal or a notebook, else once a minute."""
        is_watched = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
        interval = 0.1 if is_watched else 60.0
        return tqdm(
            total=self.config.epochs,
            initial=self.epoch,
            desc=self.layout.root.name,
            unit="epoch",
            disable=not show,
            dynamic_ncols=is_watched,
            mininterval=interval,
            maxinterval=max(interval, 10.0),
        )

    def _update(self) -> None:
        """One epoch of updates: one of the full batch, or one per mini-batch of a new order."""
        for a, b, labels in self._batches():
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.optim.lr * self.config.optim.warmup(self.step)
            self.optimizer.zero_grad()
            self.loss(self.params, a, b, labels).backward()
            self.optimizer.step()
            self.step += 1

    def _batches(self) -> Iterator[tuple[Int[Tensor, " batch"], ...]]:
        size = self.config.optim.batch_size
        if size is None:
            yield self.train_pairs
            return
        order = torch.randperm(len(self.train_pairs[0]), generator=self.generator).to(self.device)
        for batch in order.split(size):
            yield tuple(x[batch] for x in self.train_pairs)

    def _record(self, bar: tqdm, *, save: bool) -> None:
        """Log and save what this epoch is due, after a look at whether it is worth keeping."""
        config = self.config
        log = is_logged(self.epoch, config.log_every, config.epochs)
        save = save or is_checkpoint(self.epoch, config.checkpoint_every, config.epochs)
        if not (log or save):
            return
        entry = self._evaluate()
        self._check_finite(entry)
        with disk_errors(self.layout):
            if log:
                metrics.append_metrics(self.layout.metrics, entry)
                bar.set_postfix_str(_in_short(entry), refresh=False)
            if save:
                self._save()

    @torch.no_grad()
    def _evaluate(self) -> dict[str, Any]:
        """An entry of the metrics."""
        a, b, labels = self.pairs
        logits = self.logits(self.params, a, b)
        parts = {"train": self.is_train, "test": ~self.is_train}
        return {
            "epoch": self.epoch,
            "loss": {split: cross_entropy(logits[part], labels[part]).item() for split, part in parts.items()},
            "accuracy": {split: accuracy(logits[part], labels[part]).item() for split, part in parts.items()},
            "squared_weight_norm": sum(p.cpu().double().square().sum().item() for p in self.params.values()),
            "learning_rate": self.config.optim.lr * self.config.optim.warmup(self.step),
            "seconds": round(self.seconds, 3),
        }

    def _check_finite(self, entry: dict[str, Any]) -> None:
        loss, norm = entry["loss"], entry["squared_weight_norm"]
        if not all(math.isfinite(x) for x in (*loss.values(), norm)):
            good = max(self.layout.epochs(), default=None)
            msg = (
                f"the loss at epoch {self.epoch} is not finite (train {loss['train']}, test {loss['test']}, squared "
                f"norm of the weights {norm}); the last good checkpoint is that of epoch {good}. "
                "Lower the learning rate, in a new directory."
            )
            raise RunError(msg)

    def _save(self) -> None:
        """Write a checkpoint, then the state to resume from it: in that order, since the second needs the first."""
        tensors.write_tensors(self.layout.checkpoint(self.epoch), self.params, {"epoch": self.epoch})
        point = ResumePoint(
            epoch=self.epoch,
            step=self.step,
            seconds=self.seconds,
            generator=self.generator.get_state(),
            optimizer=self._optimizer_state(),
        )
        write_resume(self.layout.resume, point)

    def _optimizer_state(self) -> OptimizerState:
        names = list(self.params)
        return {names[i]: entry for i, entry in self.optimizer.state_dict()["state"].items()}


def _loss_of(engine: Engine) -> Callable[[Params, Tensor, Tensor, Tensor], Tensor]:
    def loss(params: Params, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(engine(params, a, b), labels)

    return loss


def _in_short(entry: dict[str, Any]) -> str:
    """An entry for the progress bar, train before test."""
    loss, acc = entry["loss"], entry["accuracy"]
    return f"loss {loss['train']:.2e} train {loss['test']:.2e} test, accuracy {acc['train']:.2f} {acc['test']:.2f}"


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cuda":
        # Without it cuBLAS refuses to work in a fixed order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before, warn_only=only_warns)
