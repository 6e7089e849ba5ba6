"""What claims are checked on: a snapshot, and the run that it comes from if there is one."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import xarray as xr

from grokinterp import arguments, fourier
from grokinterp.measures import Measure
from grokinterp.models import lens
from grokinterp.models.kinds.transformer import Sequence, TransformerConfig
from grokinterp.papers.paper import AnyPaper, Paper, find_paper
from grokinterp.runs.run import Run, load_run
from grokinterp.snapshots import Snapshot, as_snapshot, cached
from grokinterp.trajectories import known_epochs, trajectory


class NotAvailableError(ValueError):
    """The evidence lacks what a claim is about: a run, an epoch, a frequency or a key."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A model, and its curves over training if they are known.

    Attributes:
        snapshot: Model on which claims about the trained model are checked.
        run: Run on whose curves claims about training are checked; None for a model without a run.
        max_epoch: Last epoch of the curves that counts; None for all.
        measured: Results of claim functions so far, by name.
        paper: Paper whose claims are checked.
    """

    snapshot: Snapshot
    run: Run | None = None
    max_epoch: int | None = None
    measured: dict[str, xr.DataArray] = field(default_factory=dict, repr=False)
    paper: Paper = field(repr=False)

    @cached_property
    def matches_paper(self) -> bool:
        """Whether the run has the paper's config, seed and length, so that published numbers apply to it."""
        published = self.paper.config()
        if self.run is None or self.snapshot.epoch is None or self.snapshot.epoch < published.epochs:
            return False
        config = self.run.config
        # Settings that do not change the training trajectory, and the total, which may be larger than the paper's.
        ignored = {"epochs": 1, "engine": "auto", "compile": False, "device": "cpu"}
        ignored |= {"log_every": 1, "checkpoint_every": 1}
        return replace(config, **ignored) == replace(published, **ignored)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """The key frequencies, by the rule `logits`.

        Raises:
            NotAvailableError: If there are none, or the task is not a group operation.
        """
        if self.snapshot.task.group is None:
            msg = f"{self.snapshot.task.name} is not a group operation and has no frequencies."
            raise NotAvailableError(msg)
        keys = fourier.key_frequencies(self.snapshot)
        if not keys:
            msg = "the model has no key frequencies."
            raise NotAvailableError(msg)
        return keys

    @cached_property
    def curves(self) -> xr.Dataset:
        """The paper's measures over training, computed with the snapshot's key frequencies.

        Raises:
            NotAvailableError: If there is no run.
        """
        run = self.require_run()
        measures = curves_of(self.keys, self.paper)
        epochs = [epoch for epoch in known_epochs(run, measures) if self.max_epoch is None or epoch <= self.max_epoch]
        return trajectory(run, measures, epochs=epochs, progress=False)

    @cached_property
    def metrics(self) -> xr.Dataset:
        """The metrics logged during training, up to `max_epoch`.

        Raises:
            NotAvailableError: If there is no run.
        """
        return self.require_run().metrics.sel(epoch=slice(None, self.max_epoch))

    def require_transformer(
        self, *, one_layer: bool = False, sequences: Collection[Sequence] = get_args(Sequence)
    ) -> TransformerConfig:
        """The config of a transformer.

        Args:
            one_layer: Whether the claim requires a 1-layer model.
            sequences: Input sequences for which the claim is defined.

        Raises:
            NotAvailableError: If the model is an MLP, or a transformer that does not meet these requirements.
        """
        if not self.snapshot.config.has_attention:
            msg = "this claim concerns attention or the residual stream and requires a transformer."
            raise NotAvailableError(msg)
        config = self.snapshot.require_transformer()
        if (one_layer and config.n_layers > 1) or config.sequence not in sequences:
            msg = (
                f"this claim needs {'a 1-layer model' if one_layer else 'a model'} with sequence "
                f"{' or '.join(map(repr, sequences))}, got n_layers={config.n_layers}, sequence={config.sequence!r}."
            )
            raise NotAvailableError(msg)
        return config

    def require_run(self) -> Run:
        """The run.

        Raises:
            NotAvailableError: If there is none.
        """
        if self.run is None:
            msg = "this claim concerns training; pass a Run."
            raise NotAvailableError(msg)
        return self.run


def evidence(subject: object, *, epoch: int | None = None, paper: AnyPaper | None = None) -> Evidence:
    """Collect what claims are checked on.

    Args:
        subject: A Run or its path; or a Snapshot or TransformerLens model, for which claims about training are not
            available.
        epoch: For a run, the checkpoint to use, default the last; later epochs are ignored.
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Returns:
        The evidence.

    Raises:
        TypeError: If the subject is none of these.
        ValueError: If an epoch is given for a model without a run, or there is no paper of this name.
        RunError: If the run has no checkpoint at this epoch.

    Examples:
        >>> import grokinterp as gi
        >>> evidence(gi.testing.planted_snapshot(7, keys=(1, 3))).keys
        (1, 3)
    """
    paper = find_paper(paper)
    epoch = None if epoch is None else arguments.integer(epoch, "epoch")
    if isinstance(subject, Run | str | Path):
        subject = load_run(subject)
        return Evidence(snapshot=subject.snapshot(epoch), run=subject, max_epoch=epoch, paper=paper)
    if epoch is not None:
        msg = f"epoch={epoch} only applies to a Run, got {type(subject).__name__}; omit it."
        raise ValueError(msg)
    return Evidence(snapshot=as_snapshot(subject), paper=paper)


def curves_of(keys: tuple[int, ...], paper: AnyPaper | None = None) -> list[Measure]:
    """The measures over training that a paper's claims and figures need.

    Args:
        keys: Key frequencies.
        paper: A `Paper` or its name; default: the first of `PAPERS`.
    """
    return list(find_paper(paper).curves(arguments.keys(keys)))


@cached
def transformer_lens_model(snapshot: Snapshot) -> Any:
    """The TransformerLens model of a snapshot, built once.

    Raises:
        NotAvailableError: If the installed TransformerLens does not support this architecture.
    """
    try:
        return lens.to_transformer_lens(snapshot.params, snapshot.config)
    except ValueError as error:
        raise NotAvailableError(str(error)) from error
