"""Named RunConfigs with their sources."""

from collections.abc import Callable, Mapping
from typing import Final

from grokinterp.config import LossConfig, OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig


def nanda2023() -> RunConfig:
    """The mainline run of the paper, with its seed: p = 113, train fraction 0.3, 40,000 epochs.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, and its code. The loss has 114 classes, including '=', only the MLP has
        biases, and the first update has learning rate 0. Their code does not state the torch seed; seed 0 reproduces
        the initial squared norm of every matrix in their figures.
    """
    return RunConfig(
        task=TaskConfig(operation="addition", p=113),
        split=SplitConfig(fraction=0.3, rule="paper"),
        model=TransformerConfig(biases="mlp", equals_in_output=True, init="paper"),
        optim=OptimConfig(lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), warmup_steps=10),
        epochs=40_000,
        seed=0,
    )


def quick() -> RunConfig:
    """A small task, p = 59, that groks with all three phases in under a minute on two CPU cores.

    Source:
        None; chosen for first experiments and tests.
    """
    return RunConfig(
        task=TaskConfig(operation="addition", p=59),
        split=SplitConfig(fraction=0.4),
        model=TransformerConfig(),
        optim=OptimConfig(lr=2e-3, weight_decay=2.0, betas=(0.9, 0.98), warmup_steps=10),
        epochs=2_000,
        seed=0,
        checkpoint_every=20,
    )


def transformer_lens_demo() -> RunConfig:
    """The config of TransformerLens' grokking demo: HookedTransformer's initialization with seed 999.

    Source:
        TransformerLens, `demos/Grokking_Demo.ipynb`: p = 113, train fraction 0.3 drawn with seed 598, no biases, no
        warmup, 25,000 epochs. Its stored outputs are from a GPU: when such a run groks depends on floating-point
        rounding, while its initial and final losses do not.
    """
    return RunConfig(
        task=TaskConfig(operation="addition", p=113),
        split=SplitConfig(fraction=0.3, seed=598),
        model=TransformerConfig(),
        optim=OptimConfig(lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98)),
        epochs=25_000,
        seed=999,
    )


def power2022() -> RunConfig:
    """Modular division, p = 97, with mini-batches, as in the first report of grokking: two layers with LayerNorm.

    Source:
        Power et al. 2022, arXiv:2201.02177, appendix A.1.2: a decoder with 2 layers, width 128 and 4 heads that reads
        'a / b =', AdamW with learning rate 1e-3, weight decay 1, betas 0.9 and 0.98, 10 warmup updates, batch size 512,
        train fraction 0.5. The 4,656 training pairs make ten batches, so 400 epochs are 4,000 updates; they trained
        for 100,000. Differs: learned positions, pre-LayerNorm instead of post-LayerNorm, and GELU.
    """
    return RunConfig(
        task=TaskConfig(operation="division", p=97),
        split=SplitConfig(fraction=0.5),
        model=TransformerConfig(
            n_layers=2, normalization="LN", biases="all", act_fn="gelu", sequence="a op b =", init="hooked_transformer"
        ),
        optim=OptimConfig(lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), warmup_steps=10, batch_size=512),
        epochs=400,
        seed=0,
        checkpoint_every=50,
    )


def mlp_onehot() -> RunConfig:
    """An MLP (194-128-128-97) on one-hot inputs: grokking without attention, in a minute or two on a CPU.

    Source:
        A config that several public projects share: p = 97, train fraction 0.5, torch's initialization, AdamW with
        learning rate 1e-3, weight decay 1 and default betas, torch's float32 loss.
    """
    return RunConfig(
        task=TaskConfig(operation="addition", p=97),
        split=SplitConfig(fraction=0.5),
        model=MLPConfig(inputs="onehot", n_layers=2, d_mlp=128),
        optim=OptimConfig(lr=1e-3, weight_decay=1.0, betas=(0.9, 0.999)),
        loss=LossConfig(dtype="torch_float32"),
        epochs=5_000,
        seed=0,
        checkpoint_every=50,
    )


PRESETS: Final[Mapping[str, Callable[[], RunConfig]]] = {
    "nanda2023": nanda2023,
    "quick": quick,
    "power2022": power2022,
    "mlp_onehot": mlp_onehot,
    "transformer_lens_demo": transformer_lens_demo,
}
