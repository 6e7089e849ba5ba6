"""A trajectory of made-up numbers with every variable that a picture can ask for."""

import numpy as np
import pytest
import xarray as xr

from grokinterp import labels


P = 7
EPOCHS = np.array([0, 10, 20])
KEYS = [1, 3]
FREQUENCIES = [1, 2, 3]
COMPONENTS = ["const", "cos 1", "sin 1", "cos 2", "sin 2", "cos 3", "sin 3"]
PARAMETERS = ["embed.W_E", "pos_embed.W_pos", "attn.W_Q", "mlp.W_in", "mlp.b_in", "mlp.W_out", "unembed.W_U"]

VARIABLES = {
    "loss": (("split",), "nats", "loss"),
    "accuracy": (("split",), "", "accuracy"),
    "restricted_loss": ((), "nats", "restricted loss"),
    "excluded_loss": ((), "nats", "excluded loss"),
    "excluded_loss_by_frequency": (("frequency",), "nats", "excluded loss of one frequency"),
    "weight_norm": (("parameter",), "weight^2", "sum of squared weights"),
    "gini": (("matrix",), "", "Gini coefficient"),
    "spectrum": (("matrix", "frequency"), "weight", "norm of the frequency"),
    "components": (("matrix", "component"), "weight", "norm of the component"),
    "logit_fve": (("frequency",), "", "FVE of the logits"),
    "neuron_frequency": (("neuron",), "", "frequency of the neuron"),
    "neuron_fve": (("neuron",), "", "FVE of the neuron"),
    "neuron_phase": (("neuron",), "rad", "phase of the neuron"),
    "neuron_spectrum": (("neuron", "frequency"), "", "FVE of the neuron"),
    "neurons": (("neuron", "a", "b"), "", "activation of the neuron"),
    "attention": (("head", "a", "b"), "", "attention from = to a"),
    "logits": (("c", "a", "b"), "logit", "logit"),
    "logit_components": (("component", "row"), "logit", "norm over classes"),
    "readout_components": (("neuron", "component"), "weight", "weight of the component"),
    "score_components": (("head", "component"), "logit", "attention score"),
    "loss_without": (("frequency", "split"), "nats", "loss under the operation on one frequency"),
    "loss_alone": (("frequency", "split"), "nats", "loss under the operation on one frequency"),
    "loss_of_runs": (("seed", "split"), "nats", "loss of each run"),
    "gradient_norm": (("parameter",), "nats/weight", "norm of the gradient"),
    "activation_sparsity": (("hook",), "", "share of activations that are zero"),
    "attention_mean": (("layer", "head", "key"), "", "mean attention"),
    "attention_std": (("layer", "head", "key"), "", "standard deviation of attention over pairs"),
    "weight": (("head", "d_model", "d_head"), "weight", "entry of W_Q"),
    "survival": (("group",), "", "share of runs that have not grokked"),
}
COORDS = {
    "split": ["train", "test", "all"],
    "frequency": FREQUENCIES,
    "parameter": PARAMETERS,
    "matrix": ["W_E", "W_L"],
    "component": COMPONENTS,
    "row": COMPONENTS,
    "neuron": list(range(5)),
    "head": [0, 1],
    "a": list(range(P)),
    "b": list(range(P)),
    "c": [0, 1, 2],
    "seed": ["0", "1", "0, perturbed"],
    "hook": ["hook_embed", "blocks.0.mlp.hook_post"],
    "layer": [0],
    "key": ["a", "b", "="],
    "d_model": [0, 1, 2, 3],
    "d_head": [0, 1],
    "group": [0.5, 2.0],
}


def variable(name: str, *, epochs: np.ndarray = EPOCHS) -> xr.DataArray:
    """Positive numbers under the dimensions, coordinates and units that the measure of this name has."""
    dims, units, long_name = VARIABLES[name]
    shape = tuple(len(COORDS[dim]) for dim in dims)
    values = np.random.default_rng(len(name)).uniform(0.1, 1.0, (len(epochs), *shape))
    if name == "neuron_frequency":
        values = np.broadcast_to(np.array([1, 1, 3, 3, 2]), values.shape)
    if name == "neuron_fve":
        values = np.broadcast_to(np.array([0.9, 0.95, 0.99, 0.2, 0.9]), values.shape)
    coords = {"epoch": epochs} | {dim: COORDS[dim] for dim in dims}
    return labels.array(values, ("epoch", *dims), name=name, units=units, long_name=long_name, coords=coords)


@pytest.fixture
def ds() -> xr.Dataset:
    """All variables over three epochs, with keys 1 and 3."""
    result = xr.Dataset({name: variable(name) for name in VARIABLES})
    for name, split in {"restricted_loss": "all", "excluded_loss": "train"}.items():
        # As a trajectory that was read from a file has them.
        result[name].attrs.update(key_frequencies="[1, 3]", split=split)
    angle = 2 * np.pi * np.array(KEYS)[:, None] * np.arange(P) / P
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    result["embedding_circle"] = labels.array(
        np.stack([circle * size for size in (0.1, 0.5, 1.0)]),
        ("epoch", "frequency", "axis", "p"),
        name="embedding_circle",
        units="weight",
        long_name="embedding in the plane of the frequency",
        coords={"epoch": EPOCHS, "frequency": KEYS, "axis": ["cos", "sin"]},
    )
    return result.merge(swept())


def swept() -> xr.Dataset:
    """A sweep of two axes and three seeds, as `gi.collect` gives it: of 12 runs one is missing, and three are late."""
    nan = np.nan
    epochs = [[[nan, nan, 3000], [800, 1000, 900]], [[2000, nan, 1500], [500, nan, 700]]]
    last = np.full((2, 2, 3), 4000.0)
    last[1, 1, 1] = nan
    axes = {"weight_decay": ("weight_decay", [0.5, 2.0], {"long_name": "weight decay"})}
    axes |= {"fraction": ("fraction", [0.3, 0.6], {"long_name": "fraction"}), "seed": COORDS["seed"]}
    about = {"grokked_epoch": (epochs, "grokked"), "last_epoch": (last, "epochs trained")}
    return xr.Dataset(
        {
            name: (("weight_decay", "fraction", "seed"), np.array(values), {"units": "epoch", "long_name": long_name})
            for name, (values, long_name) in about.items()
        },
        coords=axes,
    )


@pytest.fixture
def phases() -> xr.Dataset:
    """Memorization over, circuit formation under way, cleanup not reached."""
    names = {"phase": ["memorization", "circuit formation", "cleanup"]}
    edges = {"phase_start": [0.0, 10.0, np.nan], "phase_end": [10.0, np.nan, np.nan]}
    return xr.Dataset(
        {
            name: labels.array(edge, ("phase",), name=name, units="epoch", long_name=name, coords=names)
            for name, edge in edges.items()
        }
    )
