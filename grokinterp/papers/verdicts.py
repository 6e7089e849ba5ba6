"""Checking claims: our values compared with the published ones, and a verdict for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import xarray as xr

from grokinterp.papers.claim import Claim, claims
from grokinterp.papers.evidence import Evidence, NotAvailableError, evidence
from grokinterp.papers.paper import AnyPaper
from grokinterp.papers.tolerance import ROUNDING, Tolerance, tolerance


Kind = Literal["firm", "statistical", "not established"]
Verdict = Literal["holds", "fails", "differs", "undecided", "not established", "other setting", "not available"]
MEANINGS: Final[Mapping[Verdict, str]] = {
    "holds": "firm: differs from ours by no more than the reruns' spread, or agrees within its digits or bounds; "
    "statistical: within the reruns' range, and differs from ours by no more than their spread",
    "fails": "firm, and does not agree with our value, or our value cannot be computed",
    "differs": "statistical, and outside the reruns' range, or differs from ours by more than their spread",
    "undecided": "within the reruns' range, but they differ by more than a factor of 2 (by more than 0.1 for a "
    "fraction) or name different frequencies, so this is weak evidence",
    "not established": "no published value was found",
    "other setting": "the run does not have the paper's config, seed and length",
    "not available": "the model or run lacks what the claim is about, or the experiment was not run",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A checked claim.

    Attributes:
        claim: The claim.
        kind: `firm` if the reruns agree within 25% (0.05 for fractions), or if the recipe alone determines the value:
            it must hold on the paper's run. `statistical` if the reruns differ more, or if the paper's definition is
            not known: the published number can only be tested against their range. `not established` if no published
            value was found.
        ours: Our value; None if there is none.
        tolerance: How much the two numbers may differ; None if only rounding is allowed or nothing is compared.
        verdict: One of `MEANINGS`.
        why: Why we have no value.
    """

    claim: Claim
    kind: Kind
    ours: float | None
    tolerance: Tolerance | None
    verdict: Verdict
    why: str = ""


def check(subject: object, *, paper: AnyPaper | None = None) -> list[Result]:
    """Check every claim of a paper on a run or a model.

    Args:
        subject: A Run or its path; a Snapshot or TransformerLens model, for which claims about training are not
            available; or `Evidence`. Published numbers are compared only with a run that has the paper's config, seed
            and length; any other subject gets our values without a verdict.
        paper: A `Paper` or its name; default: the evidence's paper, or the first of `PAPERS`.

    Returns:
        One result per claim, in the order of `claims`.

    Raises:
        TypeError: If the subject is none of these.
        ValueError: If there is no paper of this name, or the evidence was collected for a different one.

    Examples:
        >>> import grokinterp as gi
        >>> results = check(gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu"), paper="nanda2023")
        >>> {result.claim.id: result.ours for result in results}["key.number"]
        2.0
    """
    if not isinstance(subject, Evidence):
        subject = evidence(subject, paper=paper)
    return [check_one(claim, subject) for claim in claims(subject.paper if paper is None else paper)]


def check_one(claim: Claim, evidence: Evidence) -> Result:
    """Check one claim."""
    kind, allowed = kind_of(claim)
    try:
        ours = claim.ours(evidence)
    except NotAvailableError as error:
        verdict = "not established" if claim.value is None else "not available"
        if kind == "firm" and evidence.matches_paper:
            verdict = "fails"
        return Result(claim=claim, kind=kind, ours=None, tolerance=allowed, verdict=verdict, why=str(error))
    is_judged = evidence.matches_paper or claim.value is None
    verdict = _verdict(claim, kind, allowed, ours) if is_judged else "other setting"
    return Result(claim=claim, kind=kind, ours=ours, tolerance=allowed, verdict=verdict)


def kind_of(claim: Claim) -> tuple[Kind, Tolerance | None]:
    """The kind of a claim, and the tolerance if it is compared with the reruns."""
    if claim.value is None:
        return "not established", None
    allowed = tolerance(claim) if claim.comparison == "spread" else None
    is_firm = claim.settled and (allowed is None or allowed.is_firm)
    return "firm" if is_firm else "statistical", allowed


def dataset(results: list[Result]) -> xr.Dataset:
    """The results as a table over `claim`: quantity, both ends of the published range, our value, kind and verdict.

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
    """Both ends of the published range; a single number counts as a range of width zero."""
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
    relative = 0.0 if claim.comparison == "exact" else ROUNDING[claim.source]
    return abs(ours - published) <= relative * abs(published)
