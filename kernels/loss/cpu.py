"""Numba twins of the losses.

Over classes: ``n`` batch, ``c`` class, ``i`` position, ``r`` = (n, i) flattened. Comparisons see flat arrays: ``i``
over elements.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel


@helper
def _log_sum_exp(x, n, i):
    """``log sum_c exp(x[n, c, i])`` in float64; the exponentials are taken in x's own dtype."""
    top = x[n, 0, i]
    for c in range(1, x.shape[1]):
        v = x[n, c, i]
        if not v <= top:  # lets NaN in
            top = v
        if top != top:
            return np.float64(top)
    total = 0.0
    for c in range(x.shape[1]):
        total += np.exp(x[n, c, i] - top)
    return top + np.log(total)


@kernel()
def cross_entropy_forward(x, target, weight, ignore_index, label_smoothing, losses, lse):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        t = target[n, i]
        if t == ignore_index:
            losses[n, i] = 0.0
            lse[n, i] = 0.0
        else:
            log_sum = _log_sum_exp(x, n, i)
            loss = (1.0 - label_smoothing) * weight[t] * (log_sum - x[n, t, i])
            if label_smoothing > 0:
                spread = 0.0
                for c in range(classes):
                    spread += weight[c] * (log_sum - x[n, c, i])
                loss += label_smoothing / classes * spread
            losses[n, i] = loss
            lse[n, i] = log_sum


@kernel()
def cross_entropy_grad_x(scale, x, lse, target, weight, ignore_index, label_smoothing, gx):
    classes, positions = x.shape[1], x.shape[2]
    smooth = label_smoothing / classes
    spread = 0.0
    for c in range(classes):
        spread += weight[c]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        t = target[n, i]
        if t == ignore_index:
            for c in range(classes):
                gx[n, c, i] = 0.0
        else:
            own = (1.0 - label_smoothing) * weight[t]
            whole = own + smooth * spread
            for c in range(classes):
                softmax = np.exp(x.dtype.type(x[n, c, i] - lse[n, i]))
                wanted = smooth * weight[c] + (own if c == t else 0.0)
                gx[n, c, i] = scale[n, i] * (whole * softmax - wanted)


@kernel()
def soft_cross_entropy_forward(x, target, weight, label_smoothing, losses, lse):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        log_sum = _log_sum_exp(x, n, i)
        loss = 0.0
        for c in range(classes):
            q = (1.0 - label_smoothing) * target[n, c, i] + label_smoothing / classes
            loss += weight[c] * q * (log_sum - x[n, c, i])
        losses[n, i] = loss
        lse[n, i] = log_sum


@kernel()
def soft_cross_entropy_grad_x(scale, x, lse, target, weight, label_smoothing, gx):
    classes, positions = x.shape[1], x.shape[2]
    for r in prange(x.shape[0] * positions):
        n, i = r // positions, r % positions
        whole = 0.0
        for c in range(classes):
            whole += weight[c] * ((1.0 - label_smoothing) * target[n, c, i] + label_smoothing / classes)
        for c in range(classes):
            softmax = np.exp(x.dtype.type(x[n, c, i] - lse[n, i]))
            q = (1.0 - label_smoothing) * target[n, c, i] + label_smoothing / classes
            gx[n, c, i] = scale[n, i] * (whole * softmax - weight[c] * q)


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


def target_weight(target, weight, ignore_index):
    kept = target[target != ignore_index]
    return float(np.bincount(kept, minlength=weight.shape[0]).astype("float64") @ weight.astype("float64"))


@kernel(parallel=False)
def squared_error_forward(x, target, losses):
    for i in range(x.size):
        d = x[i] - target[i]
        losses[i] = d * d


@kernel(parallel=False)
def squared_error_grad_x(scale, x, target, gx):
    for i in range(x.size):
        gx[i] = 2 * scale[i] * (x[i] - target[i])


@kernel(parallel=False)
def absolute_error_forward(x, target, losses):
    for i in range(x.size):
        losses[i] = abs(x[i] - target[i])


@kernel(parallel=False)
def absolute_error_grad_x(scale, x, target, gx):
    for i in range(x.size):
        d = x[i] - target[i]
        gx[i] = scale[i] if d > 0 else -scale[i] if d < 0 else scale[i] * d  # 0 or NaN


@kernel(parallel=False)
def huber_forward(x, target, losses, delta, factor):
    for i in range(x.size):
        d = abs(x[i] - target[i])
        losses[i] = factor * (0.5 * d * d if d < delta else delta * (d - 0.5 * delta))


@kernel(parallel=False)
def huber_grad_x(scale, x, target, gx, delta, factor):
    for i in range(x.size):
        d = x[i] - target[i]
        gx[i] = factor * scale[i] * (delta if d > delta else -delta if d < -delta else d)


@kernel(parallel=False)
def binary_cross_entropy_forward(x, target, losses):
    for i in range(x.size):
        yes, no = np.log(x[i]), np.log1p(-x[i])
        yes, no = -100.0 if yes < -100 else yes, -100.0 if no < -100 else no
        losses[i] = (target[i] - 1.0) * no - target[i] * yes


@kernel(parallel=False)
def binary_cross_entropy_grad_x(scale, x, target, gx):
    for i in range(x.size):
        variance = x[i] * (1.0 - x[i])
        gx[i] = scale[i] * (x[i] - target[i]) / (1e-12 if variance < 1e-12 else variance)


@kernel(parallel=False)
def logits_forward(x, target, losses, pos_weight):
    for i in range(x.size):
        v, t = x[i], target[i]
        weight = 1.0 + (pos_weight[i] - 1.0) * t if pos_weight.size else 1.0
        log_no = (-v if v < 0 else 0.0) + np.log1p(np.exp(-abs(v)))  # -log sigmoid(v)
        losses[i] = (1.0 - t) * v + weight * log_no


@kernel(parallel=False)
def logits_grad_x(scale, x, target, gx, pos_weight):
    for i in range(x.size):
        e = np.exp(-abs(x[i]))
        yes, no = (1.0, e) if x[i] >= 0 else (e, 1.0)  # sigmoid(x), sigmoid(-x), both times 1 + e
        weight = pos_weight[i] if pos_weight.size else 1.0
        gx[i] = scale[i] * ((1.0 - target[i]) * yes - weight * target[i] * no) / (1.0 + e)
