"""RunConfigs with a name and a source."""

from collections.abc import Callable, Mapping
from typing import Final

from grokinterp.config import OptimConfig, RunConfig, SplitConfig, TaskConfig
from grokinterp.models.config import TransformerConfig


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


PRESETS: Final[Mapping[str, Callable[[], RunConfig]]] = {
    "nanda2023": nanda2023,
    "quick": quick,
    "transformer_lens_demo": transformer_lens_demo,
}
