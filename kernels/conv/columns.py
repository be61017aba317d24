"""Convolution as matrix products: the plans ``im2col`` and ``pointwise``.

With columns ``col`` (C/g*kh*kw, P), one column an output position, a group of K/g filters is

    y = W @ col,      gW = gy @ col^T,      gcol = W^T @ gy,  gx = col2im(gcol).

Columns are never saved: backward builds them again. On the CPU ``blocked.py`` does all this, a block in each thread.

On the GPU columns are made a chunk at a time: a part of one image, whose product lands in NCHW directly, or several
whole images, whose product (K/g, P) is spread over them while the bias is added. Products of two matrices are cuBLAS at
its best. A *batch* of products is less in CuPy: a transposed operand is copied, half is multiplied in float32 and
bfloat16 without tensor cores. There the pointwise plan has columns too.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from minicnn.kernels.arrays import STORAGE_DTYPES, Array, array_module, compute_dtype, is_cupy, twin
from minicnn.kernels.conv import blocked, workspace
from minicnn.kernels.conv.workspace import positions_a_chunk, scratch
from minicnn.kernels.window import Window2d


class _Chunk(NamedTuple):
    """Positions [first, first + length), counted through the batch, of one group of channels."""

    group: int
    first: int
    length: int
    image: int  # the image they lie in and where in it, unless spread
    start: int
    spread: bool  # over several whole images


def _chunks(n: int, groups: int, step: int, pixels: int) -> Iterator[_Chunk]:
    for group in range(groups):
        if step > pixels:
            for first in range(0, n * pixels, step):
                yield _Chunk(group, first, min(step, n * pixels - first), 0, 0, True)
        else:
            for image in range(n):
                for start in range(0, pixels, step):
                    length = min(step, pixels - start)
                    yield _Chunk(group, image * pixels + start, length, image, start, False)


class _Layout(NamedTuple):
    """The sizes every pass needs: filters and column rows a group, positions an image."""

    kernels: Any  # the twins
    k: int
    rows: int
    pixels: int

    def chunks(self, x: Array, groups: int) -> Iterator[_Chunk]:
        n, rows = x.shape[0], max(self.k, self.rows)
        step = positions_a_chunk(workspace.GPU_WORKSPACE_BYTES, rows, x.dtype.itemsize, self.pixels, n)
        return _chunks(n, groups, step, self.pixels)


def _layout(x: Array, k: int, channels: int, window: Window2d, groups: int) -> _Layout:
    kernels = twin("minicnn.kernels.conv", x)
    return _Layout(kernels, k // groups, channels * window.taps, window.oh * window.ow)


def forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan im2col: ``y (N, K, OH, OW)``."""
    if not is_cupy(x):
        return blocked.forward(x, weight, bias, window, groups, y)
    xp, (k, channels) = array_module(x), weight.shape[:2]
    a = _layout(x, k, channels, window, groups)
    filters = weight.reshape(groups, a.k, a.rows)
    images = y.reshape(len(y), k, a.pixels)
    shift = x.reshape(-1)[:0] if bias is None else bias
    for chunk in a.chunks(x, groups):
        col = scratch(x, "columns", (a.rows, chunk.length))
        a.kernels.im2col(x, col, tuple(window), chunk.group * channels, chunk.first)
        k0 = chunk.group * a.k
        if chunk.spread:
            product = xp.matmul(filters[chunk.group], col, out=scratch(x, "product", (a.k, chunk.length)))
            a.kernels.scatter(product, images, shift, k0, chunk.first)
        else:
            out = images[chunk.image, k0 : k0 + a.k, chunk.start : chunk.start + chunk.length]
            xp.matmul(filters[chunk.group], col, out=out)
            if bias is not None:
                out += bias[k0 : k0 + a.k, None]


def _upstream(a: _Layout, gy: Array, images: Array, chunk: _Chunk) -> Array:
    """The chunk of ``gy`` as a matrix (K/g, P): a view inside one image, a gathered copy over several."""
    k0 = chunk.group * a.k
    if not chunk.spread:
        return images[chunk.image, k0 : k0 + a.k, chunk.start : chunk.start + chunk.length]
    product = scratch(gy, "product", (a.k, chunk.length))
    a.kernels.gather(images, product, k0, chunk.first)
    return product


def grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan im2col: ``gx (N, C, H, W)``."""
    if not is_cupy(gy):
        return blocked.grad_x(gy, weight, window, groups, gx)
    gx[...] = 0  # columns are added to it
    xp, (k, channels) = array_module(gy), weight.shape[:2]
    a = _layout(gy, k, channels, window, groups)
    filters = weight.reshape(groups, a.k, a.rows)
    images = gy.reshape(len(gy), k, a.pixels)
    for chunk in a.chunks(gy, groups):
        upstream = _upstream(a, gy, images, chunk)
        col = xp.matmul(filters[chunk.group].T, upstream, out=scratch(gy, "columns", (a.rows, chunk.length)))
        a.kernels.col2im(col, gx, tuple(window), chunk.group * channels, chunk.first)


def grad_w(gy: Array, x: Array, window: Window2d, groups: int, gw: Array) -> None:
    """Plan im2col: adds to ``gw (K, C/g, kh, kw)``, which comes zeroed."""
    if not is_cupy(x):
        return blocked.grad_w(gy, x, window, groups, gw)
    xp, (k, channels) = array_module(x), gw.shape[:2]
    a = _layout(x, k, channels, window, groups)
    wide = compute_dtype(gw.dtype)  # a sum over many chunks would lose digits in half
    filters = gw.reshape(groups, a.k, a.rows).astype(wide, copy=False)
    images = gy.reshape(len(gy), k, a.pixels)
    part = xp.empty((a.k, a.rows), gw.dtype)
    for chunk in a.chunks(x, groups):
        col = scratch(x, "columns", (a.rows, chunk.length))
        a.kernels.im2col(x, col, tuple(window), chunk.group * channels, chunk.first)
        xp.matmul(_upstream(a, gy, images, chunk), col.T, out=part)
        filters[chunk.group] += part.astype(wide, copy=False)
    if wide != gw.dtype:
        gw[...] = filters.reshape(gw.shape)


def pointwise_forward(x: Array, weight: Array, bias: Array | None, window: Window2d, groups: int, y: Array) -> None:
    """Plan pointwise: ``y[n, g] = W[g] @ x[n, g]``, (K/g, C/g) @ (C/g, H*W)."""
    if not is_cupy(x) or x.dtype.name in STORAGE_DTYPES:
        return forward(x, weight, bias, window, groups, y)
    n, _, h, w = x.shape
    k, channels = weight.shape[:2]
    images, out = x.reshape(n, groups, channels, h * w), y.reshape(n, groups, k // groups, h * w)
    array_module(x).matmul(weight.reshape(groups, k // groups, channels), images, out=out)
    if bias is not None:
        out += bias.reshape(groups, k // groups, 1)


def pointwise_grad_x(gy: Array, weight: Array, window: Window2d, groups: int, gx: Array) -> None:
    """Plan pointwise: ``gx[n, g] = W[g]^T @ gy[n, g]``."""
    if not is_cupy(gy) or gy.dtype.name in STORAGE_DTYPES:
        return grad_x(gy, weight, window, groups, gx)
    n, k, h, w = gy.shape
    channels = weight.shape[1]
    filters = weight.reshape(groups, k // groups, channels).swapaxes(1, 2)
    upstream, out = gy.reshape(n, groups, k // groups, h * w), gx.reshape(n, groups, channels, h * w)
    array_module(gy).matmul(filters, upstream, out=out)
