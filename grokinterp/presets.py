"""RunConfigs with a name and a source."""

from collections.abc import Callable, Mapping
from typing import Final

from grokinterp.config import LossConfig, OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.kinds.mlp import MLPConfig
from grokinterp.models.kinds.transformer import TransformerConfig


def nanda2023() -> RunConfig:
    """The mainline run of the paper, from its seed: p = 113, 30 % of the pairs, 40,000 epochs.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, and its code. Their loss has 114 classes, '=' among them, the
        MLP alone has biases, and the first update has a learning rate of 0. The torch seed is not in their
        code: seed 0 gives the initial squared norm of every matrix that their figures show.
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
    """A smaller task that groks in under a minute on two CPU cores, all three phases included: p = 59.

    Source:
        None: chosen here, for a first look and for tests.
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
    """The setting of TransformerLens' grokking demo: HookedTransformer's initialisation for seed 999.

    Source:
        TransformerLens, `demos/Grokking_Demo.ipynb`: p = 113, 30 % of the pairs drawn with seed 598, no
        biases, no warm-up, 25,000 epochs. Its stored outputs were made on a GPU; when such a run groks
        depends on float rounding, its start and its final losses do not.
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
    """Modular division at p = 97 with mini-batches, as grokking was first described: two layers with LayerNorm.

    Source:
        Power et al. 2022, arXiv:2201.02177, appendix A.1.2: a decoder of 2 layers, width 128 and 4 heads that reads
        'a / b =', AdamW with learning rate 1e-3, decay 1, betas .9 and .98, warm-up over 10 updates, batches of 512,
        half of the pairs. 4,656 training pairs are ten batches, so that 400 epochs are 4,000 updates; they trained for
        100,000. Differs: learned positions, LayerNorm before each block and not after it, and GELU.
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
    """A perceptron 194-128-128-97 on one-hot pairs: grokking without attention, in a minute or two on a CPU.

    Source:
        A setting that several public projects share: p = 97, half of the pairs, torch's initialisation, AdamW with
        learning rate 1e-3 and decay 1 at torch's betas, the loss in `torch_float32`.
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
