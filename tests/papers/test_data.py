"""The claims and the published curves as data: whole, consistent with each other, and read as they are."""

import math
from typing import get_args

import numpy as np
import pytest

import grokinterp as gi
from grokinterp.papers.claim import Comparison, Source
from grokinterp.papers.tolerance import key_of


CLAIMS = gi.claims.claims()


def test_the_claims_are_many_and_each_has_its_own_id() -> None:
    assert len(CLAIMS) > 180
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert gi.claims.by_id("loss.all").value == 2.4122e-7


def test_an_unknown_id_is_named() -> None:
    with pytest.raises(KeyError, match=r"there is no claim 'loss.some'; list them with gi.claims.claims\(\)"):
        gi.claims.by_id("loss.some")


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.id for claim in CLAIMS])
def test_a_claim_says_what_it_is_and_where_it_was_read(claim: gi.claims.Claim) -> None:
    assert claim.quantity
    assert claim.where
    assert claim.source in get_args(Source)
    assert claim.comparison in get_args(Comparison)
    assert (claim.value is None) == (claim.source == "not found")
    assert claim.definition or claim.value is None
    assert claim.unit in ("", "nats", "epoch", "neurons", "weight^2")
    values = claim.value if isinstance(claim.value, tuple) else (claim.value or 0.0,)
    assert all(math.isfinite(value) for value in values)
    assert (claim.comparison == "between") == isinstance(claim.value, tuple)


def test_points_of_curves_are_vertices_of_the_published_lines() -> None:
    """Between two vertices the authors' figure is a straight line, and not what they measured."""
    line_of = {"excluded_loss_2D": "excl_full", "excluded_loss_3D": "excl_full", "restricted_loss": "trig(all)"}
    line_of |= {"train_loss": "train", "test_loss": "test", "squared_weights": "total"}
    figures = gi.claims.find_paper().read("curves.json")["figures"]
    points = [claim for claim in CLAIMS if claim.id.startswith("curve.")]
    assert len(points) > 60
    for claim in points:
        line = figures[claim.where][line_of[claim.id.split(".")[1]]]
        vertices = dict(zip(line["epoch"], line["value"], strict=True))
        assert claim.value == pytest.approx(vertices[claim.select["epoch"]], rel=1e-3)


def test_every_claim_by_spread_has_values_of_every_seed() -> None:
    spread = gi.claims.spread_data()
    names = [run["name"] for run in spread["runs"]]
    assert [run["seed"] for run in spread["runs"]] == [0, 0, 0, 1, 2, 3, 4]
    assert len(set(names)) == len(names)
    for claim in CLAIMS:
        if claim.comparison == "spread" and claim.value is not None:
            known = [run["values"][key_of(claim, spread["epoch"])] for run in spread["runs"]]
            assert sum(bool(values) for values in known) >= len(names) - 3, claim.id


def test_published_lines_have_their_vertices() -> None:
    ratio = gi.claims.published("trig_loss_ratio").test_over_restricted
    assert ratio.epoch.values[0] == 0
    by_key = gi.claims.published("excluded_loss_2D_key")
    assert {"excluded_loss_2D_14", "train_loss"} <= set(by_key)
    line = by_key.excluded_loss_2D_14.dropna("epoch")
    assert line.sel(epoch=39900).item() == pytest.approx(2.8e-4, rel=0.02)
    assert np.isnan(by_key.train_loss).any()
    assert "W_E" in gi.claims.published("sum_sq_weight_by_param")
    assert set(gi.claims.figures()) >= {"trig_acc", "excluded_acc_2D_full"}
    for figure in gi.claims.figures():
        assert not gi.claims.published(figure).to_array().isnull().all("epoch").any()


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(ValueError, match=r"figure must be one of excluded_loss_2D_full, .*, got 'figure 7'"):
        gi.claims.published("figure 7")


def test_runs_of_other_seeds_are_there() -> None:
    ds = gi.claims.seeds()
    assert ds.sizes["seed"] == 7
    assert int(ds.epoch[-1]) == gi.claims.spread_data()["epoch"]
    assert ds.test_accuracy.isel(epoch=-1).min().item() > 0.99
    assert str(ds["keys"].sel(seed="0").item()) == "14, 35, 41, 42, 52"


@pytest.mark.parametrize("axis", ["fraction", "weight_decay", "p"])
def test_small_runs_across_settings_are_there(axis: str) -> None:
    ds = gi.claims.across(axis)
    assert ds.sizes["seed"] == 3
    assert ds.sizes[axis] >= 4
    assert (ds.last_epoch == 3000).all()
    assert (ds.grokked_epoch.fillna(np.inf) > ds.memorized_epoch.fillna(0)).all()


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="axis must be one of fraction, weight_decay, p, got 'width'"):
        gi.claims.across("width")
