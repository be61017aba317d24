"""Numba twins of sampling. ``n, c, i, j`` run over outputs, ``row, col`` over the pixels read; sums are float64.

The readers of a pixel and their shares (``Taps.back``) are for twins that gather.
"""

import numpy as np
from numba import prange

from minicnn.kernels.jit import helper, kernel

BORDER, REFLECTION = 1, 2  # positions in PADDING_MODES; 0 is zeros


@helper
def source(g, size, padding_mode, align_corners):
    """The pixel position that coordinate ``g`` names, and its derivative by ``g``."""
    slope = (size - 1) / 2.0 if align_corners else size / 2.0
    u = (g + 1.0) * slope if align_corners else (g + 1.0) * slope - 0.5
    if u != u:
        return np.nan, np.nan
    if padding_mode == REFLECTION:
        low = 0.0 if align_corners else -0.5
        span = size - 1.0 if align_corners else size * 1.0
        if span == 0.0:
            return 0.0, 0.0
        if u < low:
            slope = -slope
        distance = abs(u - low)
        flips = np.floor(distance / span)
        rest = np.fmod(distance, span)
        if np.fmod(flips, 2.0) == 0.0:
            u = low + rest
        else:
            u, slope = low + span - rest, -slope
    if padding_mode in (BORDER, REFLECTION):
        if u <= 0.0:
            return 0.0, 0.0
        if u >= size - 1.0:
            return size - 1.0, 0.0
    return u, slope


@helper
def first_pixel(u, size, nearest):
    """The pixel at or before position ``u`` (or the nearest); -2 when neither it nor the next lies in the image."""
    first = np.rint(u) if nearest else np.floor(u)
    return int(first) if first >= -1.0 and first < size else -2


@helper
def weight_at(u, pixel, nearest):
    return 1.0 if nearest else 1.0 - abs(u - pixel)


# no fastmath: it may turn (1-b)*v + b*w into v + b*(w-v), which makes NaN of infinite pixels
@kernel(fastmath=False)
def grid_sample_forward(x, grid, padding_mode, align_corners, nearest, y):
    batch, channels, oh, ow = y.shape
    h, w = x.shape[2], x.shape[3]
    taps = 1 if nearest else 2
    for image_row in prange(batch * oh):
        n, i = image_row // oh, image_row % oh
        for j in range(ow):
            u, _ = source(grid[n, i, j, 0], w, padding_mode, align_corners)
            v, _ = source(grid[n, i, j, 1], h, padding_mode, align_corners)
            left, top = first_pixel(u, w, nearest), first_pixel(v, h, nearest)
            nothing = 0.0 if u == u and v == v else np.nan
            for c in range(channels):
                total = nothing
                for row in range(max(top, 0), min(top + taps, h)):
                    for col in range(max(left, 0), min(left + taps, w)):
                        share = weight_at(v, row, nearest) * weight_at(u, col, nearest)
                        if share != 0.0:  # a pixel of weight 0 is not read: NaN stays local
                            total += share * x[n, c, row, col]
                y[n, c, i, j] = total


@kernel()
def grid_sample_grad_x(gy, grid, padding_mode, align_corners, nearest, gx):
    batch, channels, oh, ow = gy.shape
    h, w = gx.shape[2], gx.shape[3]
    taps = 1 if nearest else 2
    for plane in prange(batch * channels):
        n, c = plane // channels, plane % channels
        gx[n, c, :, :] = 0.0
        for i in range(oh):
            for j in range(ow):
                u, _ = source(grid[n, i, j, 0], w, padding_mode, align_corners)
                v, _ = source(grid[n, i, j, 1], h, padding_mode, align_corners)
                left, top = first_pixel(u, w, nearest), first_pixel(v, h, nearest)
                for row in range(max(top, 0), min(top + taps, h)):
                    for col in range(max(left, 0), min(left + taps, w)):
                        share = weight_at(v, row, nearest) * weight_at(u, col, nearest)
                        gx[n, c, row, col] += share * gy[n, c, i, j]


@kernel()
def grid_sample_grad_grid(gy, x, grid, padding_mode, align_corners, ggrid):
    batch, channels, oh, ow = gy.shape
    h, w = x.shape[2], x.shape[3]
    for image_row in prange(batch * oh):
        n, i = image_row // oh, image_row % oh
        for j in range(ow):
            u, slope_u = source(grid[n, i, j, 0], w, padding_mode, align_corners)
            v, slope_v = source(grid[n, i, j, 1], h, padding_mode, align_corners)
            left, top = first_pixel(u, w, False), first_pixel(v, h, False)
            gu, gv = 0.0, 0.0
            for c in range(channels):
                for row in range(max(top, 0), min(top + 2, h)):
                    for col in range(max(left, 0), min(left + 2, w)):
                        value = gy[n, c, i, j] * x[n, c, row, col]
                        gu += value * weight_at(v, row, False) * (-1.0 if col == left else 1.0)
                        gv += value * weight_at(u, col, False) * (-1.0 if row == top else 1.0)
            ggrid[n, i, j, 0] = gu * slope_u
            ggrid[n, i, j, 1] = gv * slope_v


@kernel(fastmath=False)
def resample_forward(x, row0, row1, row_weight, col0, col1, col_weight, y):
    planes, oh, ow = y.shape
    w = x.shape[2]
    for plane in prange(planes):
        line = np.empty(w)  # the two rows mixed, at every input column
        for i in range(oh):
            a = row_weight[i]
            for col in range(w):
                line[col] = x[plane, row0[i], col]
            if a != 0.0:  # a weight of 0 reads nothing: NaN stays local
                for col in range(w):
                    line[col] = (1.0 - a) * line[col] + a * x[plane, row1[i], col]
            for j in range(ow):
                b, here = col_weight[j], line[col0[j]]
                mixed = (1.0 - b) * here + b * line[col1[j]]
                y[plane, i, j] = here if b == 0.0 else mixed


@kernel()
def resample_grad_x(
    gy, row0, row1, row_weight, col0, col1, col_weight, row_readers, row_shares, col_readers, col_shares, gx
):
    planes, oh, ow = gy.shape
    w = gx.shape[2]
    for plane in prange(planes):
        line = np.empty(w)  # the gradient of the mixed row of the forward pass
        gx[plane, :, :] = 0.0
        for i in range(oh):
            line[:] = 0.0
            for j in range(ow):
                b, g = col_weight[j], gy[plane, i, j]
                line[col0[j]] += (1.0 - b) * g
                if b != 0.0:
                    line[col1[j]] += b * g
            a = row_weight[i]
            for col in range(w):
                gx[plane, row0[i], col] += (1.0 - a) * line[col]
            if a != 0.0:
                for col in range(w):
                    gx[plane, row1[i], col] += a * line[col]
