"""Sums that leave one number a channel."""

from math import prod

from minicnn.kernels.arrays import Array, allocate, twin


def channel_sum(x: Array) -> Array:
    """``y[k] = sum over n, * of x[n, k, *]``: the gradient of a bias. **Shapes** contiguous (N, K, *) -> (K,).

    Summed in float64, in an order that depends on the shape alone.
    """
    y = allocate(x, x.shape[1:2])
    twin(__name__, x).channel_sum(x.reshape(*x.shape[:2], prod(x.shape[2:])), y)
    return y
