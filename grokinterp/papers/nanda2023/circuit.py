"""Claims about the trained model: embedding, readout, neurons, logits and attention."""

import numpy as np
import xarray as xr

from grokinterp import attention, fourier, labels, logits, neurons, progress
from grokinterp.measures import Measure
from grokinterp.papers.evidence import Evidence, NotAvailableError
from grokinterp.snapshots import Snapshot


# Singular values below this fraction of the largest do not count toward the rank of W_L.
_RANK_THRESHOLD = 0.01
# The paper's FVE threshold for assigning a neuron to a frequency.
_FVE_THRESHOLD = 0.85


def is_key(evidence: Evidence) -> xr.DataArray:
    """1 for key frequencies, 0 for the others; dims (frequency,)."""
    blocks = _with_group(evidence).basis.blocks
    return labels.array(
        [float(k in evidence.keys) for k in blocks],
        ("frequency",),
        name="is_key",
        units="",
        long_name="key frequency",
        coords={"frequency": blocks},
    )


def n_keys(evidence: Evidence) -> xr.DataArray:
    """Number of key frequencies."""
    return _number(float(len(evidence.keys)), "key frequencies")


def embedding_power(evidence: Evidence) -> xr.DataArray:
    """Squared norm of the Fourier components of W_E, averaged over cos and sin; dims (frequency,)."""
    return fourier.spectrum(_with_group(evidence)).sel(matrix="W_E", drop=True) ** 2 / 2


def next_frequency(evidence: Evidence) -> xr.DataArray:
    """The frequency with the largest norm in W_E that is not key."""
    norms = embedding_power(evidence)
    others = norms.drop_sel(frequency=list(evidence.keys))
    if not others.size:
        msg = "every frequency is key."
        raise NotAvailableError(msg)
    return _number(float(others.idxmax("frequency")), "frequency")


def next_power(evidence: Evidence) -> xr.DataArray:
    """`embedding_power` at `next_frequency`."""
    return embedding_power(evidence).sel(frequency=next_frequency(evidence).item(), drop=True)


def readout_rank(evidence: Evidence) -> xr.DataArray:
    """Number of singular values of W_L above 1% of the largest."""
    values = fourier.singular_values(evidence.snapshot).sel(matrix="W_L").values
    return _number(float((values > _RANK_THRESHOLD * values.max()).sum()), "rank of W_L")


def readout_outside_keys(evidence: Evidence) -> xr.DataArray:
    """Fraction of the squared norm of W_L outside the key frequencies."""
    return fourier.outside(evidence.keys)(evidence.snapshot).sel(matrix="W_L", drop=True)


def readout_fve(evidence: Evidence) -> xr.DataArray:
    """FVE of the MLP activations along u_k and v_k by cos and sin(w_k(a+b)); dims (frequency, axis)."""
    try:
        return logits.readout_fve(evidence.keys)(evidence.snapshot)
    except ValueError as error:
        raise NotAvailableError(str(error)) from error


def loss(evidence: Evidence) -> xr.DataArray:
    """Loss by split; only `all` if the train mask is unknown; dims (split,)."""
    return progress.losses(evidence.snapshot)


def logit_fve(evidence: Evidence) -> xr.DataArray:
    """Fraction of logit variance explained by cos(w_k(a+b-c)) of all key frequencies together."""
    return logits.fve()(_with_group(evidence)).sel(frequency=list(evidence.keys)).sum("frequency", keep_attrs=True)


def trig_loss(evidence: Evidence) -> xr.DataArray:
    """Loss over all pairs of the logits' projection onto cos(w_k(a+b-c)) of the key frequencies."""
    return progress.trig_loss(evidence.keys)(evidence.snapshot)


def neuron_counts(evidence: Evidence) -> xr.DataArray:
    """Number of neurons per key frequency with FVE of at least 0.85; dims (frequency,)."""
    counts = neurons.counts(threshold=_FVE_THRESHOLD)(_with_group(evidence))
    return counts.sel(frequency=list(evidence.keys)).astype(float)


def clear_neurons(evidence: Evidence) -> xr.DataArray:
    """Number of neurons with FVE of at least 0.85."""
    return _number(float((_neuron_fve(evidence) >= _FVE_THRESHOLD).sum()), "neurons")


def unclear_neurons(evidence: Evidence) -> xr.DataArray:
    """Number of neurons with FVE below 0.85."""
    return _number(float((_neuron_fve(evidence) < _FVE_THRESHOLD).sum()), "neurons")


def clear_share(evidence: Evidence) -> xr.DataArray:
    """Fraction of neurons with FVE of at least 0.85."""
    return _number(float((_neuron_fve(evidence) >= _FVE_THRESHOLD).mean()), "fraction of neurons")


def attention_frequency(evidence: Evidence) -> xr.DataArray:
    """Dominant frequency of each head's attention pattern; dims (head,)."""
    return _of_attention(evidence, attention.frequency).astype(float)


def attention_fve(evidence: Evidence) -> xr.DataArray:
    """FVE of each head's attention pattern by one frequency of each input; dims (head,)."""
    return _of_attention(evidence, attention.fve)


def score_fve(evidence: Evidence) -> xr.DataArray:
    """Largest fraction of one frequency in each head's token scores; dims (head,)."""
    return _of_attention(evidence, attention.score_spectrum).max("frequency", keep_attrs=True)


def attention_to_equals(evidence: Evidence) -> xr.DataArray:
    """Mean attention from '=' to itself; dims (head,)."""
    return _of_attention(evidence, attention.to_equals)


def _of_attention(evidence: Evidence, measure: Measure) -> xr.DataArray:
    try:
        return measure(evidence.snapshot)
    except ValueError as error:
        raise NotAvailableError(str(error)) from error


def _neuron_fve(evidence: Evidence) -> np.ndarray:
    return neurons.fve(_with_group(evidence)).values


def _with_group(evidence: Evidence) -> Snapshot:
    """The snapshot of a group task.

    Raises:
        NotAvailableError: If the task is not a group operation, or the model has no key frequencies.
    """
    _ = evidence.keys
    return evidence.snapshot


def _number(value: float, long_name: str) -> xr.DataArray:
    return labels.array(value, name="value", units="", long_name=long_name)
