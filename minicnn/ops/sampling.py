"""Reading images between their pixels: spatial transformers and resizing."""

import math
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels import sampling as K
from minicnn.kernels.arrays import Array, allocate, array_module
from minicnn.kernels.sampling import PADDING_MODES, Taps, bilinear_taps, nearest_taps
from minicnn.ops.geometry import integer
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places that an affine map sends the pixels of an output image to, for ``grid_sample``.

    **Shapes** theta (N, 2, 3), ``size`` (N, C, OH, OW) -> (N, OH, OW, 2).
    **Math** ``grid[n, i, j] = theta[n] @ (x_j, y_i, 1)``; x and y run from -1 to 1 over pixel centres: from
    ``-1 + 1/OW`` to ``1 - 1/OW``, with ``align_corners`` from -1 to 1 (0 for a single pixel). None means False.
    **Saves** nothing. Volumes, theta (N, 3, 4), are refused.
    """
    (matrix,) = unwrap("affine_grid", theta=theta)
    if matrix.ndim != 3 or matrix.shape[1:] != (2, 3):
        raise ShapeError(f"affine_grid: theta has shape {matrix.shape}, expected (N, 2, 3), one matrix an image")
    if not isinstance(size, (tuple, list)) or len(size) != 4:
        raise ArgumentError(f"affine_grid: size={size!r}, expected (N, C, H, W) of the output images")
    least = (0, 0, 1, 1)
    n, _, oh, ow = (integer("affine_grid", "size", got, low) for got, low in zip(size, least, strict=True))
    if n != matrix.shape[0]:
        raise ShapeError(f"affine_grid: size={tuple(size)} has {n} images, but theta has {matrix.shape[0]} matrices")
    xp = array_module(matrix)
    places = xp.asarray(_pixel_places(oh, ow, bool(align_corners)).astype(matrix.dtype))  # (OH*OW, 3)
    grid = xp.matmul(places, xp.swapaxes(matrix, 1, 2))  # (OH*OW, 3) @ (N, 3, 2) -> (N, OH*OW, 2)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        flat = gy.reshape(n, oh * ow, 2)
        places = xp.asarray(_pixel_places(oh, ow, bool(align_corners)).astype(gy.dtype))
        return (xp.matmul(xp.swapaxes(flat, 1, 2), places),)  # (N, 2, OH*OW) @ (OH*OW, 3) -> (N, 2, 3)

    return record("affine_grid", grid.reshape(n, oh, ow, 2), (theta,), vjp)


def _pixel_places(oh: int, ow: int, align_corners: bool) -> np.ndarray:
    """(x, y, 1) of every pixel in scan order: (OH*OW, 3)."""

    def axis(length: int) -> np.ndarray:
        centres = (2.0 * np.arange(length) + 1.0 - length) / length
        return centres * length / max(length - 1, 1) if align_corners else centres

    y, x = np.meshgrid(axis(oh), axis(ow), indexing="ij")
    return np.stack([x, y, np.ones_like(x)], axis=-1).reshape(oh * ow, 3)


def grid_sample(
    x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Images read at the places of a grid: ``grid[n, i, j]`` is (across, down), each from -1 to 1.

    **Shapes** x (N, C, H, W), grid (N, OH, OW, 2) -> (N, C, OH, OW).
    **Math** -1 and 1 are the outer edges of the image (pixel ``((g + 1)*W - 1)/2``), with ``align_corners`` the
    centres of its outer pixels; None means False. ``bilinear`` weighs the four pixels around, ``nearest`` takes the
    closest (halves to even). Outside the image: 0 (``zeros``), the closest pixel (``border``) or the image mirrored
    at its edges (``reflection``).
    **Ties** A place that is NaN gives NaN (PyTorch: it depends on the mode); a pixel of weight 0 is not read. The
    gradient of the grid is 0 for ``nearest`` and where ``border`` and ``reflection`` clamp.
    **Saves** x and grid. ``mode="bicubic"`` and volumes are refused.
    """
    xa, ga = unwrap("grid_sample", x=x, grid=grid)
    _one_of("grid_sample", "mode", mode, ("bilinear", "nearest"))
    _one_of("grid_sample", "padding_mode", padding_mode, PADDING_MODES)
    _check_images("grid_sample", xa)
    if ga.ndim != 4 or ga.shape[3] != 2 or ga.shape[0] != xa.shape[0]:
        raise ShapeError(
            f"grid_sample: grid has shape {ga.shape}, expected ({xa.shape[0]}, OH, OW, 2): a place (across, down) for "
            f"every output pixel of the {xa.shape[0]} images of x"
        )
    padding, corners, nearest = PADDING_MODES.index(padding_mode), bool(align_corners), mode == "nearest"
    y = K.grid_sample_forward(xa, ga, padding, corners, nearest)

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, Array | None]:
        gx = K.grid_sample_grad_x(gy, ga, xa.shape[2:], padding, corners, nearest) if needs[0] else None
        if not needs[1]:
            return gx, None
        return gx, allocate(ga, ga.shape, fill=0) if nearest else K.grid_sample_grad_grid(gy, xa, ga, padding, corners)

    return record("grid_sample", y, (x, grid), vjp)


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images resized to ``size`` (OH, OW) or by ``scale_factor``, one number or two.

    **Shapes** (N, C, H, W) -> (N, C, OH, OW), ``OH = floor(H * scale_factor)``.
    **Math** ``nearest``: pixel ``floor(i*H/OH)``. ``bilinear``: position ``(i + 0.5)*H/OH - 0.5``, at least 0, with
    ``align_corners`` ``i*(H - 1)/(OH - 1)``; the two pixels around weighted by nearness. With ``scale_factor`` the
    ratio is ``1 / scale_factor``, not ``H/OH``, unless ``recompute_scale_factor`` or the size stays (nearest: doubles).
    **Saves** nothing. Differs from PyTorch: ``nearest`` is exact where PyTorch's float32 ratio rounds to the pixel
    before (sizes above 45), a pixel of weight 0 is not read, and the other modes and ``antialias`` are refused.
    """
    _one_of("interpolate", "mode", mode, ("nearest", "bilinear"))
    if antialias:
        raise ArgumentError(
            "interpolate: antialias=True is not implemented; fix: avg_pool2d before, or antialias=False"
        )
    if mode == "nearest" and align_corners is not None:
        raise ArgumentError(f"interpolate: align_corners={align_corners!r} has no meaning for mode='nearest'; leave it")
    (xa,) = unwrap("interpolate", x=x)
    _check_images("interpolate", xa)
    out, factors = _resized("interpolate", xa.shape[2:], size, scale_factor, bool(recompute_scale_factor))
    rows, cols = (
        nearest_taps(length, wanted, factor)
        if mode == "nearest"
        else bilinear_taps(length, wanted, factor, bool(align_corners))
        for length, wanted, factor in zip(xa.shape[2:], out, factors, strict=True)
    )
    return _resample("interpolate", x, xa, rows, cols)


def _resample(op: str, x: Any, xa: Array, rows: Taps, cols: Taps) -> Tensor:
    size = xa.shape[2:]
    y = K.resample_forward(xa, rows, cols)
    return record(op, y, (x,), lambda gy, needs: (K.resample_grad_x(gy, rows, cols, size),))


def _resized(
    op: str, image: tuple[int, int], size: Any, scale_factor: Any, recompute: bool
) -> tuple[tuple[int, int], tuple[float | None, float | None]]:
    """The output size, and the factor of each axis where it, not the sizes, decides the positions."""
    if (size is None) == (scale_factor is None):
        raise ArgumentError(f"{op}: size={size!r}, scale_factor={scale_factor!r}: expected exactly one of the two")
    if size is not None and recompute:
        raise ArgumentError(f"{op}: recompute_scale_factor=True needs scale_factor, but size={size!r} was given")
    name, given = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    both = tuple(given) if isinstance(given, (tuple, list)) else (given, given)
    if len(both) != 2:
        raise ArgumentError(f"{op}: {name}={given!r} has {len(both)} numbers, expected one or two (height, width)")
    if scale_factor is None:
        return (integer(op, "size", both[0], 1), integer(op, "size", both[1], 1)), (None, None)
    for factor in both:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
            raise ArgumentError(f"{op}: scale_factor={scale_factor!r}, expected positive numbers")
    oh, ow = (math.floor(length * factor) for length, factor in zip(image, both, strict=True))
    if min(oh, ow) < 1:
        raise ShapeError(
            f"{op}: scale_factor={scale_factor!r} shrinks images of {image[0]} x {image[1]} to {oh} x {ow} pixels; "
            "fix: a larger factor, or size="
        )
    return (oh, ow), (None, None) if recompute else (float(both[0]), float(both[1]))


def _check_images(op: str, xa: Array) -> None:
    if xa.ndim != 4 or min(xa.shape[2:]) < 1:
        raise ShapeError(f"{op}: x has shape {xa.shape}, expected (N, C, H, W) with images of at least 1 x 1 pixel")


def _one_of(op: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ArgumentError(f"{op}: {name}={value!r} is not supported, expected one of {', '.join(map(repr, allowed))}")
