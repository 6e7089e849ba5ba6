"""What a claim is checked on: a snapshot, and the run that it is of where there is one."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import xarray as xr

from grokinterp import arguments, fourier, logits, presets, progress
from grokinterp.measures import Measure
from grokinterp.models import lens
from grokinterp.models.config import Sequence, TransformerConfig
from grokinterp.runs.run import Run, load_run
from grokinterp.snapshots import Snapshot, as_snapshot, kept
from grokinterp.trajectories import known_epochs, trajectory


class NotAvailableError(ValueError):
    """What a claim is about is not there: a run, an epoch, a frequency, or a key."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A model, and its curves over training where they are known.

    Attributes:
        snapshot: What claims about the trained model are checked on.
        run: Whose curves the claims about training are checked on; None for a model alone.
        until: The last epoch of the curves that counts; None for all.
        measured: What claims' functions have given so far, by name.
    """

    snapshot: Snapshot
    run: Run | None = None
    until: int | None = None
    measured: dict[str, xr.DataArray] = field(default_factory=dict, repr=False)

    @cached_property
    def is_of_the_paper(self) -> bool:
        """Whether the run has the paper's setting, seed and length, so that the paper's numbers can be asked of it."""
        paper = presets.nanda2023()
        if self.run is None or self.snapshot.epoch is None or self.snapshot.epoch < paper.epochs:
            return False
        config = self.run.config
        how = {"epochs": 1, "engine": "auto", "compile": False, "device": "cpu", "log_every": 1, "checkpoint_every": 1}
        return replace(config, **how) == replace(paper, **how)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """The key frequencies, by the rule `logits`.

        Raises:
            NotAvailableError: If there is none, or the task has no group.
        """
        if self.snapshot.task.group is None:
            msg = f"{self.snapshot.task.name} is no group's operation, and has no frequencies."
            raise NotAvailableError(msg)
        found = fourier.key_frequencies(self.snapshot)
        if not found:
            msg = "the model has no key frequencies."
            raise NotAvailableError(msg)
        return found

    @cached_property
    def curves(self) -> xr.Dataset:
        """Measures over training, with the keys of the snapshot.

        Raises:
            NotAvailableError: If there is no run.
        """
        run = self.require_run()
        measures = curves_of(self.keys)
        epochs = [epoch for epoch in known_epochs(run, measures) if self.until is None or epoch <= self.until]
        return trajectory(run, measures, epochs=epochs, progress=False)

    @cached_property
    def metrics(self) -> xr.Dataset:
        """What was logged while training, as far as it counts.

        Raises:
            NotAvailableError: If there is no run.
        """
        return self.require_run().metrics.sel(epoch=slice(None, self.until))

    def require_transformer(
        self, *, one_layer: bool = False, sequences: Collection[Sequence] = get_args(Sequence)
    ) -> TransformerConfig:
        """The config of a transformer.

        Args:
            one_layer: Whether what is asked about exists in models of one layer only.
            sequences: What a model may read for it to exist.

        Raises:
            NotAvailableError: If the model is an MLP, or a transformer of a different shape.
        """
        if not isinstance(self.snapshot.config, TransformerConfig):
            msg = "this is about attention or the residual stream, and needs a transformer."
            raise NotAvailableError(msg)
        config = self.snapshot.config
        if (one_layer and config.n_layers > 1) or config.sequence not in sequences:
            msg = (
                f"this needs {'one layer' if one_layer else 'a model'} that reads {' or '.join(map(repr, sequences))}, "
                f"got n_layers={config.n_layers}, sequence={config.sequence!r}."
            )
            raise NotAvailableError(msg)
        return config

    def require_run(self) -> Run:
        """The run.

        Raises:
            NotAvailableError: If there is none.
        """
        if self.run is None:
            msg = "this is about training, and needs a run."
            raise NotAvailableError(msg)
        return self.run


def evidence(subject: object, *, epoch: int | None = None) -> Evidence:
    """What claims are checked on.

    Args:
        subject: A Run or its path; or a Snapshot or TransformerLens model, of which claims about training cannot be
            checked.
        epoch: For a run, a checkpoint in place of the last; what came after it does not count.

    Returns:
        The evidence.

    Raises:
        TypeError: If it is none of these.
        ValueError: If an epoch is given for a model alone.
        RunError: If the run has no such checkpoint.

    Examples:
        >>> import grokinterp as gi
        >>> evidence(gi.testing.planted_snapshot(7, keys=(1, 3))).keys
        (1, 3)
    """
    epoch = None if epoch is None else arguments.integer(epoch, "epoch")
    if isinstance(subject, Run | str | Path):
        subject = load_run(subject)
        return Evidence(snapshot=subject.snapshot(epoch), run=subject, until=epoch)
    if epoch is not None:
        msg = f"epoch={epoch} chooses a checkpoint of a run, got a model alone; leave it out."
        raise ValueError(msg)
    return Evidence(snapshot=as_snapshot(subject))


def curves_of(keys: tuple[int, ...]) -> list[Measure]:
    """The measures over training that claims and the dossier's figures need."""
    keys = arguments.keys(keys)
    return [
        progress.losses,
        progress.accuracies,
        progress.weight_norm,
        progress.restricted_loss(keys),
        progress.restricted_loss(keys, split="train").named("restricted_loss_train"),
        progress.restricted_accuracy(keys),
        progress.restricted_accuracy(keys, split="train").named("restricted_accuracy_train"),
        progress.excluded_loss().named("excluded_loss_2D"),
        progress.excluded_loss(form="3D").named("excluded_loss_3D"),
        progress.excluded_accuracy().named("excluded_accuracy_2D"),
        progress.excluded_loss_by_frequency(keys).named("excluded_loss_2D_by_key"),
        progress.excluded_loss_by_frequency(keys, form="3D").named("excluded_loss_3D_by_key"),
        progress.trig_loss(keys),
        fourier.gini,
        logits.coefficients,
        logits.fve(),
    ]


@kept
def transformer_lens_model(snapshot: Snapshot) -> Any:
    """The real TransformerLens model of a snapshot, built once.

    Raises:
        NotAvailableError: If the installed TransformerLens has none of this kind.
    """
    try:
        return lens.to_transformer_lens(snapshot.params, snapshot.config)
    except ValueError as error:
        raise NotAvailableError(str(error)) from error
