"""Which findings are robust and which are accidents of rounding or of the seed: the spread over rebuilt runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from grokinterp import claims
from grokinterp.claims import Claim
from grokinterp.claims.spread import Tolerance, comparison_of, key_of, spread_over
from grokinterp.report.findings import table_number


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A quantity over the rebuilt runs.

    Attributes:
        quantity: What.
        published: In words.
        values: Of each run in words.
        rounding: How far runs from one seed are apart.
        seeds: How far any two are apart.
        verdict: What that makes of it.
    """

    quantity: str
    published: str
    values: list[str]
    rounding: str
    seeds: str
    verdict: str


def table() -> list[Finding]:
    """A row per quantity: what each rebuilt run gives, and how far they are apart.

    Points of curves are left out, but for the events in them.
    """
    firsts: dict[str, list[Claim]] = {}
    for claim in claims.claims():
        if claim.comparison == "spread" and "epoch" not in claim.select and claim.value is not None:
            firsts.setdefault(key_of(claim, claims.spread_data()["epoch"]), []).append(claim)
    return [_finding(key, of_key) for key, of_key in firsts.items()]


def _finding(key: str, of_key: Sequence[Claim]) -> Finding:
    claim, runs = of_key[0], claims.spread_data()["runs"]
    by = comparison_of(claim)
    by_run = [run["values"].get(key, []) for run in runs]
    same = [values for run, values in zip(runs, by_run, strict=True) if run["seed"] == 0]
    rounding, seeds = spread_over(same, by=by), spread_over(by_run, by=by)
    return Finding(
        quantity=claim.quantity if len(of_key) == 1 else claim.definition,
        published=", ".join(table_number(_one(claim)) for claim in of_key),
        values=[_range(values) for values in by_run],
        rounding=_apart(rounding),
        seeds=_apart(seeds),
        verdict=_verdict(rounding, seeds),
    )


def _verdict(rounding: Tolerance, seeds: Tolerance) -> str:
    if not rounding.is_firm:
        return "accident of rounding"
    if seeds.is_firm:
        return "robust"
    return "robust to rounding" if seeds.by == "name" else "depends on the seed"


def _one(claim: Claim) -> float:
    assert isinstance(claim.value, (int, float))
    return float(claim.value)


def _range(values: Sequence[float]) -> str:
    if not values:
        return "not reached"
    low, high = min(values), max(values)
    return table_number(low) if low == high else f"{table_number(low)} to {table_number(high)}"


def _apart(found: Tolerance) -> str:
    if found.by == "name":
        return "the same" if found.is_firm else "differ"
    return f"x{found.most:.3g}" if found.by == "ratio" else f"± {found.most:.2g}"
