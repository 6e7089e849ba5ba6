"""The command `grokinterp reproduce`."""

from pathlib import Path

import pytest

import grokinterp as gi
from cli.commands import refused, train
from grokinterp.cli import main


@pytest.mark.exhaustive
def test_reproduce_says_what_does_not_hold_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "dossier.html"
    assert main(["reproduce", "nanda2023", "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert "neurons.polynomials: differs, published 2.48e-7 nats" in said
    assert "not established: 7" in said
    assert page.stat().st_size > 1_000_000


@pytest.mark.slow
def test_reproduce_of_another_run_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run") == 0
    assert main(["reproduce", "nanda2023", "--run", str(tmp_path / "run")]) == 0
    assert "firm claims that hold: 0 of 0" in capsys.readouterr().out


@pytest.mark.slow
def test_reproduce_fails_with_a_firm_claim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim about the split with a wrong published value."""
    import dataclasses

    from grokinterp.papers import claim

    wrong = dataclasses.replace(gi.claims.by_id("recipe.pairs.train"), value=3831.0)
    monkeypatch.setattr("grokinterp.papers.verdicts.claims", lambda _: (wrong, *claim.claims()[:2]))
    assert main(["reproduce", "nanda2023"]) == 1
    said = capsys.readouterr()
    assert "recipe.pairs.train: fails, published 3,831, measured 3,830" in said.out
    assert said.err == "grokinterp: 1 firm claims fail: recipe.pairs.train.\n"


def test_reproduce_knows_one_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nanda2023" in refused(["reproduce", "power2022"], capsys)
