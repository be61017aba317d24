"""Numba twins of the activations.

Elementwise ones see flat arrays of one dtype; ``i`` runs over elements. Softmax sees (n, c, s): ``r`` = (n, i)
flattened is one distribution over ``c``. Flat views are made one a line: Numba drops what is written into a view that a
tuple carried.

Constants have the dtype of the array: to Numba a float32 plus 1 is a float64, in which half as many are computed at a
time.
"""

import math

import numpy as np
from numba import prange

from minicnn.kernels.elementary import exp, expm1, largest, normal_cdf, sigmoid, softplus, tanh
from minicnn.kernels.jit import helper, kernel

ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


@kernel(elementwise=True)
def relu_forward(x, y):
    zero = x.dtype.type(0)
    for i in prange(x.size):
        v = x[i]
        y[i] = zero if v <= zero else v  # comparing this way round lets NaN through


@kernel(elementwise=True)
def relu_grad_x(gy, y, gx):
    zero = y.dtype.type(0)
    for i in prange(gy.size):
        gx[i] = gy[i] if y[i] > zero else zero


@kernel(elementwise=True)
def hardtanh_forward(x, y, low, high):
    bottom, top = x.dtype.type(low), x.dtype.type(high)
    for i in prange(x.size):
        v = x[i]
        y[i] = bottom if v < bottom else top if v > top else v


@kernel(elementwise=True)
def hardtanh_grad_x(gy, y, gx, low, high):
    zero, bottom, top = y.dtype.type(0), y.dtype.type(low), y.dtype.type(high)
    for i in prange(gy.size):
        gx[i] = zero if y[i] <= bottom or y[i] >= top else gy[i]


@kernel(elementwise=True)
def leaky_relu_forward(x, y, slope):
    zero, below = x.dtype.type(0), x.dtype.type(slope)
    for i in prange(x.size):
        v = x[i]
        y[i] = v if v > zero else below * v


@kernel(elementwise=True)
def leaky_relu_grad_x(gy, x, gx, slope):
    zero, below = x.dtype.type(0), x.dtype.type(slope)
    for i in prange(gy.size):
        gx[i] = gy[i] if x[i] > zero else below * gy[i]


@kernel(elementwise=True)
def elu_forward(x, y, scale, alpha, beta):
    zero, bend = x.dtype.type(0), x.dtype.type(beta)
    above, below = x.dtype.type(scale), x.dtype.type(scale * alpha)
    for i in prange(x.size):
        v = x[i]
        y[i] = above * v if v > zero else below * expm1(bend * v)


@kernel(elementwise=True)
def elu_grad_x(gy, x, gx, scale, alpha, beta):
    zero, bend = x.dtype.type(0), x.dtype.type(beta)
    above, below = x.dtype.type(scale), x.dtype.type(scale * alpha * beta)
    for i in prange(gy.size):
        v = x[i]
        gx[i] = gy[i] * (above if v > zero else below * exp(bend * v))


@helper
def _gelu_gate(v, one, cubic, double):
    """The sigmoid that stands for Phi, and the derivative of its argument ``2 sqrt(2/pi) (v + 0.044715 v^3)``."""
    square = cubic * v * v
    return sigmoid(double * (v + square * v)), double * (one + square + square + square)


@kernel(elementwise=True)
def gelu_forward(x, y, by_tanh):
    one, cubic, double = x.dtype.type(1), x.dtype.type(0.044715), x.dtype.type(2 * ROOT_2_OVER_PI)
    if by_tanh:
        for i in prange(x.size):
            y[i] = x[i] * _gelu_gate(x[i], one, cubic, double)[0]
    else:
        for i in prange(x.size):
            y[i] = x[i] * normal_cdf(x[i])


@kernel(elementwise=True)
def gelu_grad_x(gy, x, gx, by_tanh):
    one, cubic, double = x.dtype.type(1), x.dtype.type(0.044715), x.dtype.type(2 * ROOT_2_OVER_PI)
    half, peak = x.dtype.type(-0.5), x.dtype.type(0.5 * ROOT_2_OVER_PI)
    if by_tanh:
        for i in prange(gy.size):
            s, slope = _gelu_gate(x[i], one, cubic, double)
            gx[i] = gy[i] * (s + x[i] * s * (one - s) * slope)
    else:
        for i in prange(gy.size):
            gx[i] = gy[i] * (normal_cdf(x[i]) + x[i] * peak * exp(half * x[i] * x[i]))


@kernel(elementwise=True)
def silu_forward(x, y):
    for i in prange(x.size):
        y[i] = x[i] * sigmoid(x[i])


@kernel(elementwise=True)
def silu_grad_x(gy, x, gx):
    one = x.dtype.type(1)
    for i in prange(gy.size):
        s = sigmoid(x[i])
        gx[i] = gy[i] * s * (one + x[i] * (one - s))


@kernel(elementwise=True)
def hardswish_forward(x, y):
    zero, three, six = x.dtype.type(0), x.dtype.type(3), x.dtype.type(6)
    for i in prange(x.size):
        v = x[i]
        y[i] = zero if v <= -three else v if v >= three else v * (v + three) / six


@kernel(elementwise=True)
def hardswish_grad_x(gy, x, gx):
    zero, three, six = x.dtype.type(0), x.dtype.type(3), x.dtype.type(6)
    for i in prange(gy.size):
        v = x[i]
        gx[i] = zero if v <= -three else gy[i] if v >= three else gy[i] * (v + v + three) / six


@kernel(elementwise=True)
def hardsigmoid_forward(x, y):
    zero, one, three, six = x.dtype.type(0), x.dtype.type(1), x.dtype.type(3), x.dtype.type(6)
    for i in prange(x.size):
        v = x[i]
        y[i] = zero if v <= -three else one if v >= three else (v + three) / six


@kernel(elementwise=True)
def hardsigmoid_grad_x(gy, x, gx):
    zero, three, six = x.dtype.type(0), x.dtype.type(3), x.dtype.type(6)
    for i in prange(gy.size):
        gx[i] = gy[i] / six if -three < x[i] < three else zero


@kernel(elementwise=True)
def sigmoid_forward(x, y):
    for i in prange(x.size):
        y[i] = sigmoid(x[i])


@kernel(elementwise=True)
def sigmoid_grad_x(gy, y, gx):
    one = y.dtype.type(1)
    for i in prange(gy.size):
        gx[i] = gy[i] * y[i] * (one - y[i])


@kernel(elementwise=True)
def tanh_forward(x, y, outer, inner):
    out, into = x.dtype.type(outer), x.dtype.type(inner)
    for i in prange(x.size):
        y[i] = out * tanh(into * x[i])


@kernel(elementwise=True)
def tanh_grad_x(gy, y, gx, outer, inner):
    most, steepest = y.dtype.type(inner * outer), y.dtype.type(inner / outer)
    for i in prange(gy.size):
        gx[i] = gy[i] * (most - steepest * y[i] * y[i])


@kernel(elementwise=True)
def softplus_forward(x, y, beta, threshold):
    bend, top = x.dtype.type(beta), x.dtype.type(threshold)
    for i in prange(x.size):
        v = bend * x[i]
        y[i] = x[i] if v > top else softplus(v) / bend


@kernel(elementwise=True)
def softplus_grad_x(gy, x, gx, beta, threshold):
    bend, top = x.dtype.type(beta), x.dtype.type(threshold)
    for i in prange(gy.size):
        v = bend * x[i]
        gx[i] = gy[i] if v > top else gy[i] * sigmoid(v)


@helper
def _tanh_softplus(v, one, two, most):
    """tanh(log(1 + e^v)) = n / (n + 2) with n = e^v (e^v + 2); it is 1 beyond 20."""
    e = exp(most if v > most else v)
    n = e * (e + two)
    return one if v > most else n / (n + two)  # never v * n, which overflows


@kernel(elementwise=True)
def mish_forward(x, y):
    one, two, most = x.dtype.type(1), x.dtype.type(2), x.dtype.type(20)
    for i in prange(x.size):
        y[i] = x[i] * _tanh_softplus(x[i], one, two, most)


@kernel(elementwise=True)
def mish_grad_x(gy, x, gx):
    one, two, most = x.dtype.type(1), x.dtype.type(2), x.dtype.type(20)
    for i in prange(gy.size):
        t = _tanh_softplus(x[i], one, two, most)
        gx[i] = gy[i] * (t + x[i] * sigmoid(x[i]) * (one - t * t))


@kernel(elementwise=True)
def logsigmoid_forward(x, y):
    for i in prange(x.size):
        y[i] = -softplus(-x[i])


@kernel(elementwise=True)
def logsigmoid_grad_x(gy, x, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] * sigmoid(-x[i])


@kernel()
def prelu_forward(x, weight, y):
    zero, channels = x.dtype.type(0), x.shape[1]
    for plane in prange(x.shape[0] * channels):
        n, c = plane // channels, plane % channels
        below = weight[c]
        for i in range(x.shape[2]):
            v = x[n, c, i]
            y[n, c, i] = v if v > zero else below * v


@kernel()
def prelu_grad_x(gy, x, weight, gx):
    zero, channels = x.dtype.type(0), x.shape[1]
    for plane in prange(x.shape[0] * channels):
        n, c = plane // channels, plane % channels
        below = weight[c]
        for i in range(x.shape[2]):
            gx[n, c, i] = gy[n, c, i] if x[n, c, i] > zero else below * gy[n, c, i]


@kernel()
def prelu_grad_w(gy, x, gw):
    """A plane's sum each, in float64; then the sums of a channel's planes."""
    zero, channels = x.dtype.type(0), x.shape[1]
    sums = np.empty((x.shape[0], channels))
    for plane in prange(x.shape[0] * channels):
        n, c = plane // channels, plane % channels
        total = 0.0
        for i in range(x.shape[2]):
            total += np.float64(zero if x[n, c, i] > zero else gy[n, c, i] * x[n, c, i])
        sums[n, c] = total
    for c in range(channels):
        total = 0.0
        for n in range(x.shape[0]):
            total += sums[n, c]
        gw[c] = total


@helper
def _first(r, classes, positions):
    """Where in the flat array distribution ``r`` = (n, i) begins; its classes are ``positions`` apart."""
    return np.uintp(r) // positions * classes * positions + np.uintp(r) % positions


@kernel()
def softmax_forward(x, y):
    classes, positions = np.uintp(x.shape[1]), np.uintp(x.shape[2])
    flat = x.reshape(-1)
    out = y.reshape(-1)
    for r in prange(x.shape[0] * x.shape[2]):
        first = _first(r, classes, positions)
        top = largest(flat, first, classes, positions)
        total = 0.0
        for c in range(classes):
            e = exp(flat[first + c * positions] - top)
            out[first + c * positions] = e
            total += np.float64(e)
        share = x.dtype.type(1.0 / total)
        for c in range(classes):
            out[first + c * positions] *= share


@kernel()
def softmax_grad_x(gy, y, gx):
    classes, positions = np.uintp(y.shape[1]), np.uintp(y.shape[2])
    upstream = gy.reshape(-1)
    flat = y.reshape(-1)
    out = gx.reshape(-1)
    for r in prange(y.shape[0] * y.shape[2]):
        first = _first(r, classes, positions)
        total = 0.0
        for c in range(classes):
            k = first + c * positions
            total += np.float64(upstream[k]) * np.float64(flat[k])
        mean = y.dtype.type(total)
        for c in range(classes):
            k = first + c * positions
            out[k] = flat[k] * (upstream[k] - mean)


@kernel()
def log_softmax_forward(x, y):
    classes, positions = np.uintp(x.shape[1]), np.uintp(x.shape[2])
    flat = x.reshape(-1)
    out = y.reshape(-1)
    for r in prange(x.shape[0] * x.shape[2]):
        first = _first(r, classes, positions)
        top = largest(flat, first, classes, positions)
        total = 0.0
        for c in range(classes):
            total += np.float64(exp(flat[first + c * positions] - top))
        log_total = x.dtype.type(np.log(total))
        for c in range(classes):
            out[first + c * positions] = (flat[first + c * positions] - top) - log_total


@kernel()
def log_softmax_grad_x(gy, y, gx):
    classes, positions = np.uintp(y.shape[1]), np.uintp(y.shape[2])
    upstream = gy.reshape(-1)
    flat = y.reshape(-1)
    out = gx.reshape(-1)
    for r in prange(y.shape[0] * y.shape[2]):
        first = _first(r, classes, positions)
        total = 0.0
        for c in range(classes):
            total += np.float64(upstream[first + c * positions])
        mass = y.dtype.type(total)
        for c in range(classes):
            k = first + c * positions
            out[k] = upstream[k] - exp(flat[k]) * mass
