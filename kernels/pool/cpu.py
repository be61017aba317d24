"""Numba twins of pooling: (n, c) planes in parallel, one worker a plane.

``i, j`` run over outputs, ``r, c`` over the pixels of a bin. ``rows`` and ``cols`` are those of ``Bins``; the readers
of a pixel and the width ``ow`` are for twins that gather.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import kernel


@kernel()
def extreme_forward(x, rows, cols, dh, dw, smallest, y, index):
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
                index[plane, i, j] = where


@kernel()
def extreme_grad_x(gy, index, row_readers, col_readers, ow, gx):
    planes, outputs = gy.shape
    for plane in prange(planes):
        gx[plane, :] = 0.0
        for o in range(outputs):
            where = index[plane, o]
            if where >= 0:
                gx[plane, where] += gy[plane, o]


@kernel()
def average_forward(x, rows, cols, y):
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
def average_grad_x(gy, rows, cols, row_readers, col_readers, gx):
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
