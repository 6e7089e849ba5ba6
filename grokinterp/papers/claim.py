"""A claim: a published number, where it was read, and the function that computes our value for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

import xarray as xr

from grokinterp.papers.evidence import Evidence, NotAvailableError
from grokinterp.papers.paper import AnyPaper, Paper, find_paper


Source = Literal["code", "figure", "quoted", "recomputed", "not found"]
SOURCES: Final[Mapping[Source, str]] = {
    "code": "read in the authors' code",
    "figure": "read off the authors' figures",
    "quoted": "quoted by others, not checked against the paper",
    "recomputed": "recomputed from the recipe",
    "not found": "no source found",
}
Comparison = Literal["exact", "rounded", "below", "between", "spread"]
# A message lists a model's values if there are no more than this.
_MAX_LISTED: Final = 8


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published number, and the function that computes our value.

    Attributes:
        id: Unique name, e.g. `attention.fve.head0`.
        section: Part of the paper's argument.
        quantity: The claimed quantity, in a few words.
        definition: What is computed.
        function: Module and name of a function of `Evidence`, e.g. `circuit.loss`.
        select: Coordinates at which the function's result is read.
        value: Published value, in the same units as ours; a pair is a range; None if no value was found.
        unit: Unit of the value; "" for a dimensionless number.
        source: How the value was read; a key of `SOURCES`.
        where: Figure, table or section.
        comparison: `exact`; `rounded`, equal up to the published digits or the resolution of the figure; `below` an
            upper bound; `between` two bounds; or `spread`, within the spread of the reruns.
        settled: Whether the paper's definition is known; if not, ours is one of several candidates.
        note: Anything else worth knowing.
        paper: The paper that makes the claim.
    """

    id: str
    section: str
    quantity: str
    definition: str
    function: str
    value: float | tuple[float, float] | None
    unit: str
    source: Source
    where: str
    comparison: Comparison = "spread"
    select: Mapping[str, Any] = field(default_factory=dict)
    settled: bool = True
    note: str = ""
    paper: Paper = field(repr=False)

    def measure(self, evidence: Evidence) -> xr.DataArray:
        """The full result of the claim's function, before `select`; computed once per evidence.

        Raises:
            NotAvailableError: If the evidence lacks what the claim is about.
            ValueError: If the evidence was collected for a different paper.
        """
        if evidence.paper is not self.paper:
            expected, got = self.paper.name, evidence.paper.name
            msg = f"a claim of {expected} needs evidence with paper={expected!r}, got {got!r}; collect it again."
            raise ValueError(msg)
        if self.function not in evidence.measured:
            module, name = self.function.split(".")
            evidence.measured[self.function] = getattr(self.paper.modules[module], name)(evidence)
        return evidence.measured[self.function]

    def ours(self, evidence: Evidence) -> float:
        """Our value.

        Args:
            evidence: Evidence about a model or run.

        Returns:
            A number in the claim's unit.

        Raises:
            NotAvailableError: If the evidence lacks what the claim is about: a run, an epoch, a frequency.

        Examples:
            >>> import grokinterp as gi
            >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
            >>> round(gi.claims.by_id("logits.fve").ours(gi.claims.evidence(snap)), 6)
            1.0
        """
        result = self.measure(evidence)
        try:
            return float(result.sel(self.select))
        except KeyError as error:
            asked = ", ".join(f"{dim} {label}" for dim, label in self.select.items())
            msg = f"there is no {asked}{_listed(result)}."
            raise NotAvailableError(msg) from error


def _listed(result: xr.DataArray) -> str:
    """The values that the model does have, if they are few, e.g. one per key frequency."""
    if result.ndim != 1 or result.size > _MAX_LISTED:
        return ""
    pairs = zip(result[result.dims[0]].values, result.values, strict=True)
    return "; the model has " + ", ".join(f"{value:.4g} at {label}" for label, value in pairs)


@cache
def _claims(paper: Paper) -> tuple[Claim, ...]:
    groups = paper.read("claims.json")["groups"]
    return tuple(_claim(paper, group, entry) for group in groups for entry in group["entries"])


def claims(paper: AnyPaper | None = None) -> tuple[Claim, ...]:
    """All claims of a paper, in the order of its argument.

    Args:
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Raises:
        ValueError: If there is no paper of this name.

    Examples:
        >>> len({claim.id for claim in claims()}) == len(claims()) > 150
        True
    """
    return _claims(find_paper(paper))


def by_id(id: str, paper: AnyPaper | None = None) -> Claim:
    """One claim.

    Raises:
        KeyError: If the paper has no claim with this id.
    """
    for claim in claims(paper):
        if claim.id == id:
            return claim
    msg = f"there is no claim {id!r}; list them with gi.claims.claims()."
    raise KeyError(msg)


def _claim(paper: Paper, group: Mapping[str, Any], entry: Mapping[str, Any]) -> Claim:
    common = {key: value for key, value in group.items() if key != "entries"}
    merged = common | dict(entry)
    value = merged["value"]
    if isinstance(value, list):
        merged["value"] = tuple(map(float, value))
    elif value is not None:
        merged["value"] = float(value)
    return Claim(paper=paper, **merged)
