// CUDA twins of the convolutions (contract: __init__.py; positions and rows of columns: cpu.py). Neighbouring threads own
// neighbouring pixels of an image row. An integer division costs as much as twenty multiply-adds, so a thread divides
// its number once and then serves several taps, channels or rows.
#include "reduce.cuh"
#include "window.cuh"

// col[r, b] = the pixel that tap r of position first + b reads, 0 in the padding; channels from c0 on. A thread writes
// position b of all taps of `share` channels. Rows lie `pitch` apart; those of image n start n * jump later still.
template <class T>
__global__ void im2col(const T* __restrict__ x, Index planes, T* __restrict__ col, Index channels, Index positions,
                       Index pitch, Index jump, WINDOW, Index c0, Index first, Index share) {
  EACH(e, (channels + share - 1) / share * positions) {
    Index part = e / positions, b = e - part * positions;
    Index line = (first + b) / ow, j = first + b - line * ow, n = line / oh, i = line - n * oh;
    Index above = i * sh - top, before = j * sw - left;
    for (Index c = part * share; c < min((part + 1) * share, channels); c++) {
      const T* pixels = x + (n * planes + c0 + c) * h * w;
      T* entry = col + c * kh * kw * pitch + n * jump + b;
      for (Index p = 0; p < kh; p++) {
        Index u = above + p * dh;
        for (Index q = 0; q < kw; q++, entry += pitch) {
          Index v = before + q * dw;
          T pixel = T(0.f);
          if (0 <= u && u < h && 0 <= v && v < w) pixel = pixels[u * w + v];
          *entry = pixel;
        }
      }
    }
  }
}

// Adds to every pixel of `images` images from n0 on the entries of col whose tap read it: the transpose of im2col. A
// thread owns one pixel and looks its readers up.
template <class T>
__global__ void col2im(const T* __restrict__ col, T* __restrict__ gx, Index planes, Index channels, Index n0, Index images,
                       Index positions, Index pitch, Index jump, WINDOW, Index period_h, Index jump_h, Index period_w,
                       Index jump_w, Index c0, Index first) {
  EACH(e, images * channels * h * w) {
    Index line = e / w, v = e - line * w, plane = line / h, u = line - plane * h;
    Index n = n0 + plane / channels, c = plane % channels;
    Readers rows = readers(u + top, sh, dh, kh), columns = readers(v + left, sw, dw, kw);
    const T* entries = col + c * kh * kw * pitch + n * jump;
    compute<T> total = 0;
    for (Index p = rows.tap, i = rows.output; p < kh; p += period_h, i -= jump_h) {
      if (i < 0 || i >= oh) continue;
      for (Index q = columns.tap, j = columns.output; q < kw; q += period_w, j -= jump_w) {
        Index b = (n * oh + i) * ow + j - first;
        if (0 <= j && j < ow && 0 <= b && b < positions) total += compute<T>(entries[(p * kw + q) * pitch + b]);
      }
    }
    Index at = ((n * planes + c0 + c) * h + u) * w + v;
    gx[at] = T(compute<T>(gx[at]) + total);
  }
}

// y[n, k0 + k, s] = columns[k, b] + bias[k0 + k] for position first + b = n * size + s, for `share` filters a thread.
template <class T>
__global__ void scatter(const T* __restrict__ columns, Index rows, Index total, T* __restrict__ y, Index filters, Index size,
                        const T* __restrict__ bias, bool biased, Index k0, Index first, Index share) {
  EACH(e, (rows + share - 1) / share * total) {
    Index part = e / total, b = e - part * total, n = (first + b) / size, s = first + b - n * size;
    for (Index k = part * share; k < min((part + 1) * share, rows); k++) {
      compute<T> v = columns[k * total + b];
      if (biased) v += compute<T>(bias[k0 + k]);
      y[(n * filters + k0 + k) * size + s] = T(v);
    }
  }
}

// columns[k, b] = gy[n, k0 + k, s]: the inverse of scatter.
template <class T>
__global__ void gather(const T* __restrict__ gy, Index filters, Index size, T* __restrict__ columns, Index rows, Index total,
                       Index k0, Index first, Index share) {
  EACH(e, (rows + share - 1) / share * total) {
    Index part = e / total, b = e - part * total, n = (first + b) / size, s = first + b - n * size;
    for (Index k = part * share; k < min((part + 1) * share, rows); k++) {
      columns[k * total + b] = gy[(n * filters + k0 + k) * size + s];
    }
  }
}

// One output without its bias: the taps inside the image of all channels. `x` is the first of the channels, `weight` the
// filter, (u, v) the pixel of tap (0, 0).
template <class T>
__device__ compute<T> one_output(const T* __restrict__ x, const T* __restrict__ weight, Index channels, Index u, Index v,
                                 Index h, Index w, Index kh, Index kw, Index dh, Index dw) {
  compute<T> total = 0;
  for (Index c = 0; c < channels; c++) {
    for (Index p = 0; p < kh; p++) {
      Index y = u + p * dh;
      if (y < 0 || y >= h) continue;
      for (Index q = 0; q < kw; q++) {
        Index z = v + q * dw;
        if (z < 0 || z >= w) continue;
        total += compute<T>(weight[(c * kh + p) * kw + q]) * compute<T>(x[(c * h + y) * w + z]);
      }
    }
  }
  return total;
}

// y[n, k] = bias[k] + the taps of its group's channels, for any window: a thread owns one output.
template <class T>
__global__ void direct_forward(const T* __restrict__ x, Index planes, const T* __restrict__ weight, Index filters,
                               Index channels, const T* __restrict__ bias, bool biased, T* __restrict__ y, Index images,
                               WINDOW, Index groups) {
  EACH(e, images * filters * oh * ow) {
    Index line = e / ow, j = e - line * ow, plane = line / oh, i = line - plane * oh;
    Index n = plane / filters, k = plane - n * filters, c0 = k / (filters / groups) * channels;
    compute<T> total = one_output(x + (n * planes + c0) * h * w, weight + k * channels * kh * kw, channels, i * sh - top,
                                  j * sw - left, h, w, kh, kw, dh, dw);
    if (biased) total += compute<T>(bias[k]);
    y[e] = T(total);
  }
}

// Adds one channel's taps to ROWS (cuda.py) outputs of a column. A column of pixels is read once and kept in registers for all the
// outputs whose taps meet it. (u, v) is the pixel of tap (0, 0) of the first; the padding counts as zeros.
template <class T, int KH, int SH>
__device__ void add_taps(compute<T> (&total)[ROWS], const T* __restrict__ x, const T* __restrict__ weight, Index u, Index v,
                         Index h, Index w, Index kw, Index dw) {
  constexpr int HEIGHT = (ROWS - 1) * SH + KH;
  for (Index q = 0; q < kw; q++, v += dw) {
    if (v < 0 || v >= w) continue;
    compute<T> pixel[HEIGHT];
#pragma unroll
    for (int a = 0; a < HEIGHT; a++) {
      pixel[a] = 0;
      if (0 <= u + a && u + a < h) pixel[a] = x[(u + a) * w + v];
    }
#pragma unroll
    for (int p = 0; p < KH; p++) {
      compute<T> tap = weight[p * kw + q];
#pragma unroll
      for (int r = 0; r < ROWS; r++) total[r] += tap * pixel[r * SH + p];
    }
  }
}

// direct_forward for 3, 5 or 7 rows of taps at stride 1 or 2, undilated: a thread owns ROWS outputs of a column.
template <class T>
__global__ void direct_forward_rows(const T* __restrict__ x, Index planes, const T* __restrict__ weight, Index filters,
                                    Index channels, const T* __restrict__ bias, bool biased, T* __restrict__ y, Index images,
                                    WINDOW, Index groups) {
  Index strips = (oh + ROWS - 1) / ROWS;
  EACH(e, images * filters * strips * ow) {
    Index line = e / ow, j = e - line * ow, plane = line / strips, i = (line - plane * strips) * ROWS;
    Index n = plane / filters, k = plane - n * filters, c0 = k / (filters / groups) * channels;
    Index u = i * sh - top, v = j * sw - left;
    const T *pixels = x + (n * planes + c0) * h * w, *taps = weight + k * channels * kh * kw;
    compute<T> total[ROWS] = {};
    for (Index c = 0; c < channels; c++) {
      const T *source = pixels + c * h * w, *filter = taps + c * kh * kw;
      switch (kh * 2 + sh) {
        case 3 * 2 + 1: add_taps<T, 3, 1>(total, source, filter, u, v, h, w, kw, dw); break;
        case 3 * 2 + 2: add_taps<T, 3, 2>(total, source, filter, u, v, h, w, kw, dw); break;
        case 5 * 2 + 1: add_taps<T, 5, 1>(total, source, filter, u, v, h, w, kw, dw); break;
        case 5 * 2 + 2: add_taps<T, 5, 2>(total, source, filter, u, v, h, w, kw, dw); break;
        case 7 * 2 + 1: add_taps<T, 7, 1>(total, source, filter, u, v, h, w, kw, dw); break;
        case 7 * 2 + 2: add_taps<T, 7, 2>(total, source, filter, u, v, h, w, kw, dw); break;
      }
    }
    compute<T> shift = 0;
    if (biased) shift = bias[k];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (i + r >= oh) continue;
      // A NaN may be a zero of the padding times an infinite weight, which is no product of the sum: look again.
      if (total[r] != total[r]) total[r] = one_output(pixels, taps, channels, u + r * sh, v, h, w, kh, kw, dh, dw);
      y[(plane * oh + i + r) * ow + j] = T(total[r] + shift);
    }
  }
}

// gx[n, c] = the sum of weight * gy over the taps that read the pixel, for any window: a thread owns ROWS pixels of a
// column.
template <class T>
__global__ void direct_grad_x(const T* __restrict__ gy, const T* __restrict__ weight, Index filters, Index channels,
                              T* __restrict__ gx, Index planes, Index images, WINDOW, Index period_h, Index jump_h,
                              Index period_w, Index jump_w, Index groups) {
  Index strips = (h + ROWS - 1) / ROWS;
  EACH(e, images * planes * strips * w) {
    Index line = e / w, v = e - line * w, plane = line / strips, start = (line - plane * strips) * ROWS;
    Index n = plane / planes, c = plane - n * planes, group = c / channels;
    Index k0 = group * (filters / groups), k1 = k0 + filters / groups;
    Readers columns = readers(v + left, sw, dw, kw);
    for (Index u = start; u < min(start + ROWS, h); u++) {
      Readers rows = readers(u + top, sh, dh, kh);
      compute<T> total = 0;
      for (Index k = k0; k < k1; k++) {
        const T* source = gy + (n * filters + k) * oh * ow;
        const T* taps = weight + (k * channels + c - group * channels) * kh * kw;
        for (Index p = rows.tap, i = rows.output; p < kh; p += period_h, i -= jump_h) {
          if (i < 0 || i >= oh) continue;
          for (Index q = columns.tap, j = columns.output; q < kw; q += period_w, j -= jump_w) {
            if (0 <= j && j < ow) total += compute<T>(taps[p * kw + q]) * compute<T>(source[i * ow + j]);
          }
        }
      }
      gx[(plane * h + u) * w + v] = T(total);
    }
  }
}

constexpr int TAPS = 8;  // taps of a row of filters that a thread sums at once

// part[segment, k, c, p, q] = the sum of gy times the tap's pixel over the positions of a segment, `length` long. A block
// owns a row (k, c, p) of one segment; threads sum in the compute type, their sums are added in double.
template <class T>
__global__ void direct_grad_w(const T* __restrict__ gy, const T* __restrict__ x, Index planes, Index images,
                              double* __restrict__ part, Index filters, Index channels, WINDOW, Index groups,
                              Index segments, Index length) {
  Index rows = filters * channels * kh, threads = blockDim.x, positions = images * oh * ow;
  Index di = threads / ow % oh, dj = threads % ow, dn = threads / (oh * ow);  // from a thread's position to its next
  EACH_BLOCK(block, segments * rows) {
    Index segment = block / rows, r = block - segment * rows, p = r % kh, c = r / kh % channels, k = r / (kh * channels);
    Index plane = k / (filters / groups) * channels + c, end = min((segment + 1) * length, positions);
    for (Index q0 = 0; q0 < kw; q0 += TAPS) {
      compute<T> total[TAPS] = {};
      Index at = segment * length + (Index)threadIdx.x, n = at / (oh * ow), i = at / ow % oh, j = at % ow;
      for (; at < end; at += threads) {
        Index u = i * sh + p * dh - top, v = j * sw + q0 * dw - left;
        if (0 <= u && u < h) {
          compute<T> g = gy[((n * filters + k) * oh + i) * ow + j];
          const T* source = x + ((n * planes + plane) * h + u) * w;
#pragma unroll
          for (int a = 0; a < TAPS; a++, v += dw) {
            if (q0 + a < kw && 0 <= v && v < w) total[a] += g * compute<T>(source[v]);
          }
        }
        j += dj, i += di, n += dn;
        if (j >= ow) j -= ow, i++;
        if (i >= oh) i -= oh, n++;
      }
#pragma unroll
      for (int a = 0; a < TAPS; a++) {
        if (q0 + a >= kw) break;
        double sum = block_sum(double(total[a]));
        if (threadIdx.x == 0) part[block * kw + q0 + a] = sum;
      }
    }
  }
}

// gw[e] = the sum of part[segment, e] over the segments, in their order.
template <class T>
__global__ void sum_segments(const double* __restrict__ part, Index segments, Index size, T* __restrict__ gw) {
  EACH(e, size) {
    double total = 0;
    for (Index segment = 0; segment < segments; segment++) total += part[segment * size + e];
    gw[e] = T(compute<T>(total));
  }
}
