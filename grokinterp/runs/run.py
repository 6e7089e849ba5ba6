"""A run on disk, as a read-only handle."""

import math
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, Final, Union

import numpy as np
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.config import RunConfig
from grokinterp.models.architecture import Params
from grokinterp.reprs import Shown, reason
from grokinterp.runs import metrics, tensors
from grokinterp.runs.layout import Layout, RunError, is_held
from grokinterp.runs.manifest import Fork, read_fork, read_identity
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


# Name in the metrics: units and long name.
_SCALARS: Final = {
    "squared_weight_norm": ("weight^2", "sum of squared weights"),
    "learning_rate": ("", "learning rate"),
    "weight_decay": ("", "weight decay"),
    "batch_size": ("", "pairs per update"),
    "seconds": ("s", "time trained"),
    "softmax_collapse": ("", "share of training pairs whose softmax has collapsed"),
    "zero_losses": ("", "share of training pairs whose loss is 0"),
}
_OF_FLOAT32: Final = ("softmax_collapse", "zero_losses")


AnyRun = Union["Run", str, Path]


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """A run directory, finished or not.

    Attributes:
        path: The directory.
    """

    path: Path

    @property
    def layout(self) -> Layout:
        """The paths of its files."""
        return Layout(self.path)

    @cached_property
    def config(self) -> RunConfig:
        """All that decided the run."""
        return read_identity(self.layout.config)[0]

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """Versions, machine and number of threads that made it."""
        return read_identity(self.layout.config)[1]

    @cached_property
    def task(self) -> Task:
        """What was learned."""
        return tensors.read_task(self.layout.task)

    @cached_property
    def forked_from(self) -> Fork | None:
        """The run and the epoch that it was begun from; none for a run from initial parameters."""
        return read_fork(self.layout.config)

    @cached_property
    def training_set(self) -> tensors.TrainingSet:
        """The pairs that were trained on, and what was asked of them, label noise included."""
        return tensors.read_training_set(self.layout.split, self.task)

    @property
    def is_train(self) -> Bool[Tensor, "a b"]:
        """True at the pairs that were trained on."""
        return self.training_set.is_train

    @property
    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs that have a checkpoint, in order; the weights of epoch e have seen the training pairs e times."""
        return self.layout.checkpoint_epochs()

    @property
    def is_finished(self) -> bool:
        """Whether it reached the last epoch of its config, and has the checkpoint of that epoch."""
        # Asked of runs that were never begun, too, which have no config.
        return self.layout.finished.exists() and self.layout.is_finished(self.config.epochs)

    @property
    def state(self) -> str:
        """Whether it is finished, training or stopped, and at which epoch: `stopped at epoch 20 of 30`."""
        word = "finished" if self.is_finished else "training" if is_held(self.layout.lock) else "stopped"
        epoch, total = max(self.checkpoint_epochs, default=0), self.config.epochs
        if word == "stopped" and self.layout.finished.exists():
            return f"finished, but the checkpoint of epoch {total} is missing"
        return f"{word} at epoch {epoch}" + ("" if word == "finished" else f" of {total}")

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"path": self.path}
        try:
            seed = self.config.seed  # first, since a directory without config is no run at all
            facts |= {"task": self.task.name, "seed": seed, "state": self.state}
            facts["checkpoints"] = len(self.checkpoint_epochs)
            last = metrics.last_entry(self.layout.metrics)
            if last is not None:
                facts |= {f"{split}_accuracy": f"{last['accuracy'][split]:.3f}" for split in ("train", "test")}
        except Exception as error:  # Whatever is wrong with a run, it can be shown.
            facts["broken"] = reason(error)
        return facts

    @property
    def metrics(self) -> xr.Dataset:
        """What was logged while training.

        Returns:
            Dataset over `epoch`: `loss` (nats; over all classes trained on, '=' included where the model has
            it) and `accuracy` over (epoch, split: train, test), both of the answers that were asked for in
            training; `squared_weight_norm`; `learning_rate`, `weight_decay` and `batch_size` of the update that comes
            next, as the optimizer had them; `seconds`; and of a run whose loss is in float32 the shares of training
            pairs that have nothing more to teach, `softmax_collapse` and `zero_losses`. The first entry is of epoch 0,
            before any update. What an older version did not log is NaN.

        Raises:
            RunError: If nothing was logged, or the file is broken.
        """
        entries = metrics.read_metrics(self.layout.metrics)
        if not entries:
            msg = f"{self.path} has no metrics yet; train it first."
            raise RunError(msg)
        known = {name: about for name, about in _SCALARS.items() if name in entries[-1] or name not in _OF_FLOAT32}
        try:
            by_split = {name: _by_split(entries, name, units) for name, units in (("loss", "nats"), ("accuracy", ""))}
            scalars = {name: _scalar(entries, name, *about) for name, about in known.items()}
        except (KeyError, TypeError) as error:
            msg = f"{self.layout.metrics} must have loss and accuracy of train and test, got {error}."
            raise RunError(msg) from None
        return xr.Dataset(by_split | scalars, attrs={"run": self.path.name, "task": self.task.name})

    def params(self, epoch: int | None = None) -> Params:
        """The parameters of a checkpoint, by TransformerLens name.

        Args:
            epoch: One of `checkpoint_epochs`; default: the last.

        Raises:
            RunError: If there is no such checkpoint, its file is broken or of another epoch, or the last checkpoint of
                a finished run is missing.
            ValueError: If the epoch is not an integer.
        """
        epoch = self._known(epoch)
        return tensors.read_params(self.layout.checkpoint(epoch), self.config.model.shapes(self.task), epoch)

    def snapshot(self, epoch: int | None = None) -> Snapshot:
        """The model of a checkpoint with its task and split, for analyses.

        Args:
            epoch: One of `checkpoint_epochs`; default: the last.

        Raises:
            RunError: If there is no such checkpoint, its file is broken or of another epoch, or the last checkpoint of
                a finished run is missing.
            ValueError: If the epoch is not an integer.
        """
        epoch = self._known(epoch)  # once, since a run that is training gets new ones
        params, is_train = self.params(epoch), self.is_train
        try:
            return Snapshot(params=params, config=self.config.model, task=self.task, is_train=is_train, epoch=epoch)
        except ValueError as error:
            msg = f"{self.layout.checkpoint(epoch)} must hold a model's weights: {error} Restore it from a copy."
            raise RunError(msg) from None

    def model(self, epoch: int | None = None) -> Any:
        """The TransformerLens model of a checkpoint, to hook and cache as any other.

        It carries its task, split and epoch, so that every analysis takes it as it takes the snapshot; its weights may
        be edited in place.

        Args:
            epoch: One of `checkpoint_epochs`; default: the last.

        Returns:
            A `HookedTransformer` under TransformerLens 3, a `TransformerBridge` under 4; a `HookedRootModule` that
            reads the tokens [batch, 2] of a and b for an MLP.

        Raises:
            RunError: If there is no such checkpoint, or its file is broken.
        """
        return self.snapshot(epoch).model()

    def _known(self, epoch: int | None) -> int:
        """An epoch that has a checkpoint; by default the last."""
        if epoch is None:
            self.layout.check_finished(self.config.epochs)
        epochs = self.checkpoint_epochs
        if not epochs:
            msg = f"{self.path} has no checkpoint yet; train it first."
            raise RunError(msg)
        if epoch is None:
            return epochs[-1]
        epoch = arguments.integer(epoch, "epoch")
        if epoch not in epochs:
            near = min(epochs, key=lambda known: abs(known - epoch))
            msg = f"{self.path} has no checkpoint of epoch {epoch}; the nearest is {near}."
            raise RunError(msg)
        return epoch


def load_run(path: AnyRun) -> Run:
    """A run by its directory, or a bundled one by its name.

    Args:
        path: A run directory; `nanda2023`, the paper's run, which is part of the package; or a Run, which is returned
            as it is. Every function that reads a run takes all three.

    Returns:
        The run; its files are read when they are asked for.

    Raises:
        RunError: If there is no such run, or its config cannot be read.
        TypeError: If it is neither a Run nor a path.

    Examples:
        >>> load_run("nanda2023").config.task.p
        113
    """
    if isinstance(path, Run):
        return path
    if not isinstance(path, str | PathLike):
        msg = f"run must be a Run, the path of one or the name of a bundled one, got {arguments.shown(path)}."
        raise TypeError(msg)
    root = Path(path).absolute()  # so that the run is found after a change of the working directory
    bundled = bundled_runs()
    if str(path) in bundled and not root.exists():
        root = bundled[str(path)]
    name = str(path)
    try:
        is_folder = root.is_dir()
    except OSError:  # a name that is too long for the file system
        is_folder, name = False, arguments.shown(name)
    if not is_folder:
        msg = f"{name} is no run directory and no bundled run ({', '.join(bundled)})."
        raise RunError(msg)
    run = Run(root)
    _ = run.config
    return run


def bundled_runs() -> dict[str, Path]:
    """The runs that are part of the package, by name."""
    folder = Path(str(resources.files("grokinterp"))) / "runs" / "bundled"
    return {path.name: path for path in sorted(folder.glob("*")) if (path / "config.json").exists()}


def _by_split(entries: list[dict[str, Any]], name: str, units: str) -> xr.DataArray:
    splits = ("train", "test")
    values = np.array([[entry[name][split] for split in splits] for entry in entries])
    coords = {"epoch": _epochs(entries), "split": splits}
    return labels.array(values, ("epoch", "split"), name=name, units=units, long_name=name, coords=coords)


def _scalar(entries: list[dict[str, Any]], name: str, units: str, long_name: str) -> xr.DataArray:
    values = np.array([entry.get(name, math.nan) for entry in entries], dtype=float)
    coords = {"epoch": _epochs(entries)}
    return labels.array(values, ("epoch",), name=name, units=units, long_name=long_name, coords=coords)


def _epochs(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["epoch"] for entry in entries]


def is_bundled(run: Run) -> bool:
    """Whether a run is part of the package."""
    return run.path.resolve() in {path.resolve() for path in bundled_runs().values()}
