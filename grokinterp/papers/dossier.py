"""The dossier: one page that compares every claim of a paper with our values, and its figures with our curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from grokinterp.papers.claim import SOURCES, Claim, claims
from grokinterp.papers.evidence import Evidence, NotAvailableError, evidence
from grokinterp.papers.paper import AnyPaper
from grokinterp.papers.tolerance import Tolerance, comparison_of, is_from_paper_seed, key_of, spread_data, spread_over
from grokinterp.papers.verdicts import MEANINGS, Result, check
from grokinterp.report.findings import table_number
from grokinterp.report.page import draw_picture, render_template
from grokinterp.runs.layout import check_is_file, write_atomically
from grokinterp.runs.run import AnyRun, load_run


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim's row in the table, as text.

    Attributes:
        quantity: The claimed quantity.
        published: Published value.
        ours: Our value, or why there is none.
        difference: Ratio or difference of the two.
        allowed: Largest ratio or difference for which the claim holds, or the reruns' range.
        kind: `firm`, `statistical` or `not established`.
        verdict: One of `MEANINGS`.
    """

    quantity: str
    published: str
    ours: str
    difference: str
    allowed: str
    kind: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that share a definition.

    Attributes:
        definition: What is computed.
        source: Where the values were read.
        note: Anything else worth knowing.
        rows: One per claim.
    """

    definition: str
    source: str
    note: str
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A quantity across the reruns, as text.

    Attributes:
        quantity: Name of the quantity.
        published: Published values.
        values: Value or range of each rerun.
        rounding: Spread of the reruns from the paper's seed, which differ only by floating-point rounding.
        seeds: Spread of all reruns.
        verdict: What the quantity depends on.
    """

    quantity: str
    published: str
    values: list[str]
    rounding: str
    seeds: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure of the dossier.

    Attributes:
        id: Anchor.
        title: The figure's number in the paper, and what it shows.
        html: HTML without the plotly script.
        caption: How to read it.
    """

    id: str
    title: str
    html: str
    caption: str


def reproduce(run: AnyRun, path: str | Path | None = None, *, paper: AnyPaper | None = None) -> list[Result]:
    """Check every claim of a paper on a run, and write the dossier.

    Args:
        run: A run with the paper's config, whose values are compared with the published ones; or any other run, whose
            values are given without a verdict.
        path: The page; default: none is written.
        paper: A `Paper` or its name; default: the first of `PAPERS`.

    Returns:
        The results, in the order of the paper's argument.

    Raises:
        RunError: If the run has no checkpoint, one of its files is damaged, or the path is not a regular file.
        ValueError: If there is no paper of this name.

    Examples:
        >>> import grokinterp as gi
        >>> results = reproduce(gi.load_run("nanda2023"))
        >>> [result.claim.id for result in results if result.verdict == "fails"]
        []
    """
    run = load_run(run)
    page = None if path is None else Path(path)
    if page is not None:
        check_is_file(page)
    found = evidence(run, paper=paper)
    results = check(found)
    if page is not None:
        text = render(found, results)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)
    return results


def render(evidence: Evidence, results: Sequence[Result]) -> str:
    """The page as text."""
    run, paper = evidence.require_run(), evidence.paper
    spread = findings(paper)
    reruns = spread_data(paper) if spread else {"runs": [], "epoch": 0}
    return render_template(
        "dossier.html.j2",
        package="grokinterp.papers",
        title=paper.title,
        citation=paper.citation,
        name=run.path.resolve().name,
        matches_paper=evidence.matches_paper,
        task=run.task.name,
        tiles=tiles(results),
        meanings=MEANINGS,
        sources=SOURCES,
        sections=sections(results),
        spread=spread,
        runs=[entry["name"] for entry in reruns["runs"]],
        spread_epoch=reruns["epoch"],
        figures=list(draw(evidence)) if has_keys(evidence) else [],
        has_keys=has_keys(evidence),
        made_by=run.made_by,
    )


def has_keys(evidence: Evidence) -> bool:
    """Whether the model has key frequencies; without them there is no figure to draw."""
    try:
        return bool(evidence.keys)
    except NotAvailableError:
        return False


def draw(evidence: Evidence) -> Iterator[Drawn]:
    """The paper's figures that the evidence allows, in the paper's order.

    Raises:
        NotAvailableError: If the evidence has no run, or the model has no key frequencies.
    """
    for number, (title, make, caption) in enumerate(evidence.paper.figures(evidence), 1):
        picture = draw_picture(make, caption)
        yield Drawn(id=f"figure-{number}", title=title, html=picture.html, caption=picture.caption)


def tiles(results: Sequence[Result]) -> dict[str, str]:
    """How many claims of each kind hold.

    Examples:
        >>> tiles([])
        {'firm claims that hold': '0 of 0', 'statistical claims that hold': '0 of 0', 'undecided among them': '0',
        'not established': '0', 'not available': '0'}
    """

    def count(kind: str, *verdicts: str) -> int:
        return sum(result.kind == kind and result.verdict in verdicts for result in results)

    statistical = count("statistical", "holds", "differs", "undecided")
    return {
        "firm claims that hold": f"{count('firm', 'holds')} of {count('firm', 'holds', 'fails')}",
        "statistical claims that hold": f"{count('statistical', 'holds')} of {statistical}",
        "undecided among them": str(count("statistical", "undecided")),
        "not established": str(sum(result.verdict == "not established" for result in results)),
        "not available": str(sum(result.verdict == "not available" for result in results)),
    }


def sections(results: Sequence[Result]) -> dict[str, list[Group]]:
    """Groups of rows by section, in the order of the claims."""
    by_section = groupby(results, key=lambda result: result.claim.section)
    return {section: list(_groups(list(of_section))) for section, of_section in by_section}


def _groups(results: Sequence[Result]) -> Iterator[Group]:
    def definition(result: Result) -> tuple[str, ...]:
        claim = result.claim
        return (claim.definition or claim.quantity, claim.source, claim.where, claim.note)

    for _, of_group in groupby(results, key=definition):
        members = list(of_group)
        claim = members[0].claim
        yield Group(
            definition=claim.definition,
            source=f"{SOURCES[claim.source]}: {claim.where}",
            note=claim.note,
            rows=[row(result) for result in members],
        )


def row(result: Result) -> Row:
    """A result as text."""
    claim = result.claim
    value = claim.value
    published = "not found" if value is None else f"{_number(value, claim.unit)}"
    return Row(
        quantity=claim.quantity,
        published=published,
        ours=result.why if result.ours is None else _number(result.ours, claim.unit),
        difference=_difference(result),
        allowed=_allowed(result),
        kind=result.kind,
        verdict=result.verdict,
    )


def _number(value: float | tuple[float, float], unit: str) -> str:
    if isinstance(value, tuple):
        return f"{_number(value[0], '')} to {_number(value[1], unit)}"
    return f"{table_number(value)} {unit}" if unit == "nats" else table_number(value)


def _difference(result: Result) -> str:
    value, ours = result.claim.value, result.ours
    if value is None or ours is None or isinstance(value, tuple):
        return ""
    if result.tolerance is not None and result.tolerance.by == "ratio" and value > 0 and ours > 0:
        return f"x{ours / value:.3g}"
    return f"{ours - value:+.3g}" if ours != value else "0"


def _allowed(result: Result) -> str:
    """For a firm claim, how much the two may differ; for a statistical one, the reruns' range."""
    claim, allowed = result.claim, result.tolerance
    if allowed is None or claim.value is None:
        words = {"exact": "equal", "rounded": "its digits", "below": "below", "between": "between"}
        return words.get(claim.comparison, "")
    if allowed.by == "name":
        return "equal" if allowed.is_firm else "reruns disagree"
    if result.kind == "statistical":
        return f"{table_number(allowed.low)} to {table_number(allowed.high)}"
    return f"x{allowed.most:.3g}" if allowed.by == "ratio" else f"± {allowed.most:.2g}"


def findings(paper: AnyPaper | None = None) -> list[Finding]:
    """A row per quantity: the value of each rerun, and their spread.

    Individual points of curves are left out; events in them, e.g. the epoch of a peak, are included.
    """
    firsts: dict[str, list[Claim]] = {}
    for claim in claims(paper):
        if claim.comparison == "spread" and "epoch" not in claim.select and claim.value is not None:
            firsts.setdefault(key_of(claim, spread_data(paper)["epoch"]), []).append(claim)
    return [_finding(key, of_key) for key, of_key in firsts.items()]


def _finding(key: str, of_key: Sequence[Claim]) -> Finding:
    claim, runs = of_key[0], spread_data(of_key[0].paper)["runs"]
    by = comparison_of(claim)
    by_run = [run["values"].get(key, []) for run in runs]
    same = [values for run, values in zip(runs, by_run, strict=True) if is_from_paper_seed(run, claim.paper)]
    rounding, seeds = spread_over(same, by=by), spread_over(by_run, by=by)
    return Finding(
        quantity=claim.quantity if len(of_key) == 1 else claim.definition,
        published=", ".join(table_number(_one(claim)) for claim in of_key),
        values=[_range(values) for values in by_run],
        rounding=_spread(rounding),
        seeds=_spread(seeds),
        verdict=_dependence(rounding, seeds),
    )


def _dependence(rounding: Tolerance, seeds: Tolerance) -> str:
    if not rounding.is_firm:
        return "rounding-dependent"
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


def _spread(spread: Tolerance) -> str:
    if spread.by == "name":
        return "the same" if spread.is_firm else "differ"
    return f"x{spread.most:.3g}" if spread.by == "ratio" else f"± {spread.most:.2g}"
