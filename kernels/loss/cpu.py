"""Numba twins of the losses.

Over classes: ``n`` batch, ``c`` class, ``i`` position, ``r`` = (n, i) flattened. Comparisons see flat arrays: ``i``
over elements. Flat views are made one a line: Numba drops what is written into a view that a tuple carried.
"""

import numpy as np
from numba import prange

from minicnn.kernels.elementary import exp, largest, sigmoid, softplus
from minicnn.kernels.jit import helper, kernel


@helper
def _first(r, classes, positions):
    """Where in the flat array the scores of ``r`` begin; they are ``positions`` apart."""
    return np.uintp(r) // positions * classes * positions + np.uintp(r) % positions


@helper
def _log_sum_exp(x, first, classes, positions):
    """``log sum_c exp(x_c)`` in float64 of the scores from ``first`` on; exponentials are taken in x's own dtype."""
    top = largest(x, first, classes, positions)
    total = 0.0
    for c in range(classes):
        total += np.float64(exp(x[first + c * positions] - top))
    return np.float64(top) + np.log(total)


@kernel()
def cross_entropy_forward(x, target, weight, ignore_index, label_smoothing, losses, lse):
    classes, positions = np.uintp(x.shape[1]), np.uintp(x.shape[2])
    flat = x.reshape(-1)
    labels = target.reshape(-1)
    loss_of = losses.reshape(-1)
    lse_of = lse.reshape(-1)
    for r in prange(labels.size):
        first = _first(r, classes, positions)
        if labels[r] == ignore_index:
            loss_of[r] = 0.0
            lse_of[r] = 0.0
        else:
            t = np.uintp(labels[r])
            log_sum = _log_sum_exp(flat, first, classes, positions)
            loss = (1.0 - label_smoothing) * weight[t] * (log_sum - flat[first + t * positions])
            if label_smoothing > 0:
                spread = 0.0
                for c in range(classes):
                    spread += weight[c] * (log_sum - flat[first + c * positions])
                loss += label_smoothing / np.float64(classes) * spread
            loss_of[r] = loss
            lse_of[r] = log_sum


@kernel()
def cross_entropy_grad_x(scale, x, lse, target, weight, ignore_index, label_smoothing, gx):
    classes, positions, dtype = np.uintp(x.shape[1]), np.uintp(x.shape[2]), x.dtype.type
    flat = x.reshape(-1)
    labels = target.reshape(-1)
    out = gx.reshape(-1)
    scale_of = scale.reshape(-1)
    lse_of = lse.reshape(-1)
    smooth = label_smoothing / np.float64(classes)
    spread = 0.0
    for c in range(classes):
        spread += np.float64(weight[c])
    for r in prange(labels.size):
        first, each, log_sum = _first(r, classes, positions), scale_of[r], lse_of[r]
        if labels[r] == ignore_index:
            for c in range(classes):
                out[first + c * positions] = 0.0
        else:
            t = np.uintp(labels[r])
            own = (1.0 - label_smoothing) * weight[t]
            whole, even = dtype(own + smooth * spread), dtype(smooth)
            for c in range(classes):
                k = first + c * positions
                out[k] = each * (whole * exp(dtype(np.float64(flat[k]) - log_sum)) - even * weight[c])
            out[first + t * positions] -= each * dtype(own)


@kernel()
def soft_cross_entropy_forward(x, target, weight, label_smoothing, losses, lse):
    classes, positions = np.uintp(x.shape[1]), np.uintp(x.shape[2])
    flat = x.reshape(-1)
    wanted = target.reshape(-1)
    loss_of = losses.reshape(-1)
    lse_of = lse.reshape(-1)
    keep, even = 1.0 - label_smoothing, label_smoothing / np.float64(classes)
    for r in prange(loss_of.size):
        first = _first(r, classes, positions)
        log_sum = _log_sum_exp(flat, first, classes, positions)
        loss = 0.0
        for c in range(classes):
            k = first + c * positions
            loss += weight[c] * (keep * wanted[k] + even) * (log_sum - flat[k])
        loss_of[r] = loss
        lse_of[r] = log_sum


@kernel()
def soft_cross_entropy_grad_x(scale, x, lse, target, weight, label_smoothing, gx):
    classes, positions, dtype = np.uintp(x.shape[1]), np.uintp(x.shape[2]), x.dtype.type
    flat = x.reshape(-1)
    wanted = target.reshape(-1)
    out = gx.reshape(-1)
    scale_of = scale.reshape(-1)
    lse_of = lse.reshape(-1)
    keep, even = dtype(1.0 - label_smoothing), dtype(label_smoothing / np.float64(classes))
    for r in prange(lse_of.size):
        first, each, log_sum = _first(r, classes, positions), scale_of[r], lse_of[r]
        total = 0.0
        for c in range(classes):
            total += np.float64(weight[c] * (keep * wanted[first + c * positions] + even))
        whole = dtype(total)
        for c in range(classes):
            k = first + c * positions
            softmax = exp(dtype(np.float64(flat[k]) - log_sum))
            out[k] = each * (whole * softmax - weight[c] * (keep * wanted[k] + even))


@kernel(parallel=False)
def nll_forward(x, target, weight, ignore_index, losses):
    for n in range(target.shape[0]):
        for i in range(target.shape[1]):
            t = target[n, i]
            losses[n, i] = 0.0 if t == ignore_index else -weight[t] * x[n, t, i]


@kernel(parallel=False)
def nll_grad_x(scale, target, weight, ignore_index, gx):
    for n in range(target.shape[0]):
        for i in range(target.shape[1]):
            t = target[n, i]
            if t != ignore_index:
                gx[n, t, i] = -weight[t] * scale[n, i]


@kernel(parallel=False)
def target_weight(target, weight, ignore_index):
    total = 0.0
    for n in range(target.shape[0]):
        for i in range(target.shape[1]):
            if target[n, i] != ignore_index:
                total += np.float64(weight[target[n, i]])
    return total


@kernel()
def squared_error_forward(x, target, losses):
    for i in prange(x.size):
        d = x[i] - target[i]
        losses[i] = d * d


@kernel()
def squared_error_grad_x(scale, x, target, gx):
    for i in prange(x.size):
        d = x[i] - target[i]
        gx[i] = scale[i] * (d + d)


@kernel()
def absolute_error_forward(x, target, losses):
    for i in prange(x.size):
        losses[i] = abs(x[i] - target[i])


@kernel()
def absolute_error_grad_x(scale, x, target, gx):
    for i in prange(x.size):
        d = x[i] - target[i]
        gx[i] = scale[i] if d > 0 else -scale[i] if d < 0 else scale[i] * d  # 0 or NaN


@kernel()
def huber_forward(x, target, losses, delta, factor):
    half, bend, size = x.dtype.type(0.5), x.dtype.type(delta), x.dtype.type(factor)
    for i in prange(x.size):
        d = abs(x[i] - target[i])
        losses[i] = size * (half * d * d if d < bend else bend * (d - half * bend))


@kernel()
def huber_grad_x(scale, x, target, gx, delta, factor):
    bend, size = x.dtype.type(delta), x.dtype.type(factor)
    for i in prange(x.size):
        d = x[i] - target[i]
        gx[i] = size * scale[i] * (bend if d > bend else -bend if d < -bend else d)


@kernel()
def binary_cross_entropy_forward(x, target, losses):
    for i in prange(x.size):
        yes, no = np.log(x[i]), np.log1p(-x[i])
        yes, no = -100.0 if yes < -100 else yes, -100.0 if no < -100 else no
        losses[i] = (target[i] - 1.0) * no - target[i] * yes


@kernel()
def binary_cross_entropy_grad_x(scale, x, target, gx):
    for i in prange(x.size):
        variance = x[i] * (1.0 - x[i])
        gx[i] = scale[i] * (x[i] - target[i]) / (1e-12 if variance < 1e-12 else variance)


@kernel()
def logits_forward(x, target, losses, pos_weight):
    one, weighted = x.dtype.type(1), pos_weight.size > 0
    for i in prange(x.size):
        v, t = x[i], target[i]
        weight = one + (pos_weight[i] - one) * t if weighted else one
        losses[i] = (one - t) * v + weight * softplus(-v)


@kernel()
def logits_grad_x(scale, x, target, gx, pos_weight):
    one, weighted = x.dtype.type(1), pos_weight.size > 0
    for i in prange(x.size):
        weight = pos_weight[i] if weighted else one
        gx[i] = scale[i] * ((one - target[i]) * sigmoid(x[i]) - weight * target[i] * sigmoid(-x[i]))
