"""Checking claims: ours beside what was published, and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import xarray as xr

from grokinterp.claims.claim import Claim, claims
from grokinterp.claims.spread import ROUNDING, Tolerance, tolerance
from grokinterp.claims.subjects import Evidence, NotAvailableError, evidence


Kind = Literal["firm", "statistical", "not established"]
Verdict = Literal["holds", "fails", "differs", "undecided", "not established", "other setting", "not available"]
MEANINGS: Final[Mapping[Verdict, str]] = {
    "holds": "firm: as near to ours as rebuilt runs are to each other, or as its digits or bounds say; statistical: "
    "among the values of rebuilt runs, and as near to ours",
    "fails": "firm, and it is not so, or ours cannot be computed",
    "differs": "statistical, and not among the values of rebuilt runs, or farther from ours than they are apart",
    "undecided": "among the values of rebuilt runs, but these differ by more than a factor of 2 (by more than .1 for a "
    "share), or name different frequencies, so that this says little",
    "not established": "no published value was found",
    "other setting": "the run is not one of the paper's setting, seed and length",
    "not available": "what the claim is about is not there, or was not run",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A claim, checked.

    Attributes:
        claim: Which.
        kind: `firm` if rebuilt runs agree about it, within a quarter of the value or .05 of a share, or the recipe
            alone decides it: it must hold on the paper's run. `statistical` if they differ more, or the definition is
            not settled: the published number can be no more than one like theirs. `not established`.
        ours: Our number; None where there is none.
        tolerance: What the two numbers may differ by; None where rounding alone is allowed, or nothing is compared.
        verdict: One of `MEANINGS`.
        why: Why there is no number of ours.
    """

    claim: Claim
    kind: Kind
    ours: float | None
    tolerance: Tolerance | None
    verdict: Verdict
    why: str = ""


def check(subject: object) -> list[Result]:
    """Every claim, checked on a run or a model.

    Args:
        subject: A Run or its path; a Snapshot or TransformerLens model, for which claims about training are not
            available; or `Evidence`. Published numbers are compared with those of a run of the paper's setting and
            seed alone; for any other ours is given and no verdict.

    Returns:
        A result for each claim, in their order.

    Raises:
        TypeError: If it is none of these.

    Examples:
        >>> import grokinterp as gi
        >>> results = check(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))
        >>> {result.claim.id: result.ours for result in results}["key.number"]
        2.0
    """
    found = subject if isinstance(subject, Evidence) else evidence(subject)
    return [check_one(claim, found) for claim in claims()]


def check_one(claim: Claim, found: Evidence) -> Result:
    """One claim."""
    kind, allowed = kind_of(claim)
    try:
        ours = claim.ours(found)
    except NotAvailableError as error:
        verdict = "not established" if claim.value is None else "not available"
        if kind == "firm" and found.is_of_the_paper:
            verdict = "fails"
        return Result(claim=claim, kind=kind, ours=None, tolerance=allowed, verdict=verdict, why=str(error))
    asked = found.is_of_the_paper or claim.value is None
    verdict = _verdict(claim, kind, allowed, ours) if asked else "other setting"
    return Result(claim=claim, kind=kind, ours=ours, tolerance=allowed, verdict=verdict)


def kind_of(claim: Claim) -> tuple[Kind, Tolerance | None]:
    """Whether a claim is firm, and what it may be off by."""
    if claim.value is None:
        return "not established", None
    allowed = tolerance(claim) if claim.comparison == "spread" else None
    is_firm = claim.settled and (allowed is None or allowed.is_firm)
    return "firm" if is_firm else "statistical", allowed


def dataset(results: list[Result]) -> xr.Dataset:
    """The results as a table over `claim`: ours, kind, verdict, and what was published, with both ends of a range.

    Examples:
        >>> import grokinterp as gi
        >>> list(dataset(check(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"))))
        ['quantity', 'published_low', 'published_high', 'ours', 'kind', 'verdict']
    """
    rows = {
        "quantity": [result.claim.quantity for result in results],
        "published_low": [_ends(result.claim)[0] for result in results],
        "published_high": [_ends(result.claim)[1] for result in results],
        "ours": [float("nan") if result.ours is None else result.ours for result in results],
        "kind": [result.kind for result in results],
        "verdict": [result.verdict for result in results],
    }
    return xr.Dataset(
        {name: ("claim", values) for name, values in rows.items()},
        coords={"claim": [result.claim.id for result in results]},
    )


def _ends(claim: Claim) -> tuple[float, float]:
    """The ends of a published range; of a number, twice the number."""
    if isinstance(claim.value, tuple):
        return claim.value
    value = float("nan") if claim.value is None else claim.value
    return value, value


def _verdict(claim: Claim, kind: Kind, allowed: Tolerance | None, ours: float) -> Verdict:
    if claim.value is None:
        return "not established"
    if allowed is not None and kind == "statistical" and not isinstance(claim.value, tuple):
        return _among_reruns(claim.value, allowed, ours)
    if _holds(claim, claim.value, allowed, ours):
        return "holds"
    return "fails" if kind == "firm" else "differs"


def _among_reruns(published: float, allowed: Tolerance, ours: float) -> Verdict:
    if allowed.by == "name":
        return "undecided" if not allowed.is_decided else "holds" if published == ours else "differs"
    if not (allowed.contains(published) and allowed.allows(published, ours)):
        return "differs"
    return "holds" if allowed.is_decided else "undecided"


def _holds(claim: Claim, published: float | tuple[float, float], allowed: Tolerance | None, ours: float) -> bool:
    if isinstance(published, tuple):
        low, high = published
        return low <= ours <= high
    if allowed is not None:
        return allowed.allows(published, ours)
    if claim.comparison == "below":
        return ours < published
    off = 0.0 if claim.comparison == "exact" else ROUNDING[claim.source]
    return abs(ours - published) <= off * abs(published)
