"""The dossier: one page with every claim of the paper beside ours, and its figures with our curves over theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from grokinterp import claims
from grokinterp.claims import Evidence, Result
from grokinterp.report import figures, robustness
from grokinterp.report.findings import table_number
from grokinterp.report.page import render_template
from grokinterp.runs.layout import write_atomically
from grokinterp.runs.run import AnyRun, load_run


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim's row in the table.

    Attributes:
        quantity: What is claimed.
        published: The published value in words.
        ours: Ours.
        difference: What separates them.
        allowed: What may separate them.
        kind: How firm the claim is.
        verdict: What came of it.
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
    """Rows with one definition.

    Attributes:
        definition: What is computed.
        source: Where the values were read.
        note: What else there is to know.
        rows: One per claim.
    """

    definition: str
    source: str
    note: str
    rows: list[Row]


def reproduce(run: AnyRun, path: str | Path | None = None) -> list[Result]:
    """Check every claim on a run, and write the dossier.

    Args:
        run: A run of the paper's setting, for which published numbers and ours are compared; or any other, for which
            ours alone are given.
        path: The page; default: none is written.

    Returns:
        The results, in the order of the paper's argument.

    Raises:
        RunError: If the run has no checkpoint, or a file of it is broken.
        IsADirectoryError: If the path is a directory.

    Examples:
        >>> import grokinterp as gi
        >>> results = reproduce(gi.load_run("nanda2023"))
        >>> [result.claim.id for result in results if result.verdict == "fails"]
        []
    """
    run = load_run(run)
    page = None if path is None else Path(path)
    if page is not None and page.is_dir():
        msg = f"{page} is a directory; pass a file, such as {page / 'dossier.html'}."
        raise IsADirectoryError(msg)
    found = claims.evidence(run)
    results = claims.check(found)
    if page is not None:
        text = render(found, results)
        write_atomically(page, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)
    return results


def render(found: Evidence, results: Sequence[Result]) -> str:
    """The page as text."""
    run = found.require_run()
    return render_template(
        "dossier.html.j2",
        name=run.path.resolve().name,
        is_of_the_paper=found.is_of_the_paper,
        task=run.task.name,
        tiles=tiles(results),
        meanings=claims.MEANINGS,
        sources=claims.SOURCES,
        sections=sections(results),
        spread=robustness.table(),
        runs=[entry["name"] for entry in claims.spread_data()["runs"]],
        spread_epoch=claims.spread_data()["epoch"],
        figures=list(figures.draw(found)) if has_keys(found) else [],
        made_by=run.made_by,
    )


def has_keys(found: Evidence) -> bool:
    """Whether the model has key frequencies, without which there is no figure of the paper to draw."""
    try:
        return bool(found.keys)
    except claims.NotAvailableError:
        return False


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
    """The table: groups of rows by section, in the order of the claims."""
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
            source=f"{claims.SOURCES[claim.source]}: {claim.where}",
            note=claim.note,
            rows=[row(result) for result in members],
        )


def row(result: Result) -> Row:
    """A result in words."""
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
    """For a firm claim how far apart the two may be; for a statistical one what rebuilt runs have."""
    claim, allowed = result.claim, result.tolerance
    if allowed is None or claim.value is None:
        words = {"exact": "equal", "rounded": "its digits", "below": "below", "between": "between"}
        return words.get(claim.comparison, "")
    if allowed.by == "name":
        return "equal" if allowed.is_firm else "rebuilt runs have others"
    if result.kind == "statistical":
        return f"{table_number(allowed.low)} to {table_number(allowed.high)}"
    return f"x{allowed.most:.3g}" if allowed.by == "ratio" else f"± {allowed.most:.2g}"
