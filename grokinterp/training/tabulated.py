"""The engine `kernels`: the training step of a one-layer transformer, from tables over tokens and compiled loops.

The logits are read at '='. There, head h attends to a, b and the fixed positions ('=' and, if present, 'op') with
weights P_a[h], P_b[h] and 1 - P_a[h] - P_b[h], and its output is the sum of the positions' values, weighted by these.
Without normalization, everything from the values to the MLP's input (W_in) and the direct path to the logits (W_U) is
linear. With W_in and W_U concatenated to [W_in | W_U], the preactivations and the direct path of a pair are

    const + sum over heads h of (P_a[h] A[h, a] + P_b[h] B[h, b])

with A[h, a] = (v_a - v_fixed) W_O[h] [W_in | W_U], where v_a is the value vector of token a at the first position; B is
the same for b. A and B have a row per token and not per pair, so a pair costs two multiply-adds per head and entry.
The fixed positions count as one position: its attention score is the logsumexp of their scores, and its value v_fixed
their mean, weighted by the softmax of these scores.

Autograd differentiates the small tables; the gradients from the tables to the loss are written by hand below.
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


# Maximum number of pairs in memory at a time: the size of a usual full batch, so that memory is bounded for any p.
CHUNK: Final = 4096


class Tables(NamedTuple):
    """The model's tables over tokens; the width is the number of columns of [W_in | W_U], padded with zeros.

    Attributes:
        table: [head, 2n, width]. A for the n tokens, then B.
        scores: [2n + 1, head]. Attention scores of each a, of each b, and of the fixed positions together.
        const: [width]. Preactivations and direct path without attention to a and b.
        W_L: Map from neurons to logits, W_out W_U.
    """

    table: Tensor
    scores: Tensor
    const: Tensor
    W_L: Float[Tensor, "d_mlp d_vocab_out"]


def tabulate(params: Params, config: TransformerConfig) -> Tables:
    """The tables of a model; the width is padded to a multiple of 16."""
    weight = {name.rsplit(".", 1)[-1]: tensor for name, tensor in params.items()}
    W_E, W_pos, W_in, W_U = (weight[name] for name in ("W_E", "W_pos", "W_in", "W_U"))
    n_fixed = len(EXTRA_TOKENS[config.sequence])
    n = len(W_E) - n_fixed
    # Split and unbind, because the gradients of slices are padded with zeros and summed.
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
    W_O_read = weight["W_O"] @ read
    table = (values - fixed_values) @ W_O_read
    const = (fixed_values @ W_O_read).sum((0, 1)) + (equals + weight.get("b_O", 0.0)) @ read
    if "b_in" in weight:
        biases = torch.cat([weight["b_in"], weight["b_out"] @ W_U + weight.get("b_U", 0.0)])
        const = const + torch.nn.functional.pad(biases, (0, len(const) - len(biases)))
    return Tables(table, scores, const, weight["W_out"] @ W_U)


class Chunk(NamedTuple):
    """Pairs sorted by a, with an index by b.

    Attributes:
        starts: Index of the first pair of each a, and the number of pairs.
        b: Token b of each pair.
        labels: Label of each pair.
        b_starts: Index into `b_pairs` of the first pair of each b, and the number of pairs.
        b_pairs: Indices of the pairs, sorted by b.
    """

    starts: np.ndarray
    b: np.ndarray
    labels: np.ndarray
    b_starts: np.ndarray
    b_pairs: np.ndarray


def chunks(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], labels: Int[Tensor, " batch"], n: int) -> list[Chunk]:
    """The pairs, sorted by a, in chunks of at most `CHUNK`."""
    tokens = torch.arange(n + 1)
    result = []
    for pairs in torch.argsort(a, stable=True).split(CHUNK):
        b_chunk = b[pairs]
        b_pairs = torch.argsort(b_chunk, stable=True)
        starts, b_starts = (torch.searchsorted(x.contiguous(), tokens) for x in (a[pairs], b_chunk[b_pairs]))
        result.append(Chunk(*(x.numpy() for x in (starts, b_chunk, labels[pairs], b_starts, b_pairs))))
    return result


class TabulatedEngine:
    """Loss and logits by the compiled kernels, on the CPU in float32.

    Args:
        model: A one-layer transformer without normalization that is read at '='.
        loss: Settings of the training loss.
    """

    def __init__(self, model: TransformerConfig, loss: LossConfig) -> None:
        # Imported only if needed, because importing numba takes 0.3 s.
        from grokinterp.training import kernels

        self._kernels, self._model, self._loss = kernels, model, loss
        self._objective = objective(loss)
        self._cached_chunks: tuple[tuple[Tensor, ...], list[Chunk]] = ((), [])

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
        for pairs, chunk in zip(order.split(CHUNK), chunks(a, b, order, len(tables.scores) // 2), strict=True):
            logits[pairs] = _Pass(self._kernels, self._model, tables, chunk).forward()
        return logits

    def _chunks(self, a: Tensor, b: Tensor, labels: Tensor, n: int) -> list[Chunk]:
        """The chunks of a batch; the full batch's are cached, since it is the same tensors at every update."""
        batch = (a, b, labels)
        cached = self._cached_chunks[0]
        if not cached or any(x is not y for x, y in zip(batch, cached, strict=True)):
            self._cached_chunks = (batch, chunks(a, b, labels, n))
        return self._cached_chunks[1]

    def loss_and_gradients(self, tables: Tables, batch: list[Chunk]) -> tuple[Tensor, Tables]:
        """The mean loss, and its gradients with respect to the tables."""
        n_pairs = sum(len(chunk.b) for chunk in batch)
        heads, two_n, width = tables.table.shape
        d_table, d_scores = torch.empty_like(tables.table), tables.scores.new_empty(3 * two_n // 2, heads)
        d_const, d_W_L = tables.const.new_empty(two_n // 2, width), torch.zeros_like(tables.W_L)
        total = torch.zeros((), dtype=torch.float64)
        for i, chunk in enumerate(batch):
            step = _Pass(self._kernels, self._model, tables, chunk)
            logits = step.forward()
            total += step.loss(logits, self._loss, self._objective, n_pairs)
            step.backward(d_table, d_scores, d_const, d_W_L, accumulate=i > 0)
        d_fixed = d_scores[two_n:].sum(0, keepdim=True)
        return total, Tables(d_table, torch.cat([d_scores[:two_n], d_fixed]), d_const.sum(0), d_W_L)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, scores: Tensor, const: Tensor, W_L: Tensor, engine: Any, batch: Any) -> Tensor:
        tables = Tables(table, scores, const, W_L)
        loss, ctx.gradients = engine.loss_and_gradients(tables, batch)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = grad.item()
        return *(x if scale == 1 else x * scale for x in ctx.gradients), None, None


class _Pass:
    """Forward and backward pass of one chunk; `hidden` and `back` are laid out as in `training.kernels`."""

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
        """Compute the logits."""
        chunk, hidden = self.chunk, self.hidden.numpy()
        arguments = (chunk.starts, chunk.b, self.scores, self.table, self.const, self.n_rectified, self.pattern, hidden)
        _run_parallel(self.kernels.mix, chunk.starts, *arguments)
        self.pre = self.neurons = self._neurons(self.hidden)
        if not self.n_rectified:
            with torch.enable_grad():
                self.pre = self.neurons.clone().requires_grad_()
                self.neurons = ACTIVATIONS[self.act_fn](self.pre)
        return self._classes(self.hidden).addmm_(self.neurons.detach(), self.tables.W_L.detach())

    def loss(self, logits: Tensor, config: LossConfig, objective: Callable[..., Tensor], n_pairs: int) -> float:
        """This chunk's contribution to the mean loss over all pairs; writes the gradient of the logits into `back`."""
        chunk = self.chunk
        if config.name == "cross_entropy" and config.dtype == "float64":
            losses = np.empty(len(chunk.b))
            sizes = (self.d_mlp, self.n_classes, config.label_smoothing, 1 / n_pairs)
            arguments = (chunk.starts, chunk.labels, *sizes, losses, self.hidden.numpy(), self.back.numpy())
            _run_parallel(self.kernels.cross_entropy, chunk.starts, *arguments)
            return losses.sum() / n_pairs
        with torch.enable_grad():
            z = logits.detach().requires_grad_()
            loss = objective(z, torch.from_numpy(chunk.labels)) * (len(z) / n_pairs)
            self.back[:, self.d_mlp + self.n_classes :] = 0
            self._classes(self.back).copy_(torch.autograd.grad(loss, z)[0])
        return loss.item()

    def backward(self, d_table: Tensor, d_scores: Tensor, d_const: Tensor, d_W_L: Tensor, *, accumulate: bool) -> None:
        """Write this chunk's gradients; `accumulate` adds them to the existing ones."""
        chunk, d_logits, d_neurons = self.chunk, self._classes(self.back), self._neurons(self.back)
        d_W_L.addmm_(self.neurons.detach().T, d_logits)
        torch.mm(d_logits, self.tables.W_L.detach().T, out=d_neurons)
        if not self.n_rectified:
            d_neurons.copy_(torch.autograd.grad(self.neurons, self.pre, d_neurons)[0])
        hidden, back, d_scores_b = self.hidden.numpy(), self.back.numpy(), np.empty_like(self.pattern[:, :, 0])
        out = (d_scores_b, d_scores.numpy(), d_table.numpy())
        inputs = (chunk.starts, chunk.b, self.table, self.pattern, self.n_rectified, accumulate, hidden, back)
        _run_parallel(self.kernels.backward_a, chunk.starts, *inputs, *out, d_const.numpy())
        inputs = (chunk.b_starts, chunk.b_pairs, self.pattern, accumulate, back)
        _run_parallel(self.kernels.backward_b, chunk.b_starts, *inputs, *out)


def _run_parallel(kernel: Callable[..., None], starts: np.ndarray, *arguments: Any) -> None:
    """Run a kernel over all tokens in ranges with about equal numbers of pairs, one range per torch thread."""
    threads = torch.get_num_threads()
    inner = [starts.searchsorted(starts[-1] * i // threads) for i in range(1, threads)]
    bounds = [0, *inner, len(starts) - 1]
    futures = [_pool(getpid(), threads).submit(kernel, lo, hi, *arguments) for lo, hi in pairwise(bounds[1:])]
    kernel(0, bounds[1], *arguments)
    for future in futures:
        future.result()


@cache
def _pool(_: int, threads: int) -> ThreadPoolExecutor:
    """The thread pool of this process; a forked process does not inherit its parent's threads."""
    return ThreadPoolExecutor(threads - 1)
