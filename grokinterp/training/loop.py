"""The training loop: from a config to a run directory, at any time resumable."""

import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from jaxtyping import Bool, Int
from torch import Tensor
from tqdm.auto import tqdm

from grokinterp.config import RunConfig, check_device
from grokinterp.losses import accuracy, cross_entropy
from grokinterp.models.init import Params, initial_params, shapes
from grokinterp.runs import metrics, tensors
from grokinterp.runs.identity import differences, environment, read_identity, write_identity
from grokinterp.runs.layout import Layout, RunError
from grokinterp.runs.run import Run, load_run
from grokinterp.tasks import Task, all_pairs
from grokinterp.training.engines import Engine, build_engine
from grokinterp.training.schedule import is_checkpoint, is_logged


def train(config: RunConfig, path: str | Path, *, task: Task | None = None, progress: bool = True) -> Run:
    """Train a model, keeping checkpoints and metrics in a directory; train on if it already holds this run.

    A run that was stopped, or killed, goes on from its last checkpoint and ends with the same bits as one that
    was not: on one machine, with one number of threads. Ctrl-C writes a checkpoint first.

    Args:
        config: All that decides the run. A directory that holds it with fewer epochs is trained on to these.
        path: The run directory, made if it is not there.
        task: A task of your own, for a config with `TaskConfig(operation="custom")`.
        progress: Whether to show a progress bar.

    Returns:
        The run, a read-only handle.

    Raises:
        RunError: If the directory holds another config, another trainer is at work in it, the loss is not
            finite, or the disk is full. What was written before stays, and can be resumed.
        ValueError: If the config cannot be: an operation that is not defined for p, an empty part of the
            split, a device that is not there.
        KeyboardInterrupt: After the checkpoint that Ctrl-C asks for.

    Example:
        >>> import tempfile, grokinterp as gi
        >>> config = gi.RunConfig(task=gi.TaskConfig(p=7), epochs=3, model=gi.TransformerConfig(d_model=8, d_mlp=16))
        >>> run = gi.train(config, tempfile.mkdtemp(), progress=False)
        >>> run.epochs
        (0, 1, 2, 3)
    """
    device = check_device(config.device)
    task = config.task.build() if task is None else task
    is_train = config.split.build(task, config.seed)
    layout = Layout(Path(path))
    layout.root.mkdir(parents=True, exist_ok=True)
    with _only_trainer(layout):
        _open(layout, config, task, is_train)
        if layout.finished.exists() and max(layout.epochs()) >= config.epochs:
            return load_run(layout.root)
        layout.finished.unlink(missing_ok=True)
        _Trainer(config, layout, task, is_train, device).fit(progress=progress)
    return load_run(layout.root)


class _Trainer:
    """The state that an update changes: parameters, optimizer, generator, and the epoch they belong to."""

    def __init__(
        self, config: RunConfig, layout: Layout, task: Task, is_train: Bool[Tensor, "a b"], device: torch.device
    ) -> None:
        self.config, self.layout = config, layout
        a, b = (tokens.to(device) for tokens in all_pairs(task))
        labels = task.table.flatten().to(device)
        self.pairs = (a, b, labels)
        self.is_train = is_train.flatten().to(device)
        self.train_pairs = (a[self.is_train], b[self.is_train], labels[self.is_train])

        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        self.generator = torch.Generator().manual_seed(config.seed)
        params = initial_params(config.model, task, seed=config.seed)
        state = _resume_state(layout)
        if state is not None:
            params = tensors.read_params(layout.checkpoint(state["epoch"]), shapes(config.model, task))
        self.params: Params = {name: p.to(device).requires_grad_() for name, p in params.items()}
        self.optimizer = torch.optim.AdamW(
            self.params.values(),
            lr=config.optim.lr,
            betas=config.optim.betas,
            eps=config.optim.eps,
            weight_decay=config.optim.weight_decay,
            fused=True,
        )
        if state is not None:
            tensors.read_resume(layout.resume, self.optimizer, list(self.params))
            self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
            self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))
        metrics.keep_metrics_before(layout.metrics, self.epoch)

        self.engine_name, engine = build_engine(config, self.params)
        self.logits = engine
        loss = _loss_of(engine)
        self.loss = torch.compile(loss, dynamic=False) if config.compile else loss

    def fit(self, *, progress: bool) -> None:
        """Train to the last epoch."""
        config = self.config
        # Reading rows by index, as TransformerLens does, adds gradients in no fixed order unless told to.
        deterministic = _deterministic() if self.engine_name == "hooked" else nullcontext()
        bar = tqdm(total=config.epochs, initial=self.epoch, disable=not progress, unit="epoch", dynamic_ncols=True)
        with bar, deterministic, _interrupt() as interrupted:
            started = time.perf_counter() - self.seconds
            while True:
                self.seconds = time.perf_counter() - started
                if is_logged(self.epoch, config.log_every, config.epochs):
                    bar.set_postfix_str(self._log())
                if interrupted.is_set() or is_checkpoint(self.epoch, config.checkpoint_every, config.epochs):
                    self._save()
                if self.epoch == config.epochs:
                    break
                if interrupted.is_set():
                    msg = f"stopped at epoch {self.epoch}; train the same config into {self.layout.root} again to go on."
                    raise KeyboardInterrupt(msg)
                self._update()
                self.epoch += 1
                bar.update()
            with _disk_errors(self.layout, self.epoch):
                self.layout.finished.touch()

    def _update(self) -> None:
        """One epoch of updates: one of the full batch, or one per mini-batch of a new order."""
        for a, b, labels in self._batches():
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.optim.learning_rate(self.step)
            self.optimizer.zero_grad()
            self.loss(self.params, a, b, labels).backward()
            self.optimizer.step()
            self.step += 1

    def _batches(self) -> Iterator[tuple[Int[Tensor, " batch"], ...]]:
        size = self.config.optim.batch_size
        if size is None:
            yield self.train_pairs
            return
        order = torch.randperm(len(self.train_pairs[0]), generator=self.generator).to(self.is_train.device)
        for batch in order.split(size):
            yield tuple(x[batch] for x in self.train_pairs)

    def _log(self) -> str:
        """Write an entry of the metrics, and say it shortly."""
        entry: dict[str, Any] = {"epoch": self.epoch, **self._evaluate()}
        loss, acc = entry["loss"], entry["accuracy"]
        if not all(map(torch.isfinite, map(torch.tensor, loss.values()))):
            good = max(self.layout.epochs(), default=None)
            msg = (
                f"the loss at epoch {self.epoch} is not finite (train {loss['train']}, test {loss['test']}); the last "
                f"good checkpoint is that of epoch {good}. Lower the learning rate, in a new directory."
            )
            raise RunError(msg)
        entry["learning_rate"] = self.config.optim.learning_rate(self.step)
        entry["seconds"] = round(self.seconds, 3)
        with _disk_errors(self.layout, self.epoch):
            metrics.append_metrics(self.layout.metrics, entry)
        return (
            f"loss {loss['train']:.2e} train {loss['test']:.2e} test, accuracy {acc['train']:.2f} {acc['test']:.2f}"
        )

    @torch.no_grad()
    def _evaluate(self) -> dict[str, Any]:
        a, b, labels = self.pairs
        logits = self.logits(self.params, a, b)
        parts = {"train": self.is_train, "test": ~self.is_train}
        return {
            "loss": {split: cross_entropy(logits[part], labels[part]).item() for split, part in parts.items()},
            "accuracy": {split: accuracy(logits[part], labels[part]).item() for split, part in parts.items()},
            "squared_weight_norm": sum(p.double().square().sum().item() for p in self.params.values()),
        }

    def _save(self) -> None:
        """Write a checkpoint, then the state to resume from it, in that order."""
        if not all(p.isfinite().all() for p in self.params.values()):
            msg = (
                f"the weights at epoch {self.epoch} are not finite; the last good checkpoint is that of epoch "
                f"{max(self.layout.epochs(), default=None)}. Lower the learning rate, in a new directory."
            )
            raise RunError(msg)
        about = {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "generator": self.generator.get_state().tolist(),
        }
        with _disk_errors(self.layout, self.epoch):
            tensors.write_tensors(self.layout.checkpoint(self.epoch), self.params, {"epoch": self.epoch})
            tensors.write_resume(self.layout.resume, self.optimizer, list(self.params), about)


def _loss_of(engine: Engine) -> Any:
    def loss(params: Params, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(engine(params, a, b), labels)

    return loss


def _open(layout: Layout, config: RunConfig, task: Task, is_train: Tensor) -> None:
    """Make the directory this run's, or check that it is."""
    if not layout.config.exists():
        if layout.epochs():
            msg = f"{layout.root} holds checkpoints but no config.json; choose another directory."
            raise RunError(msg)
        tensors.write_task(layout.task, task)
        tensors.write_tensors(layout.split, {"is_train": is_train})
        write_identity(layout.config, config, environment(config))
        return
    known, made_by = read_identity(layout.config)
    _refuse_other(layout, config, known, task)
    here = environment(config)
    differ = [f"{key} {made_by.get(key)} then, {here[key]} now" for key in here if made_by.get(key) != here[key]]
    if differ and not layout.finished.exists():
        warnings.warn(f"{layout.root} was begun elsewhere, so its bits may differ: {'; '.join(differ)}", stacklevel=3)
    if known.epochs != config.epochs and config.epochs > max(layout.epochs(), default=0):
        write_identity(layout.config, config, made_by)


def _refuse_other(layout: Layout, config: RunConfig, known: RunConfig, task: Task) -> None:
    differ = differences(known, config, ignore=("epochs",))
    if not torch.equal(tensors.read_task(layout.task).table, task.table):
        differ.append("the task's table")
    if differ:
        msg = f"{layout.root} holds a run with another config: {'; '.join(differ)}. Choose another directory."
        raise RunError(msg)


def _resume_state(layout: Layout) -> dict[str, Any] | None:
    """Where training stands, or None before the first checkpoint."""
    return tensors.read_tensors(layout.resume)[1] if layout.resume.exists() else None


@contextmanager
def _only_trainer(layout: Layout) -> Iterator[None]:
    lock = FileLock(layout.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        msg = f"another trainer is at work in {layout.root}; wait for it, or choose another directory."
        raise RunError(msg) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(layout: Layout, epoch: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        saved = max(layout.epochs(), default=None)
        msg = (
            f"could not write epoch {epoch} into {layout.root}: {error}; nothing before it is lost. "
            f"Make room and train on: the last checkpoint is that of epoch {saved}."
        )
        raise RunError(msg) from error


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that no update is cut in half; a second Ctrl-C stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(_signal: int, _frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
