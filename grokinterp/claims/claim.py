"""The claims as data: what was published, where it was read, and how far off a rebuilt run may be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Final, Literal

import xarray as xr

from grokinterp.claims import ablations, circuit, reruns, training
from grokinterp.claims.files import read_data
from grokinterp.claims.subjects import Evidence, NotAvailableError


Source = Literal["code", "figure", "quoted", "recomputed", "not found"]
SOURCES: Final[Mapping[Source, str]] = {
    "code": "read in the authors' code",
    "figure": "read off the authors' figures",
    "quoted": "quoted by others, not checked against the paper",
    "recomputed": "recomputed from the recipe",
    "not found": "no source found",
}
Comparison = Literal["exact", "rounded", "below", "between", "spread"]
# So many values of a model's own can be read in a sentence.
_FEW: Final = 8
_MODULES: Final[Mapping[str, ModuleType]] = {
    "circuit": circuit,
    "ablations": ablations,
    "training": training,
    "reruns": reruns,
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published number, and the function that gives ours.

    Attributes:
        id: Of the claim, such as `attention.fve.head0`.
        section: The part of the paper's argument it belongs to.
        quantity: What is claimed, in a few words.
        definition: What is computed.
        function: What gives it: a function of `Evidence`, by module and name.
        select: Labels at which the function's result is read.
        value: As published, in the units of ours; two numbers are the ends of a range; None if not found.
        unit: Of the value; "" is a pure number.
        source: Where the value was read.
        where: The figure, table or section.
        comparison: `exact`; `rounded`, equal but for the digits or the pixels it was read from; `below` an upper bound;
            `between` two; or `spread`: no further from ours than two rebuilt runs are from each other.
        settled: Whether the paper's definition is known; if not, ours is one of several that it could be.
        note: What else there is to know.
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

    def measure(self, evidence: Evidence) -> xr.DataArray:
        """All that the claim's function gives, before a label is chosen; computed once for each evidence.

        Raises:
            NotAvailableError: If the evidence lacks what the claim is about.
        """
        if self.function not in evidence.measured:
            module, name = self.function.split(".")
            evidence.measured[self.function] = getattr(_MODULES[module], name)(evidence)
        return evidence.measured[self.function]

    def ours(self, evidence: Evidence) -> float:
        """Our number.

        Args:
            evidence: Of the model or run.

        Returns:
            In the claim's unit.

        Raises:
            NotAvailableError: If the evidence lacks what the claim is about: a run, an epoch, a frequency.

        Examples:
            >>> import grokinterp as gi
            >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
            >>> round(gi.claims.by_id("logits.fve").ours(gi.claims.evidence(snap)), 6)
            1.0
        """
        found = self.measure(evidence)
        try:
            return float(found.sel(self.select))
        except KeyError as error:
            asked = ", ".join(f"{dim} {label}" for dim, label in self.select.items())
            msg = f"there is no {asked}{_what_there_is(found)}."
            raise NotAvailableError(msg) from error


def _what_there_is(found: xr.DataArray) -> str:
    """A model's own few values, such as those of its own keys."""
    if found.ndim != 1 or found.size > _FEW:
        return ""
    labels = found[found.dims[0]].values
    return "; it has " + ", ".join(f"{value:.4g} at {label}" for label, value in zip(labels, found.values, strict=True))


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the paper's argument.

    Examples:
        >>> len({claim.id for claim in claims()}) == len(claims()) > 150
        True
    """
    groups = json.loads(read_data("claims.json"))["groups"]
    return tuple(_claim(group, entry) for group in groups for entry in group["entries"])


def by_id(id: str) -> Claim:
    """One claim.

    Raises:
        KeyError: If there is no claim of this id.
    """
    for claim in claims():
        if claim.id == id:
            return claim
    msg = f"there is no claim {id!r}; gi.claims.claims() has them all."
    raise KeyError(msg)


def _claim(group: Mapping[str, Any], entry: Mapping[str, Any]) -> Claim:
    common = {key: value for key, value in group.items() if key != "entries"}
    merged = common | dict(entry)
    value = merged["value"]
    if isinstance(value, list):
        merged["value"] = tuple(map(float, value))
    elif value is not None:
        merged["value"] = float(value)
    return Claim(**merged)
