"""Claims about training: the recipe, the curves, and the epochs of events in them."""

import hashlib

import numpy as np
import xarray as xr

from grokinterp import labels, phases, progress
from grokinterp.papers.evidence import Evidence, NotAvailableError


def initial_loss(evidence: Evidence) -> xr.DataArray:
    """Loss before training, over all classes of the model; dims (split,)."""
    return evidence.metrics.loss.sel(epoch=0, drop=True)


def initial_squared_norms(evidence: Evidence) -> xr.DataArray:
    """Sum of squared weights of each matrix before training; dims (parameter,)."""
    return progress.weight_norm(evidence.require_run().snapshot(0))


def n_pairs(evidence: Evidence) -> xr.DataArray:
    """Number of train and test pairs; dims (split,)."""
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
    """Sum of i p + j over the train pairs (i, j)."""
    return _number(float(_train_index(evidence).sum()), "", "sum of the indices")


def train_index_digest(evidence: Evidence) -> xr.DataArray:
    """First 48 bits of the SHA-256 of the sorted train indices (32-bit little-endian), as a number."""
    digest = hashlib.sha256(_train_index(evidence).astype("<i4").tobytes()).hexdigest()
    return _number(float(int(digest[:12], 16)), "", "digest of the indices")


def train_loss(evidence: Evidence) -> xr.DataArray:
    """Train loss over training, without the class '='; dims (epoch,)."""
    return evidence.curves.loss.sel(split="train", drop=True)


def test_loss(evidence: Evidence) -> xr.DataArray:
    """Test loss over training, without the class '='; dims (epoch,)."""
    return evidence.curves.loss.sel(split="test", drop=True)


def restricted_loss(evidence: Evidence) -> xr.DataArray:
    """Restricted loss over training, all pairs; dims (epoch,)."""
    return evidence.curves.restricted_loss


def excluded_loss_2D(evidence: Evidence) -> xr.DataArray:
    """Train loss with cos and sin(w_k(a+b)) of all frequencies ablated, over training; dims (epoch,)."""
    return evidence.curves.excluded_loss_2D


def excluded_loss_3D(evidence: Evidence) -> xr.DataArray:
    """Train loss with cos(w_k(a+b-c)) of all frequencies ablated, over training; dims (epoch,)."""
    return evidence.curves.excluded_loss_3D


def excluded_loss_by_key(evidence: Evidence) -> xr.DataArray:
    """Train loss with cos and sin(w_k(a+b)) of one key frequency ablated, over training; dims (epoch, frequency)."""
    # The Dataset pads this curve to the frequencies of its other variables.
    return evidence.curves.excluded_loss_2D_by_key.sel(frequency=list(evidence.keys))


def squared_weights(evidence: Evidence) -> xr.DataArray:
    """Sum of all squared weights over training; dims (epoch,)."""
    return evidence.curves.weight_norm.sum("parameter", keep_attrs=True)


def weights_peak(evidence: Evidence) -> xr.DataArray:
    """Maximum sum of squared weights."""
    return squared_weights(evidence).max(keep_attrs=True)


def weights_peak_epoch(evidence: Evidence) -> xr.DataArray:
    """Epoch of the maximum sum of squared weights."""
    return _epoch(squared_weights(evidence).idxmax("epoch").item())


def excluded_minimum(evidence: Evidence) -> xr.DataArray:
    """Minimum of the 2D excluded loss before it rises."""
    return _while_memorizing(evidence).min(keep_attrs=True)


def excluded_minimum_epoch(evidence: Evidence) -> xr.DataArray:
    """Epoch of the minimum of the 2D excluded loss before it rises."""
    return _epoch(_while_memorizing(evidence).idxmin("epoch").item())


def excluded_maximum(evidence: Evidence) -> xr.DataArray:
    """Maximum of the 2D excluded loss after that minimum."""
    return _after_memorizing(evidence).max(keep_attrs=True)


def excluded_maximum_epoch(evidence: Evidence) -> xr.DataArray:
    """Epoch of the maximum of the 2D excluded loss after its minimum."""
    return _epoch(_after_memorizing(evidence).idxmax("epoch").item())


def test_loss_peak(evidence: Evidence) -> xr.DataArray:
    """Maximum test loss."""
    return test_loss(evidence).max(keep_attrs=True)


def test_loss_peak_epoch(evidence: Evidence) -> xr.DataArray:
    """Epoch of the maximum test loss."""
    return _epoch(test_loss(evidence).idxmax("epoch").item())


def test_loss_below_chance(evidence: Evidence) -> xr.DataArray:
    """First epoch after its maximum at which the test loss is below log p."""
    curve = test_loss(evidence)
    after = curve.where(curve.epoch > curve.idxmax("epoch"), drop=True)
    return _first(after < np.log(evidence.snapshot.task.n_outputs))


def test_loss_below_millionth(evidence: Evidence) -> xr.DataArray:
    """First epoch at which the test loss is below 1e-6."""
    return _first(test_loss(evidence) < 1e-6)


def test_accuracy_above_half(evidence: Evidence) -> xr.DataArray:
    """First logged epoch with test accuracy above 0.5: a single entry counts, as in the figure."""
    return _first(evidence.metrics.accuracy.sel(split="test") > 0.5)


def test_accuracy_above_99(evidence: Evidence) -> xr.DataArray:
    """First logged epoch with test accuracy above 0.99: a single entry counts, as in the figure."""
    return _first(evidence.metrics.accuracy.sel(split="test") > 0.99)


def restricted_accuracy_above_99(evidence: Evidence) -> xr.DataArray:
    """First epoch with restricted accuracy above 0.99: a single entry counts, as in the figure."""
    return _first(evidence.curves.restricted_accuracy > 0.99)


def restricted_minimum(evidence: Evidence) -> xr.DataArray:
    """Minimum restricted loss."""
    return restricted_loss(evidence).min(keep_attrs=True)


def restricted_minimum_epoch(evidence: Evidence) -> xr.DataArray:
    """Epoch of the minimum restricted loss."""
    return _epoch(restricted_loss(evidence).idxmin("epoch").item())


def phase_end(evidence: Evidence) -> xr.DataArray:
    """Last epoch of each phase by `gi.phases`, with the excluded loss of all frequencies; dims (phase,)."""
    curves = evidence.curves[["loss", "accuracy", "weight_norm", "excluded_loss_2D"]]
    return phases.detect(curves.rename(excluded_loss_2D="excluded_loss")).phase_end


def gini_of_end(evidence: Evidence) -> xr.DataArray:
    """Gini coefficients at the last epoch; dims (matrix,)."""
    return evidence.curves.gini.isel(epoch=-1, drop=True)


def none(_: Evidence) -> xr.DataArray:
    """Stands in for quantities whose value and definition were not found.

    Raises:
        NotAvailableError: Always.
    """
    msg = "its definition was not found."
    raise NotAvailableError(msg)


def _while_memorizing(evidence: Evidence) -> xr.DataArray:
    """The excluded loss until the model generalizes by the rule of `gi.phases`, or to the end if it does not."""
    test = evidence.curves.accuracy.sel(split="test")
    end = phases.first_sustained(test.epoch.values, test.values >= phases.GENERALIZING, phases.SUSTAINED)
    return excluded_loss_2D(evidence).sel(epoch=slice(0, None if np.isnan(end) else end))


def _after_memorizing(evidence: Evidence) -> xr.DataArray:
    """The excluded loss from its minimum on; an untrained model may have a higher loss than any later one."""
    start = _while_memorizing(evidence).idxmin("epoch").item()
    return excluded_loss_2D(evidence).sel(epoch=slice(start, None))


def _train_index(evidence: Evidence) -> np.ndarray:
    return np.flatnonzero(evidence.require_run().is_train.flatten().numpy())


def _first(holds: xr.DataArray) -> xr.DataArray:
    if not holds.any():
        msg = f"the event has not occurred by epoch {int(holds.epoch[-1]) if holds.size else 0}."
        raise NotAvailableError(msg)
    return _epoch(float(holds.epoch.values[holds.values.argmax()]))


def _epoch(value: float) -> xr.DataArray:
    return _number(float(value), "epoch", "epoch")


def _number(value: float, units: str, long_name: str) -> xr.DataArray:
    return labels.array(value, name="value", units=units, long_name=long_name)
