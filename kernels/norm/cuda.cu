// CUDA twins of the normalisations (contract: __init__.py). Rows r = n * channels + c are channels of images; a team of
// threads (team.cuh) shares a row. Statistics and sums are double; single values are computed in compute<T>.
//
// A statistic belongs to channels / groups channels, and to all the images (`images` is their number; batch norm, where
// groups == channels) or to one (`images` is 1; group and instance norm).
#include "center.cuh"
#include "team.cuh"

// The statistic of row r.
__device__ __forceinline__ Index statistic(Index r, Index channels, Index groups, Index images) {
  return r / channels / images * groups + r % channels / (channels / groups);
}

// The q-th of the rows that share statistic s: of image s / groups, or of all, where s < groups.
__device__ __forceinline__ Index member(Index s, Index q, Index channels, Index groups) {
  Index each = channels / groups;
  return (s / groups + q / each) * channels + s % groups * each + q % each;
}

struct Moments { double mean, m2; };  // m2: the sum of squared deviations from the mean

// One pass: sums of d = x - pivot and of d * d. The pivot is a value of the row, so it lies within sqrt(size)
// deviations of the mean, and m2 loses at most a factor `size` of double's 1e-16 in the subtraction at the end.
template <class T> __device__ Moments moments_of(const T* row, Index size, Index lanes) {
  double pivot = size ? double(compute<T>(row[0])) : 0, sum = 0, squares = 0;
  if (pivot - pivot != 0) pivot = 0;  // inf or NaN: the mean tells
  EACH_IN_TEAM(j, 0, size, lanes) {
    double d = double(compute<T>(row[j])) - pivot;
    sum += d;
    squares += d * d;
  }
  sum = team_sum(sum, lanes);
  squares = team_sum(squares, lanes);
  if (!size) return {0, 0};
  return {pivot + sum / double(size), squares - sum * (sum / double(size))};
}

template <class T>
__global__ void __launch_bounds__(1024) row_moments(
    const T* __restrict__ x, Index rows, Index size, double* mean, double* m2, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    Moments found = moments_of(mine ? x + r * size : x, mine ? size : 0, lanes);
    if (mine && team_lane(lanes) == 0) mean[r] = found.mean, m2[r] = found.m2;
  }
}

// Mean, biased variance and 1 / sqrt(var + eps) of each statistic s from those of its rows (Chan et al., 1979).
template <class T>
__global__ void __launch_bounds__(1024) join_moments(
    const double* row_mean, const double* row_m2, Index statistics, Index size, Index channels, Index groups,
    Index images, double eps, double* mean, double* var, double* rstd, Index lanes) {
  EACH_TEAM(s, statistics, lanes) {
    bool mine = s < statistics;
    Index members = mine ? images * (channels / groups) : 0;
    double total = 0, squares = 0;
    EACH_IN_TEAM(q, 0, members, lanes) total += row_mean[member(s, q, channels, groups)];
    double center = team_sum(total, lanes) / double(members ? members : 1);
    EACH_IN_TEAM(q, 0, members, lanes) {
      Index r = member(s, q, channels, groups);
      double apart = row_mean[r] - center;
      squares += row_m2[r] + double(size) * apart * apart;
    }
    squares = team_sum(squares, lanes);
    if (mine && team_lane(lanes) == 0) {
      double count = double(members) * double(size);
      mean[s] = center;
      var[s] = count ? squares / count : 0;
      rstd[s] = 1 / sqrt(var[s] + eps);
    }
  }
}

// y = (x - mean) * rstd * weight + bias; without mean, weight or bias (null) 0, 1 and 0. A team takes `piece` values of
// a row, so that a few long rows keep the GPU busy too.
template <class T>
__global__ void __launch_bounds__(1024) channels_forward(
    const T* __restrict__ x, const double* mean, const double* rstd, const compute<T>* weight, const compute<T>* bias,
    Index rows, Index size, Index channels, Index groups, Index images, Index piece, T* __restrict__ y, Index lanes) {
  Index pieces = (size + piece - 1) / piece;
  EACH_TEAM(e, rows * pieces, lanes) {
    if (e >= rows * pieces) continue;
    Index r = e / pieces, first = e % pieces * piece, s = statistic(r, channels, groups, images), c = r % channels;
    Center<compute<T>> center(mean ? mean[s] : 0);
    compute<T> scale = compute<T>(weight ? rstd[s] * double(weight[c]) : rstd[s]), shift = bias ? bias[c] : 0;
    EACH_IN_TEAM(j, r * size + first, r * size + min(first + piece, size), lanes)
      y[j] = T(center.from(x[j]) * scale + shift);
  }
}

// plain[r] = sum gy, weighted[r] = sum gy * (x - mean)
template <class T>
__global__ void __launch_bounds__(1024) row_products(
    const T* __restrict__ gy, const T* __restrict__ x, const double* mean, Index rows, Index size, Index channels,
    Index groups, Index images, double* plain, double* weighted, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    double center = mine ? mean[statistic(r, channels, groups, images)] : 0, p = 0, q = 0;
    EACH_IN_TEAM(j, r * size, mine ? (r + 1) * size : 0, lanes) {
      double g = double(compute<T>(gy[j]));
      p += g;
      q += g * (double(compute<T>(x[j])) - center);
    }
    p = team_sum(p, lanes);
    q = team_sum(q, lanes);
    if (mine && team_lane(lanes) == 0) plain[r] = p, weighted[r] = q;
  }
}

// What the statistics' own dependence on x takes from gx: common = rstd avg(w gy), slope = rstd avg(w gy z).
template <class T>
__global__ void __launch_bounds__(1024) join_products(
    const double* plain, const double* weighted, const double* rstd, const T* weight, Index statistics, Index size,
    Index channels, Index groups, Index images, double* common, double* slope, Index lanes) {
  EACH_TEAM(s, statistics, lanes) {
    bool mine = s < statistics;
    Index members = mine ? images * (channels / groups) : 0;
    double p = 0, q = 0;
    EACH_IN_TEAM(m, 0, members, lanes) {
      Index r = member(s, m, channels, groups);
      double w = weight ? double(compute<T>(weight[r % channels])) : 1;
      p += w * plain[r];
      q += w * weighted[r];
    }
    p = team_sum(p, lanes);
    q = team_sum(q, lanes);
    if (mine && team_lane(lanes) == 0) {
      double share = rstd[s] / (double(members) * double(size));
      common[s] = share * p;
      slope[s] = share * q * rstd[s];
    }
  }
}

// gw[c] = sum over the images n of weighted * rstd, gb[c] = sum of plain; null where not wanted.
template <class T>
__global__ void __launch_bounds__(1024) channel_grads(
    const double* plain, const double* weighted, const double* rstd, Index batch, Index channels, Index groups,
    Index images, T* gw, T* gb, Index lanes) {
  EACH_TEAM(c, channels, lanes) {
    bool mine = c < channels;
    double p = 0, q = 0;
    EACH_IN_TEAM(n, 0, mine ? batch : 0, lanes) {
      Index r = n * channels + c;
      p += plain[r];
      q += weighted[r] * rstd[statistic(r, channels, groups, images)];
    }
    p = team_sum(p, lanes);
    q = team_sum(q, lanes);
    if (mine && team_lane(lanes) == 0) {
      if (gw) gw[c] = T(compute<T>(q));
      if (gb) gb[c] = T(compute<T>(p));
    }
  }
}

// gx = rstd w gy - common - z slope with z = (x - mean) rstd
template <class T>
__global__ void __launch_bounds__(1024) channels_grad_x(
    const T* __restrict__ gy, const T* __restrict__ x, const double* mean, const double* rstd,
    const compute<T>* weight, const double* common, const double* slope, Index rows, Index size, Index channels,
    Index groups, Index images, Index piece, T* __restrict__ gx, Index lanes) {
  Index pieces = (size + piece - 1) / piece;
  EACH_TEAM(e, rows * pieces, lanes) {
    if (e >= rows * pieces) continue;
    Index r = e / pieces, first = e % pieces * piece, s = statistic(r, channels, groups, images), c = r % channels;
    Center<compute<T>> center(mean[s]);
    compute<T> scale = compute<T>(weight ? rstd[s] * double(weight[c]) : rstd[s]), normal = compute<T>(rstd[s]);
    compute<T> b = compute<T>(common[s]), d = compute<T>(slope[s]);
    EACH_IN_TEAM(j, r * size + first, r * size + min(first + piece, size), lanes)
      gx[j] = T(compute<T>(gy[j]) * scale - b - center.from(x[j]) * normal * d);
  }
}

// running = (1 - momentum) * running + momentum * factor * value
template <class T>
__global__ void update_running(T* running, const double* value, Index count, double momentum, double factor) {
  EACH(c, count) {
    compute<T> v = compute<T>(value[c]) * compute<T>(factor), old = running[c];
    running[c] = T(old * compute<T>(1 - momentum) + compute<T>(momentum) * v);
  }
}

// ---- layer norm: a row is one normalised slice; weight and bias (size) or null

template <class T>
__global__ void __launch_bounds__(1024) layer_norm_forward(
    const T* __restrict__ x, const compute<T>* weight, const compute<T>* bias, Index rows, Index size, double eps,
    double* mean, double* rstd, T* __restrict__ y, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    const T* row = mine ? x + r * size : x;
    Moments found = moments_of(row, mine ? size : 0, lanes);
    double normal = 1 / sqrt(found.m2 / double(size) + eps);
    Center<compute<T>> center(found.mean);
    compute<T> a = compute<T>(normal);
    EACH_IN_TEAM(j, 0, mine ? size : 0, lanes) {
      compute<T> w = weight ? weight[j] : 1, b = bias ? bias[j] : 0;
      y[r * size + j] = T(center.from(row[j]) * a * w + b);
    }
    if (mine && team_lane(lanes) == 0) mean[r] = found.mean, rstd[r] = normal;
  }
}

// gx = (w gy - avg(w gy) - z avg(w gy z)) rstd
template <class T>
__global__ void __launch_bounds__(1024) layer_norm_grad_x(
    const T* __restrict__ gy, const T* __restrict__ x, const double* mean, const double* rstd,
    const compute<T>* weight, Index rows, Index size, T* __restrict__ gx, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    Index first = mine ? r * size : 0, stop = mine ? size : 0;
    double c = mine ? mean[r] : 0, normal = mine ? rstd[r] : 0, p = 0, q = 0;
    EACH_IN_TEAM(j, 0, stop, lanes) {
      double g = double(compute<T>(gy[first + j])) * (weight ? double(weight[j]) : 1);
      p += g;
      q += g * (double(compute<T>(x[first + j])) - c);
    }
    p = team_sum(p, lanes) / double(size);
    q = team_sum(q, lanes) / double(size) * normal;
    Center<compute<T>> center(c);
    compute<T> a = compute<T>(normal), b = compute<T>(p), d = compute<T>(q);
    EACH_IN_TEAM(j, 0, stop, lanes) {
      compute<T> g = compute<T>(gy[first + j]) * (weight ? weight[j] : 1);
      gx[first + j] = T((g - b - center.from(x[first + j]) * a * d) * a);
    }
  }
}

// gw[part, j] = sum of gy z and gb[part, j] = sum of gy over the `block` rows of a part: a thread a column j of a part.
template <class T>
__global__ void layer_norm_columns(const T* __restrict__ gy, const T* __restrict__ x, const double* mean,
                                   const double* rstd, Index rows, Index size, Index block, double* gw, double* gb) {
  EACH(e, (rows + block - 1) / block * size) {
    Index part = e / size, j = e % size, stop = min((part + 1) * block, rows);
    double p = 0, q = 0;
    _Pragma("unroll 4") for (Index r = part * block; r < stop; r++) {
      double g = double(compute<T>(gy[r * size + j]));
      p += g;
      q += g * (double(compute<T>(x[r * size + j])) - mean[r]) * rstd[r];
    }
    gw[e] = q;
    gb[e] = p;
  }
}
