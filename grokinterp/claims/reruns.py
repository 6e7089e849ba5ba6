"""What the claims say across runs: read of runs that were made once, since no one run shows it."""

import xarray as xr

from grokinterp import labels, phases
from grokinterp.claims import records
from grokinterp.claims.subjects import Evidence, NotAvailableError


def n_keys(evidence: Evidence) -> xr.DataArray:
    """How many keys the runs of the paper's recipe have, by seed; dims (seed,)."""
    _require_paper(evidence)
    runs = records.seed_runs()
    return labels.array(
        [float(len(run["keys"])) for run in runs],
        ("seed",),
        name="n_keys",
        units="",
        long_name="key frequencies",
        coords={"seed": [run["name"] for run in runs]},
    )


def memorized(evidence: Evidence) -> xr.DataArray:
    """When the runs of the paper's recipe had memorized, by the rule of `gi.phases`, to 200 epochs; dims (seed,)."""
    _require_paper(evidence)
    ds = records.seeds()
    has = ds["train_accuracy"].transpose("seed", "epoch").values >= phases.MEMORIZED
    return labels.array(
        [phases.first_sustained(ds.epoch.values, row, phases.SUSTAINED) for row in has],
        ("seed",),
        name="memorized",
        units="epoch",
        long_name="memorized",
        coords={"seed": ds["seed"].values},
    )


def share_grokked(evidence: Evidence, axis: str) -> xr.DataArray:
    """The fraction of small runs that grokked by their last epoch, over a swept axis; dims (axis,)."""
    _require_paper(evidence)
    return records.across(axis)["grokked_epoch"].notnull().mean("seed")


def grokked_by_decay(evidence: Evidence) -> xr.DataArray:
    """The fraction of small runs that grokked, by weight decay; dims (weight_decay,)."""
    return share_grokked(evidence, "weight_decay")


def grokked_by_fraction(evidence: Evidence) -> xr.DataArray:
    """The fraction of small runs that grokked, by train fraction; dims (fraction,)."""
    return share_grokked(evidence, "fraction")


def not_run(_: Evidence) -> xr.DataArray:
    """Nothing: what was published of such runs was not tried.

    Raises:
        NotAvailableError: Always.
    """
    msg = "not run here."
    raise NotAvailableError(msg)


def _require_paper(evidence: Evidence) -> None:
    if not evidence.is_of_the_paper:
        msg = "this is about several runs of the paper's recipe."
        raise NotAvailableError(msg)
