"""CUDA twins of the activations. Elementwise ones see flat arrays; softmax sees (n, c, s)."""

from minicnn.kernels.arrays import Array, allocate
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.team import launch_teams

SLICE = 1 << 14  # elements of a channel that one block sums

SOURCE = CudaSource(__file__, SLICE=SLICE)


def _at_once(x: Array) -> int:
    """How many threads it takes when each has 16 bytes of ``x`` (``AT_ONCE`` of ``map.cuh``)."""
    return int(-(-x.nbytes // 16))


def relu_forward(x: Array, y: Array) -> None:
    SOURCE.launch("relu_forward", x.dtype, _at_once(x), x, y, x.size)


def relu_grad_x(gy: Array, y: Array, gx: Array) -> None:
    SOURCE.launch("relu_grad_x", gy.dtype, _at_once(gy), gy, y, gx, gy.size)


def hardtanh_forward(x: Array, y: Array, low: float, high: float) -> None:
    SOURCE.launch("hardtanh_forward", x.dtype, _at_once(x), x, y, x.size, float(low), float(high))


def hardtanh_grad_x(gy: Array, y: Array, gx: Array, low: float, high: float) -> None:
    SOURCE.launch("hardtanh_grad_x", gy.dtype, _at_once(gy), gy, y, gx, gy.size, float(low), float(high))


def leaky_relu_forward(x: Array, y: Array, slope: float) -> None:
    SOURCE.launch("leaky_relu_forward", x.dtype, _at_once(x), x, y, x.size, float(slope))


def leaky_relu_grad_x(gy: Array, x: Array, gx: Array, slope: float) -> None:
    SOURCE.launch("leaky_relu_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size, float(slope))


def elu_forward(x: Array, y: Array, scale: float, alpha: float, beta: float) -> None:
    SOURCE.launch("elu_forward", x.dtype, _at_once(x), x, y, x.size, float(scale), float(alpha), float(beta))


def elu_grad_x(gy: Array, x: Array, gx: Array, scale: float, alpha: float, beta: float) -> None:
    SOURCE.launch("elu_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size, float(scale), float(alpha), float(beta))


def gelu_forward(x: Array, y: Array, by_tanh: bool) -> None:
    SOURCE.launch("gelu_forward", x.dtype, _at_once(x), x, y, x.size, bool(by_tanh))


def gelu_grad_x(gy: Array, x: Array, gx: Array, by_tanh: bool) -> None:
    SOURCE.launch("gelu_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size, bool(by_tanh))


def silu_forward(x: Array, y: Array) -> None:
    SOURCE.launch("silu_forward", x.dtype, _at_once(x), x, y, x.size)


def silu_grad_x(gy: Array, x: Array, gx: Array) -> None:
    SOURCE.launch("silu_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size)


def hardswish_forward(x: Array, y: Array) -> None:
    SOURCE.launch("hardswish_forward", x.dtype, _at_once(x), x, y, x.size)


def hardswish_grad_x(gy: Array, x: Array, gx: Array) -> None:
    SOURCE.launch("hardswish_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size)


def hardsigmoid_forward(x: Array, y: Array) -> None:
    SOURCE.launch("hardsigmoid_forward", x.dtype, _at_once(x), x, y, x.size)


def hardsigmoid_grad_x(gy: Array, x: Array, gx: Array) -> None:
    SOURCE.launch("hardsigmoid_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size)


def sigmoid_forward(x: Array, y: Array) -> None:
    SOURCE.launch("sigmoid_forward", x.dtype, _at_once(x), x, y, x.size)


def sigmoid_grad_x(gy: Array, y: Array, gx: Array) -> None:
    SOURCE.launch("sigmoid_grad_x", gy.dtype, _at_once(gy), gy, y, gx, gy.size)


def tanh_forward(x: Array, y: Array, outer: float, inner: float) -> None:
    SOURCE.launch("tanh_forward", x.dtype, _at_once(x), x, y, x.size, float(outer), float(inner))


def tanh_grad_x(gy: Array, y: Array, gx: Array, outer: float, inner: float) -> None:
    SOURCE.launch("tanh_grad_x", gy.dtype, _at_once(gy), gy, y, gx, gy.size, float(outer), float(inner))


def softplus_forward(x: Array, y: Array, beta: float, threshold: float) -> None:
    SOURCE.launch("softplus_forward", x.dtype, _at_once(x), x, y, x.size, float(beta), float(threshold))


def softplus_grad_x(gy: Array, x: Array, gx: Array, beta: float, threshold: float) -> None:
    SOURCE.launch("softplus_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size, float(beta), float(threshold))


def mish_forward(x: Array, y: Array) -> None:
    SOURCE.launch("mish_forward", x.dtype, _at_once(x), x, y, x.size)


def mish_grad_x(gy: Array, x: Array, gx: Array) -> None:
    SOURCE.launch("mish_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size)


def logsigmoid_forward(x: Array, y: Array) -> None:
    SOURCE.launch("logsigmoid_forward", x.dtype, _at_once(x), x, y, x.size)


def logsigmoid_grad_x(gy: Array, x: Array, gx: Array) -> None:
    SOURCE.launch("logsigmoid_grad_x", gy.dtype, _at_once(gy), gy, x, gx, gy.size)


def prelu_forward(x: Array, weight: Array, y: Array) -> None:
    SOURCE.launch("prelu_forward", x.dtype, _at_once(x), x, weight, y, x.size, *x.shape[1:])


def prelu_grad_x(gy: Array, x: Array, weight: Array, gx: Array) -> None:
    SOURCE.launch("prelu_grad_x", x.dtype, _at_once(x), gy, x, weight, gx, x.size, *x.shape[1:])


def prelu_grad_w(gy: Array, x: Array, gw: Array) -> None:
    n, channels, s = x.shape
    slices = -(-n * s // SLICE)
    partial = allocate(x, (channels, slices), "float64")
    SOURCE.launch_blocks("prelu_partial_w", x.dtype, channels * slices, gy, x, n, channels, s, slices, partial)
    SOURCE.launch_blocks("prelu_grad_w", x.dtype, channels, partial, channels, slices, gw)


def _softmax(kernel: str, *arrays: Array) -> None:
    """Run ``kernel`` over the rows of (n, c, s): shared by a team where c is contiguous, else one thread each."""
    n, classes, positions = arrays[0].shape
    size = classes if positions == 1 else 1
    sizes = (n * positions, classes, positions)
    launch_teams(SOURCE, kernel, arrays[0].dtype, n * positions, size, *arrays[:-1], *sizes, arrays[-1])


def softmax_forward(x: Array, y: Array) -> None:
    _softmax("softmax_forward", x, y)


def softmax_grad_x(gy: Array, y: Array, gx: Array) -> None:
    _softmax("softmax_grad_x", gy, y, gx)


def log_softmax_forward(x: Array, y: Array) -> None:
    _softmax("log_softmax_forward", x, y)


def log_softmax_grad_x(gy: Array, y: Array, gx: Array) -> None:
    _softmax("log_softmax_grad_x", gy, y, gx)
