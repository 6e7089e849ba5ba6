"""What the claims say of edited models: each edit is made by hooks of the real TransformerLens model."""

import torch
import xarray as xr

from grokinterp import attention, interventions, labels, neurons
from grokinterp.claims.subjects import Evidence, transformer_lens_model
from grokinterp.interventions import Intervention, ablate, frequency, head, keep_only, readout, replace, skip
from grokinterp.losses import cross_entropy_per_pair
from grokinterp.models.forward import at_answer
from grokinterp.models.hooks import HOOK_LOGITS


def without_frequency(evidence: Evidence) -> xr.DataArray:
    """The loss over all pairs without cos and sin(w_k(a+b)) of one key in the neurons; dims (frequency,)."""
    found = [_loss(evidence, ablate(frequency(k, at="neurons"))).item() for k in evidence.keys]
    return labels.array(
        found,
        ("frequency",),
        name="loss",
        units="nats",
        long_name="loss without the frequency",
        coords={"frequency": list(evidence.keys)},
    )


def neurons_as_polynomials(evidence: Evidence) -> xr.DataArray:
    """The loss with every neuron of a cluster replaced by its polynomial of degree 2."""
    _ = evidence.keys
    every = interventions.neurons(range(evidence.snapshot.config.d_mlp))
    return _loss(evidence, replace(every, neurons.polynomials(evidence.snapshot)))


def neurons_of_sum(evidence: Evidence) -> xr.DataArray:
    """The loss with nothing but their mean and cos and sin(w_k(a+b)) of the keys left in the neurons."""
    return _loss(evidence, keep_only(frequency(*evidence.keys, at="neurons")))


def key_components(evidence: Evidence) -> xr.DataArray:
    """The loss with the 8 products of 1, cos and sin of each key alone left in the logits, their mean gone too."""
    return _loss(evidence, keep_only(frequency(*evidence.keys, at="logits", terms="all"), fill="zero"))


def readout_alone(evidence: Evidence) -> xr.DataArray:
    """The loss with the neurons projected on the directions u_k and v_k of W_L."""
    return _loss(evidence, keep_only(readout(*evidence.keys), fill="zero"))


def without_readout(evidence: Evidence) -> xr.DataArray:
    """The loss with the neurons projected on what is left of these directions."""
    return _loss(evidence, ablate(readout(*evidence.keys), fill="zero"))


def skip_mlp_zeroed(evidence: Evidence) -> xr.DataArray:
    """The loss when the residual stream does not go past the MLP."""
    evidence.require_transformer()
    return _loss(evidence, ablate(skip("mlp"), fill="zero"))


def skip_mlp_mean(evidence: Evidence) -> xr.DataArray:
    """The loss when only its mean over the pairs goes past the MLP."""
    evidence.require_transformer()
    return _loss(evidence, ablate(skip("mlp")))


def heads_zeroed(evidence: Evidence) -> xr.DataArray:
    """The loss with every head zeroed."""
    return _loss(evidence, ablate(head(*range(evidence.require_transformer(one_layer=True).n_heads)), fill="zero"))


def skip_attention_zeroed(evidence: Evidence) -> xr.DataArray:
    """The loss when the embedding of '=' does not go past the attention."""
    evidence.require_transformer(one_layer=True, sequences=("a b =", "a op b ="))
    return _loss(evidence, ablate(skip("attention"), fill="zero"))


def linear_attention(evidence: Evidence) -> xr.DataArray:
    """The loss with the softmax of the attention replaced by its tangent."""
    evidence.require_transformer(one_layer=True, sequences=("a b =",))
    edits = {"blocks.0.attn.hook_pattern": lambda _, x: attention.linear_pattern(x)}
    edit = Intervention(name="linear attention", edits=edits, null=_nothing_to_draw)
    return _loss(evidence, edit)


def _loss(evidence: Evidence, intervention: Intervention) -> xr.DataArray:
    snapshot = evidence.snapshot
    real = transformer_lens_model(snapshot)
    with torch.no_grad():
        logits = real.run_with_hooks(snapshot.tokens, fwd_hooks=intervention.fwd_hooks(snapshot))
    logits = at_answer(snapshot.config, HOOK_LOGITS, logits)
    of_task = logits[:, : snapshot.task.n_outputs].unflatten(0, snapshot.task.shape)
    value = cross_entropy_per_pair(of_task, snapshot.task.table).mean().item()
    return labels.array(value, name="loss", units="nats", long_name="loss of the edited model")


def _nothing_to_draw(*_: object) -> list[Intervention]:
    msg = "there is one softmax, and no other to draw."
    raise ValueError(msg)
