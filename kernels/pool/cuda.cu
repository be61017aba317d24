// CUDA twins of pooling (contract: __init__.py). i, j run over outputs, r, c over pixels; o = i * ow + j and p = r * w + c.
// A thread owns one place of a plane, an output or a pixel, in every groups-th plane: what the bins say of the place is
// read once. Gradients are gathered: a pixel looks at the outputs that can have read it (its readers), in scan order.
#include "team.cuh"

#define INFINITE (compute<T>(1) / compute<T>(0))
#define NOT_A_NUMBER (compute<T>(0) / compute<T>(0))

template <class T>
__global__ void extreme_forward(const T* x, Index planes, Index h, Index w, const long long* rows, const long long* cols,
                                Index oh, Index ow, Index dh, Index dw, bool smallest, Index groups, T* y, int* index) {
  Index outputs = oh * ow;
  EACH(e, groups * outputs) {
    Index o = e % outputs, i = o / ow, j = o % ow;
    Index top = rows[i], bottom = rows[oh + i], left = cols[j], right = cols[ow + j];
    Index nowhere = top >= bottom || left >= right ? -1 : top * w + left;
    for (Index plane = e / outputs; plane < planes; plane += groups) {
      compute<T> best = -INFINITE;
      Index where = nowhere;
      for (Index r = top; r < bottom; r += dh)
        for (Index c = left; c < right; c += dw) {
          compute<T> v = x[(plane * h + r) * w + c];
          if (smallest) v = -v;
          if (v > best || v != v) {  // `v != v` lets NaN through, and nothing is larger than NaN after
            best = v;
            where = r * w + c;
          }
        }
      y[plane * outputs + o] = T(smallest ? -best : best);
      index[plane * outputs + o] = (int)where;
    }
  }
}

// `extreme_forward` of one bin that is the plane: a team of threads owns it.
template <class T>
__global__ void __launch_bounds__(1024) extreme_of_planes(
    const T* x, Index planes, Index pixels, bool smallest, T* y, int* index, Index lanes) {
  EACH_TEAM(plane, planes, lanes) {
    compute<T> best = -INFINITE;
    Index where = team_lane(lanes);
    if (plane < planes)
      EACH_IN_TEAM(p, Index(0), pixels, lanes) {
        compute<T> v = x[plane * pixels + p];
        if (smallest) v = -v;
        if (v > best || v != v) {
          best = v;
          where = p;
        }
      }
    // The first of the largest, or the last NaN, is among those that the threads have found.
    compute<T> most = team_max(best, lanes);
    if (most != most) {
      where = team_join(best != best ? where : Index(-1), lanes, [](Index a, Index b) { return max(a, b); });
    } else {
      where = team_join(best == most ? where : pixels, lanes, [](Index a, Index b) { return min(a, b); });
    }
    if (plane < planes && team_lane(lanes) == 0) {
      y[plane] = x[plane * pixels + where];
      index[plane] = (int)where;
    }
  }
}

template <class T>
__global__ void extreme_grad_x(const T* gy, const int* index, Index planes, const long long* row_readers,
                               const long long* col_readers, Index h, Index w, Index oh, Index ow, Index groups, T* gx) {
  Index pixels = h * w;
  EACH(e, groups * pixels) {
    Index p = e % pixels, r = p / w, c = p % w;
    Index first_i = row_readers[r], end_i = row_readers[h + r], first_j = col_readers[c], end_j = col_readers[w + c];
    for (Index plane = e / pixels; plane < planes; plane += groups) {
      compute<T> total = 0;
      for (Index i = first_i; i < end_i; i++)
        for (Index j = first_j; j < end_j; j++) {
          Index o = (plane * oh + i) * ow + j;
          if (index[o] == p) total += compute<T>(gy[o]);
        }
      gx[plane * pixels + p] = T(total);
    }
  }
}

template <class T>
__global__ void average_forward(const T* x, Index planes, Index h, Index w, const long long* rows, const long long* cols,
                                Index oh, Index ow, Index groups, T* y) {
  Index outputs = oh * ow;
  EACH(e, groups * outputs) {
    Index o = e % outputs, i = o / ow, j = o % ow;
    Index top = rows[i], bottom = rows[oh + i], left = cols[j], right = cols[ow + j];
    double divisor = rows[2 * oh + i] * cols[2 * ow + j];
    for (Index plane = e / outputs; plane < planes; plane += groups) {
      double total = 0;
      for (Index r = top; r < bottom; r++)
        for (Index c = left; c < right; c++) total += compute<T>(x[(plane * h + r) * w + c]);
      y[plane * outputs + o] = T(compute<T>(total / divisor));
    }
  }
}

// `average_forward` of one bin that is the plane: a team of threads owns it.
template <class T>
__global__ void __launch_bounds__(1024) average_of_planes(
    const T* x, Index planes, Index pixels, double divisor, T* y, Index lanes) {
  EACH_TEAM(plane, planes, lanes) {
    double total = 0;
    if (plane < planes)
      EACH_IN_TEAM(p, Index(0), pixels, lanes) total += compute<T>(x[plane * pixels + p]);
    total = team_sum(total, lanes);
    if (plane < planes && team_lane(lanes) == 0) y[plane] = T(compute<T>(total / divisor));
  }
}

template <class T>
__global__ void average_grad_x(const T* gy, Index planes, Index oh, Index ow, const long long* rows, const long long* cols,
                               const long long* row_readers, const long long* col_readers, Index h, Index w, Index groups,
                               T* gx) {
  Index pixels = h * w;
  EACH(e, groups * pixels) {
    Index p = e % pixels, r = p / w, c = p % w;
    Index first_i = row_readers[r], end_i = row_readers[h + r], first_j = col_readers[c], end_j = col_readers[w + c];
    for (Index plane = e / pixels; plane < planes; plane += groups) {
      compute<T> total = 0;
      for (Index i = first_i; i < end_i; i++)
        for (Index j = first_j; j < end_j; j++)
          total += compute<T>(gy[(plane * oh + i) * ow + j]) / compute<T>(rows[2 * oh + i] * cols[2 * ow + j]);
      gx[plane * pixels + p] = T(total);
    }
  }
}

// Whether this lane is the last of its warp that names the place `where`, and that is one of the plane's pixels.
__device__ __forceinline__ bool is_last(int where, Index pixels) {
  return __match_any_sync(0xffffffffu, where) >> threadIdx.x % 32 == 1 && where >= 0 && where < pixels;
}

// Unpooling scatters, and of equal places the last must stay: one warp owns a plane and takes 32 of its elements at a time.
template <class T>
__global__ void unpool_forward(const T* x, const int* index, Index planes, Index inputs, Index pixels, T* y) {
  EACH(e, planes * 32) {
    Index plane = e / 32, lane = e % 32;
    bool outside = false;
    for (Index p = lane; p < pixels; p += 32) y[plane * pixels + p] = T(compute<T>(0));
    for (Index first = 0; first < inputs; first += 32) {
      Index o = first + lane;
      int where = o < inputs ? index[plane * inputs + o] : -1;
      outside |= o < inputs && (where < 0 || where >= pixels);
      __syncwarp();  // what was written before stays before
      if (is_last(where, pixels)) y[plane * pixels + where] = x[plane * inputs + o];
    }
    outside = __any_sync(0xffffffffu, outside);
    __syncwarp();
    if (outside && lane == 0) y[plane * pixels] = T(NOT_A_NUMBER);
  }
}

// owner (planes, pixels): which element unpooling writes last; other places are left as they are.
template <class T>
__global__ void unpool_owner(const int* index, Index planes, Index inputs, Index pixels, int* owner) {
  EACH(e, planes * 32) {
    Index plane = e / 32, lane = e % 32;
    for (Index first = 0; first < inputs; first += 32) {
      Index o = first + lane;
      int where = o < inputs ? index[plane * inputs + o] : -1;
      __syncwarp();
      if (is_last(where, pixels)) owner[plane * pixels + where] = (int)o;
    }
  }
}

template <class T>
__global__ void unpool_grad_x(const T* gy, const int* index, const int* owner, Index planes, Index inputs, Index pixels,
                              T* gx) {
  EACH(e, planes * inputs) {
    Index first = e / inputs * pixels, o = e % inputs;
    int where = index[e];
    compute<T> v = NOT_A_NUMBER;
    if (where >= 0 && where < pixels) v = owner[first + where] == o ? compute<T>(gy[first + where]) : 0;
    gx[e] = T(v);
  }
}
