"""Claims about several runs, read from the stored results of runs across seeds and settings."""

import xarray as xr

from grokinterp import labels, phases
from grokinterp.papers.evidence import Evidence, NotAvailableError
from grokinterp.papers.published import across, seed_runs, seeds


def n_keys(evidence: Evidence) -> xr.DataArray:
    """Number of key frequencies of each rerun; dims (seed,)."""
    _require_paper(evidence)
    runs = seed_runs(evidence.paper)
    return labels.array(
        [float(len(run["keys"])) for run in runs],
        ("seed",),
        name="n_keys",
        units="",
        long_name="key frequencies",
        coords={"seed": [run["name"] for run in runs]},
    )


def memorized(evidence: Evidence) -> xr.DataArray:
    """Memorization epoch of each rerun by the rule of `gi.phases`, resolved to 200 epochs; dims (seed,)."""
    _require_paper(evidence)
    ds = seeds(evidence.paper)
    has_memorized = ds["train_accuracy"].transpose("seed", "epoch").values >= phases.MEMORIZED
    return labels.array(
        [phases.first_sustained(ds.epoch.values, row, phases.SUSTAINED) for row in has_memorized],
        ("seed",),
        name="memorized",
        units="epoch",
        long_name="memorized",
        coords={"seed": ds["seed"].values},
    )


def fraction_grokked(evidence: Evidence, axis: str) -> xr.DataArray:
    """Fraction of small runs that grokked by their last epoch, along an axis; dims (value,)."""
    _require_paper(evidence)
    return across(axis, evidence.paper)["grokked_epoch"].notnull().mean("seed").rename({axis: "value"})


def grokked_by_decay(evidence: Evidence) -> xr.DataArray:
    """Fraction of small runs that grokked, by weight decay; dims (value,)."""
    return fraction_grokked(evidence, "weight_decay")


def grokked_by_fraction(evidence: Evidence) -> xr.DataArray:
    """Fraction of small runs that grokked, by train fraction; dims (value,)."""
    return fraction_grokked(evidence, "fraction")


def not_run(_: Evidence) -> xr.DataArray:
    """Stands in for experiments that were not run.

    Raises:
        NotAvailableError: Always.
    """
    msg = "not run."
    raise NotAvailableError(msg)


def _require_paper(evidence: Evidence) -> None:
    if not evidence.matches_paper:
        msg = "this claim concerns several runs of the paper's recipe; pass a run with the paper's config."
        raise NotAvailableError(msg)
