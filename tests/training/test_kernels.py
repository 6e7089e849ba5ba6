"""The compiled kernels: the loss and every gradient of the plain forward pass, with the same bits however they run."""

import importlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from grokinterp.config import LossConfig
from grokinterp.losses import cross_entropy_per_pair
from grokinterp.models.architecture import Params
from grokinterp.models.kinds.transformer import TransformerConfig
from grokinterp.tasks import all_pairs, operation
from grokinterp.training import kernels, tabulated
from grokinterp.training.objective import objective
from grokinterp.training.tabulated import TabulatedEngine


SMALL = {"d_model": 12, "n_heads": 3, "d_head": 5, "d_mlp": 17}


def draw(n_pairs: int, n: int, n_classes: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Different pairs in any order, with answers that are no function of them, as label noise makes some."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randperm(n * n, generator=generator)[:n_pairs]
    return pairs // n, pairs % n, torch.randint(n_classes, (n_pairs,), generator=generator)


def loss_and_gradients(loss, params: Params, batch) -> tuple[Tensor, Params]:
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    value = loss(leaves, *batch)
    return value.detach(), dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def assert_close_to_full(params: Params, model: TransformerConfig, loss: LossConfig, batch) -> None:
    """Each gradient to 1e-5 of the other's norm; b_K has none in exact arithmetic."""
    wanted = objective(loss)
    found = loss_and_gradients(TabulatedEngine(model, loss).loss, params, batch)
    full = loss_and_gradients(lambda p, a, b, c: wanted(model.logits(p, a, b), c), params, batch)
    assert_close(found[0].double(), full[0].double(), atol=0, rtol=1e-5)
    for name, gradient in full[1].items():
        if name.endswith("b_K"):
            assert_close(found[1][name], torch.zeros_like(gradient), atol=1e-5, rtol=0)
        else:
            assert gradient.norm() > 0, name
            assert (found[1][name] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("biases", ["none", "mlp", "all"])
@pytest.mark.parametrize("act_fn", ["relu", "gelu", "quadratic"])
@pytest.mark.parametrize("sequence", ["a b =", "a op b ="])
def test_loss_and_every_gradient_are_those_of_the_full_forward(biases, act_fn, sequence, random_params):
    model = TransformerConfig(**SMALL, biases=biases, act_fn=act_fn, sequence=sequence, equals_in_output=True)
    params = random_params(model, operation("addition", 11))
    assert_close_to_full(params, model, LossConfig(), draw(70, 11, 12))


@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(label_smoothing=0.2),
        LossConfig(dtype="float32"),
        LossConfig(dtype="torch_float32"),
        LossConfig(name="stablemax"),
    ],
    ids=["smoothing", "float32", "torch_float32", "stablemax"],
)
def test_every_loss(loss, random_params):
    model = TransformerConfig(**SMALL)
    assert_close_to_full(random_params(model, operation("addition", 11)), model, loss, draw(70, 11, 11))


@pytest.mark.parametrize(
    ("p", "shape", "n_pairs"),
    [
        (2, {"d_model": 3, "n_heads": 1, "d_head": 2, "d_mlp": 1}, 1),
        (7, {"d_model": 8, "n_heads": 8, "d_head": 1, "d_mlp": 40}, 49),
        (31, {"d_model": 24, "n_heads": 2, "d_head": 32, "d_mlp": 33}, 8),
        (53, {}, 843),
    ],
)
def test_every_shape(p, shape, n_pairs, random_params):
    model = TransformerConfig(**shape)
    assert_close_to_full(random_params(model, operation("addition", p)), model, LossConfig(), draw(n_pairs, p, p))


@given(seed=st.integers(0, 2**32), n_pairs=st.integers(1, 49), chunk=st.integers(1, 60), threads=st.integers(1, 4))
def test_any_pairs_in_any_chunks_and_threads(random_params, seed, n_pairs, chunk, threads):
    model, before = TransformerConfig(**SMALL), torch.get_num_threads()
    params, batch = random_params(model, operation("addition", 7)), draw(n_pairs, 7, 7, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabulated, "CHUNK", chunk)
        torch.set_num_threads(threads)
        assert_close_to_full(params, model, LossConfig(), batch)
        torch.set_num_threads(before)


def test_logits_are_those_of_the_full_forward_in_the_order_of_the_pairs(random_params, monkeypatch):
    model = TransformerConfig(**SMALL, act_fn="gelu", biases="all")
    params = random_params(model, operation("division", 7))
    a, b = all_pairs(operation("division", 7))
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(tabulated, "CHUNK", 10)
    found = TabulatedEngine(model, LossConfig()).logits(params, a[order], b[order])
    assert_close(found, model.logits(params, a[order], b[order]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equal_calls_have_equal_bits_beside_each_other_too(threads, random_params):
    model = TransformerConfig(d_model=32, d_mlp=64)
    params, batch = random_params(model, operation("addition", 31)), draw(600, 31, 31)
    torch.set_num_threads(threads)
    results = []

    def call() -> None:
        results.append(loss_and_gradients(TabulatedEngine(model, LossConfig()).loss, params, batch))

    call()
    several = [threading.Thread(target=call) for _ in range(4)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    (loss, gradients), *others = results
    assert len(others) == 4
    for again, gradients_again in others:
        assert torch.equal(again, loss)
        assert all(torch.equal(gradient, gradients[name]) for name, gradient in gradients_again.items())


def test_the_kernels_own_bits_do_not_depend_on_the_threads():
    generator = np.random.default_rng(0)
    table, scores = generator.normal(size=(2, 22, 16)).astype(np.float32), generator.normal(size=(23, 2))
    starts, b = np.arange(0, 45, 4), np.tile(np.arange(4), 11)
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        hidden, pattern = np.empty((44, 16), np.float32), np.empty((44, 2, 2), np.float32)
        arguments = (starts, b, scores.astype(np.float32), table, table[0, 0], 8, pattern, hidden)
        tabulated._run_parallel(kernels.mix, starts, *arguments)
        results.append(hidden)
    assert all(np.array_equal(found, results[0]) for found in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    def ranges() -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        tabulated._run_parallel(lambda lo, hi: seen.append((lo, hi)), np.array([0, 1, 2]))
        return sorted(seen)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert ranges() == [(0, 1), (1, 2)]
    child = os.fork()
    if child == 0:
        os._exit(0 if ranges() == [(0, 1), (1, 2)] else 1)
    deadline, pid, status = time.monotonic() + 60, 0, 0
    while not pid and time.monotonic() < deadline:
        time.sleep(0.01)
        pid, status = os.waitpid(child, os.WNOHANG)
    if not pid:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert pid, "the forked process waits for its parent's threads"
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_kernels_exp_is_exact_to_float64() -> None:
    # Its Taylor polynomial and the rounding of its terms each cost about one unit in the last place.
    x = np.linspace(-600.0, 0.0, 20_001)
    np.testing.assert_allclose([kernels._exp(value) for value in x], np.exp(x), rtol=4 * np.finfo(np.float64).eps)


@given(st.lists(st.floats(-40, 40, width=32), min_size=2, max_size=9), st.integers(0, 8))
def test_the_compiled_loss_is_the_float64_one(logits, label):
    z = torch.tensor([logits])
    label %= len(logits)
    leaf = z.clone().requires_grad_()
    wanted = cross_entropy_per_pair(leaf, torch.tensor([label]))
    (gradient,) = torch.autograd.grad(wanted.sum(), leaf)
    losses, back = np.empty(1), np.empty_like(z.numpy())
    pair = (np.array([0, 1]), np.array([label]))
    kernels.cross_entropy(0, 1, *pair, 0, len(logits), 0.0, 1.0, losses, z.numpy().copy(), back)
    # Torch's rounds what is below 1e-16.
    assert_close(torch.from_numpy(losses), wanted.detach(), atol=1e-15, rtol=1e-12)
    others = torch.arange(len(logits)) != label
    assert_close(torch.from_numpy(back)[:, others], gradient[:, others], atol=0, rtol=1e-6)
    # Torch's own is 1 less a probability near 1; ours is the sum of the others.
    assert_close(torch.from_numpy(back)[0, label], -gradient[0, others].sum(), atol=0, rtol=1e-6)


def test_without_a_writable_cache_the_kernels_are_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files in place of the cache directories: permissions would not stop a superuser.
    shutil.copy(kernels.__file__, tmp_path / "copied_kernels.py")
    (tmp_path / "__pycache__").touch()
    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "__pycache__"))
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.syspath_prepend(tmp_path)
    copied = importlib.import_module("copied_kernels")
    assert copied._exp(-1.0) == pytest.approx(np.exp(-1.0), rel=1e-15)
    assert (tmp_path / "__pycache__").read_bytes() == b""
    del sys.modules["copied_kernels"]
