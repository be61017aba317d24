"""CUDA twins of the normalisations: first what rows tell, then what their statistics tell, then each value."""

from typing import Any

from minicnn.kernels import launch
from minicnn.kernels.arrays import Array, allocate, compute_dtype
from minicnn.kernels.launch import CudaSource
from minicnn.kernels.reduction import cuda as reduction
from minicnn.kernels.team import launch_teams

SOURCE = CudaSource(__file__)
LAYER_NORM_BLOCK = 32  # rows whose weight gradients one thread sums


def _layout(x: Array, statistic: Array) -> tuple[int, int, int]:
    """Channels, groups, and images that share a statistic."""
    return x.shape[1], statistic.shape[1], x.shape[0] // max(statistic.shape[0], 1)


def _wide(weight: Array | None, dtype: Any) -> Array | None:
    """Weights as the kernels that see x of ``dtype`` read them."""
    return None if weight is None else weight.astype(compute_dtype(dtype), copy=False)


def _rows_of(x: Array) -> tuple[int, int]:
    return x.shape[0] * x.shape[1], x.shape[2]


def _launch_pieces(kernel: str, x: Array, *arguments: Any) -> None:
    """A team for each piece of each row of x; the last arguments are the array that is written."""
    rows, size = _rows_of(x)
    piece = min(size, 16 * launch.THREADS)
    pieces = -(-size // piece) if size else 0
    launch_teams(SOURCE, kernel, x.dtype, rows * pieces, piece, *arguments[:-1], piece, arguments[-1])


def moments(x: Array, eps: float, mean: Array, var: Array, rstd: Array) -> None:
    """x (N, C, S); the others (1, C) or (N, G)."""
    rows, size = _rows_of(x)
    row_mean, row_m2 = allocate(x, (rows,), float), allocate(x, (rows,), float)
    launch_teams(SOURCE, "row_moments", x.dtype, rows, size, x, rows, size, row_mean, row_m2)
    layout = _layout(x, mean)
    shared = (row_mean, row_m2, mean.size, size, *layout, float(eps), mean, var, rstd)
    launch_teams(SOURCE, "join_moments", x.dtype, mean.size, rows // max(mean.size, 1), *shared)


def channels_forward(
    x: Array, mean: Array | None, rstd: Array, weight: Array | None, bias: Array | None, y: Array
) -> None:
    """x, y (N, C, S), mean and rstd (1, C) or (N, G), weight and bias (C) or None."""
    affine = (_wide(weight, x.dtype), _wide(bias, x.dtype))
    _launch_pieces("channels_forward", x, x, mean, rstd, *affine, *_rows_of(x), *_layout(x, rstd), y)


def normalise(
    x: Array, weight: Array | None, bias: Array | None, eps: float, mean: Array, var: Array, rstd: Array, y: Array
) -> None:
    """``moments`` and ``channels_forward``."""
    moments(x, eps, mean, var, rstd)
    channels_forward(x, mean, rstd, weight, bias, y)


def channels_grads(
    gy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    frozen: bool,
    gx: Array | None,
    gw: Array | None,
    gb: Array | None,
) -> None:
    """gy, x, gx (N, C, S), gw and gb (C); the last three None where not wanted."""
    if frozen and gx is not None:
        channels_forward(gy, None, rstd, weight, None, gx)
    if frozen and gw is None and gb is None:
        return
    (rows, size), layout = _rows_of(x), _layout(x, mean)
    plain, weighted = allocate(x, (rows,), float), allocate(x, (rows,), float)
    launch_teams(SOURCE, "row_products", x.dtype, rows, size, gy, x, mean, rows, size, *layout, plain, weighted)
    if gx is not None and not frozen:
        common, slope = allocate(x, mean.shape, float), allocate(x, mean.shape, float)
        shared = (plain, weighted, rstd, weight, mean.size, size, *layout, common, slope)
        dtype = x.dtype if weight is None else weight.dtype
        launch_teams(SOURCE, "join_products", dtype, mean.size, rows // max(mean.size, 1), *shared)
        inputs = (gy, x, mean, rstd, _wide(weight, x.dtype), common, slope)
        _launch_pieces("channels_grad_x", x, *inputs, rows, size, *layout, gx)
    written = gb if gw is None else gw
    if written is not None:
        products = (plain, weighted, rstd, x.shape[0], *layout, gw, gb)
        launch_teams(SOURCE, "channel_grads", written.dtype, x.shape[1], x.shape[0], *products)


def update_running(running: Array, value: Array, momentum: float, factor: float) -> None:
    """running and value (C,)."""
    numbers = (running.size, float(momentum), float(factor))
    SOURCE.launch("update_running", running.dtype, running.size, running, value, *numbers)


def layer_norm_forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, mean: Array, rstd: Array, y: Array
) -> None:
    """x, y (R, S), mean and rstd (R), weight and bias (S) or None."""
    affine = (_wide(weight, x.dtype), _wide(bias, x.dtype))
    launch_teams(SOURCE, "layer_norm_forward", x.dtype, *x.shape, x, *affine, *x.shape, float(eps), mean, rstd, y)


def layer_norm_grads(
    gy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, gx: Array, gw: Array, gb: Array
) -> None:
    """gy, x, gx (R, S), mean and rstd (R), weight (S) or None, gw and gb (S)."""
    rows, size = x.shape
    inputs = (gy, x, mean, rstd)
    launch_teams(SOURCE, "layer_norm_grad_x", x.dtype, rows, size, *inputs, _wide(weight, x.dtype), rows, size, gx)
    parts = (-(-rows // LAYER_NORM_BLOCK), size, 1)
    gw_parts, gb_parts = allocate(x, parts, float), allocate(x, parts, float)
    columns = (rows, size, LAYER_NORM_BLOCK, gw_parts, gb_parts)
    SOURCE.launch("layer_norm_columns", x.dtype, gw_parts.size, *inputs, *columns)
    reduction.join_channels(gw_parts, gw)
    reduction.join_channels(gb_parts, gb)
