"""The loops over pairs of a training step, compiled by numba: what `training.tabulated` does for each pair.

Every kernel works on a range of tokens a (or b) and writes only what belongs to these, with sums in a fixed order. So
ranges can run in any number of threads, and a result has the same bits however many there are. Rows of `hidden` and
`back` hold the MLP's neurons, then one entry per class, then zeros; `starts` has the first pair of each token.

Each inner loop runs along one row and does one thing: such loops become SIMD, and several times slower otherwise.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


# With reassoc and contract sums become SIMD; infinities and NaN stay what they are.
_kernel = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
# Flags said outright: a function that says none takes its caller's, and `_exp` is wrong under reassoc.
_as_written = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
_without_nan = njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz"}, error_model="numpy")


@_kernel
@no_type_check
def mix(lo, hi, starts, b, scores, table, const, n_rectified, pattern, hidden):
    """Attention, and with it the MLP's input and the direct path: const + sum over heads of P_a A[a] + P_b B[b]."""
    heads, n = table.shape[0], table.shape[1] // 2
    for a in range(lo, hi):
        pairs = range(starts[a], starts[a + 1])
        for i in pairs:
            for h in range(heads):
                from_a, from_b, from_equals = scores[a, h], scores[n + b[i], h], scores[2 * n, h]
                largest = max(from_a, from_b, from_equals)
                e_a, e_b = math.exp(from_a - largest), math.exp(from_b - largest)
                total = e_a + e_b + math.exp(from_equals - largest)
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
    """Loss of each pair in float64, log1p(sum of exp(z_j - z_label)), and `scale` times its gradient into `back`."""
    for i in range(starts[lo], starts[hi]):
        z, gradient = hidden[i, n_neurons : n_neurons + n_classes], back[i, n_neurons:]
        right = np.float64(z[labels[i]])
        behind = _mean(z, right) if smoothing > 0 else 0.0
        z[labels[i]] = -np.inf
        # Above 0 if the answer is wrong: then the largest term is 1, and nothing overflows.
        shift = max(np.float64(_largest(z)) - right, 0.0)
        others = np.float64(0)
        for j in range(n_classes):
            term = _exp(np.float64(z[j]) - right - shift)
            others += term
            gradient[j] = term
        losses[i] = shift + math.log1p(others + math.expm1(-shift)) - smoothing * behind
        share, spread = scale / (others + math.exp(-shift)), scale * smoothing / n_classes
        factor, constant = np.float32(share), np.float32(spread)
        for j in range(n_classes):
            gradient[j] = gradient[j] * factor - constant
        gradient[labels[i]] = scale * smoothing - share * others - spread
        gradient[n_classes:] = 0


@_kernel
@no_type_check
def _mean(z, right):
    total = np.float64(0)
    for j in range(z.size):
        total += z[j] - right
    return total / z.size


@_without_nan
@no_type_check
def _largest(z):
    largest = z[0]
    for j in range(z.size):
        largest = max(largest, z[j])
    return largest


@_as_written
@no_type_check
def _exp(x):
    """The exponential of a number up to 0, in float64 to its last digits, by operations that SIMD has."""
    bounded = max(x, -700.0)
    # Next to 1.5 * 2^52, the last bits of a float64 are the nearest integer.
    shifted = np.float64(bounded * 1.4426950408889634 + 6755399441055744.0)
    k = shifted - 6755399441055744.0
    r = (bounded - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    mantissa = np.float64(_taylor(r))
    return np.int64(mantissa.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)


@_as_written
@no_type_check
def _taylor(x):
    """The exponential of a number within log(2) / 2 of 0."""
    y = x * (1 / 479001600) + 1 / 39916800
    y = ((y * x + 1 / 3628800) * x + 1 / 362880) * x + 1 / 40320
    y = ((y * x + 1 / 5040) * x + 1 / 720) * x + 1 / 120
    return ((((y * x + 1 / 24) * x + 1 / 6) * x + 1 / 2) * x + 1) * x + 1


@_kernel
@no_type_check
def backward_a(
    lo, hi, starts, b, table, pattern, n_rectified, adds, hidden, back, d_scores_b, d_scores, d_table, d_const
):
    """What belongs to tokens a: gradients of A, of the constant, and of the scores by the pairs."""
    heads, n = table.shape[0], table.shape[1] // 2
    for a in range(lo, hi):
        pairs = range(starts[a], starts[a + 1])
        if not adds:
            d_scores[a] = 0
            d_scores[2 * n + a] = 0
            d_const[a] = 0
            d_table[:, a] = 0
        into = d_const[a]
        for i in pairs:
            row, neurons = back[i], hidden[i]
            for j in range(n_rectified):
                row[j] = row[j] if neurons[j] > 0 else np.float32(0)
            for j in range(row.size):
                into[j] += row[j]
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
def backward_b(lo, hi, starts, pairs, pattern, adds, back, d_scores_b, d_scores, d_table):
    """What belongs to tokens b: gradients of B and of the scores."""
    heads, n = d_table.shape[0], d_table.shape[1] // 2
    for b in range(lo, hi):
        if not adds:
            d_scores[n + b] = 0
            d_table[:, n + b] = 0
        for place in range(starts[b], starts[b + 1]):
            i = pairs[place]
            for h in range(heads):
                d_scores[n + b, h] += d_scores_b[i, h]
                _add(d_table[h, n + b], pattern[i, h, 1], back[i])


@_kernel
@no_type_check
def _dots(row, row_a, row_b):
    by_a, by_b = np.float32(0), np.float32(0)
    for j in range(row.size):
        by_a += row[j] * row_a[j]
        by_b += row[j] * row_b[j]
    return by_a, by_b


@_kernel
@no_type_check
def _add(into, factor, row):
    for j in range(into.size):
        into[j] += factor * row[j]
