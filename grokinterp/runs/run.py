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
from grokinterp.arguments import Shown, reason
from grokinterp.config import RunConfig
from grokinterp.models.architecture import Params
from grokinterp.runs import metrics, tensors
from grokinterp.runs.layout import Layout, RunError, is_held, valid_content
from grokinterp.runs.manifest import Fork, read_fork, read_identity
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


# Units and long name of each scalar metric.
_SCALARS: Final = {
    "squared_weight_norm": ("weight^2", "sum of squared weights"),
    "learning_rate": ("", "learning rate"),
    "weight_decay": ("", "weight decay"),
    "batch_size": ("", "pairs per update"),
    "seconds": ("s", "training time"),
    "softmax_collapse": ("", "fraction of training pairs with softmax collapse"),
    "zero_losses": ("", "fraction of training pairs with zero loss"),
}
_FLOAT32_ONLY: Final = ("softmax_collapse", "zero_losses")


AnyRun = Union["Run", str, Path]


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """A read-only handle on the run directory `path`, finished or not."""

    path: Path

    @property
    def layout(self) -> Layout:
        """The paths of the files."""
        return Layout(self.path)

    @cached_property
    def config(self) -> RunConfig:
        """The config of the run."""
        return read_identity(self.layout.config)[0]

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """Versions, machine and number of threads that the run was trained with."""
        return read_identity(self.layout.config)[1]

    @cached_property
    def task(self) -> Task:
        """The task that the model was trained on."""
        return tensors.read_task(self.layout.task)

    @cached_property
    def forked_from(self) -> Fork | None:
        """The parent run and epoch; None if the run is not a fork."""
        return read_fork(self.layout.config)

    @cached_property
    def training_set(self) -> tensors.TrainingSet:
        """The training pairs and their labels, including label noise."""
        return tensors.read_training_set(self.layout.split, self.task)

    @property
    def is_train(self) -> Bool[Tensor, "a b"]:
        """True at training pairs."""
        return self.training_set.is_train

    @property
    def checkpoint_epochs(self) -> tuple[int, ...]:
        """The epochs with a checkpoint, in ascending order; epoch e is after e passes over the training pairs."""
        return self.layout.checkpoint_epochs()

    @property
    def is_finished(self) -> bool:
        """Whether training reached the last epoch of the config and the checkpoint of that epoch exists."""
        # FINISHED is checked first, because a run that never started has no config.
        return self.layout.finished.exists() and self.layout.is_finished(self.config.epochs)

    @property
    def state(self) -> str:
        """Finished, training or stopped, and at which epoch, e.g. `stopped at epoch 20 of 30`."""
        word = "finished" if self.is_finished else "training" if is_held(self.layout.lock) else "stopped"
        epoch, total = max(self.checkpoint_epochs, default=0), self.config.epochs
        if word == "stopped" and self.layout.finished.exists():
            return f"finished, but the checkpoint of epoch {total} is missing"
        return f"{word} at epoch {epoch}" + ("" if word == "finished" else f" of {total}")

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"path": self.path}
        try:
            seed = self.config.seed  # first, because a directory without a config is not a run directory
            facts |= {"task": self.task.name, "seed": seed, "state": self.state}
            facts["checkpoints"] = len(self.checkpoint_epochs)
            last = metrics.last_entry(self.layout.metrics)
            if last is not None:
                facts |= {f"{split}_accuracy": f"{last['accuracy'][split]:.3f}" for split in ("train", "test")}
        except Exception as error:  # A repr must not fail, whatever is wrong with the run.
            facts["broken"] = reason(error)
        return facts

    @property
    def metrics(self) -> xr.Dataset:
        """The metrics logged during training, from epoch 0, before the first update.

        Returns:
            Dataset over `epoch`: `loss` (nats, over all classes of the model, including '=' if it is one) and
            `accuracy` over (epoch, split: train, test), both with the training labels; `squared_weight_norm`;
            `learning_rate`, `weight_decay` and `batch_size` of the next update; `seconds`; and, for runs with a
            float32 loss, the fractions of training pairs without a useful gradient, `softmax_collapse` and
            `zero_losses`. Values that an older version did not log are NaN.

        Raises:
            RunError: If nothing was logged, or the file is damaged.
        """
        entries = metrics.read_metrics(self.layout.metrics)
        if not entries:
            msg = f"{self.path} has no metrics yet; train it first."
            raise RunError(msg)
        known = {name: about for name, about in _SCALARS.items() if name in entries[-1] or name not in _FLOAT32_ONLY}
        try:
            by_split = {name: _by_split(entries, name, units) for name, units in (("loss", "nats"), ("accuracy", ""))}
            scalars = {name: _scalar(entries, name, *about) for name, about in known.items()}
        except (KeyError, TypeError) as error:
            msg = f"{self.layout.metrics} must have train and test loss and accuracy, but lacks {error}."
            raise RunError(msg) from None
        return xr.Dataset(by_split | scalars, attrs={"run": self.path.name, "task": self.task.name})

    def params(self, epoch: int | None = None) -> Params:
        """The parameters in a checkpoint, by TransformerLens name; arguments and errors as for `snapshot`."""
        epoch = self._known(epoch)
        return tensors.read_params(self.layout.checkpoint(epoch), self.config.model.shapes(self.task), epoch)

    def snapshot(self, epoch: int | None = None) -> Snapshot:
        """A checkpoint with its task and split, for analysis.

        Args:
            epoch: One of `checkpoint_epochs`; default: the last.

        Raises:
            RunError: If there is no such checkpoint, its file is damaged or has a different epoch, or the last
                checkpoint of a finished run is missing.
            ValueError: If the epoch is not an integer.
        """
        epoch = self._known(epoch)  # once, because a run in training gets new checkpoints
        params, is_train = self.params(epoch), self.is_train
        with valid_content(self.layout.checkpoint(epoch), "a model of the run's config"):
            return Snapshot(params=params, config=self.config.model, task=self.task, is_train=is_train, epoch=epoch)

    def model(self, epoch: int | None = None) -> Any:
        """A checkpoint as a TransformerLens model.

        It knows its task, split and epoch, so every analysis accepts it like a snapshot; its weights can be edited in
        place.

        Args:
            epoch: One of `checkpoint_epochs`; default: the last.

        Returns:
            A `HookedTransformer` with TransformerLens 3, a `TransformerBridge` with 4; for an MLP, a
            `HookedRootModule` that reads the tokens [batch, 2] of a and b.

        Raises:
            RunError: As for `snapshot`.
        """
        return self.snapshot(epoch).model()

    def _known(self, epoch: int | None) -> int:
        """Check that an epoch has a checkpoint; default: the last."""
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
            msg = f"{self.path} has no checkpoint at epoch {epoch}; the nearest is {near}."
            raise RunError(msg)
        return epoch


def load_run(path: AnyRun) -> Run:
    """Open a run directory; its files are read on demand.

    Args:
        path: A run directory; `nanda2023` for the bundled run of the paper; or a Run, which is returned unchanged.
            Every function that reads a run accepts all three.

    Raises:
        RunError: If there is no such run, or its config is damaged.
        TypeError: If `path` is neither a Run nor a path.

    Examples:
        >>> load_run("nanda2023").config.task.p
        113
    """
    if isinstance(path, Run):
        return path
    if not isinstance(path, str | PathLike):
        msg = f"run must be a Run, a run directory or the name of a bundled run, got {arguments.shown(path)}."
        raise TypeError(msg)
    root = Path(path).absolute()  # so that the run stays valid if the working directory changes
    bundled = bundled_runs()
    if str(path) in bundled and not root.exists():
        root = bundled[str(path)]
    name = str(path)
    try:
        is_directory = root.is_dir()
    except OSError:  # a name that is too long for the file system
        is_directory, name = False, arguments.shown(name)
    if not is_directory:
        msg = f"{name} is neither a run directory nor a bundled run ({', '.join(bundled)})."
        raise RunError(msg)
    run = Run(root)
    _ = run.config
    return run


def bundled_runs() -> dict[str, Path]:
    """The runs that come with the package, by name."""
    directory = Path(str(resources.files("grokinterp"))) / "runs" / "bundled"
    return {path.name: path for path in sorted(directory.glob("*")) if (path / "config.json").exists()}


def _by_split(entries: list[dict[str, Any]], name: str, units: str) -> xr.DataArray:
    splits = ("train", "test")
    values = np.array([[entry[name][split] for split in splits] for entry in entries], dtype=float)
    coords = {"epoch": _epochs(entries), "split": splits}
    return labels.array(values, ("epoch", "split"), name=name, units=units, long_name=name, coords=coords)


def _scalar(entries: list[dict[str, Any]], name: str, units: str, long_name: str) -> xr.DataArray:
    values = np.array([entry.get(name, math.nan) for entry in entries], dtype=float)
    coords = {"epoch": _epochs(entries)}
    return labels.array(values, ("epoch",), name=name, units=units, long_name=long_name, coords=coords)


def _epochs(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["epoch"] for entry in entries]


def is_bundled(run: Run) -> bool:
    """Whether a run comes with the package."""
    return run.path.resolve() in {path.resolve() for path in bundled_runs().values()}
