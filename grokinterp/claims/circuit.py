"""What the claims say of the trained model itself: embedding, readout, neurons, logits and attention."""

import numpy as np
import xarray as xr

from grokinterp import attention, fourier, labels, logits, neurons, progress
from grokinterp.claims.subjects import Evidence, NotAvailableError
from grokinterp.measures import Measure
from grokinterp.snapshots import Snapshot


# A singular value below this part of the largest does not count for the rank of W_L.
_RANK_CUT = 0.01
# The paper's cut: a neuron is of a frequency that explains at least this share of it.
_NEURON_CUT = 0.85


def is_key(evidence: Evidence) -> xr.DataArray:
    """Whether each frequency is key, 1 or 0; dims (frequency,)."""
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
    """How many frequencies are key."""
    return _number(float(len(evidence.keys)), "key frequencies")


def embedding_power(evidence: Evidence) -> xr.DataArray:
    """The squared norm of W_E's cos and sin of each frequency, the mean of the two; dims (frequency,)."""
    return fourier.spectrum(_with_group(evidence)).sel(matrix="W_E", drop=True) ** 2 / 2


def next_frequency(evidence: Evidence) -> xr.DataArray:
    """The largest frequency of W_E that is not key."""
    norms = embedding_power(evidence)
    others = norms.drop_sel(frequency=list(evidence.keys))
    if not others.size:
        msg = "every frequency is key."
        raise NotAvailableError(msg)
    return _number(float(others.idxmax("frequency")), "frequency")


def next_power(evidence: Evidence) -> xr.DataArray:
    """What `embedding_power` is at the next frequency."""
    return embedding_power(evidence).sel(frequency=next_frequency(evidence).item(), drop=True)


def readout_rank(evidence: Evidence) -> xr.DataArray:
    """How many singular values of W_L are above 1 % of the largest."""
    values = fourier.singular_values(evidence.snapshot).sel(matrix="W_L").values
    return _number(float((values > _RANK_CUT * values.max()).sum()), "rank of W_L")


def readout_outside_keys(evidence: Evidence) -> xr.DataArray:
    """The share of W_L's squared norm outside the key frequencies."""
    return fourier.outside(evidence.keys)(evidence.snapshot).sel(matrix="W_L", drop=True)


def readout_fve(evidence: Evidence) -> xr.DataArray:
    """How much of the MLP along u_k and v_k is cos and sin(w_k(a+b)); dims (frequency, axis)."""
    try:
        return logits.readout_fve(evidence.keys)(evidence.snapshot)
    except ValueError as error:
        raise NotAvailableError(str(error)) from error


def loss(evidence: Evidence) -> xr.DataArray:
    """The loss by split, or over all pairs alone where the training pairs are not known."""
    return progress.losses(evidence.snapshot)


def logit_fve(evidence: Evidence) -> xr.DataArray:
    """The share of the logits' variance that cos w_k(a+b-c) of the keys explain together."""
    return logits.fve()(_with_group(evidence)).sel(frequency=list(evidence.keys)).sum("frequency", keep_attrs=True)


def trig_loss(evidence: Evidence) -> xr.DataArray:
    """The loss of the logits' fit by cos w_k(a+b-c) of the keys, all pairs."""
    return progress.trig_loss(evidence.keys)(evidence.snapshot)


def neuron_counts(evidence: Evidence) -> xr.DataArray:
    """Neurons that each key explains at least .85 of; dims (frequency,)."""
    found = neurons.counts(threshold=_NEURON_CUT)(_with_group(evidence))
    return found.sel(frequency=list(evidence.keys)).astype(float)


def clear_neurons(evidence: Evidence) -> xr.DataArray:
    """Neurons that one frequency explains at least .85 of."""
    return _number(float((_neuron_fve(evidence) >= _NEURON_CUT).sum()), "neurons")


def unclear_neurons(evidence: Evidence) -> xr.DataArray:
    """Neurons that no frequency explains .85 of."""
    return _number(float((_neuron_fve(evidence) < _NEURON_CUT).sum()), "neurons")


def clear_share(evidence: Evidence) -> xr.DataArray:
    """The share of neurons that one frequency explains at least .85 of."""
    return _number(float((_neuron_fve(evidence) >= _NEURON_CUT).mean()), "share of the neurons")


def attention_frequency(evidence: Evidence) -> xr.DataArray:
    """The frequency of each head's attention; dims (head,)."""
    return _of_attention(evidence, attention.frequency).astype(float)


def attention_fve(evidence: Evidence) -> xr.DataArray:
    """How much of each head's attention one wave of each input explains; dims (head,)."""
    return _of_attention(evidence, attention.fve)


def score_fve(evidence: Evidence) -> xr.DataArray:
    """The largest share of one frequency in each head's score of a token; dims (head,)."""
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
    """The snapshot, if its task has a group.

    Raises:
        NotAvailableError: If it has none, or the model has no keys of it.
    """
    _ = evidence.keys
    return evidence.snapshot


def _number(value: float, long_name: str) -> xr.DataArray:
    return labels.array(value, name="value", units="", long_name=long_name)
