"""What no config may hold is refused in one line, however it is asked for, before anything is written."""

import json

import pytest

import grokinterp as gi
from grokinterp.cli.app import main
from grokinterp.config import LossConfig, OptimConfig, RegularizationConfig, RunConfig, Schedule, SplitConfig, to_dict


REPROS = [
    ("optim.name", "sgd", "AdamW, SGD, Muon, got 'sgd'; did you mean 'SGD'?"),
    ("optim.name", "Adam", "AdamW, SGD, Muon, got 'Adam'; did you mean 'AdamW'?"),
    ("optim.decay_toward", "init", "zero, initial, got 'init'; did you mean 'initial'?"),
    ("optim.lr_schedule.kind", "cos", "constant, linear, cosine, cyclic, plateau, got 'cos'; did you mean 'cosine'?"),
    ("loss.name", "mse", "cross_entropy, stablemax, got 'mse'."),
    ("loss.dtype", "float16", "float64, float32, torch_float32, got 'float16'; did you mean 'float64'?"),
    ("model.normalization", "LNPre", "none, LN, got 'LNPre'; did you mean 'LN'?"),
    ("model.act_fn", "ReLU", "relu, gelu, quadratic, got 'ReLU'; did you mean 'relu'?"),
    ("model.init", "xavier", "hooked_transformer, paper, got 'xavier'"),
    ("split.rule", "random", "uniform, paper, custom, got 'random'"),
    ("regularization.grokfast", "EMA", "none, ema, ma, got 'EMA'; did you mean 'ema'?"),
    ("task.operation", "mul", "got 'mul'; did you mean 'multiplication'?"),
]
PARTS = {
    "task": gi.TaskConfig,
    "split": SplitConfig,
    "model": gi.TransformerConfig,
    "optim": OptimConfig,
    "optim.lr_schedule": Schedule,
    "loss": LossConfig,
    "regularization": RegularizationConfig,
}
repros = pytest.mark.parametrize(
    ("path", "value", "said"), REPROS, ids=[f"{path}={value}" for path, value, _ in REPROS]
)


def refused(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    """The one line with which the command line refuses."""
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    return error


@repros
def test_python_refuses_it(path, value, said, tmp_path, unchecked):
    part, _, name = path.rpartition(".")
    with pytest.raises(ValueError, match=rf"^{PARTS[part].__name__}\.{name} must be one of ") as caught:
        gi.train(RunConfig(**{part: PARTS[part](**{name: value})}), tmp_path / "run")
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


@repros
def test_a_json_file_with_it_is_refused(path, value, said, tmp_path, capsys):
    data = to_dict(gi.presets.quick())
    *parts, last = path.split(".")
    table = data
    for part in parts:
        table = table[part]
    table[last] = value
    (tmp_path / "config.json").write_text(json.dumps(data))
    error = refused(capsys, ["train", "--config", str(tmp_path / "config.json"), "--out", str(tmp_path / "run")])
    assert f"config.{path} must be one of " in error
    assert said in error
    assert not (tmp_path / "run").exists()


@repros
@pytest.mark.parametrize("table", ["change.{path} = '{value}'", "axes.{path} = ['{value}']"], ids=["change", "axes"])
def test_a_sweep_file_with_it_is_refused(path, value, said, table, tmp_path, capsys):
    file = tmp_path / "sweep.toml"
    file.write_text(f"preset = 'quick'\n{table.format(path=path, value=value)}\n")
    error = refused(capsys, ["sweep", str(file), "--out", str(tmp_path / "runs")])
    assert f"config.{path} must be one of " in error
    assert said in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@repros
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_flag_with_it_is_refused(path, value, said, command, tmp_path, capsys, unchecked):
    flag = f"--{path.replace('_', '-')}"
    error = refused(capsys, [command, "quick", flag, value, "--out", str(tmp_path / "run")])
    assert f"{path.rpartition('.')[2]} must be one of " in error
    assert said in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--epochs", "0"], "RunConfig.epochs must be an integer of at least 1, got 0."),
        (["--optim.betas", "0.9", "1"], r"OptimConfig.betas[1] must be a number of at least 0 and below 1, got 1.0."),
        (["--optim.lr", "nan"], "OptimConfig.lr must be a number above 0, got nan."),
        (["--device", "tpu"], "RunConfig.device must be cpu, cuda, cuda:N or mps, got 'tpu'."),
        (["--seed", str(2**64)], "RunConfig.seed must be an integer from 0 to 9223372036854775807"),
    ],
)
def test_a_flag_out_of_its_range_is_refused(flags, said, tmp_path, capsys):
    assert said in refused(capsys, ["train", "quick", *flags, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_the_largest_seeds_train(tmp_path):
    tiny = {"task.p": 5, "model.d_model": 8, "model.d_mlp": 8, "epochs": 1, "regularization.label_noise": 0.5}
    for seed in (0, 2**63 - 1):
        for rule in ("uniform", "paper"):
            config = gi.config.change(gi.presets.quick(), {**tiny, "seed": seed, "split.rule": rule})
            assert gi.train(config, tmp_path / f"{seed} {rule}", progress=False).checkpoint_epochs == (0, 1)


def test_lists_and_scalars_of_libraries_become_plain_values(unchecked):
    import numpy as np
    import torch

    made = OptimConfig(lr=np.float32(0.5), betas=[0.5, torch.tensor(0.25)], batch_size=np.int64(3), weight_decay=1)
    assert made == OptimConfig(lr=0.5, betas=(0.5, 0.25), batch_size=3, weight_decay=1.0)
    assert [type(x) for x in (made.lr, made.betas, made.batch_size, made.weight_decay)] == [float, tuple, int, float]
    assert len({made, OptimConfig(lr=0.5, betas=(0.5, 0.25), batch_size=3)}) == 1
    assert json.loads(json.dumps(to_dict(made))) == to_dict(made)


def test_a_part_may_be_a_table_of_all_its_keys(unchecked):
    assert RunConfig(split=to_dict(SplitConfig(seed=3))).split == SplitConfig(seed=3)
    with pytest.raises(ValueError, match=r"^RunConfig\.split lacks the keys \['rule', 'seed'\]"):
        RunConfig(split={"fraction": 0.5})
