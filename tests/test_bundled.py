"""The bundled run is the paper's: its start to the last digit, its keys, its phases and its end."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import grokinterp as gi
from grokinterp.papers.nanda2023 import training as claims_of_training
from grokinterp.report.data import gather
from grokinterp.trajectories import known_epochs


KEYS = (14, 35, 41, 42, 52)


@pytest.fixture(scope="module")
def run() -> gi.Run:
    return gi.load_run("nanda2023")


def test_it_is_the_preset(run: gi.Run) -> None:
    assert run.config == gi.presets.nanda2023()
    assert run.is_finished
    assert run.checkpoint_epochs[0] == 0
    assert run.checkpoint_epochs[-1] == 40_000


def test_it_is_small(run: gi.Run) -> None:
    assert sum(path.stat().st_size for path in Path(run.path).rglob("*") if path.is_file()) < 20e6


@pytest.mark.slow
def test_its_start_is_the_papers(run: gi.Run) -> None:
    """The first entry is of epoch 0; losses and split as in the authors' figures and code."""
    start = run.metrics.loss.isel(epoch=0)
    assert int(start.epoch) == 0
    assert start.values.tolist() == pytest.approx([4.76405, 4.76835], abs=5e-6)
    indices = run.is_train.flatten().nonzero().flatten().int().numpy()
    assert hashlib.sha256(indices.astype("<i4").tobytes()).hexdigest()[:16] == "d3d9a8ada3891dfb"


def test_its_first_checkpoint_is_rebuilt_from_the_seed(run: gi.Run) -> None:
    """The bits of a normal draw, r cos(theta), depend on the processor: torch has several float32 cosines.

    An angle below 2 pi is off by up to an ulp, 4.8e-7, and a radius is at most 6 standard deviations: 2.9e-6 of one.
    """
    rebuilt = run.config.model.initial_params(run.task, seed=0)
    for name, parameter in run.params(0).items():
        torch.testing.assert_close(rebuilt[name], parameter, rtol=0, atol=2.9e-6 * parameter.std().item())


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["logits", "neurons", "W_E", "W_L"])
def test_its_keys_are_the_papers_by_every_rule(run: gi.Run, rule: gi.fourier.Rule) -> None:
    """A quarter of the largest norm lets the sixth frequency of the paper's W_E pass, 31, which is no key."""
    sixth = (31,) if rule == "W_E" else ()
    assert gi.fourier.key_frequencies(run.snapshot(), rule=rule) == tuple(sorted(KEYS + sixth))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "excluded", "restricted"), [(100, 3.000, 4.681), (1400, 0.3158, 3.024), (1000, 0.3378, 3.342)]
)
def test_its_early_measures_are_the_papers(run: gi.Run, epoch: int, excluded: float, restricted: float) -> None:
    """As read off the authors' figures, to about a percent; the runs have parted by a few percent by epoch 1000."""
    snapshot = run.snapshot(epoch)
    assert gi.progress.excluded_loss()(snapshot).item() == pytest.approx(excluded, rel=0.08)
    assert gi.progress.restricted_loss(KEYS)(snapshot).item() == pytest.approx(restricted, rel=0.02)


def test_its_losses_end_near_the_papers(run: gi.Run) -> None:
    """Paper: 2.41e-7 over all pairs, restricted 5.55e-8, excluded 5.97; a quarter is left to rounding."""
    last = run.snapshot()
    assert gi.progress.losses(last).sel(split="all").item() == pytest.approx(2.41e-7, rel=0.25)
    assert gi.progress.restricted_loss(KEYS)(last).item() == pytest.approx(5.55e-8, rel=0.25)
    assert gi.progress.excluded_loss()(last).item() == pytest.approx(5.97, rel=0.25)


def test_its_phases_are_near_the_papers(run: gi.Run) -> None:
    measures = [gi.progress.losses, gi.progress.accuracies, gi.progress.excluded_loss(), gi.progress.weight_norm]
    # Rounding moves the epochs by a seventh, as it does among other runs from this seed.
    ends = gi.phases.detect(gi.trajectory(run, measures, progress=False)).phase_end
    assert ends.values.tolist() == pytest.approx([1400, 9400, 14_000], rel=0.15)


@pytest.mark.exhaustive
def test_its_phases_and_events_are_the_same_wherever_they_are_told(run: gi.Run, tmp_path: Path) -> None:
    """In a trajectory, the dossier, the report, a sweep's table, the figure's caption and the README."""
    measures = [gi.progress.losses, gi.progress.accuracies, gi.progress.excluded_loss(), gi.progress.weight_norm]
    ends = gi.phases.detect(gi.trajectory(run, measures, progress=False)).phase_end
    xr.testing.assert_equal(ends, claims_of_training.phase_end(gi.claims.evidence(run)))
    numbers = gather(run, progress_bar=False)
    xr.testing.assert_equal(ends, numbers.phases.phase_end)
    assert ends.values.tolist() == [1300, 10_700, 14_600]
    times, events = gi.phases.grokking_times(run.metrics), gi.phases.detect(run.metrics).event_epoch
    found = [times.memorized.item(), times.grokked.item()]
    assert found == events.sel(event=["memorized", "grokked"]).values.tolist() == [140, 11_620]
    assert found == [gi.collect([run])[f"{name}_epoch"].item() for name in ("memorized", "grokked")]
    xr.testing.assert_equal(numbers.events.event_epoch, events)
    readme = " ".join((Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8").split())
    assert (
        "It has memorized by epoch 140 (train accuracy at least 0.99 for 5 logged epochs in a row) and grokked by "
        "epoch 11,620 (test accuracy likewise). Memorization ends at epoch 1,300, at the minimum of the excluded "
        "loss" in readme
    )
    assert "| end of memorization | 1,400 [code] | 1,300 |" in readme


def test_its_curves_are_there_at_every_checkpoint_that_it_had(run: gi.Run) -> None:
    measures = [gi.progress.losses, gi.progress.restricted_loss(KEYS), gi.fourier.gini, gi.logits.fve()]
    epochs = known_epochs(run, measures)
    assert len(epochs) > 400
    assert set(np.arange(100, 40_001, 100)) <= set(epochs)


def test_what_was_kept_is_what_is_computed(run: gi.Run) -> None:
    kept = gi.trajectory(run, [gi.progress.excluded_loss(KEYS), gi.fourier.gini], epochs=[9400], progress=False)
    snapshot = run.snapshot(9400)
    assert kept.excluded_loss.item() == pytest.approx(gi.progress.excluded_loss(KEYS)(snapshot).item(), rel=1e-5)
    assert kept.gini.values.flatten() == pytest.approx(gi.fourier.gini(snapshot).values, rel=1e-6)


@pytest.mark.exhaustive
def test_every_curve_of_the_claims_is_what_is_computed(run: gi.Run) -> None:
    """A wrong measure must not hide behind cached values of a correct one: before, during and after grokking.

    A logit is a sum of 512 float32 products, so on another machine it differs by about sqrt(512) * 2^-24 = 1.4e-6 of
    the largest logits, which are up to 80 nats: 1.1e-4. A loss far below 1 is an exponential of logits and changes by
    that fraction; shares and coefficients of small components change by less than that of the largest component.
    """
    measures = gi.claims.curves_of(KEYS)
    epochs = [0, 1400, 9400, 12_000, 40_000]
    kept = gi.trajectory(run, measures, epochs=epochs, progress=False)
    computed = gi.trajectory(run, measures, epochs=epochs, cache=False, progress=False)
    assert set(kept) == set(computed)
    for name in kept:
        for epoch in epochs:
            expected = kept[name].sel(epoch=epoch).values
            scale = float(np.nanmax(np.abs(expected)))
            actual = computed[name].sel(epoch=epoch).values
            np.testing.assert_allclose(
                actual, expected, rtol=0, atol=1.1e-4 * scale, err_msg=f"{name} at epoch {epoch}"
            )
