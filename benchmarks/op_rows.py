"""The rows of ``op_bench.py``: an operation on a real shape, called alike in minicnn and PyTorch, and its float64 twin.

The gradient is held against the twin too: ``sum(gx * d)`` must be the twin's slope along a random direction d.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

EPSILON = 1e-8  # the step of the central difference, in float64


class Op(NamedTuple):
    """``run(f, x, *others)`` with ``f`` of either library; ``twin(x, y, *others)`` in float64, ``y`` for its mask.

    ``others`` are arrays that are not differentiated: scales, labels.
    """

    name: str
    where: str
    shape: tuple[int, ...]
    run: Callable[..., Any]
    twin: Callable[..., np.ndarray]
    others: Callable[..., tuple[np.ndarray, ...]] = lambda rng, shape: ()


def _windows(x: np.ndarray, size: int, stride: int, padding: int, fill: float) -> np.ndarray:
    pads = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads, constant_values=fill), (size, size), (2, 3))
    return seen[:, :, ::stride, ::stride]


def _bins(x: np.ndarray, out: int) -> np.ndarray:
    y = np.empty((*x.shape[:2], out, out))
    for i, j in np.ndindex(out, out):
        rows, columns = (slice(k * n // out, -(-(k + 1) * n // out)) for k, n in zip((i, j), x.shape[2:], strict=True))
        y[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return y


def _batch_norm(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    scale, shift = (array.astype(np.float64).reshape(1, -1, 1, 1) for array in (weight, bias))
    result: np.ndarray = (x - mean) / np.sqrt(var + 1e-5) * scale + shift
    return result


def _lrn(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    energy = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    near = sum(energy[:, c : c + x.shape[1]] for c in range(5))
    result: np.ndarray = x / (2 + 1e-4 / 5 * near) ** 0.75
    return result


def _dropout(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice the kept values; far from half of them kept is not a dropout of a half."""
    kept = y != 0
    return 2 * x * kept if abs(kept.mean() - 0.5) < 3 / np.sqrt(y.size) else np.full_like(x, np.nan)


def _softmax(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    result: np.ndarray = powers / powers.sum(1, keepdims=True)
    return result


def _cross_entropy(x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(_softmax(x, y)[np.arange(len(x)), labels]).mean())


def _channels(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(rng.standard_normal(shape[1], np.float32) for _ in range(2))


def _labels(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.integers(0, shape[1], shape[0]),)


def _scaled(f: Any, x: Any, weight: Any, bias: Any) -> Any:
    return f.batch_norm(x, None, None, weight, bias, True)


OPS = (
    Op(
        "max pool 3/2",
        "resnet34 stem",
        (64, 112, 112),
        lambda f, x: f.max_pool2d(x, 3, 2, 1),
        lambda x, y: _windows(x, 3, 2, 1, -np.inf).max((4, 5)),
    ),
    Op(
        "max pool 2/2",
        "vgg16, first",
        (64, 224, 224),
        lambda f, x: f.max_pool2d(x, 2),
        lambda x, y: _windows(x, 2, 2, 0, 0).max((4, 5)),
    ),
    Op(
        "avg pool 2/2",
        "densenet121, first transition",
        (128, 56, 56),
        lambda f, x: f.avg_pool2d(x, 2),
        lambda x, y: _windows(x, 2, 2, 0, 0).mean((4, 5)),
    ),
    Op(
        "adaptive avg pool 1",
        "resnet50 head",
        (2048, 7, 7),
        lambda f, x: f.adaptive_avg_pool2d(x, 1),
        lambda x, y: _bins(x, 1),
    ),
    Op(
        "adaptive avg pool 6",
        "alexnet on 13x13",
        (256, 13, 13),
        lambda f, x: f.adaptive_avg_pool2d(x, 6),
        lambda x, y: _bins(x, 6),
    ),
    Op("batch norm", "resnet34 stem", (64, 112, 112), _scaled, _batch_norm, _channels),
    Op("batch norm", "resnet34, last stage", (512, 7, 7), _scaled, _batch_norm, _channels),
    Op("LRN", "alexnet conv1", (96, 55, 55), lambda f, x: f.local_response_norm(x, 5, 1e-4, 0.75, 2.0), _lrn),
    Op("dropout", "vgg16 conv5, flat", (25088,), lambda f, x: f.dropout(x, 0.5, True), _dropout),
    Op("ReLU", "vgg16, first", (64, 224, 224), lambda f, x: f.relu(x), lambda x, y: np.maximum(x, 0)),
    Op("SiLU", "efficientnet_b0", (96, 112, 112), lambda f, x: f.silu(x), lambda x, y: x / (1 + np.exp(-x))),
    Op("sigmoid", "efficientnet_b0", (96, 112, 112), lambda f, x: f.sigmoid(x), lambda x, y: 1 / (1 + np.exp(-x))),
    Op("softmax", "1000 classes", (1000,), lambda f, x: f.softmax(x, 1), _softmax),
    Op("cross entropy", "1000 classes", (1000,), lambda f, x, t: f.cross_entropy(x, t), _cross_entropy, _labels),
)


def distinct_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of variance 1, none of them 0 and as few as possible equal: a tie has no slope."""
    count = int(np.prod(shape))
    values: np.ndarray = (rng.permutation(count) - count / 2 + 0.25) * (12**0.5 / count)
    return values.astype(np.float32).reshape(shape)


def slope(op: Op, x: np.ndarray, y: np.ndarray, gy: np.ndarray, others: tuple[np.ndarray, ...], d: np.ndarray) -> float:
    """The derivative of ``sum(twin(x) * gy)`` along ``d``, by a central difference in float64."""
    wide = x.astype(np.float64)
    ahead, behind = (op.twin(wide + step * d, y, *others) for step in (EPSILON, -EPSILON))
    return float(((ahead - behind) * gy).sum() / (2 * EPSILON))


def sgd_twin(weight: np.ndarray, gradient: np.ndarray, steps: int) -> np.ndarray:
    """``v = 0.9 v + g; w -= 0.1 v``."""
    velocity = np.zeros_like(weight)
    for _ in range(steps):
        velocity = 0.9 * velocity + gradient
        weight = weight - 0.1 * velocity
    return weight


def adam_twin(weight: np.ndarray, gradient: np.ndarray, steps: int) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1, with a rate of 0.001."""
    mean = square = np.zeros_like(weight)
    for t in range(1, steps + 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weight = weight - 0.001 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
    return weight


# Name, arguments, its float64 twin, and how many arrays a step reads and writes.
OPTIMISERS = (("SGD", {"lr": 0.1, "momentum": 0.9}, sgd_twin, 5), ("Adam", {"lr": 0.001}, adam_twin, 7))
