"""How far rebuilt runs are from each other: what a published number may differ from ours by."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import Final

from grokinterp import arguments
from grokinterp.claims.claim import Claim
from grokinterp.claims.files import read_data
from grokinterp.claims.subjects import Evidence, NotAvailableError, evidence
from grokinterp.runs.run import Run


# What is compared by ratio: numbers above zero whose size may be of any order.
_BY_RATIO: Final = ("nats", "weight", "weight^2", "epoch", "neurons")
# Labels that are not the same in two runs; values at any of them are compared with those at any other.
_POOLED: Final = ("frequency", "head", "axis")
# Values that are names of frequencies: they can be asked of runs from the same seed alone, and are equal or not.
_NAMES: Final = ("circuit.is_key", "circuit.next_frequency", "circuit.attention_frequency")
# Published numbers are rounded, and those read off a figure off by a percent or so.
ROUNDING: Final = {"figure": 0.01, "quoted": 0.01, "code": 0.0, "recomputed": 2e-6, "not found": 0.0}
# Epochs between two points of the published curves, and between two checkpoints.
CHECKPOINTS: Final = 100.0
# A claim is firm if rebuilt runs agree about it this well, and decided by them if they differ no more than that.
_FIRM: Final = {"ratio": 1.25, "difference": 0.05, "name": 0.0}
_DECIDED: Final = {"ratio": 2.0, "difference": 0.1, "name": 0.0}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What rebuilt runs allow a published number to be.

    Attributes:
        by: Numbers are compared by the `ratio` of the larger to the smaller or by their `difference`, and the `name` of
            a frequency is the same or not.
        most: The largest distance between two rebuilt runs, or what rounding allows where that is more; of names 0 if
            all runs have the same, else infinity.
        low: The smallest value of a rebuilt run, less what rounding allows.
        high: The largest, and what rounding allows.
        runs: How many rebuilt runs there are.
        step: The resolution at which the numbers are known; so far apart, they are equal.
    """

    by: str
    most: float
    low: float
    high: float
    runs: int
    step: float = 0.0

    @property
    def is_firm(self) -> bool:
        """Whether rebuilt runs agree well enough for the claim to be asked of each of them."""
        return self.runs > 1 and self.most <= _FIRM[self.by]

    @property
    def is_decided(self) -> bool:
        """Whether it says something that a number lies among those of rebuilt runs."""
        return self.runs > 1 and self.most <= _DECIDED[self.by]

    def allows(self, published: float, ours: float) -> bool:
        """Whether two numbers are as near as two rebuilt runs."""
        if self.by == "name":
            return published == ours
        return abs(published - ours) <= self.step or distance(published, ours, self.by) <= self.most * (1 + 1e-12)

    def contains(self, published: float) -> bool:
        """Whether a number lies among those of rebuilt runs."""
        return self.low - self.step <= published <= self.high + self.step


def distance(x: float, y: float, by: str) -> float:
    """How far two numbers are apart.

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
    """Whether the claim's values are names of frequencies, which runs from one seed alone can share."""
    return claim.function in _NAMES


def comparison_of(claim: Claim) -> str:
    """How the claim's numbers are compared: by ratio, difference or name."""
    if is_by_name(claim):
        return "name"
    return "ratio" if claim.unit in _BY_RATIO else "difference"


def key_of(claim: Claim, epoch: int) -> str:
    """The name under which rebuilt runs, which end at an epoch, have their values.

    Those of all frequencies and heads are one pool, and what was published of a later epoch is asked of the last.
    """
    pooled = () if is_by_name(claim) else _POOLED
    fixed = {dim: label for dim, label in claim.select.items() if dim not in pooled}
    if "epoch" in fixed:
        fixed["epoch"] = min(fixed["epoch"], epoch)
    return ",".join([claim.function, *(f"{dim}={label}" for dim, label in sorted(fixed.items()))])


def values_of(claim: Claim, found: Evidence) -> list[float]:
    """A rebuilt run's values for a claim, whatever its keys; none where it has none.

    Args:
        claim: Which.
        found: Of the rebuilt run, cut off at the epoch of the spread.
    """
    epoch = found.until
    try:
        values = claim.measure(found)
        for dim, label in claim.select.items():
            at = min(label, epoch) if dim == "epoch" and epoch is not None else label
            if is_by_name(claim) or dim not in _POOLED:
                values = values.sel({dim: at})
            elif dim == "frequency":
                values = values.sel(frequency=list(found.keys))
    except (NotAvailableError, KeyError):
        return []
    return [float(x) for x in values.values.flatten()]


@cache
def spread_data() -> Mapping:
    """The rebuilt runs and their values."""
    return json.loads(read_data("spread.json"))


def tolerance(claim: Claim) -> Tolerance:
    """What a claim that is compared by spread may be off by.

    Examples:
        >>> import grokinterp as gi
        >>> gi.claims.tolerance(gi.claims.by_id("loss.all")).by
        'ratio'
    """
    runs = [run for run in spread_data()["runs"] if run["seed"] == 0 or not is_by_name(claim)]
    by_run = [run["values"].get(key_of(claim, spread_data()["epoch"]), []) for run in runs]
    found = spread_over(by_run, by=comparison_of(claim), rounding=ROUNDING[claim.source])
    return replace(found, step=CHECKPOINTS if claim.unit == "epoch" else 0.0)


def spread_over(by_run: Sequence[Sequence[float]], *, by: str, rounding: float = 0.0) -> Tolerance:
    """What the values of rebuilt runs allow.

    Args:
        by_run: Values by run, several where a run has several of a kind; two values of one run are not compared.
        by: `ratio`, `difference` or `name`.
        rounding: The share of a published number, or for differences the number, that rounding may have changed.

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
    apart = [distance(x, y, by) for x, y in pairs]
    if by == "ratio":
        low, high, least = low / (1 + rounding), high * (1 + rounding), 1 + rounding
    else:
        low, high, least = low - rounding, high + rounding, rounding
    return Tolerance(by=by, most=max([*apart, least]), low=low, high=high, runs=len(known))


def spread_of(runs: Mapping[str, Run], claims: Sequence[Claim], *, epoch: int) -> dict:
    """The values of rebuilt runs for all claims that are compared by spread, as `spread.json` has them.

    Args:
        runs: By name.
        claims: All; those of other comparisons are left out.
        epoch: Up to which each run counts.
    """
    epoch = arguments.integer(epoch, "epoch", minimum=0)
    rows = []
    for name, run in runs.items():
        found = evidence(run, epoch=epoch)
        asked = {key_of(claim, epoch): claim for claim in claims if claim.comparison == "spread"}
        values = {key: values_of(claim, found) for key, claim in asked.items()}
        seed = run.config.seed
        rows.append({"name": name, "seed": seed, "keys": list(found.keys), "values": values})
    return {"epoch": epoch, "runs": rows}
