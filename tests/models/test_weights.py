"""What is accepted as weights, at the doors that all weights go through: reading a dictionary, and the Snapshot."""

import warnings

import pytest
import torch
from torch import Tensor

import grokinterp as gi
from grokinterp.models.architecture import Params
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.models.weights import read_weights
from grokinterp.tasks import all_pairs, operation


TASK = operation("addition", 7)
CONFIG = TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=12, biases="mlp")


def _quantized(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch is about to give quantized tensors up
        return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


def _with(x: Tensor, value: float) -> Tensor:
    x = x.clone()
    x[1, 2] = value
    return x


BAD = {
    "NaN": (lambda x: _with(x, torch.nan), r"must be finite, but 1 of the 64 numbers of embed\.W_E are NaN or infin"),
    "infinity": (lambda x: _with(x, -torch.inf), r"must be finite, but 1 of the 64 numbers of embed\.W_E"),
    "integer": (lambda x: x.long(), r"must be dense .*, but embed\.W_E is torch\.int64"),
    "complex": (lambda x: x + 0j, r"must be dense .*, but embed\.W_E is torch\.complex64"),
    "boolean": (lambda x: x > 0, r"must be dense .*, but embed\.W_E is torch\.bool"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), r"must be dense .*, but embed\.W_E is torch\.float8_e4m3fn"),
    "meta": (lambda x: x.to("meta"), r"must be dense .*, but embed\.W_E is a meta tensor"),
    "sparse": (lambda x: x.to_sparse(), r"must be dense .*, but embed\.W_E is torch\.float32, torch\.sparse_coo"),
    "quantized": (_quantized, r"must be dense .*, but embed\.W_E is torch\.qint8"),
    "half among float32": (lambda x: x.half(), r"must have one dtype, but embed\.W_E is torch\.float16 and pos_embed"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_is_no_number_is_refused_with_the_name_of_the_tensor(change, message, unchecked, random_params):
    params = random_params(CONFIG, TASK)
    params["embed.W_E"] = change(params["embed.W_E"])
    with pytest.raises(ValueError, match=message) as refused:
        read_weights(params, "relu")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message):
        gi.Snapshot(params=params, config=CONFIG, task=TASK)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_cast_to_float32_which_is_said(dtype, random_params):
    params = {name: p.to(dtype) for name, p in random_params(CONFIG, TASK).items()}
    snap = gi.Snapshot(params=params, config=CONFIG, task=TASK)
    assert {p.dtype for p in snap.params.values()} == {torch.float32}
    assert snap.assumed == (f"weights cast from {dtype} to float32",)
    wanted = CONFIG.logits({name: p.float() for name, p in params.items()}, *all_pairs(TASK))
    torch.testing.assert_close(snap.logits.flatten(0, 1).float(), wanted, atol=1e-5, rtol=1e-5)


def test_large_finite_weights_are_numbers(random_params):
    """Their sum may overflow."""
    params = random_params(CONFIG, TASK)
    params["unembed.W_U"] = torch.full_like(params["unembed.W_U"], 3e38)
    assert gi.Snapshot(params=params, config=CONFIG, task=TASK).params["unembed.W_U"].isfinite().all()


def test_weights_of_a_graph_are_detached(random_params):
    params = {name: p.requires_grad_() for name, p in random_params(CONFIG, TASK).items()}
    snap = gi.Snapshot(params=params, config=CONFIG, task=TASK)
    # Warnings are errors here, and torch warns of a number that has a gradient.
    assert 0 <= gi.fourier.gini(snap).sel(matrix="W_E").item() <= 1
    assert snap.params["embed.W_E"].data_ptr() == params["embed.W_E"].data_ptr()


VIEWS = {
    "transposed": lambda x: x.T.contiguous().T,
    "strided": lambda x: torch.stack([x, -x], dim=-1)[..., 0],
    "expanded": lambda x: x[:1].expand_as(x),
    "flipped twice": lambda x: x.flip(0).flip(0),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_a_view_is_read_as_what_it_shows(make, random_params):
    params = random_params(CONFIG, TASK)
    params["embed.W_E"] = make(params["embed.W_E"])
    params["unembed.W_U"] = params["embed.W_E"][:7].T  # tied
    config = TransformerConfig(**{**vars(CONFIG), "equals_in_output": False})
    copies = {name: p.clone(memory_format=torch.contiguous_format) for name, p in params.items()}
    viewed, copied = (gi.Snapshot(params=x, config=config, task=TASK) for x in (params, copies))
    torch.testing.assert_close(viewed.logits, copied.logits, atol=1e-5, rtol=1e-5)
    if make is VIEWS["expanded"]:
        with pytest.raises(ValueError, match=r"^embed\.W_E repeats one slice along an axis \(stride 0\), got \(8, 8\)"):
            read_weights(params, "relu")
        return
    read, _ = read_weights(params, "relu")
    assert all(torch.equal(read[name], copies[name]) and read[name].is_contiguous() for name in read)


def test_a_model_that_tells_no_tokens_apart_has_no_keys(random_params):
    """Its logits' variance is rounding, of which any frequency would have a share."""
    snap = gi.testing.planted_snapshot(31, keys=(3, 7), act_fn="relu")
    params = {name: p.float() for name, p in snap.params.items()}
    params["embed.W_E"] = params["embed.W_E"][:1].expand_as(params["embed.W_E"]) + 0.1
    blind = gi.Snapshot(params=params, config=snap.config, task=snap.task)
    for rule in ("logits", "neurons", "W_E"):
        assert gi.fourier.key_frequencies(blind, rule) == (), rule
    assert gi.logits.fve()(blind).max() == 0
    assert gi.logits.product_fve(blind).max() == 0


MLPS = {
    "onehot": MLPConfig(d_mlp=6),
    "concatenated": MLPConfig(inputs="concatenated", d_model=4, n_layers=1, d_mlp=6),
    "summed": MLPConfig(inputs="summed", d_model=4, n_layers=3, d_mlp=6, biases="none"),
}


@pytest.mark.parametrize("config", MLPS.values(), ids=MLPS)
def test_an_mlp_is_told_from_its_weights(config, random_params):
    params = random_params(config, TASK)
    read, found = read_weights(params, "relu")
    wanted = MLPConfig(**{**vars(config), "d_model": config.d_model if config.inputs != "onehot" else found.d_model})
    assert found == wanted
    assert all(torch.equal(read[name], params[name]) for name in params)


UNREAD = {
    "rotary": (
        lambda p: p | {"blocks.0.attn.rotary_sin": torch.ones(3, 4)},
        r"include blocks\.0\.attn\.rotary_sin, which",
    ),
    "gated": (
        lambda p: p | {"blocks.0.mlp.W_gate": torch.ones(8, 12)},
        r"include blocks\.0\.mlp\.W_gate, which is not a par",
    ),
    "a scalar": (lambda p: p | {"scale": torch.tensor(2.0)}, r"include scale, which is not a parameter"),
    "RMS": (lambda p: p | {"ln_final.w": torch.ones(8)}, r"blocks\.0\.ln1\.b must have shape \(8,\) for .*, got none"),
    "a norm without the last": (lambda p: p | {"blocks.0.ln1.w": torch.ones(8)}, r"include blocks\.0\.ln1\.w, which"),
    "half a layer": (lambda p: p | {"blocks.1.mlp.W_in": torch.ones(8, 12)}, r"include blocks\.1\.mlp\.W_in, which"),
    "a layer left out": (
        lambda p: p | {"blocks.2.attn.W_Q": p["blocks.0.attn.W_Q"]},
        r"blocks\.1\.attn\.W_K must have shape",
    ),
    "heads joined": (
        lambda p: p | {"blocks.0.attn.W_Q": p["blocks.0.attn.W_Q"].flatten(1)},
        r"blocks\.0\.attn\.W_Q must have 3 axes, as in TransformerLens, got shape \(2, 32\)",
    ),
    "no positions": (
        lambda p: {name: x for name, x in p.items() if name != "pos_embed.W_pos"},
        r"TransformerLens' names, but pos_embed\.W_pos is missing",
    ),
}


@pytest.mark.parametrize(("change", "message"), UNREAD.values(), ids=UNREAD)
def test_names_that_tell_of_something_unread_are_refused(change, message, random_params):
    def read(params: Params) -> None:
        read_params, config = read_weights(params, "relu")
        gi.Snapshot(params=read_params, config=config, task=TASK)

    params = random_params(CONFIG, TASK)
    read(params)
    with pytest.raises(ValueError, match=message):
        read(change(params))
