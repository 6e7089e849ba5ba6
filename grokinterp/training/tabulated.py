"""The training step of a factorable transformer from tables over its tokens, with the loops over pairs compiled.

The attention weights of a head add up to 1, and whatever is read at '=' is linear in them. So the MLP's input and the
direct path to the logits, side by side as the columns of [W_in | W_U], are

    const + sum over heads h of  P_a[h] A[h, a] + P_b[h] B[h, b]

with A[h, a] = (v_a - v_=) W_O[h] [W_in | W_U], v_a the value of token a at its position, and B likewise: at 4 heads, 8
multiply-adds an entry. The positions that are the same in every sequence ('=', and 'op') count as one, whose score is
the logsumexp of theirs. The tables are small and are left to autograd; from them on, gradients are written out below.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from os import getpid
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float32, Int
from torch import Tensor

from grokinterp.config import LossConfig
from grokinterp.models.architecture import ACTIVATIONS, Params
from grokinterp.models.kinds.transformer import EXTRA_TOKENS, TransformerConfig
from grokinterp.training.objective import objective


# Pairs that are in memory at a time: as many as an update usually has, and few enough for any modulus.
CHUNK: Final = 4096


class Tables(NamedTuple):
    """What a model makes of its tokens.

    Attributes:
        table: [head, 2n, width]. A over the n tokens, then B.
        scores: Of each a at its position, of each b at its own, of what is the same in every sequence: [2n + 1, head].
        const: [width]. MLP's input and direct path with no attention to a and b.
        W_L: From neurons to logits.
    """

    table: Tensor
    scores: Tensor
    const: Tensor
    W_L: Float[Tensor, "d_mlp d_vocab_out"]


def tabulate(params: Params, config: TransformerConfig) -> Tables:
    """The tables of a model; the width is that of [W_in | W_U] and zeros, up to a multiple of 16."""
    weight = {name.rsplit(".", 1)[-1]: tensor for name, tensor in params.items()}
    W_E, W_pos, W_in, W_U = (weight[name] for name in ("W_E", "W_pos", "W_in", "W_U"))
    n_fixed = len(EXTRA_TOKENS[config.sequence])
    n = len(W_E) - n_fixed
    # Split and unbind, and not slices, whose gradients are filled up with zeros and added.
    tokens, fixed_tokens = W_E.split([n, n_fixed])
    at_a, *between, at_b, at_equals = W_pos.unbind()
    fixed = fixed_tokens + torch.stack([at_equals, *between])
    equals = fixed[0]
    rows = torch.cat([tokens + at_a, tokens + at_b, fixed])

    query = (equals @ weight["W_Q"] + weight.get("b_Q", 0.0)) / config.d_head**0.5
    scores = rows @ (weight["W_K"] @ query[:, :, None])[:, :, 0].T
    if "b_K" in weight:
        scores = scores + (query * weight["b_K"]).sum(1)
    values = rows @ weight["W_V"]
    if "b_V" in weight:
        values = values + weight["b_V"][:, None]
    values, fixed_values = values.split([2 * n, n_fixed], dim=1)
    if n_fixed > 1:
        free_scores, fixed_scores = scores.split([2 * n, n_fixed])
        fixed_values = einsum(fixed_scores.softmax(0), fixed_values, "fixed h, h fixed k -> h k")[:, None]
        scores = torch.cat([free_scores, fixed_scores.logsumexp(0, keepdim=True)])

    read = torch.cat([W_in, W_U, W_in.new_zeros(len(W_in), -(W_in.shape[1] + W_U.shape[1]) % 16)], 1)
    through = weight["W_O"] @ read
    table = (values - fixed_values) @ through
    const = (fixed_values @ through).sum((0, 1)) + (equals + weight.get("b_O", 0.0)) @ read
    if "b_in" in weight:
        biases = torch.cat([weight["b_in"], weight["b_out"] @ W_U + weight.get("b_U", 0.0)])
        const = const + torch.nn.functional.pad(biases, (0, len(const) - len(biases)))
    return Tables(table, scores, const, weight["W_out"] @ W_U)


class Chunk(NamedTuple):
    """Pairs in the order of a, with each token's place among them.

    Attributes:
        starts: First pair of every a, and the number of pairs.
        b: Of each pair.
        labels: Of each pair.
        b_starts: As `starts`, in the order of b.
        b_pairs: The pairs in the order of b.
    """

    starts: np.ndarray
    b: np.ndarray
    labels: np.ndarray
    b_starts: np.ndarray
    b_pairs: np.ndarray


def chunks(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], labels: Int[Tensor, " batch"], n: int) -> list[Chunk]:
    """The pairs by a, in parts of at most `CHUNK`."""
    order = torch.argsort(a, stable=True)
    tokens = torch.arange(n + 1)
    found = []
    for part in order.split(CHUNK):
        b_part = b[part]
        b_pairs = torch.argsort(b_part, stable=True)
        starts, b_starts = (torch.searchsorted(x.contiguous(), tokens) for x in (a[part], b_part[b_pairs]))
        found.append(Chunk(*(x.numpy() for x in (starts, b_part, labels[part], b_starts, b_pairs))))
    return found


class TabulatedEngine:
    """Loss and logits of one model by the compiled kernels, on the CPU in float32.

    Args:
        model: With a '=' that is read, one layer and no normalization.
        loss: What is lowered.
    """

    def __init__(self, model: TransformerConfig, loss: LossConfig) -> None:
        # Not before they are needed: numba takes .3 s.
        from grokinterp.training import kernels

        self._kernels, self._model, self._loss = kernels, model, loss
        self._objective = objective(loss)
        self._grouped: tuple[tuple[Tensor, ...], list[Chunk]] = ((), [])

    def loss(
        self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """The mean loss over the pairs, differentiable in the parameters."""
        tables = tabulate(params, self._model)
        return _Loss.apply(*tables, self, self._chunks(a, b, labels, len(tables.scores) // 2))

    @torch.no_grad()
    def logits(
        self, params: Params, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
    ) -> Float32[Tensor, "batch d_vocab_out"]:
        """The logits, without gradients."""
        tables = tabulate(params, self._model)
        order = torch.argsort(a, stable=True)
        logits = tables.W_L.new_empty(len(a), tables.W_L.shape[1])
        parts = chunks(a, b, order, len(tables.scores) // 2)
        for part, chunk in zip(order.split(CHUNK), parts, strict=True):
            logits[part] = _Pass(self._kernels, self._model, tables, chunk).forward()
        return logits

    def _chunks(self, a: Tensor, b: Tensor, labels: Tensor, n: int) -> list[Chunk]:
        """Those of the full batch, which is the same tensors at every update, are kept."""
        batch = (a, b, labels)
        if len(self._grouped[0]) != 3 or any(x is not y for x, y in zip(batch, self._grouped[0], strict=True)):
            self._grouped = (batch, chunks(a, b, labels, n))
        return self._grouped[1]

    def loss_and_gradients(self, tables: Tables, parts: list[Chunk]) -> tuple[Tensor, Tables]:
        """The mean loss, and its gradients in the tables."""
        n_pairs = sum(len(part.b) for part in parts)
        heads, two_n, width = tables.table.shape
        d_table, d_scores = torch.empty_like(tables.table), tables.scores.new_empty(3 * two_n // 2, heads)
        d_const, d_W_L = tables.const.new_empty(two_n // 2, width), torch.zeros_like(tables.W_L)
        total = torch.zeros((), dtype=torch.float64)
        for i, part in enumerate(parts):
            step = _Pass(self._kernels, self._model, tables, part)
            logits = step.forward()
            total += step.loss(logits, self._loss, self._objective, n_pairs)
            step.backward(d_table, d_scores, d_const, d_W_L, adds=i > 0)
        d_fixed = d_scores[two_n:].sum(0, keepdim=True)
        return total, Tables(d_table, torch.cat([d_scores[:two_n], d_fixed]), d_const.sum(0), d_W_L)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, scores: Tensor, const: Tensor, W_L: Tensor, engine: Any, parts: Any) -> Tensor:
        tables = Tables(table, scores, const, W_L)
        loss, ctx.gradients = engine.loss_and_gradients(tables, parts)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = grad.item()
        return *(x if scale == 1 else x * scale for x in ctx.gradients), None, None


class _Pass:
    """Forward and backward of one chunk; rows of `hidden` and `back` are the neurons, then the classes, then zeros."""

    def __init__(self, kernels: Any, model: TransformerConfig, tables: Tables, chunk: Chunk) -> None:
        self.kernels, self.tables, self.chunk = kernels, tables, chunk
        self.d_mlp, self.n_classes = tables.W_L.shape
        self.act_fn = model.act_fn
        self.n_rectified = self.d_mlp if model.act_fn == "relu" else 0
        self.hidden = tables.const.new_empty(len(chunk.b), len(tables.const))
        self.back = torch.empty_like(self.hidden)
        self.pattern = np.empty((len(chunk.b), len(tables.table), 2), np.float32)
        self.table, self.scores, self.const = (x.detach().numpy() for x in tables[:3])

    def _neurons(self, rows: Tensor) -> Tensor:
        return rows[:, : self.d_mlp]

    def _classes(self, rows: Tensor) -> Tensor:
        return rows[:, self.d_mlp : self.d_mlp + self.n_classes]

    def forward(self) -> Tensor:
        """The logits."""
        chunk, hidden = self.chunk, self.hidden.numpy()
        arguments = (chunk.starts, chunk.b, self.scores, self.table, self.const, self.n_rectified, self.pattern, hidden)
        _share(self.kernels.mix, chunk.starts, *arguments)
        self.pre = self.neurons = self._neurons(self.hidden)
        if not self.n_rectified:
            with torch.enable_grad():
                self.pre = self.neurons.clone().requires_grad_()
                self.neurons = ACTIVATIONS[self.act_fn](self.pre)
        return self._classes(self.hidden).addmm_(self.neurons.detach(), self.tables.W_L.detach())

    def loss(self, logits: Tensor, config: LossConfig, wanted: Callable[..., Tensor], n_pairs: int) -> float:
        """This chunk's part of the mean over all pairs; its gradient in the logits goes into `back`."""
        chunk = self.chunk
        if config.name == "cross_entropy" and config.dtype == "float64":
            losses = np.empty(len(chunk.b))
            shape, smoothing = (self.d_mlp, self.n_classes), config.label_smoothing
            rows = (losses, self.hidden.numpy(), self.back.numpy())
            _share(
                self.kernels.cross_entropy,
                chunk.starts,
                chunk.starts,
                chunk.labels,
                *shape,
                smoothing,
                1 / n_pairs,
                *rows,
            )
            return losses.sum() / n_pairs
        with torch.enable_grad():
            z = logits.detach().requires_grad_()
            part = wanted(z, torch.from_numpy(chunk.labels)) * (len(z) / n_pairs)
            self.back[:, self.d_mlp + self.n_classes :] = 0
            self._classes(self.back).copy_(torch.autograd.grad(part, z)[0])
        return part.item()

    def backward(self, d_table: Tensor, d_scores: Tensor, d_const: Tensor, d_W_L: Tensor, *, adds: bool) -> None:
        """Write this chunk's gradients, or add them."""
        chunk, d_logits, d_neurons = self.chunk, self._classes(self.back), self._neurons(self.back)
        d_W_L.addmm_(self.neurons.detach().T, d_logits)
        torch.mm(d_logits, self.tables.W_L.detach().T, out=d_neurons)
        if not self.n_rectified:
            d_neurons.copy_(torch.autograd.grad(self.neurons, self.pre, d_neurons)[0])
        hidden, back, d_pattern = self.hidden.numpy(), self.back.numpy(), np.empty_like(self.pattern[:, :, 0])
        into = (d_pattern, d_scores.numpy(), d_table.numpy())
        rows = (chunk.starts, chunk.b, self.table, self.pattern, self.n_rectified, adds, hidden, back)
        _share(self.kernels.backward_a, chunk.starts, *rows, *into, d_const.numpy())
        _share(self.kernels.backward_b, chunk.b_starts, chunk.b_starts, chunk.b_pairs, self.pattern, adds, back, *into)


def _share(kernel: Callable[..., None], starts: np.ndarray, *arguments: Any) -> None:
    """Run a kernel over all tokens, in ranges of about equal numbers of pairs, one for each of torch's threads."""
    threads = torch.get_num_threads()
    inner = [starts.searchsorted(starts[-1] * i // threads) for i in range(1, threads)]
    bounds = [0, *inner, len(starts) - 1]
    others = [_pool(getpid(), threads).submit(kernel, lo, hi, *arguments) for lo, hi in pairwise(bounds[1:])]
    kernel(0, bounds[1], *arguments)
    for other in others:
        other.result()


@cache
def _pool(_: int, threads: int) -> ThreadPoolExecutor:
    """Of this process: a fork's threads are not its parent's."""
    return ThreadPoolExecutor(threads - 1)
