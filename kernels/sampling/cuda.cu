// CUDA twins of sampling (contract: __init__.py). n, c, i, j run over outputs (o = i * ow + j), row, col over the pixels
// read; coordinates, weights and sums are double.
#include "loops.cuh"

#define BORDER 1  // positions in PADDING_MODES; 0 is zeros
#define REFLECTION 2

// A position on one axis, in pixels, and its derivative by the coordinate it came from.
struct Position { double at, slope; };

__device__ Position source(double g, Index size, Index padding_mode, bool align_corners) {
  double slope = (align_corners ? size - 1 : size) / 2.0;
  double u = __dmul_rn(g + 1, slope);  // rounded before 0.5 is taken off, as on the CPU: `nearest` finds the same pixel
  if (!align_corners) u -= 0.5;
  if (u != u) return {u, u};
  if (padding_mode == REFLECTION) {
    double low = align_corners ? 0 : -0.5, span = align_corners ? size - 1 : size;
    if (span == 0) return {0, 0};
    if (u < low) slope = -slope;
    double distance = fabs(u - low), flips = floor(distance / span), rest = fmod(distance, span);
    if (fmod(flips, 2.0) == 0) {
      u = low + rest;
    } else {
      u = low + span - rest;
      slope = -slope;
    }
  }
  if (padding_mode == BORDER || padding_mode == REFLECTION) {
    if (u <= 0) return {0, 0};
    if (u >= size - 1) return {double(size - 1), 0};
  }
  return {u, slope};
}

// The pixel at or before position u (or the nearest); -2 when neither it nor the next lies in the image.
__device__ Index first_pixel(double u, Index size, bool nearest) {
  double first = nearest ? rint(u) : floor(u);
  return first >= -1 && first < size ? (Index)first : -2;
}

__device__ double weight_at(double u, Index pixel, bool nearest) { return nearest ? 1 : 1 - fabs(u - pixel); }

// One thread an output pixel, for all channels: the four pixels (or one) and their shares are worked out once.
template <class T>
__global__ void grid_sample_forward(const T* x, const T* grid, Index batch, Index channels, Index h, Index w, Index outputs,
                                    Index padding_mode, bool align_corners, bool nearest, T* y) {
  EACH(e, batch * outputs) {
    Index n = e / outputs, o = e % outputs;
    double u = source(compute<T>(grid[2 * e]), w, padding_mode, align_corners).at;
    double v = source(compute<T>(grid[2 * e + 1]), h, padding_mode, align_corners).at;
    Index left = first_pixel(u, w, nearest), top = first_pixel(v, h, nearest), taps = nearest ? 1 : 2;
    double nothing = u != u ? u : v != v ? v : 0;
    double share[4];
    Index pixel[4];
#pragma unroll
    for (Index k = 0; k < 4; k++) {
      Index row = top + k / 2, col = left + k % 2;
      bool read = k / 2 < taps && k % 2 < taps && row >= 0 && row < h && col >= 0 && col < w;
      share[k] = read ? weight_at(v, row, nearest) * weight_at(u, col, nearest) : 0;
      pixel[k] = read ? row * w + col : 0;
    }
    for (Index c = 0; c < channels; c++) {
      Index plane = n * channels + c;
      double total = nothing;
#pragma unroll
      for (Index k = 0; k < 4; k++)
        if (share[k] != 0) total += share[k] * compute<T>(x[plane * h * w + pixel[k]]);  // weight 0: NaN stays local
      y[plane * outputs + o] = T(compute<T>(total));
    }
  }
}

// The gradient of the image is gathered. The outputs are sorted by the pixel they read first, their cell; rows and columns
// from -1 on, so an image has (h + 1) * (w + 1) cells, and outputs that read nothing go after the last. The key also
// holds the number of the output: equal cells stay in scan order.
template <class T>
__global__ void grid_sample_keys(const T* grid, Index batch, Index h, Index w, Index outputs, Index padding_mode,
                                 bool align_corners, bool nearest, long long* key) {
  EACH(e, batch * outputs) {
    Index left = first_pixel(source(compute<T>(grid[2 * e]), w, padding_mode, align_corners).at, w, nearest);
    Index top = first_pixel(source(compute<T>(grid[2 * e + 1]), h, padding_mode, align_corners).at, h, nearest);
    long long cell = ((long long)(e / outputs) * (h + 1) + top + 1) * (w + 1) + left + 1;
    if (top == -2 || left == -2) cell = (long long)batch * (h + 1) * (w + 1);
    key[e] = cell * outputs + e % outputs;
  }
}

// For each sorted output its place (u, v) and which it is.
template <class T>
__global__ void grid_sample_places(const T* grid, const long long* key, Index batch, Index h, Index w, Index outputs,
                                   Index padding_mode, bool align_corners, double* place, long long* order) {
  EACH(k, batch * outputs) {
    long long cell = key[k] / outputs, o = key[k] % outputs, n = cell / ((long long)(h + 1) * (w + 1));
    if (n < batch) {
      long long e = n * outputs + o;
      place[2 * k] = source(compute<T>(grid[2 * e]), w, padding_mode, align_corners).at;
      place[2 * k + 1] = source(compute<T>(grid[2 * e + 1]), h, padding_mode, align_corners).at;
      order[k] = o;
    }
  }
}

// begin[a] is the first sorted output of cell a or of one after it.
template <class T>
__global__ void grid_sample_cells(const long long* key, Index places, Index cells, Index outputs, long long* begin) {
  EACH(a, cells + 1) {
    Index low = 0, high = places;
    while (low < high) {
      Index middle = low + (high - low) / 2;
      if (key[middle] < (long long)a * outputs) low = middle + 1;
      else high = middle;
    }
    begin[a] = low;
  }
}

// The cells that reach a pixel are its own, the one to the left, and the two above these: two runs of sorted outputs.
template <class T>
__global__ void grid_sample_grad_x(const T* gy, const long long* begin, const double* place, const long long* order,
                                   Index batch, Index channels, Index h, Index w, Index outputs, bool nearest, T* gx) {
  EACH(e, batch * channels * h * w) {
    Index col = e % w, row = e / w % h, plane = e / w / h, n = plane / channels;
    double total = 0;
    for (Index top = nearest ? row : row - 1; top <= row; top++) {
      long long own = ((long long)n * (h + 1) + top + 1) * (w + 1) + col + 1;
      for (long long k = begin[nearest ? own : own - 1], end = begin[own + 1]; k < end; k++) {
        double share = weight_at(place[2 * k + 1], row, nearest) * weight_at(place[2 * k], col, nearest);
        total += share * compute<T>(gy[plane * outputs + order[k]]);
      }
    }
    gx[e] = T(compute<T>(total));
  }
}

template <class T>
__global__ void grid_sample_grad_grid(const T* gy, const T* x, const T* grid, Index batch, Index channels, Index h, Index w,
                                      Index outputs, Index padding_mode, bool align_corners, T* ggrid) {
  EACH(e, batch * outputs) {
    Index n = e / outputs, o = e % outputs;
    Position u = source(compute<T>(grid[2 * e]), w, padding_mode, align_corners);
    Position v = source(compute<T>(grid[2 * e + 1]), h, padding_mode, align_corners);
    Index left = first_pixel(u.at, w, false), top = first_pixel(v.at, h, false);
    double gu = 0, gv = 0;
    for (Index c = 0; c < channels; c++) {
      Index plane = n * channels + c;
      compute<T> g = gy[plane * outputs + o];
      for (Index row = max(top, Index(0)); row < min(top + 2, h); row++)
        for (Index col = max(left, Index(0)); col < min(left + 2, w); col++) {
          double value = g * compute<T>(x[(plane * h + row) * w + col]);
          gu += value * weight_at(v.at, row, false) * (col == left ? -1 : 1);
          gv += value * weight_at(u.at, col, false) * (row == top ? -1 : 1);
        }
    }
    ggrid[2 * e] = T(compute<T>(gu * u.slope));
    ggrid[2 * e + 1] = T(compute<T>(gv * v.slope));
  }
}

// A thread owns output (i, j) of every groups-th plane: its taps are looked up once.
template <class T>
__global__ void resample_forward(const T* x, Index planes, Index h, Index w, const long long* row0, const long long* row1,
                                 const double* row_weight, const long long* col0, const long long* col1,
                                 const double* col_weight, Index oh, Index ow, Index groups, T* y) {
  EACH(e, groups * oh * ow) {
    Index o = e % (oh * ow), i = o / ow, j = o % ow;
    Index above = row0[i] * w, below = row1[i] * w, left = col0[j], right = col1[j];
    double a = row_weight[i], b = col_weight[j];
    for (Index plane = e / (oh * ow); plane < planes; plane += groups) {
      const T* image = x + plane * h * w;
      auto line = [=](Index col) {  // the two rows mixed; a weight of 0 reads nothing: NaN stays local
        double v = compute<T>(image[above + col]);
        return a == 0 ? v : (1 - a) * v + a * compute<T>(image[below + col]);
      };
      double total = line(left);
      if (b != 0) total = (1 - b) * total + b * line(right);
      y[plane * oh * ow + o] = T(compute<T>(total));
    }
  }
}

// A thread owns pixel (row, col) of every groups-th plane and gathers from its readers.
template <class T>
__global__ void resample_grad_x(const T* gy, Index planes, Index oh, Index ow, const long long* row_readers,
                                const double* row_shares, Index most_rows, const long long* col_readers,
                                const double* col_shares, Index most_cols, Index h, Index w, Index groups, T* gx) {
  EACH(e, groups * h * w) {
    Index p = e % (h * w), row = p / w, col = p % w;
    Index first_i = row_readers[row], end_i = row_readers[h + row];
    Index first_j = col_readers[col], end_j = col_readers[w + col];
    for (Index plane = e / (h * w); plane < planes; plane += groups) {
      double total = 0;
      for (Index i = first_i; i < end_i; i++) {
        double line = 0;  // the gradient of the mixed row of the forward pass, at this column
        for (Index j = first_j; j < end_j; j++)
          line += col_shares[col * most_cols + j - first_j] * compute<T>(gy[(plane * oh + i) * ow + j]);
        total += row_shares[row * most_rows + i - first_i] * line;
      }
      gx[plane * h * w + p] = T(compute<T>(total));
    }
  }
}
