"""How much a published number may differ from ours: the spread across reruns of the same recipe."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import Any, Final

from grokinterp import arguments
from grokinterp.papers.claim import Claim
from grokinterp.papers.evidence import Evidence, NotAvailableError, evidence
from grokinterp.papers.paper import AnyPaper, Paper, find_paper
from grokinterp.runs.run import Run


# Units of positive quantities that span orders of magnitude; these are compared by ratio.
_BY_RATIO: Final = ("nats", "weight", "weight^2", "epoch", "neurons")
# Dimensions whose labels do not correspond between runs; their values are pooled.
_POOLED: Final = ("frequency", "head", "axis")
# Rounding error of published numbers by source; a number read off a figure is accurate to about 1%.
ROUNDING: Final = {"figure": 0.01, "quoted": 0.01, "code": 0.0, "recomputed": 2e-6, "not found": 0.0}
# Epochs between two points of the published curves, and between two checkpoints.
CHECKPOINTS: Final = 100.0
# Largest spread of the reruns for which a claim is firm, and for which agreement with them is informative.
_FIRM: Final = {"ratio": 1.25, "difference": 0.05, "name": 0.0}
_DECIDED: Final = {"ratio": 2.0, "difference": 0.1, "name": 0.0}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much a published number may differ from ours, given the reruns.

    Attributes:
        by: How two numbers are compared: by the `ratio` of the larger to the smaller, by their `difference`, or, for
            the `name` of a frequency, for equality.
        most: Largest distance between two reruns, but at least the rounding error of the published number; for names,
            0 if all reruns agree and infinity otherwise.
        low: Smallest value of any rerun, minus the rounding error.
        high: Largest value of any rerun, plus the rounding error.
        runs: Number of reruns that have a value.
        step: Resolution of the numbers; two numbers within it count as equal.
    """

    by: str
    most: float
    low: float
    high: float
    runs: int
    step: float = 0.0

    @property
    def is_firm(self) -> bool:
        """Whether the reruns agree well enough that the claim must hold for each of them."""
        return self.runs > 1 and self.most <= _FIRM[self.by]

    @property
    def is_decided(self) -> bool:
        """Whether it is informative that a number lies within the reruns' range."""
        return self.runs > 1 and self.most <= _DECIDED[self.by]

    def allows(self, published: float, ours: float) -> bool:
        """Whether two numbers differ by no more than two reruns do."""
        if self.by == "name":
            return published == ours
        return abs(published - ours) <= self.step or distance(published, ours, self.by) <= self.most * (1 + 1e-12)

    def contains(self, published: float) -> bool:
        """Whether a number lies within the reruns' range."""
        return self.low - self.step <= published <= self.high + self.step


def distance(x: float, y: float, by: str) -> float:
    """Distance between two numbers: their ratio, at least 1, or their absolute difference.

    Examples:
        >>> distance(2.0, 3.0, "ratio"), distance(2.0, 3.0, "difference"), distance(0.0, 3.0, "ratio")
        (1.5, 1.0, inf)
    """
    if by == "difference":
        return abs(x - y)
    if min(x, y) <= 0:
        return 1.0 if x == y else math.inf
    return max(x, y) / min(x, y)


def is_by_name(claim: Claim) -> bool:
    """Whether the claim's values name frequencies, which only reruns from the same seed can share."""
    return claim.function in claim.paper.frequency_claims


def comparison_of(claim: Claim) -> str:
    """How the claim's numbers are compared: by `ratio`, `difference` or `name`."""
    if is_by_name(claim):
        return "name"
    return "ratio" if claim.unit in _BY_RATIO else "difference"


def key_of(claim: Claim, epoch: int) -> str:
    """The name under which `spread.json` stores the reruns' values for a claim.

    Values of all frequencies and heads are pooled. Claims about later epochs than the reruns' last use the last.

    Args:
        claim: The claim.
        epoch: The reruns' last epoch.
    """
    pooled = () if is_by_name(claim) else _POOLED
    fixed = {dim: label for dim, label in claim.select.items() if dim not in pooled}
    if "epoch" in fixed:
        fixed["epoch"] = min(fixed["epoch"], epoch)
    return ",".join([claim.function, *(f"{dim}={label}" for dim, label in sorted(fixed.items()))])


def values_of(claim: Claim, evidence: Evidence) -> list[float]:
    """A rerun's values for a claim, whatever its key frequencies; empty if the claim is not available.

    Args:
        claim: The claim.
        evidence: Evidence about the rerun, up to the last epoch that all reruns have.
    """
    last = evidence.max_epoch
    try:
        values = claim.measure(evidence)
        for dim, label in claim.select.items():
            at = min(label, last) if dim == "epoch" and last is not None else label
            if is_by_name(claim) or dim not in _POOLED:
                values = values.sel({dim: at})
            elif dim == "frequency":
                values = values.sel(frequency=list(evidence.keys))
    except (NotAvailableError, KeyError):
        return []
    return [float(x) for x in values.values.flatten()]


@cache
def _spread_data(paper: Paper) -> Mapping[str, Any]:
    return paper.read("spread.json")


def spread_data(paper: AnyPaper | None = None) -> Mapping[str, Any]:
    """The reruns of a paper's recipe: their last `epoch`, and `runs` with name, seed, keys and values.

    Args:
        paper: A `Paper` or its name; default: the first of `PAPERS`.
    """
    return _spread_data(find_paper(paper))


def is_from_paper_seed(rerun: Mapping[str, Any], paper: Paper) -> bool:
    """Whether a rerun has the paper's seed, so that it differs from the paper's run only by floating-point rounding."""
    return rerun["seed"] == paper.config().seed


def tolerance(claim: Claim) -> Tolerance:
    """How much the published number of a claim with `comparison="spread"` may differ from ours.

    Examples:
        >>> import grokinterp as gi
        >>> gi.claims.tolerance(gi.claims.by_id("loss.all")).by
        'ratio'
    """
    data = spread_data(claim.paper)
    runs = [run for run in data["runs"] if not is_by_name(claim) or is_from_paper_seed(run, claim.paper)]
    by_run = [run["values"].get(key_of(claim, data["epoch"]), []) for run in runs]
    spread = spread_over(by_run, by=comparison_of(claim), rounding=ROUNDING[claim.source])
    return replace(spread, step=CHECKPOINTS if claim.unit == "epoch" else 0.0)


def spread_over(by_run: Sequence[Sequence[float]], *, by: str, rounding: float = 0.0) -> Tolerance:
    """The tolerance implied by the spread across reruns.

    Args:
        by_run: Values by rerun: a list per rerun, e.g. one value per head. Values within a rerun are never compared.
        by: `ratio`, `difference` or `name`.
        rounding: Rounding error of the published number: relative for `ratio`, absolute for `difference`.

    Examples:
        >>> spread_over([[1.0, 2.0], [], [4.0]], by="ratio").most
        4.0
    """
    known = [values for values in by_run if values]
    pairs = [(x, y) for left, right in combinations(known, 2) for x, y in product(left, right)]
    values = [x for values in known for x in values] or [math.nan]
    low, high = min(values), max(values)
    if by == "name":
        most = 0.0 if low == high else math.inf
        return Tolerance(by=by, most=most, low=low, high=high, runs=len(known))
    distances = [distance(x, y, by) for x, y in pairs]
    if by == "ratio":
        low, high, least = low / (1 + rounding), high * (1 + rounding), 1 + rounding
    else:
        low, high, least = low - rounding, high + rounding, rounding
    return Tolerance(by=by, most=max([*distances, least]), low=low, high=high, runs=len(known))


def spread_of(runs: Mapping[str, Run], claims: Sequence[Claim], *, epoch: int) -> dict:
    """The reruns' values for all claims with `comparison="spread"`, in the format of `spread.json`.

    Args:
        runs: Reruns by name.
        claims: Claims of one paper; claims with a different comparison are skipped.
        epoch: Last epoch of each run that counts.
    """
    epoch = arguments.integer(epoch, "epoch", minimum=0)
    asked = {key_of(claim, epoch): claim for claim in claims if claim.comparison == "spread"}
    paper = claims[0].paper if claims else None
    rows = []
    for name, run in runs.items():
        rerun = evidence(run, epoch=epoch, paper=paper)
        values = {key: values_of(claim, rerun) for key, claim in asked.items()}
        rows.append({"name": name, "seed": run.config.seed, "keys": list(rerun.keys), "values": values})
    return {"epoch": epoch, "runs": rows}
