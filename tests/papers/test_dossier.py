"""The dossier: every claim and figure on one page, for the paper's run and for another."""

import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

import grokinterp as gi
from grokinterp.papers import dossier
from grokinterp.papers.nanda2023 import figures


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(bundled_claims: list[gi.claims.Result]) -> list[gi.claims.Result]:
    return bundled_claims


@pytest.fixture(scope="module")
def text(results: list[gi.claims.Result]) -> str:
    """The page of the bundled run, without plotly's code."""
    page = dossier.render(gi.claims.evidence(gi.load_run("nanda2023")), results)
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


@pytest.fixture(scope="module")
def generalized(tmp_path_factory: pytest.TempPathFactory) -> gi.Run:
    """A run of another setting that has key frequencies: p = 11 with nearly all pairs, which it learns at once."""
    config = gi.RunConfig(
        task=gi.TaskConfig(p=11),
        split=gi.SplitConfig(fraction=0.9),
        model=gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32),
        optim=gi.OptimConfig(lr=1e-2, weight_decay=0.5),
        epochs=300,
        checkpoint_every=100,
    )
    return gi.train(config, tmp_path_factory.mktemp("dossier") / "eleven", progress=False)


def test_every_claim_has_a_row(text: str, results: list[gi.claims.Result]) -> None:
    for result in results:
        assert f"<tr><td>{result.claim.quantity}</td>" in text.replace("&#39;", "'")
    rows = re.findall(r'<td class="verdict-\w+">([\w ]+)</td></tr>', text)
    assert rows[: -len(results)] == []
    assert rows == [result.verdict for result in results]


def test_every_figure_of_the_paper_is_there_in_its_order(text: str) -> None:
    titles = re.findall(r"<h3>(.+?)</h3>", text)
    numbers = [int(found[1]) for found in (re.match(r"Figure (\d+)", title) for title in titles) if found]
    assert numbers == sorted(numbers)
    assert {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 18, 20} <= set(numbers)
    assert text.count("Plotly.newPlot(") == len(titles)


def test_published_lines_lie_under_ours_wherever_there_are_some(text: str) -> None:
    assert text.count("published (dashed)") == 10


def test_contents_lead_to_every_section(text: str) -> None:
    links = re.findall(r"<a href=\"#([\w-]+)\">", text)
    assert links == re.findall(r"<section id=\"([\w-]+)\">", text)


def test_the_page_needs_nothing_else(text: str) -> None:
    assert not re.findall(r"@import|url\(|<link|<iframe|<img|<script[^>]+src|fetch\(|https?://", text)


def test_tiles_count_what_holds(results: list[gi.claims.Result]) -> None:
    counts = dossier.tiles(results)
    holding = sum(result.kind == "firm" and result.verdict == "holds" for result in results)
    assert counts["firm claims that hold"] == f"{holding} of {holding}"
    assert counts["not established"] == "7"
    broken = [*results, results[0].__class__(**{**vars(results[0]), "verdict": "fails"})]
    assert dossier.tiles(broken)["firm claims that hold"] == f"{holding} of {holding + 1}"


@pytest.mark.parametrize(
    ("id", "published", "ours", "difference"),
    [
        ("recipe.pairs.train", "3,830", "3,830", "0"),
        ("recipe.initial_loss.train", "4.7641 nats", "4.7641 nats", "+2.27e-06"),
        ("loss.all", "2.41e-7 nats", "2.79e-7 nats", "x1.16"),
        ("attention.to_equals.head0", "0.001 to 0.004", "0.0030296", ""),
        ("gini.W_E", "not found", "0.7068", ""),
    ],
)
def test_rows_say_the_numbers_in_words(
    results: list[gi.claims.Result], id: str, published: str, ours: str, difference: str
) -> None:
    (result,) = (result for result in results if result.claim.id == id)
    row = dossier.row(result)
    assert (row.published, row.ours, row.difference) == (published, ours, difference)


def test_claims_with_one_definition_stand_together(results: list[gi.claims.Result]) -> None:
    sections = dossier.sections(results)
    assert list(sections)[:3] == ["The recipe", "Embedding and readout", "Logits"]
    counts = next(group for group in sections["Neurons"] if "best frequency" in group.definition)
    assert [row.quantity for row in counts.rows] == [f"neurons of k = {k}" for k in (14, 35, 41, 42, 52)]
    assert sum(len(group.rows) for groups in sections.values() for group in groups) == len(results)


def test_findings_tell_the_seed_from_its_rounding() -> None:
    by_quantity = {finding.quantity: finding for finding in dossier.findings()}
    assert by_quantity["14 is a key frequency"].verdict == "robust to rounding"
    # From the same weights and data, summed in another order, 55 takes its place.
    assert by_quantity["41 is a key frequency"].verdict == "rounding-dependent"
    assert by_quantity["number of key frequencies"].verdict == "depends on the seed"
    assert by_quantity["maximum sum of squared weights"].verdict == "robust"
    counts = next(f for name, f in by_quantity.items() if "best frequency" in name)
    assert counts.verdict == "rounding-dependent"
    assert counts.published == "44, 93, 145, 87, 64"


@pytest.mark.exhaustive
def test_a_run_of_another_setting_is_drawn_and_not_judged(generalized: gi.Run, tmp_path: Path) -> None:
    page = tmp_path / "other.html"
    results = dossier.reproduce(generalized, page)
    assert gi.claims.evidence(generalized).keys
    assert {result.verdict for result in results} <= {"other setting", "not available", "not established"}
    text = page.read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert "does not have the paper's config, seed and length" in text
    assert "published (dashed)" not in text
    titles = re.findall(r"<h3>(.+?)</h3>", text)
    assert not any("seeds" in title or "fractions" in title for title in titles)
    assert len(titles) > 15


def test_a_run_without_keys_has_no_figures_and_says_why(tmp_path: Path) -> None:
    page = tmp_path / "no_keys.html"
    small = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16)
    config = gi.RunConfig(
        task=gi.TaskConfig(operation="x2+y2", p=7), split=gi.SplitConfig(fraction=0.5), model=small, epochs=3
    )
    dossier.reproduce(gi.train(config, tmp_path / "run", progress=False), page)
    text = page.read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert "Plotly.newPlot(" not in text
    assert "has no frequencies" in text


def test_a_directory_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(gi.RunError, match="must be a regular file, got a directory"):
        dossier.reproduce(gi.load_run("nanda2023"), tmp_path)


def test_lines_carry_the_names_of_the_published_ones() -> None:
    lines = figures._lines(gi.claims.evidence(gi.load_run("nanda2023")).curves)
    at = {"epoch": 10_000}
    ratio = lines.test_loss.sel(at).item() / lines.restricted_loss.sel(at).item()
    assert lines.test_over_restricted.sel(at).item() == pytest.approx(ratio)
    for figure in ("trig_loss", "excluded_loss_2D_full", "sum_sq_weight_total", "trig_acc"):
        assert set(gi.claims.published(figure)) <= set(lines), figure


def test_an_mlp_with_keys_has_the_figures_but_those_of_attention(tmp_path: Path) -> None:
    config = gi.RunConfig(
        task=gi.TaskConfig(p=7),
        split=gi.SplitConfig(fraction=0.5),
        model=gi.MLPConfig(d_mlp=16),
        epochs=10,
        checkpoint_every=5,
    )
    found = gi.claims.evidence(gi.train(config, tmp_path / "mlp", progress=False))
    vars(found)["keys"] = (1, 3)
    titles = [drawn.title for drawn in dossier.draw(found)]
    assert "Figure 4b: neurons over all pairs" in titles
    assert not [title for title in titles if "attention" in title]
