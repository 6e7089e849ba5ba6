"""A paper that the library does not know: the same code checks its claims and writes its dossier."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import xarray as xr
from plotly.offline import get_plotlyjs

import grokinterp as gi
from grokinterp.papers import dossier


def last_loss(evidence: gi.claims.Evidence) -> xr.DataArray:
    return evidence.metrics.loss.isel(epoch=-1)


@pytest.fixture
def paper(tiny_run: gi.Run, tmp_path: Path) -> gi.claims.Paper:
    """One claim about the loss of `tiny_run`, with no reruns, curves or figures."""
    claim = {
        "id": "last_loss",
        "section": "Training",
        "quantity": "last test loss",
        "definition": "test loss at the last epoch",
        "function": "losses.last_loss",
        "select": {"split": "test"},
        "value": tiny_run.metrics.loss.sel(split="test").values[-1].item(),
        "unit": "nats",
        "source": "code",
        "where": "the log",
        "comparison": "exact",
        "entries": [{}],
    }
    (tmp_path / "claims.json").write_text(json.dumps({"groups": [claim]}))
    return gi.claims.Paper(
        name="tiny2026",
        title="A tiny paper",
        citation="Nobody 2026",
        config=lambda: tiny_run.config,
        data=tmp_path,
        modules={"losses": sys.modules[__name__]},
    )


def test_its_claim_is_judged_on_its_run_alone(paper: gi.claims.Paper, tiny_run: gi.Run) -> None:
    (result,) = gi.claims.check(tiny_run, paper=paper)
    assert (result.claim.id, result.kind, result.verdict) == ("last_loss", "firm", "holds")
    assert result.ours == result.claim.value
    other = gi.claims.evidence(gi.load_run("nanda2023"), paper=paper)
    (result,) = gi.claims.check(other)
    assert result.verdict == "other setting"
    assert result.ours is not None


def test_a_wrong_number_fails(paper: gi.claims.Paper, tiny_run: gi.Run) -> None:
    claim = gi.claims.by_id("last_loss", paper)
    wrong = dataclasses.replace(claim, value=claim.value + 1e-6)
    assert gi.claims.check_one(wrong, gi.claims.evidence(tiny_run, paper=paper)).verdict == "fails"


def test_its_dossier_has_its_title_and_no_other_papers_data(
    paper: gi.claims.Paper, tiny_run: gi.Run, tmp_path: Path
) -> None:
    page = tmp_path / "dossier.html"
    dossier.reproduce(tiny_run, page, paper=paper)
    text = page.read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert "<h1>A tiny paper</h1>" in text
    assert "Nobody 2026" in text
    assert "Nanda" not in text
    assert "reruns, each up to" not in text
    assert 'id="robust"' not in text


def test_evidence_of_one_paper_is_not_used_for_another(paper: gi.claims.Paper, tiny_run: gi.Run) -> None:
    """Functions of two papers may share a name, and results are stored by it."""
    expected = "a claim of nanda2023 needs evidence with paper='nanda2023', got 'tiny2026'; collect it again"
    with pytest.raises(ValueError, match=expected):
        gi.claims.check(gi.claims.evidence(tiny_run, paper=paper), paper="nanda2023")


def test_a_paper_that_is_not_registered_is_refused(tiny_run: gi.Run) -> None:
    with pytest.raises(ValueError, match="paper must be one of nanda2023, got 'tiny2026'"):
        gi.claims.check(tiny_run, paper="tiny2026")
    assert gi.claims.find_paper("nanda2023") is gi.claims.find_paper()
