"""The loops over pairs of a training step, compiled by numba: what `training.tabulated` does for each pair.

Every kernel works on a range of tokens a (or b) and writes only what belongs to these, with sums in a fixed order. So
ranges can run in any number of threads, and a result has the same bits however many there are. Rows of `hidden` and
`back` hold the MLP's neurons, then one entry per class, then zeros.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit


# reassoc and contract let sums use SIMD; nothing here may assume that infinities and NaN do not occur.
_kernel = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
# Said outright, since a function that says nothing of it inherits its caller's: `_exp` needs its operations as written.
_exact = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
@no_type_check
def mix(lo, hi, start, b, scores, table, const, n_rectified, pattern, hidden):
    """Attention, and with it the MLP's input and the direct path: const + sum over heads of P_a A[a] + P_b B[b]."""
    heads = scores.shape[1]
    n = scores.shape[0] // 2
    for a in range(lo, hi):
        for i in range(start[a], start[a + 1]):
            for h in range(heads):
                from_a, from_b, from_equals = scores[a, h], scores[n + b[i], h], scores[2 * n, h]
                largest = max(from_a, from_b, from_equals)
                e_a, e_b = math.exp(from_a - largest), math.exp(from_b - largest)
                total = e_a + e_b + math.exp(from_equals - largest)
                pattern[i, h, 0], pattern[i, h, 1] = e_a / total, e_b / total
            row = hidden[i]
            row[:] = const
            for h in range(heads):
                p_a, p_b = pattern[i, h, 0], pattern[i, h, 1]
                row_a, row_b = table[h, a], table[h, n + b[i]]
                for j in range(row.size):
                    row[j] += p_a * row_a[j] + p_b * row_b[j]
            for j in range(n_rectified):
                row[j] = max(row[j], np.float32(0))


@_kernel
@no_type_check
def cross_entropy(lo, hi, start, labels, n_neurons, n_classes, smoothing, scale, losses, hidden, back):
    """Loss of each pair in float64, log1p(sum of exp(z_j - z_label)), and `scale` times its gradient into `back`."""
    for i in range(start[lo], start[hi]):
        z, gradient = hidden[i, n_neurons:], back[i, n_neurons:]
        right = np.float64(z[labels[i]])
        mean = np.float64(0)
        for j in range(n_classes):
            mean += z[j]
        mean /= n_classes
        z[labels[i]] = -np.inf
        largest = z[0]
        for j in range(n_classes):
            largest = max(largest, z[j])
        # Above 0 if the answer is wrong: then the largest term is 1 and nothing overflows.
        shift = max(np.float64(largest) - right, 0.0)
        others = np.float64(0)
        for j in range(n_classes):
            term = _exp(np.float64(z[j]) - right - shift)
            others += term
            gradient[j] = term
        losses[i] = shift + math.log1p(others + math.expm1(-shift)) + smoothing * (right - mean)
        share = scale / (others + math.exp(-shift))
        factor, spread = np.float32(share), np.float32(scale * smoothing / n_classes)
        for j in range(n_classes):
            gradient[j] = gradient[j] * factor - spread
        gradient[labels[i]] = scale * smoothing - share * others - spread
        gradient[n_classes:] = 0


@_exact
@no_type_check
def _exp(x):
    """The exponential of a number up to 0, in float64 to its last digits, by operations that SIMD has."""
    bounded = max(x, -700.0)
    # Next to 1.5 * 2^52, the last bits of a float64 are the nearest integer.
    shifted = np.float64(bounded * 1.4426950408889634 + 6755399441055744.0)
    k = shifted - 6755399441055744.0
    mantissa = np.float64(_taylor((bounded - k * 0.6931471803691238) - k * 1.9082149292705877e-10))
    return np.int64(mantissa.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)


@_exact
@no_type_check
def _taylor(x):
    """The exponential of a number of at most log(2) / 2."""
    result = 1 / 6227020800
    for factorial in (479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1):
        result = result * x + 1 / factorial
    return result


@_kernel
@no_type_check
def backward_a(
    lo, hi, start, b, table, pattern, n_rectified, adds, hidden, back, d_pattern, d_scores, d_table, d_const
):
    """What belongs to tokens a: gradients of A, of the constant, and of the scores by the pairs."""
    heads = pattern.shape[1]
    n = table.shape[1] // 2
    for a in range(lo, hi):
        if not adds:
            d_scores[a] = 0
            d_scores[2 * n + a] = 0
            d_const[a] = 0
            for h in range(heads):
                d_table[h, a] = 0
        for i in range(start[a], start[a + 1]):
            d, neurons = back[i], hidden[i]
            for j in range(n_rectified):
                d[j] = d[j] if neurons[j] > 0 else np.float32(0)
            for h in range(heads):
                row_a, row_b = table[h, a], table[h, n + b[i]]
                by_a, by_b = np.float32(0), np.float32(0)
                for j in range(d.size):
                    by_a += d[j] * row_a[j]
                    by_b += d[j] * row_b[j]
                p_a, p_b = pattern[i, h, 0], pattern[i, h, 1]
                mean = p_a * by_a + p_b * by_b
                d_scores[a, h] += p_a * (by_a - mean)
                d_pattern[i, h] = p_b * (by_b - mean)
                d_scores[2 * n + a, h] -= (1 - p_a - p_b) * mean
                into = d_table[h, a]
                for j in range(d.size):
                    into[j] += p_a * d[j]
            into = d_const[a]
            for j in range(d.size):
                into[j] += d[j]


@_kernel
@no_type_check
def backward_b(lo, hi, start, pair, pattern, adds, back, d_pattern, d_scores, d_table):
    """What belongs to tokens b: gradients of B and of the scores by the pairs."""
    heads = pattern.shape[1]
    n = d_table.shape[1] // 2
    for b in range(lo, hi):
        if not adds:
            d_scores[n + b] = 0
            for h in range(heads):
                d_table[h, n + b] = 0
        for place in range(start[b], start[b + 1]):
            i = pair[place]
            d = back[i]
            for h in range(heads):
                p_b = pattern[i, h, 1]
                d_scores[n + b, h] += d_pattern[i, h]
                into = d_table[h, n + b]
                for j in range(d.size):
                    into[j] += p_b * d[j]
