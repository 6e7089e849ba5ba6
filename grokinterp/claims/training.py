"""What the claims say of training: the recipe, the curves, and the epochs at which they turn."""

import hashlib

import numpy as np
import xarray as xr

from grokinterp import labels, phases, progress
from grokinterp.claims.subjects import Evidence, NotAvailableError


def initial_loss(evidence: Evidence) -> xr.DataArray:
    """The losses before training, over all classes trained on; dims (split,)."""
    return evidence.metrics.loss.sel(epoch=0, drop=True)


def initial_squared_norms(evidence: Evidence) -> xr.DataArray:
    """The sum of squares of each matrix before training; dims (parameter,)."""
    return progress.weight_norm(evidence.require_run().snapshot(0))


def n_pairs(evidence: Evidence) -> xr.DataArray:
    """How many pairs are trained on, and tested on; dims (split,)."""
    is_train = evidence.require_run().is_train
    n = int(is_train.sum())
    return labels.array(
        [float(n), float(is_train.numel() - n)],
        ("split",),
        name="pairs",
        units="",
        long_name="pairs",
        coords={"split": ["train", "test"]},
    )


def train_index_sum(evidence: Evidence) -> xr.DataArray:
    """The sum of i p + j over the pairs (i, j) trained on."""
    return _number(float(_train_index(evidence).sum()), "", "sum of the indices")


def train_index_digest(evidence: Evidence) -> xr.DataArray:
    """The first 48 bits of the SHA-256 of these indices in order, 32-bit little-endian, as a number."""
    digest = hashlib.sha256(_train_index(evidence).astype("<i4").tobytes()).hexdigest()
    return _number(float(int(digest[:12], 16)), "", "digest of the indices")


def train_loss(evidence: Evidence) -> xr.DataArray:
    """The train loss over training, '=' left out; dims (epoch,)."""
    return evidence.curves.loss.sel(split="train", drop=True)


def test_loss(evidence: Evidence) -> xr.DataArray:
    """The test loss over training, '=' left out; dims (epoch,)."""
    return evidence.curves.loss.sel(split="test", drop=True)


def restricted_loss(evidence: Evidence) -> xr.DataArray:
    """The restricted loss over training, all pairs; dims (epoch,)."""
    return evidence.curves.restricted_loss


def excluded_loss_2D(evidence: Evidence) -> xr.DataArray:
    """The loss without any cos and sin(w_k(a+b)) over training, train pairs; dims (epoch,)."""
    return evidence.curves.excluded_loss_2D


def excluded_loss_3D(evidence: Evidence) -> xr.DataArray:
    """The loss without any cos w_k(a+b-c) over training, train pairs; dims (epoch,)."""
    return evidence.curves.excluded_loss_3D


def excluded_loss_by_key(evidence: Evidence) -> xr.DataArray:
    """The loss without cos and sin(w_k(a+b)) of one key over training, train pairs; dims (epoch, frequency)."""
    # Other curves have other frequencies, and lie beside it in one Dataset.
    return evidence.curves.excluded_loss_2D_by_key.sel(frequency=list(evidence.keys))


def squared_weights(evidence: Evidence) -> xr.DataArray:
    """The sum of all squared weights over training; dims (epoch,)."""
    return evidence.curves.weight_norm.sum("parameter", keep_attrs=True)


def weights_peak(evidence: Evidence) -> xr.DataArray:
    """The largest sum of squared weights."""
    return squared_weights(evidence).max(keep_attrs=True)


def weights_peak_epoch(evidence: Evidence) -> xr.DataArray:
    """When the sum of squared weights is largest."""
    return _epoch(squared_weights(evidence).idxmax("epoch").item())


def excluded_minimum(evidence: Evidence) -> xr.DataArray:
    """The smallest excluded loss, 2-D, before it rises."""
    return _while_memorizing(evidence).min(keep_attrs=True)


def excluded_minimum_epoch(evidence: Evidence) -> xr.DataArray:
    """When the excluded loss is smallest before it rises."""
    return _epoch(_while_memorizing(evidence).idxmin("epoch").item())


def excluded_maximum(evidence: Evidence) -> xr.DataArray:
    """The largest excluded loss, 2-D, after it has risen."""
    return _after_memorizing(evidence).max(keep_attrs=True)


def excluded_maximum_epoch(evidence: Evidence) -> xr.DataArray:
    """When the excluded loss is largest after it has risen."""
    return _epoch(_after_memorizing(evidence).idxmax("epoch").item())


def test_loss_peak(evidence: Evidence) -> xr.DataArray:
    """The largest test loss."""
    return test_loss(evidence).max(keep_attrs=True)


def test_loss_peak_epoch(evidence: Evidence) -> xr.DataArray:
    """When the test loss is largest."""
    return _epoch(test_loss(evidence).idxmax("epoch").item())


def test_loss_below_chance(evidence: Evidence) -> xr.DataArray:
    """When the test loss is first below log p after its largest."""
    curve = test_loss(evidence)
    after = curve.where(curve.epoch > curve.idxmax("epoch"), drop=True)
    return _first(after < np.log(evidence.snapshot.task.n_outputs))


def test_loss_below_millionth(evidence: Evidence) -> xr.DataArray:
    """When the test loss is first below 1e-6."""
    return _first(test_loss(evidence) < 1e-6)


def test_accuracy_above_half(evidence: Evidence) -> xr.DataArray:
    """When the test accuracy, as logged, is first above .5: the figure's own event, of a single entry."""
    return _first(evidence.metrics.accuracy.sel(split="test") > 0.5)


def test_accuracy_above_99(evidence: Evidence) -> xr.DataArray:
    """When the test accuracy, as logged, is first above .99: the figure's own event, of a single entry."""
    return _first(evidence.metrics.accuracy.sel(split="test") > 0.99)


def restricted_accuracy_above_99(evidence: Evidence) -> xr.DataArray:
    """When the restricted accuracy is first above .99: the figure's own event, of a single entry."""
    return _first(evidence.curves.restricted_accuracy > 0.99)


def restricted_minimum(evidence: Evidence) -> xr.DataArray:
    """The smallest restricted loss."""
    return restricted_loss(evidence).min(keep_attrs=True)


def restricted_minimum_epoch(evidence: Evidence) -> xr.DataArray:
    """When the restricted loss is smallest."""
    return _epoch(restricted_loss(evidence).idxmin("epoch").item())


def phase_end(evidence: Evidence) -> xr.DataArray:
    """When each phase ends, by the rules of `gi.phases` with the excluded loss of all frequencies; dims (phase,)."""
    curves = evidence.curves[["loss", "accuracy", "weight_norm", "excluded_loss_2D"]]
    return phases.detect(curves.rename(excluded_loss_2D="excluded_loss")).phase_end


def gini_of_end(evidence: Evidence) -> xr.DataArray:
    """The Gini coefficients at the last epoch; dims (matrix,)."""
    return evidence.curves.gini.isel(epoch=-1, drop=True)


def none(_: Evidence) -> xr.DataArray:
    """Nothing: of what was published neither a value nor a definition was found.

    Raises:
        NotAvailableError: Always.
    """
    msg = "there is no definition to compute it by."
    raise NotAvailableError(msg)


def _while_memorizing(evidence: Evidence) -> xr.DataArray:
    """Up to the epoch at which the model generalizes by the rule of `gi.phases`; all of it where that has not come."""
    test = evidence.curves.accuracy.sel(split="test")
    until = phases.first_sustained(test.epoch.values, test.values >= phases.GENERALIZING, phases.SUSTAINED)
    return excluded_loss_2D(evidence).sel(epoch=slice(0, None if np.isnan(until) else until))


def _after_memorizing(evidence: Evidence) -> xr.DataArray:
    """From the minimum on; the loss of the first epochs, of a model that knows nothing, may be above all others."""
    start = _while_memorizing(evidence).idxmin("epoch").item()
    return excluded_loss_2D(evidence).sel(epoch=slice(start, None))


def _train_index(evidence: Evidence) -> np.ndarray:
    return np.flatnonzero(evidence.require_run().is_train.flatten().numpy())


def _first(holds: xr.DataArray) -> xr.DataArray:
    if not holds.any():
        msg = f"it has not come to that by epoch {int(holds.epoch[-1]) if holds.size else 0}."
        raise NotAvailableError(msg)
    return _epoch(float(holds.epoch.values[holds.values.argmax()]))


def _epoch(value: float) -> xr.DataArray:
    return _number(float(value), "epoch", "epoch")


def _number(value: float, units: str, long_name: str) -> xr.DataArray:
    return labels.array(value, name="value", units=units, long_name=long_name)
