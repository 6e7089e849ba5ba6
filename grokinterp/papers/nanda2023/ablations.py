"""Claims about ablations, which run as hooks on the TransformerLens model."""

import torch
import xarray as xr

from grokinterp import attention, interventions, labels, neurons
from grokinterp.interventions import Intervention, ablate, frequency, head, keep_only, readout, replace, skip
from grokinterp.losses import cross_entropy_per_pair
from grokinterp.models.architecture import HOOK_LOGITS
from grokinterp.papers.evidence import Evidence, transformer_lens_model


def without_frequency(evidence: Evidence) -> xr.DataArray:
    """Loss with cos and sin(w_k(a+b)) of one key frequency ablated from the neurons; dims (frequency,)."""
    losses = [_loss(evidence, ablate(frequency(k, at="neurons"))).item() for k in evidence.keys]
    return labels.array(
        losses,
        ("frequency",),
        name="loss",
        units="nats",
        long_name="loss without the frequency",
        coords={"frequency": list(evidence.keys)},
    )


def neurons_as_polynomials(evidence: Evidence) -> xr.DataArray:
    """Loss with every neuron of a cluster replaced by its degree-2 polynomial."""
    _ = evidence.keys
    every = interventions.neurons(range(evidence.snapshot.config.d_mlp))
    return _loss(evidence, replace(every, neurons.polynomials(evidence.snapshot)))


def neurons_of_sum(evidence: Evidence) -> xr.DataArray:
    """Loss with only cos and sin(w_k(a+b)) of the key frequencies kept in the neurons; the rest is mean-ablated."""
    return _loss(evidence, keep_only(frequency(*evidence.keys, at="neurons")))


def key_components(evidence: Evidence) -> xr.DataArray:
    """Loss with only the 8 products of 1, cos and sin per key frequency in the logits; the rest is zero-ablated."""
    return _loss(evidence, keep_only(frequency(*evidence.keys, at="logits", terms="all"), fill="zero"))


def readout_alone(evidence: Evidence) -> xr.DataArray:
    """Loss with the neurons projected onto the directions u_k and v_k of W_L; the rest is zero-ablated."""
    return _loss(evidence, keep_only(readout(*evidence.keys), fill="zero"))


def without_readout(evidence: Evidence) -> xr.DataArray:
    """Loss with the directions u_k and v_k of W_L zero-ablated from the neurons."""
    return _loss(evidence, ablate(readout(*evidence.keys), fill="zero"))


def skip_mlp_zeroed(evidence: Evidence) -> xr.DataArray:
    """Loss with the skip connection around the MLP zero-ablated."""
    evidence.require_transformer()
    return _loss(evidence, ablate(skip("mlp"), fill="zero"))


def skip_mlp_mean(evidence: Evidence) -> xr.DataArray:
    """Loss with the skip connection around the MLP mean-ablated."""
    evidence.require_transformer()
    return _loss(evidence, ablate(skip("mlp")))


def heads_zeroed(evidence: Evidence) -> xr.DataArray:
    """Loss with every attention head zero-ablated."""
    return _loss(evidence, ablate(head(*range(evidence.require_transformer(one_layer=True).n_heads)), fill="zero"))


def skip_attention_zeroed(evidence: Evidence) -> xr.DataArray:
    """Loss with the skip connection around attention zero-ablated at '='."""
    evidence.require_transformer(one_layer=True, sequences=("a b =", "a op b ="))
    return _loss(evidence, ablate(skip("attention"), fill="zero"))


def linear_attention(evidence: Evidence) -> xr.DataArray:
    """Loss with the attention softmax replaced by its linearization."""
    evidence.require_transformer(one_layer=True, sequences=("a b =",))
    edits = {"blocks.0.attn.hook_pattern": lambda _, x: attention.linear_pattern(x)}
    return _loss(evidence, Intervention(name="linear attention", edits=edits))


def _loss(evidence: Evidence, intervention: Intervention) -> xr.DataArray:
    snapshot = evidence.snapshot
    model = transformer_lens_model(snapshot)
    with torch.no_grad():
        logits = model.run_with_hooks(snapshot.tokens, fwd_hooks=intervention.fwd_hooks(snapshot))
    logits = snapshot.config.at_answer(HOOK_LOGITS, logits)
    of_task = logits[:, : snapshot.task.n_outputs].unflatten(0, snapshot.task.shape)
    value = cross_entropy_per_pair(of_task, snapshot.task.table).mean().item()
    return labels.array(value, name="loss", units="nats", long_name="loss of the edited model")
