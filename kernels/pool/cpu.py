"""Numba twins of pooling: (n, c) planes in parallel, one worker a plane.

Windows that slide have kernels of their own (``windows_cpu.py``); here are those of whole planes and of bins that lie
anyhow. ``i, j`` run over outputs, ``r, c`` over the pixels of a bin.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel
from minicnn.kernels.pool import windows_cpu


def extreme_forward(x, bins, smallest, y, index):
    """x (planes, H, W), y and index (planes, OH, OW); ``index`` is None, int32 places, or uint8 taps of a window."""
    wanted = index is not None
    index = index if wanted else np.empty((0, 0, 0), np.int32)  # of a type that the kernels know
    if bins.sliding is None:
        _extreme_forward(x, bins.rows, bins.cols, bins.dh, bins.dw, smallest, wanted, y, index)
    else:
        sign = x.dtype.type(-1 if smallest else 1)
        windows_cpu.window_extremes(
            x.reshape(-1), bins.h, bins.w, *bins.out, _window(bins), sign, wanted, y.reshape(-1), index.reshape(-1)
        )


def extreme_grad_x(gy, index, bins, gx):
    """gy and index (planes, OH, OW), gx (planes, H, W)."""
    if index.dtype == np.uint8:
        windows_cpu.tap_grad_x(
            gy.reshape(-1), index.reshape(-1), bins.h, bins.w, *bins.out, _window(bins), gx.reshape(-1)
        )
    else:
        _extreme_grad_x(_flat(gy), _flat(index), _flat(gx))


def average_forward(x, bins, y):
    """x (planes, H, W), y (planes, OH, OW)."""
    if bins.is_plane:
        _plane_averages(_flat(x), float(bins.rows[2, 0] * bins.cols[2, 0]), y.reshape(-1))
    elif bins.sliding is None:
        _average_forward(x, bins.rows, bins.cols, y)
    else:
        divisors = _divisors(bins)
        windows_cpu.window_averages(x.reshape(-1), bins.h, bins.w, *divisors, _window(bins), y.reshape(-1))


def average_grad_x(gy, bins, gx):
    """gy (planes, OH, OW), gx (planes, H, W)."""
    if bins.is_plane:
        _plane_average_grad_x(gy.reshape(-1), float(bins.rows[2, 0] * bins.cols[2, 0]), _flat(gx))
    elif bins.sliding is None:
        _average_grad_x(gy, bins.rows, bins.cols, gx)
    else:
        divisors = _divisors(bins)
        windows_cpu.window_average_grad_x(gy.reshape(-1), bins.h, bins.w, *divisors, _window(bins), gx.reshape(-1))


def _flat(x):
    """(planes, H, W) -> (planes, H*W), a view."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2])


@lru_cache(maxsize=256)
def _window(bins):
    """What the kernels of windows ask of one, and the length of a row of their phases."""
    window = bins.sliding
    pitch = max(-(-(window.left + window.w) // window.sw), window.ow + (window.kw - 1) // window.sw)
    return (window.kh, window.kw, window.sh, window.sw, window.top, window.left, pitch)


@lru_cache(maxsize=256)
def _divisors(bins):
    """Of rows and of columns, as floats: a vector of integers is slow to convert."""
    return bins.rows[2].astype(float), bins.cols[2].astype(float)


@kernel()
def _extreme_forward(x, rows, cols, dh, dw, smallest, wanted, y, index):
    planes, oh, ow = y.shape
    w = x.shape[2]
    lowest = x.dtype.type(-np.inf)
    for plane in prange(planes):
        for i in range(oh):
            for j in range(ow):
                best = lowest
                empty = rows[0, i] >= rows[1, i] or cols[0, j] >= cols[1, j]
                where = -1 if empty else rows[0, i] * w + cols[0, j]
                for r in range(rows[0, i], rows[1, i], dh):
                    for c in range(cols[0, j], cols[1, j], dw):
                        v = -x[plane, r, c] if smallest else x[plane, r, c]
                        if v > best or v != v:  # `v != v` lets NaN through, and nothing is larger than NaN after
                            best = v
                            where = r * w + c
                y[plane, i, j] = -best if smallest else best
                if wanted:
                    index[plane, i, j] = where


@kernel()
def _extreme_grad_x(gy, index, gx):
    planes, outputs = gy.shape
    for plane in prange(planes):
        gx[plane, :] = 0.0
        for o in range(outputs):
            where = index[plane, o]
            if where >= 0:
                gx[plane, where] += gy[plane, o]


@kernel()
def _average_forward(x, rows, cols, y):
    planes, oh, ow = y.shape
    for plane in prange(planes):
        for i in range(oh):
            for j in range(ow):
                total = 0.0  # float64
                for r in range(rows[0, i], rows[1, i]):
                    for c in range(cols[0, j], cols[1, j]):
                        total += x[plane, r, c]
                y[plane, i, j] = total / (rows[2, i] * cols[2, j])


@kernel()
def _average_grad_x(gy, rows, cols, gx):
    planes, oh, ow = gy.shape
    number = gx.dtype.type
    for plane in prange(planes):
        gx[plane, :, :] = 0.0
        for i in range(oh):
            for j in range(ow):
                share = number(gy[plane, i, j] / (rows[2, i] * cols[2, j]))
                for r in range(rows[0, i], rows[1, i]):
                    for c in range(cols[0, j], cols[1, j]):
                        gx[plane, r, c] += share


@kernel()
def _plane_averages(x, divisor, y):
    """x (planes, S), y (planes)."""
    for plane in prange(x.shape[0]):
        total = 0.0  # float64
        for s in range(x.shape[1]):
            total += x[plane, s]
        y[plane] = total / divisor


@kernel()
def _plane_average_grad_x(gy, divisor, gx):
    """gy (planes), gx (planes, S)."""
    number = gx.dtype.type
    for plane in prange(gx.shape[0]):
        share = number(gy[plane] / divisor)
        for s in range(gx.shape[1]):
            gx[plane, s] = share


@kernel()
def unpool_forward(x, index, y):
    planes, inputs = x.shape
    for plane in prange(planes):
        y[plane, :] = 0.0
        for o in range(inputs):
            y[plane, index[plane, o]] = x[plane, o]


@kernel()
def unpool_grad_x(gy, index, gx):
    planes, inputs = gx.shape
    for plane in prange(planes):
        owner = np.full(gy.shape[1], -1, np.int32)  # which element was written last
        for o in range(inputs):
            owner[index[plane, o]] = o
        for o in range(inputs):
            where = index[plane, o]
            gx[plane, o] = gy[plane, where] if owner[where] == o else 0.0
