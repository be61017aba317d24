"""Numba twins of the optimiser steps: flat arrays of one dtype, ``i`` over elements. At the end, averages and clipping
in plain NumPy, over lists of arrays of any strides.

Hyper-parameters arrive as Python floats; they are rounded to the weight's dtype so that float32 weights are computed
in float32, after differences such as ``1 - beta2`` were taken in float64.

No fastmath: were products fused into sums, bits would depend on where the threads share the work, and on whether the
code was compiled just now or read from the cache.
"""

import math

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel, strict_helper


@strict_helper
def _gradient(w, g, decay, maximize):
    return (-g if maximize else g) + decay * w


@kernel(fastmath=False, elementwise=True)
def sgd_step(w, g, lr, weight_decay, maximize):
    rate, decay = w.dtype.type(lr), w.dtype.type(weight_decay)
    for i in prange(w.size):
        w[i] -= rate * _gradient(w[i], g[i], decay, maximize)


@kernel(fastmath=False, elementwise=True)
def momentum_step(w, g, v, lr, momentum, dampening, weight_decay, nesterov, maximize):
    rate, decay = w.dtype.type(lr), w.dtype.type(weight_decay)
    mu, fresh = w.dtype.type(momentum), w.dtype.type(1 - dampening)
    for i in prange(w.size):
        gradient = _gradient(w[i], g[i], decay, maximize)
        velocity = mu * v[i] + fresh * gradient
        v[i] = velocity
        w[i] -= rate * (gradient + mu * velocity if nesterov else velocity)


@kernel(fastmath=False, elementwise=True)
def caffe_momentum_step(w, g, v, lr, momentum, weight_decay, nesterov, maximize):
    rate, decay, mu = w.dtype.type(lr), w.dtype.type(weight_decay), w.dtype.type(momentum)
    for i in prange(w.size):
        before = v[i]
        velocity = mu * before + rate * _gradient(w[i], g[i], decay, maximize)
        v[i] = velocity
        w[i] -= velocity + mu * (velocity - before) if nesterov else velocity


@kernel(fastmath=False, elementwise=True)
def adam_step(w, g, m, v, largest, rate, root, beta1, beta2, eps, weight_decay, shrink, maximize):
    amsgrad = largest.size > 0
    fresh1, keep2, fresh2 = w.dtype.type(1 - beta1), w.dtype.type(beta2), w.dtype.type(1 - beta2)
    step, unbias, tiny = w.dtype.type(rate), w.dtype.type(1 / root), w.dtype.type(eps)
    decay, keep = w.dtype.type(weight_decay), w.dtype.type(shrink)
    for i in prange(w.size):
        gradient = _gradient(w[i], g[i], decay, maximize)
        mean = m[i] + fresh1 * (gradient - m[i])
        square = keep2 * v[i] + fresh2 * gradient * gradient
        m[i], v[i] = mean, square
        if amsgrad:
            square = square if not square <= largest[i] else largest[i]
            largest[i] = square
        w[i] = keep * w[i] - step * mean / (np.sqrt(square) * unbias + tiny)


@kernel(fastmath=False, elementwise=True)
def rmsprop_step(w, g, square, mean, v, lr, alpha, eps, weight_decay, momentum, maximize):
    centered, moving = mean.size > 0, v.size > 0
    rate, decay, mu = w.dtype.type(lr), w.dtype.type(weight_decay), w.dtype.type(momentum)
    keep, fresh, tiny = w.dtype.type(alpha), w.dtype.type(1 - alpha), w.dtype.type(eps)
    for i in prange(w.size):
        gradient = _gradient(w[i], g[i], decay, maximize)
        variance = keep * square[i] + fresh * gradient * gradient
        square[i] = variance
        if centered:
            mean[i] += fresh * (gradient - mean[i])
            variance -= mean[i] * mean[i]
            variance = 0.0 if variance < 0 else variance  # by rounding, where gradients are all alike
        quotient = gradient / (np.sqrt(variance) + tiny)
        if moving:
            quotient += mu * v[i]
            v[i] = quotient
        w[i] -= rate * quotient


@kernel(fastmath=False, elementwise=True)
def adagrad_step(w, g, total, lr, eps, weight_decay, maximize):
    rate, decay, tiny = w.dtype.type(lr), w.dtype.type(weight_decay), w.dtype.type(eps)
    for i in prange(w.size):
        gradient = _gradient(w[i], g[i], decay, maximize)
        total[i] += gradient * gradient
        w[i] -= rate * gradient / (np.sqrt(total[i]) + tiny)


@kernel(fastmath=False, elementwise=True)
def adadelta_step(w, g, square, moved, lr, rho, eps, weight_decay, maximize):
    rate, decay, tiny = w.dtype.type(lr), w.dtype.type(weight_decay), w.dtype.type(eps)
    keep, fresh = w.dtype.type(rho), w.dtype.type(1 - rho)
    for i in prange(w.size):
        gradient = _gradient(w[i], g[i], decay, maximize)
        square[i] = keep * square[i] + fresh * gradient * gradient
        change = np.sqrt(moved[i] + tiny) / np.sqrt(square[i] + tiny) * gradient
        moved[i] = keep * moved[i] + fresh * change * change
        w[i] -= rate * change


def average_step(average, w, fresh):
    for mean, now in zip(average, w, strict=True):
        mean += fresh * (now - mean)


def joint_norm(g, norm_type):
    present = [a for a in g if a.size]
    if norm_type == math.inf:
        return float(np.max([float(abs(a).max()) for a in present], initial=0.0))
    powers = sum(float((abs(a).astype(np.float64) ** norm_type).sum()) for a in present)
    return float(powers ** (1 / norm_type))


def scale_to_norm(g, norm, max_norm):
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:
        for a in g:
            a *= scale


def clip_values(g, limit):
    for a in g:
        np.clip(a, -limit, limit, out=a)
