"""Compiled loops over the pairs of a batch (numba), for the training step in `training.tabulated`.

Pairs are sorted by a: `starts[a]` is the index of the first pair of token a. Row i of `hidden` is one concatenated
vector for pair i: neurons, then logits, then zero padding; row i of `back` is the gradient of the loss with respect to
it. `table[h]` holds A over the n tokens, then B, and `scores` the attention scores (see `training.tabulated`).

Each kernel handles the tokens from `lo` to `hi` and writes only entries that belong to them, with sums in a fixed
order. The ranges can therefore run in any number of threads, and the result has the same bits for every number.

Each inner loop runs along one row and does one operation, because the compiler vectorizes only such loops (SIMD).
"""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit


def _compiled(*fastmath: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function with these fastmath flags, cached on disk if possible."""

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath), "error_model": "numpy"}
        try:
            return njit(function, cache=True, **options)
        except RuntimeError:
            # numba found no writable directory for its cache, neither next to this file nor in the user's home.
            return njit(function, **options)

    return compile_function


# reassoc and contract let the compiler vectorize sums; without nnan and ninf, infinities and NaN are preserved.
_kernel = _compiled("reassoc", "contract", "nsz")
# Separate flags: a function without its own inherits its caller's, and `_exp` is wrong under reassoc.
_ordered = _compiled("contract")
_without_nan = _compiled("reassoc", "nnan", "nsz")


@_kernel
@no_type_check
def mix(lo, hi, starts, b, scores, table, const, n_rectified, pattern, hidden):
    """Attention weights P, and `hidden` = const + sum over heads of (P_a A[a] + P_b B[b]), with ReLU on the neurons."""
    heads, n = table.shape[0], table.shape[1] // 2
    for a in range(lo, hi):
        pairs = range(starts[a], starts[a + 1])
        for i in pairs:
            for h in range(heads):
                from_a, from_b, from_fixed = scores[a, h], scores[n + b[i], h], scores[2 * n, h]
                largest = max(from_a, from_b, from_fixed)
                e_a, e_b = math.exp(from_a - largest), math.exp(from_b - largest)
                total = e_a + e_b + math.exp(from_fixed - largest)
                pattern[i, h, 0], pattern[i, h, 1] = e_a / total, e_b / total
        for i in pairs:
            row = hidden[i]
            for j in range(row.size):
                row[j] = const[j]
        for i in pairs:
            row = hidden[i]
            for h in range(heads):
                p_a, p_b, row_a, row_b = pattern[i, h, 0], pattern[i, h, 1], table[h, a], table[h, n + b[i]]
                for j in range(row.size):
                    row[j] += p_a * row_a[j] + p_b * row_b[j]
        for i in pairs:
            row = hidden[i]
            for j in range(n_rectified):
                row[j] = row[j] if row[j] > 0 else np.float32(0)


@_kernel
@no_type_check
def cross_entropy(lo, hi, starts, labels, n_neurons, n_classes, smoothing, scale, losses, hidden, back):
    """Cross-entropy of each pair in float64, as log(1 + sum of exp(z_j - z_label)) over the other classes j.

    Writes `scale` times the gradient with respect to the logits z into `back`.
    """
    for i in range(starts[lo], starts[hi]):
        z, gradient = hidden[i, n_neurons : n_neurons + n_classes], back[i, n_neurons:]
        z_label = np.float64(z[labels[i]])
        mean_difference = _mean(z, z_label) if smoothing > 0 else 0.0
        z[labels[i]] = -np.inf
        # Positive if the prediction is wrong: the largest term is then exp(0), so nothing overflows.
        shift = max(np.float64(_largest(z)) - z_label, 0.0)
        total = np.float64(0)
        for j in range(n_classes):
            term = _exp(np.float64(z[j]) - z_label - shift)
            total += term
            gradient[j] = term
        losses[i] = shift + math.log1p(total + math.expm1(-shift)) - smoothing * mean_difference
        factor, spread = scale / (total + math.exp(-shift)), scale * smoothing / n_classes
        factor32, spread32 = np.float32(factor), np.float32(spread)
        for j in range(n_classes):
            gradient[j] = gradient[j] * factor32 - spread32
        gradient[labels[i]] = scale * smoothing - factor * total - spread
        gradient[n_classes:] = 0


@_kernel
@no_type_check
def _mean(z, z_label):
    total = np.float64(0)
    for j in range(z.size):
        total += z[j] - z_label
    return total / z.size


@_without_nan
@no_type_check
def _largest(z):
    largest = z[0]
    for j in range(z.size):
        largest = max(largest, z[j])
    return largest


@_ordered
@no_type_check
def _exp(x):
    """exp(x) for x <= 0 to float64 precision, using only operations that vectorize.

    With x = k log 2 + r and an integer k, exp(x) = 2^k exp(r).
    """
    bounded = max(x, -700.0)
    # Adding 1.5 * 2^52 rounds to the nearest integer, which is then in the last bits of the float64.
    shifted = np.float64(bounded * 1.4426950408889634 + 6755399441055744.0)
    k = shifted - 6755399441055744.0
    r = (bounded - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    mantissa = np.float64(_taylor(r))
    return np.int64(mantissa.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)


@_ordered
@no_type_check
def _taylor(x):
    """exp(x) for |x| <= log(2) / 2, by its Taylor polynomial of degree 12."""
    y = x * (1 / 479001600) + 1 / 39916800
    y = ((y * x + 1 / 3628800) * x + 1 / 362880) * x + 1 / 40320
    y = ((y * x + 1 / 5040) * x + 1 / 720) * x + 1 / 120
    return ((((y * x + 1 / 24) * x + 1 / 6) * x + 1 / 2) * x + 1) * x + 1


@_kernel
@no_type_check
def backward_a(
    lo, hi, starts, b, table, pattern, n_rectified, accumulate, hidden, back, d_scores_b, d_scores, d_table, d_const
):
    """Gradients of A, of the constant (one row per token a), and of all attention scores.

    The scores' gradients belong to tokens a, to pairs (`d_scores_b`, which `backward_b` sums over the pairs of each b),
    and to the fixed positions, in rows 2n + a. If `accumulate` is set, gradients are added to the existing ones.
    """
    heads, n = table.shape[0], table.shape[1] // 2
    for a in range(lo, hi):
        pairs = range(starts[a], starts[a + 1])
        if not accumulate:
            d_scores[a] = 0
            d_scores[2 * n + a] = 0
            d_const[a] = 0
            d_table[:, a] = 0
        total = d_const[a]
        for i in pairs:
            row, neurons = back[i], hidden[i]
            for j in range(n_rectified):
                row[j] = row[j] if neurons[j] > 0 else np.float32(0)
            for j in range(row.size):
                total[j] += row[j]
        for i in pairs:
            for h in range(heads):
                by_a, by_b = _dots(back[i], table[h, a], table[h, n + b[i]])
                p_a, p_b = pattern[i, h, 0], pattern[i, h, 1]
                mean = p_a * by_a + p_b * by_b
                d_scores[a, h] += p_a * (by_a - mean)
                d_scores_b[i, h] = p_b * (by_b - mean)
                d_scores[2 * n + a, h] -= (1 - p_a - p_b) * mean
        for i in pairs:
            for h in range(heads):
                _add(d_table[h, a], pattern[i, h, 0], back[i])


@_kernel
@no_type_check
def backward_b(lo, hi, starts, pairs, pattern, accumulate, back, d_scores_b, d_scores, d_table):
    """Gradients of B and of the scores of tokens b; `starts` and `pairs` list the pairs of each b."""
    heads, n = d_table.shape[0], d_table.shape[1] // 2
    for b in range(lo, hi):
        if not accumulate:
            d_scores[n + b] = 0
            d_table[:, n + b] = 0
        for k in range(starts[b], starts[b + 1]):
            i = pairs[k]
            for h in range(heads):
                d_scores[n + b, h] += d_scores_b[i, h]
                _add(d_table[h, n + b], pattern[i, h, 1], back[i])


@_kernel
@no_type_check
def _dots(row, row_a, row_b):
    """The dot products of a row with two others."""
    by_a, by_b = np.float32(0), np.float32(0)
    for j in range(row.size):
        by_a += row[j] * row_a[j]
        by_b += row[j] * row_b[j]
    return by_a, by_b


@_kernel
@no_type_check
def _add(total, factor, row):
    for j in range(total.size):
        total[j] += factor * row[j]
