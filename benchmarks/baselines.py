"""Baselines of the benchmark: TransformerLens' training step, matrix products alone, and a plain loop."""

import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import grokinterp as gi


def hooked_step(config: gi.RunConfig, task: gi.Task, a: Tensor, b: Tensor, labels: Tensor) -> Callable[[], None]:
    """A full-batch step of a `HookedTransformer`, as in TransformerLens' grokking demo."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    model = config.model
    assert isinstance(model, gi.TransformerConfig)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cfg = HookedTransformerConfig(
            n_layers=1,
            d_model=model.d_model,
            d_head=model.d_head,
            n_heads=model.n_heads,
            d_mlp=model.d_mlp,
            d_vocab=task.d_vocab,
            d_vocab_out=task.d_vocab,
            n_ctx=3,
            act_fn="relu",
            normalization_type=None,
            device="cpu",
            seed=0,
        )
        model = HookedTransformer(cfg)
    tokens = torch.stack([a, b, torch.full_like(a, task.n_tokens)], dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98))

    def step() -> None:
        logits = model(tokens)[:, -1].to(torch.float64)
        loss = -logits.log_softmax(dim=-1).gather(-1, labels[:, None]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def matmul_step(n_pairs: int, model: gi.TransformerConfig, d_vocab_out: int) -> Callable[[], None]:
    """Only the matrix products of a factored step over the pairs, forward and backward."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    z, neurons, gradient = draw(n_pairs, 128), draw(n_pairs, model.d_mlp), draw(n_pairs, d_vocab_out)
    W_in, W_out, W_direct = draw(128, model.d_mlp), draw(model.d_mlp, d_vocab_out), draw(128, d_vocab_out)

    def step() -> None:
        for left, right in ((z, W_in), (neurons, W_out), (z, W_direct)):
            left @ right
        for left, right, back in ((neurons, W_out, gradient), (z, W_in, neurons), (z, W_direct, gradient)):
            back @ right.T
            left.T @ back

    return step


def naive_trajectory(run: gi.Run, keys: tuple[int, ...], epoch: int) -> dict[str, object]:
    """The standard measures of one checkpoint as in a notebook: one frequency at a time over all pairs."""
    model = run.model(epoch)
    p = run.task.n_outputs
    is_train = run.is_train.flatten()
    labels = run.task.table.flatten()
    a, b = gi.tasks.all_pairs(run.task)
    with torch.no_grad():
        tokens = torch.stack([a, b, torch.full_like(a, run.task.n_tokens)], dim=1)
        logits = model(tokens)[:, -1, :p].double()

    def loss(logits: Tensor, mask: Tensor) -> float:
        return F.cross_entropy(logits[mask], labels[mask]).item()

    def project(k: int) -> Tensor:
        angle = 2 * math.pi * k * (a + b).double() / p
        rows = [row / row.norm() for row in (angle.cos(), angle.sin())]
        return sum((row[:, None] * (row @ logits)[None, :] for row in rows), torch.zeros_like(logits))

    everything = torch.ones_like(is_train)
    restricted = logits.mean(dim=0) + sum((project(k) for k in keys), torch.zeros_like(logits))
    excluded = logits - sum((project(k) for k in keys), torch.zeros_like(logits))
    x = torch.arange(p)
    difference = (x[:, None, None] + x[None, :, None] - x[None, None, :]).reshape(-1, p).double()
    variance = (logits - logits.mean(dim=0)).square().sum()
    fve = []
    for k in range(1, p // 2 + 1):
        cosine = (2 * math.pi * k * difference / p).cos()
        fve.append(((cosine / cosine.norm() * logits).sum() ** 2 / variance).item())
    spectra = {}
    for name, matrix in (("W_E", model.W_E[:p]), ("W_L", (model.W_out[0] @ model.W_U)[:, :p].T)):
        angle = 2 * math.pi * x[None, :] * torch.arange(1, p // 2 + 1)[:, None].double() / p
        spectra[name] = torch.sqrt(
            (angle.cos() @ matrix.double()).square().sum(1) + (angle.sin() @ matrix.double()).square().sum(1)
        )
    return {
        "loss": [loss(logits, mask) for mask in (is_train, ~is_train, everything)],
        "restricted": loss(restricted, everything),
        "excluded": loss(excluded, is_train),
        "by_frequency": [loss(logits - project(k), is_train) for k in range(1, p // 2 + 1)],
        "fve": fve,
        "gini": [gi.fourier.gini_coefficient(spectrum) for spectrum in spectra.values()],
        "norms": [parameter.square().sum().item() for parameter in model.parameters()],
    }
