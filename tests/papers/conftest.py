"""Small runs of addition, each trained once."""

import pytest

import grokinterp as gi


@pytest.fixture(scope="session")
def tiny_mlp(tmp_path_factory: pytest.TempPathFactory) -> gi.Run:
    """The same of an MLP, with a little training."""
    config = gi.RunConfig(
        task=gi.TaskConfig(p=7),
        split=gi.SplitConfig(fraction=0.5),
        model=gi.MLPConfig(d_mlp=16),
        epochs=10,
        checkpoint_every=5,
    )
    return gi.train(config, tmp_path_factory.mktemp("claims") / "mlp", progress=False)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> gi.Run:
    """P = 7 for 30 epochs: it memorizes nothing, and has all that a run has."""
    config = gi.RunConfig(
        task=gi.TaskConfig(p=7),
        split=gi.SplitConfig(fraction=0.5),
        model=gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=16),
        epochs=30,
        checkpoint_every=10,
    )
    return gi.train(config, tmp_path_factory.mktemp("claims") / "tiny", progress=False)
