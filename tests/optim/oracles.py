"""The optimisers written once more: float64, one weight at a time, one line of the paper a line."""

import math


def decayed(w, g, weight_decay, maximize):
    return (-g if maximize else g) + weight_decay * w


def sgd(w, g, slot, t, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    g = decayed(w, g, weight_decay, maximize)
    if momentum == 0:
        return w - lr * g
    slot["v"] = g if t == 1 else momentum * slot["v"] + (1 - dampening) * g
    return w - lr * (g + momentum * slot["v"]) if nesterov else w - lr * slot["v"]


def sgd_caffe(w, g, slot, t, lr, momentum=0, weight_decay=0, nesterov=False, maximize=False):
    g = decayed(w, g, weight_decay, maximize)
    before = slot.get("v", 0.0)
    slot["v"] = momentum * before + lr * g
    return w - ((1 + momentum) * slot["v"] - momentum * before) if nesterov else w - slot["v"]


def adam(w, g, slot, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False):
    return _adam(w, decayed(w, g, weight_decay, maximize), slot, t, lr, betas, eps, amsgrad)


def adamw(w, g, slot, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, maximize=False):
    return _adam(w - lr * weight_decay * w, decayed(w, g, 0, maximize), slot, t, lr, betas, eps, amsgrad)


def _adam(w, g, slot, t, lr, betas, eps, amsgrad):
    slot["m"] = betas[0] * slot.get("m", 0.0) + (1 - betas[0]) * g
    slot["v"] = betas[1] * slot.get("v", 0.0) + (1 - betas[1]) * g**2
    slot["top"] = max(slot.get("top", 0.0), slot["v"])
    second = slot["top"] if amsgrad else slot["v"]
    return w - lr * slot["m"] / (1 - betas[0] ** t) / (math.sqrt(second / (1 - betas[1] ** t)) + eps)


def rmsprop(w, g, slot, t, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, maximize=False):
    g = decayed(w, g, weight_decay, maximize)
    slot["s"] = alpha * slot.get("s", 0.0) + (1 - alpha) * g**2
    slot["mean"] = alpha * slot.get("mean", 0.0) + (1 - alpha) * g
    root = math.sqrt(slot["s"] - slot["mean"] ** 2 if centered else slot["s"])
    slot["v"] = momentum * slot.get("v", 0.0) + g / (root + eps)
    return w - lr * slot["v"]


def adagrad(w, g, slot, t, lr, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, maximize=False):
    g = decayed(w, g, weight_decay, maximize)
    slot["s"] = slot.get("s", initial_accumulator_value) + g**2
    return w - lr / (1 + (t - 1) * lr_decay) * g / (math.sqrt(slot["s"]) + eps)


def adadelta(w, g, slot, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, maximize=False):
    g = decayed(w, g, weight_decay, maximize)
    slot["s"] = rho * slot.get("s", 0.0) + (1 - rho) * g**2
    delta = math.sqrt(slot.get("a", 0.0) + eps) / math.sqrt(slot["s"] + eps) * g
    slot["a"] = rho * slot.get("a", 0.0) + (1 - rho) * delta**2
    return w - lr * delta
