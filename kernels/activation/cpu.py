"""Numba twins of the activations.

Elementwise ones see flat arrays of one dtype; ``i`` runs over elements. Softmax sees (n, c, s): ``r`` = (n, i)
flattened is one distribution over ``c``.
"""

import math

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel

ROOT_HALF, ROOT_2_OVER_PI = math.sqrt(0.5), math.sqrt(2 / math.pi)


@helper
def _sigmoid(v):
    """Without overflow: the exponential is only taken of what is not positive."""
    e = np.exp(-abs(v))
    return (1.0 if v >= 0 else e) / (1.0 + e)


@helper
def _softplus(v):
    """log(1 + exp(v)) without overflow."""
    return (v if not v <= 0 else 0.0) + np.log1p(np.exp(-abs(v)))


@kernel()
def relu_forward(x, y):
    for i in prange(x.size):
        v = x[i]
        y[i] = 0.0 if v <= 0 else v  # comparing this way round lets NaN through


@kernel()
def relu_grad_x(gy, y, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] if y[i] > 0 else 0.0


@kernel()
def hardtanh_forward(x, y, low, high):
    bottom, top = x.dtype.type(low), x.dtype.type(high)
    for i in prange(x.size):
        v = x[i]
        y[i] = bottom if v < bottom else top if v > top else v


@kernel()
def hardtanh_grad_x(gy, y, gx, low, high):
    bottom, top = y.dtype.type(low), y.dtype.type(high)
    for i in prange(gy.size):
        gx[i] = 0.0 if y[i] <= bottom or y[i] >= top else gy[i]


@kernel()
def leaky_relu_forward(x, y, slope):
    below = x.dtype.type(slope)
    for i in prange(x.size):
        v = x[i]
        y[i] = v if v > 0 else below * v


@kernel()
def leaky_relu_grad_x(gy, x, gx, slope):
    below = x.dtype.type(slope)
    for i in prange(gy.size):
        gx[i] = gy[i] if x[i] > 0 else below * gy[i]


@kernel()
def elu_forward(x, y, scale, alpha, beta):
    for i in prange(x.size):
        v = x[i]
        y[i] = scale * v if v > 0 else scale * alpha * np.expm1(beta * v)


@kernel()
def elu_grad_x(gy, x, gx, scale, alpha, beta):
    for i in prange(gy.size):
        v = x[i]
        gx[i] = scale * gy[i] if v > 0 else scale * alpha * beta * np.exp(beta * v) * gy[i]


@kernel()
def gelu_forward(x, y, by_tanh):
    for i in prange(x.size):
        v = np.float64(x[i])
        if by_tanh:
            y[i] = 0.5 * v * (1.0 + math.tanh(ROOT_2_OVER_PI * (v + 0.044715 * v * v * v)))
        else:
            y[i] = 0.5 * v * math.erfc(-ROOT_HALF * v)


@kernel()
def gelu_grad_x(gy, x, gx, by_tanh):
    for i in prange(gy.size):
        v = np.float64(x[i])
        if by_tanh:
            t = math.tanh(ROOT_2_OVER_PI * (v + 0.044715 * v * v * v))
            slope = ROOT_2_OVER_PI * (1.0 + 3 * 0.044715 * v * v)
            gx[i] = gy[i] * (0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * slope)
        else:
            density = 0.5 * ROOT_2_OVER_PI * np.exp(-0.5 * v * v)
            gx[i] = gy[i] * (0.5 * math.erfc(-ROOT_HALF * v) + v * density)


@kernel()
def silu_forward(x, y):
    for i in prange(x.size):
        y[i] = x[i] * _sigmoid(x[i])


@kernel()
def silu_grad_x(gy, x, gx):
    for i in prange(gy.size):
        s = _sigmoid(x[i])
        gx[i] = gy[i] * s * (1.0 + x[i] * (1.0 - s))


@kernel()
def hardswish_forward(x, y):
    for i in prange(x.size):
        v = x[i]
        y[i] = 0.0 if v <= -3 else v if v >= 3 else v * (v + 3) / 6


@kernel()
def hardswish_grad_x(gy, x, gx):
    for i in prange(gy.size):
        v = x[i]
        gx[i] = 0.0 if v <= -3 else gy[i] if v >= 3 else gy[i] * (2 * v + 3) / 6


@kernel()
def hardsigmoid_forward(x, y):
    for i in prange(x.size):
        v = x[i]
        y[i] = 0.0 if v <= -3 else 1.0 if v >= 3 else (v + 3) / 6


@kernel()
def hardsigmoid_grad_x(gy, x, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] / 6 if -3 < x[i] < 3 else 0.0


@kernel()
def sigmoid_forward(x, y):
    for i in prange(x.size):
        y[i] = _sigmoid(x[i])


@kernel()
def sigmoid_grad_x(gy, y, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] * y[i] * (1.0 - y[i])


@kernel()
def tanh_forward(x, y, outer, inner):
    for i in prange(x.size):
        y[i] = outer * np.tanh(inner * x[i])


@kernel()
def tanh_grad_x(gy, y, gx, outer, inner):
    for i in prange(gy.size):
        gx[i] = gy[i] * inner * (outer - y[i] * y[i] / outer)


@kernel(parallel=False)
def softplus_forward(x, y, beta, threshold):
    for i in range(x.size):
        v = beta * x[i]
        y[i] = x[i] if v > threshold else _softplus(v) / beta


@kernel(parallel=False)
def softplus_grad_x(gy, x, gx, beta, threshold):
    for i in range(gy.size):
        v = beta * x[i]
        gx[i] = gy[i] if v > threshold else gy[i] * _sigmoid(v)


@kernel()
def mish_forward(x, y):
    for i in prange(x.size):
        y[i] = x[i] * np.tanh(_softplus(x[i]))


@kernel()
def mish_grad_x(gy, x, gx):
    for i in prange(gy.size):
        t = np.tanh(_softplus(x[i]))
        gx[i] = gy[i] * (t + x[i] * _sigmoid(x[i]) * (1.0 - t * t))


@kernel(parallel=False)
def logsigmoid_forward(x, y):
    for i in range(x.size):
        y[i] = -_softplus(-x[i])


@kernel(parallel=False)
def logsigmoid_grad_x(gy, x, gx):
    for i in range(gy.size):
        gx[i] = gy[i] * _sigmoid(-x[i])


@kernel(parallel=False)
def prelu_forward(x, weight, y):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                v = x[n, c, i]
                y[n, c, i] = v if v > 0 else weight[c] * v


@kernel(parallel=False)
def prelu_grad_x(gy, x, weight, gx):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                gx[n, c, i] = gy[n, c, i] if x[n, c, i] > 0 else weight[c] * gy[n, c, i]


@kernel(parallel=False)
def prelu_grad_w(gy, x, gw):
    for c in range(x.shape[1]):
        total = 0.0
        for n in range(x.shape[0]):
            for i in range(x.shape[2]):
                if not x[n, c, i] > 0:
                    total += gy[n, c, i] * x[n, c, i]
        gw[c] = total


@helper
def _top(x, n, i):
    """The largest x[n, :, i], NaN if one of them is."""
    top = x[n, 0, i]
    for c in range(1, x.shape[1]):
        v = x[n, c, i]
        if not v <= top and top == top:
            top = v
    return top


@kernel()
def softmax_forward(x, y):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        top = _top(x, n, i)
        total = 0.0
        for c in range(classes):
            y[n, c, i] = np.exp(x[n, c, i] - top)
            total += y[n, c, i]
        for c in range(classes):
            y[n, c, i] = y[n, c, i] / total


@kernel()
def softmax_grad_x(gy, y, gx):
    classes, positions = y.shape[1], y.shape[2]
    for r in prange(y.shape[0] * positions):
        n, i = r // positions, r % positions
        total = 0.0
        for c in range(classes):
            total += gy[n, c, i] * np.float64(y[n, c, i])
        for c in range(classes):
            gx[n, c, i] = y[n, c, i] * (gy[n, c, i] - total)


@kernel()
def log_softmax_forward(x, y):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        top = _top(x, n, i)
        total = 0.0
        for c in range(classes):
            total += np.exp(x[n, c, i] - top)
        log_total = np.log(total)
        for c in range(classes):
            y[n, c, i] = (x[n, c, i] - top) - log_total


@kernel()
def log_softmax_grad_x(gy, y, gx):
    classes, positions = y.shape[1], y.shape[2]
    for r in prange(y.shape[0] * positions):
        n, i = r // positions, r % positions
        total = 0.0
        for c in range(classes):
            total += gy[n, c, i]
        for c in range(classes):
            gx[n, c, i] = gy[n, c, i] - np.exp(y[n, c, i]) * total
