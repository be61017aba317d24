"""CUDA twins of the optimiser steps and of gradient clipping: lists of arrays, one launch for all of them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.kernels import launch
from minicnn.kernels.arrays import Array, allocate, cupy
from minicnn.kernels.launch import CudaSource

CHUNK = 1 << 12  # elements that a block takes at a time

SOURCE = CudaSource(__file__)

Arrays = Sequence[Array]
_addresses: dict[tuple[int, int, bytes], Array] = {}


@lru_cache(maxsize=64)
def _chunks(sizes: tuple[int, ...], length: int) -> np.ndarray:
    """(chunks, 3): which weight, the first element, how many. Shapes stay, so its device copy is made once."""
    rows = [
        (number, first, min(length, size - first))
        for number, size in enumerate(sizes)
        for first in range(0, size, length)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _on_device(rows: np.ndarray) -> Array:
    """The addresses ``rows`` on the device: one small copy that nobody waits for.

    Kept, because CuPy's pool often gives the gradients of the next step the memory of the last.
    """
    xp = cupy()
    key = (id(xp), xp.cuda.Device().id, rows.tobytes())
    if key not in _addresses:
        if len(_addresses) >= 64:
            _addresses.clear()
        _addresses[key] = xp.asarray(rows)
    return _addresses[key]


def _table(kernel: str, columns: tuple[Arrays | None, ...]) -> tuple[Array, Array, int]:
    """The arguments ``TABLE``: a row a weight with the addresses of its arrays, and the chunks that blocks take.

    A kernel sees addresses alone, so everything is checked here: one shape a row, one dtype, contiguous, this device.
    """
    weights = columns[0] or ()
    rows = np.zeros((len(weights), len(columns)), np.uint64)
    for position, column in enumerate(columns):
        for number, array in enumerate(column or ()):
            launch.check_array(kernel, array)
            if array.size != weights[number].size or array.dtype != weights[0].dtype:
                raise ValueError(
                    f"{kernel}: array {position} of weight {number} has {array.size} elements of {array.dtype}, "
                    f"expected {weights[number].size} of {weights[0].dtype}"
                )
            rows[number, position] = array.data.ptr
    chunks = _chunks(tuple(int(weight.size) for weight in weights), CHUNK)
    return _on_device(rows), launch.device_copy(chunks), len(chunks)


def _run(kernel: str, columns: tuple[Arrays | None, ...], *numbers: Any) -> None:
    """One launch for all rows of ``columns``: the weights, their gradients, their slots; None where absent."""
    table = _table(kernel, columns)
    SOURCE.launch_blocks(kernel, (columns[0] or ())[0].dtype, table[-1], *table, *numbers)


def sgd_step(w: Arrays, g: Arrays, lr: float, weight_decay: float, maximize: bool) -> None:
    _run("sgd_step", (w, g), float(lr), float(weight_decay), bool(maximize))


def momentum_step(
    w: Arrays,
    g: Arrays,
    v: Arrays,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    numbers = (float(lr), float(momentum), float(dampening), float(weight_decay))
    _run("momentum_step", (w, g, v), *numbers, bool(nesterov), bool(maximize))


def caffe_momentum_step(
    w: Arrays,
    g: Arrays,
    v: Arrays,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    numbers = (float(lr), float(momentum), float(weight_decay))
    _run("caffe_momentum_step", (w, g, v), *numbers, bool(nesterov), bool(maximize))


def adam_step(
    w: Arrays,
    g: Arrays,
    m: Arrays,
    v: Arrays,
    largest: Arrays | None,
    rate: float,
    root: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    shrink: float,
    maximize: bool,
) -> None:
    numbers = (float(n) for n in (rate, root, beta1, beta2, eps, weight_decay, shrink))
    _run("adam_step", (w, g, m, v, largest), *numbers, bool(maximize), largest is not None)


def rmsprop_step(
    w: Arrays,
    g: Arrays,
    square: Arrays,
    mean: Arrays | None,
    v: Arrays | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    numbers = (float(n) for n in (lr, alpha, eps, weight_decay, momentum))
    flags = (bool(maximize), mean is not None, v is not None)
    _run("rmsprop_step", (w, g, square, mean, v), *numbers, *flags)


def adagrad_step(
    w: Arrays, g: Arrays, total: Arrays, lr: float, eps: float, weight_decay: float, maximize: bool
) -> None:
    _run("adagrad_step", (w, g, total), float(lr), float(eps), float(weight_decay), bool(maximize))


def adadelta_step(
    w: Arrays,
    g: Arrays,
    square: Arrays,
    moved: Arrays,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    numbers = (float(lr), float(rho), float(eps), float(weight_decay))
    _run("adadelta_step", (w, g, square, moved), *numbers, bool(maximize))


def average_step(average: Arrays, w: Arrays, fresh: float) -> None:
    _run("average_step", (average, w), float(fresh))


def joint_norm(g: Arrays, norm_type: float) -> Array:
    """A 0-d float64 array: each chunk of ``g`` gives a partial sum, one block adds them; the dtypes may differ."""
    tables = [(own, _table("norm_of_chunks", (own,))) for own in _by_dtype(g)]
    partial = allocate(g[0], (sum(table[-1] for _, table in tables),), "float64")
    done = 0
    for own, table in tables:
        part = partial[done : done + table[-1]]
        SOURCE.launch_blocks("norm_of_chunks", own[0].dtype, table[-1], *table, float(norm_type), part)
        done += table[-1]
    norm = allocate(g[0], (), "float64")
    SOURCE.launch_blocks("joint_norm", norm.dtype, 1, partial, done, float(norm_type), norm)
    return norm


def scale_to_norm(g: Arrays, norm: Array, max_norm: float) -> None:
    for own in _by_dtype(g):
        _run("scale_to_norm", (own,), norm, float(max_norm))


def clip_values(g: Arrays, limit: float) -> None:
    for own in _by_dtype(g):
        _run("clip_values", (own,), float(limit))


def _by_dtype(arrays: Arrays) -> list[list[Array]]:
    found: dict[Any, list[Array]] = {}
    for array in arrays:
        found.setdefault(array.dtype, []).append(array)
    return list(found.values())
