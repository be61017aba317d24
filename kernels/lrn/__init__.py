"""Local response normalisation across channels: each pixel is divided by a power of its neighbours' energy.

``x`` is contiguous (N, C, *). **Math** ``y[k] = x[k] / d[k]^beta`` with ``d[k] = bias + scale * sum x[q]^2`` over the
channels ``k - size//2 <= q <= k + (size-1)//2`` that exist.
"""

from math import prod

from minicnn.kernels.arrays import Array, allocate, twin


def lrn_forward(x: Array, size: int, scale: float, beta: float, bias: float) -> Array:
    """``y`` as above; ``scale`` multiplies the plain sum of squares (PyTorch's alpha is ``scale * size``)."""
    y = allocate(x, x.shape)
    c, rows = x.shape[1], (x.shape[0] * x.shape[1], prod(x.shape[2:]))
    options = (c, size // 2, (size - 1) // 2, scale, beta, bias)
    twin(__name__, x).lrn_forward(x.reshape(rows), *options, y.reshape(rows))
    return y


def lrn_grad_x(gy: Array, x: Array, size: int, scale: float, beta: float, bias: float) -> Array:
    """``gx[k] = gy[k] d[k]^-beta - 2 scale beta x[k] sum gy[q] x[q] d[q]^(-beta-1)`` over the windows with k."""
    gx, ratio = allocate(x, x.shape), allocate(x, x.shape)
    c, rows = x.shape[1], (x.shape[0] * x.shape[1], prod(x.shape[2:]))
    options = (c, size // 2, (size - 1) // 2, scale, beta, bias)
    twin(__name__, x).lrn_grad_x(gy.reshape(rows), x.reshape(rows), *options, ratio.reshape(rows), gx.reshape(rows))
    return gx
