// CUDA twins of the losses (contract: __init__.py). Over classes: a team of threads (team.cuh) shares a row
// r = n * positions + i and walks its classes c, `positions` values apart. Labels are not checked on the host, which
// would wait for the GPU: a label out of range gives NaN, and nothing is read or written with it.
#include "team.cuh"

// Where the scores of row r begin.
__device__ __forceinline__ Index first_class(Index r, Index classes, Index positions) {
  return r / positions * classes * positions + r % positions;
}

__device__ __forceinline__ bool known(long long t, Index classes) { return 0 <= t && t < (long long)classes; }

// log sum_c exp(x[c * stride]) in double; the exponentials are taken in compute<T>. NaN, +inf and only -inf give NaN.
template <class T> __device__ double log_sum_exp(const T* x, Index classes, Index stride, Index lanes) {
  compute<T> top = classes ? compute<T>(x[0]) : compute<T>(0);
  EACH_IN_TEAM(c, 0, classes, lanes) top = larger(top, compute<T>(x[c * stride]));
  top = team_max(top, lanes);
  double total = 0;
  EACH_IN_TEAM(c, 0, classes, lanes) total += double(exp(compute<T>(x[c * stride]) - top));
  return double(top) + log(team_sum(total, lanes));
}

template <class T> __device__ double weights(const T* weight, Index classes, Index lanes) {
  double total = 0;
  EACH_IN_TEAM(c, 0, classes, lanes) total += double(compute<T>(weight[c]));
  return team_sum(total, lanes);
}

template <class T>
__global__ void __launch_bounds__(1024) cross_entropy_forward(
    const T* __restrict__ x, const long long* target, const T* weight, Index rows, Index classes, Index positions,
    long long ignore_index, double label_smoothing, T* losses, double* lse, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    long long t = mine ? target[r] : ignore_index;
    Index present = t == ignore_index ? 0 : classes;
    const T* scores = mine ? x + first_class(r, classes, positions) : x;
    double log_sum = log_sum_exp(scores, present, positions, lanes), spread = 0;
    if (label_smoothing > 0) {
      EACH_IN_TEAM(c, 0, present, lanes)
        spread += double(compute<T>(weight[c])) * (log_sum - double(compute<T>(scores[c * positions])));
      spread = team_sum(spread, lanes);
    }
    if (mine && team_lane(lanes) == 0) {
      double own = nan("");
      if (known(t, classes))
        own = double(compute<T>(weight[t])) * (log_sum - double(compute<T>(scores[Index(t) * positions])));
      double loss = (1 - label_smoothing) * own + label_smoothing / double(classes) * spread;
      losses[r] = T(compute<T>(present ? loss : 0));
      lse[r] = present ? log_sum : 0;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(1024) cross_entropy_grad_x(
    const T* scale, const T* __restrict__ x, const double* lse, const long long* target, const T* weight, Index rows,
    Index classes, Index positions, long long ignore_index, double label_smoothing, T* __restrict__ gx, Index lanes) {
  double smooth = label_smoothing / double(classes), spread = smooth > 0 ? weights(weight, classes, lanes) : 0;
  EACH_TEAM(r, rows, lanes) {
    if (r >= rows) continue;
    long long t = target[r];
    Index first = first_class(r, classes, positions);
    bool ignored = t == ignore_index;
    double own = known(t, classes) ? (1 - label_smoothing) * double(compute<T>(weight[t])) : nan("");
    compute<T> each = scale[r], whole = compute<T>(own + smooth * spread);
    double log_sum = lse[r];
    EACH_IN_TEAM(c, 0, classes, lanes) {
      Index e = first + c * positions;
      compute<T> softmax = exp(compute<T>(double(compute<T>(x[e])) - log_sum));
      compute<T> wanted = compute<T>(smooth * double(compute<T>(weight[c])) + (c == t ? own : 0));
      gx[e] = T(ignored ? compute<T>(0) : each * (whole * softmax - wanted));
    }
  }
}

// What a class is aimed at: w_c ((1 - e) target_c + e / c).
template <class T> __device__ __forceinline__ double aim(T weight, T target, double label_smoothing, Index classes) {
  double q = (1 - label_smoothing) * double(compute<T>(target)) + label_smoothing / double(classes);
  return double(compute<T>(weight)) * q;
}

template <class T>
__global__ void __launch_bounds__(1024) soft_cross_entropy_forward(
    const T* __restrict__ x, const T* __restrict__ target, const T* weight, Index rows, Index classes,
    Index positions, double label_smoothing, T* losses, double* lse, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    Index first = mine ? first_class(r, classes, positions) : 0, stop = mine ? classes : 0;
    double log_sum = log_sum_exp(x + first, stop, positions, lanes), loss = 0;
    EACH_IN_TEAM(c, 0, stop, lanes) {
      Index e = first + c * positions;
      loss += aim(weight[c], target[e], label_smoothing, classes) * (log_sum - double(compute<T>(x[e])));
    }
    loss = team_sum(loss, lanes);
    if (mine && team_lane(lanes) == 0) losses[r] = T(compute<T>(loss)), lse[r] = log_sum;
  }
}

template <class T>
__global__ void __launch_bounds__(1024) soft_cross_entropy_grad_x(
    const T* scale, const T* __restrict__ x, const double* lse, const T* __restrict__ target, const T* weight,
    Index rows, Index classes, Index positions, double label_smoothing, T* __restrict__ gx, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    bool mine = r < rows;
    Index first = mine ? first_class(r, classes, positions) : 0, stop = mine ? classes : 0;
    double sum = 0, log_sum = mine ? lse[r] : 0;
    EACH_IN_TEAM(c, 0, stop, lanes) sum += aim(weight[c], target[first + c * positions], label_smoothing, classes);
    compute<T> whole = compute<T>(team_sum(sum, lanes)), each = mine ? compute<T>(scale[r]) : compute<T>(0);
    EACH_IN_TEAM(c, 0, stop, lanes) {
      Index e = first + c * positions;
      compute<T> softmax = exp(compute<T>(double(compute<T>(x[e])) - log_sum));
      gx[e] = T(each * (whole * softmax - compute<T>(aim(weight[c], target[e], label_smoothing, classes))));
    }
  }
}

template <class T>
__global__ void nll_forward(const T* x, const long long* target, const T* weight, Index rows, Index classes,
                            Index positions, long long ignore_index, T* losses) {
  EACH(r, rows) {
    long long t = target[r];
    compute<T> loss = t == ignore_index ? compute<T>(0) : compute<T>(nan(""));
    if (t != ignore_index && known(t, classes))
      loss = -compute<T>(weight[t]) * compute<T>(x[first_class(r, classes, positions) + Index(t) * positions]);
    losses[r] = T(loss);
  }
}

// gx is zero on entry; one thread owns the classes of a position.
template <class T>
__global__ void nll_grad_x(const T* scale, const long long* target, const T* weight, Index rows, Index classes,
                           Index positions, long long ignore_index, T* gx) {
  EACH(r, rows) {
    long long t = target[r];
    Index first = first_class(r, classes, positions);
    if (t == ignore_index) continue;
    if (known(t, classes)) gx[first + Index(t) * positions] = T(-compute<T>(weight[t]) * compute<T>(scale[r]));
    for (Index c = 0; c < classes && !known(t, classes); c++) gx[first + c * positions] = T(compute<T>(nan("")));
  }
}

// total[part] = sum of weight[target] over the part's `block` positions that are not ignored; a label out of range adds
// 0.
template <class T>
__global__ void __launch_bounds__(1024) target_weight(
    const long long* target, const T* weight, Index rows, Index classes, long long ignore_index, Index block,
    double* total, Index lanes) {
  EACH_TEAM(part, (rows + block - 1) / block, lanes) {
    Index first = part * block;
    double sum = 0;
    EACH_IN_TEAM(r, first, min(first + block, rows), lanes) {
      long long t = target[r];
      if (t != ignore_index && known(t, classes)) sum += double(compute<T>(weight[t]));
    }
    sum = team_sum(sum, lanes);
    if (first < rows && team_lane(lanes) == 0) total[part] = sum;
  }
}

// ---- between two arrays of one shape: one thread an element i

template <class T>
__global__ void squared_error_forward(const T* x, const T* target, Index count, T* losses) {
  EACH(i, count) {
    compute<T> d = compute<T>(x[i]) - compute<T>(target[i]);
    losses[i] = T(d * d);
  }
}

template <class T>
__global__ void squared_error_grad_x(const T* scale, const T* x, const T* target, Index count, T* gx) {
  EACH(i, count) gx[i] = T(2 * compute<T>(scale[i]) * (compute<T>(x[i]) - compute<T>(target[i])));
}

template <class T>
__global__ void absolute_error_forward(const T* x, const T* target, Index count, T* losses) {
  EACH(i, count) {
    compute<T> d = compute<T>(x[i]) - compute<T>(target[i]);
    losses[i] = T(d < 0 ? -d : d);
  }
}

template <class T>
__global__ void absolute_error_grad_x(const T* scale, const T* x, const T* target, Index count, T* gx) {
  EACH(i, count) {
    compute<T> d = compute<T>(x[i]) - compute<T>(target[i]), s = scale[i];
    gx[i] = T(d > 0 ? s : d < 0 ? -s : s * d);  // 0 or NaN
  }
}

// delta and factor may lie beyond float's range, so what they touch is double.
template <class T>
__global__ void huber_forward(const T* x, const T* target, Index count, double delta, double factor, T* losses) {
  EACH(i, count) {
    double d = double(compute<T>(x[i]) - compute<T>(target[i]));
    d = d < 0 ? -d : d;
    losses[i] = T(compute<T>(factor * (d < delta ? 0.5 * d * d : delta * (d - 0.5 * delta))));
  }
}

template <class T>
__global__ void huber_grad_x(const T* scale, const T* x, const T* target, Index count, double delta, double factor,
                             T* gx) {
  EACH(i, count) {
    double d = double(compute<T>(x[i]) - compute<T>(target[i]));
    gx[i] = T(compute<T>(factor * double(compute<T>(scale[i])) * (d > delta ? delta : d < -delta ? -delta : d)));
  }
}

template <class T>
__global__ void binary_cross_entropy_forward(const T* x, const T* target, Index count, T* losses) {
  EACH(i, count) {
    compute<T> v = x[i], t = target[i], yes = log(v), no = log1p(-v);
    if (yes < -100) yes = -100;
    if (no < -100) no = -100;
    losses[i] = T((t - 1) * no - t * yes);
  }
}

template <class T>
__global__ void binary_cross_entropy_grad_x(const T* scale, const T* x, const T* target, Index count, T* gx) {
  EACH(i, count) {
    compute<T> v = x[i], variance = v * (1 - v), least = compute<T>(1e-12);
    gx[i] = T(compute<T>(scale[i]) * (v - compute<T>(target[i])) / (variance < least ? least : variance));
  }
}

// pos_weight is null for 1.
template <class T>
__global__ void logits_forward(const T* x, const T* target, const T* pos_weight, Index count, T* losses) {
  EACH(i, count) {
    compute<T> v = x[i], t = target[i], weight = pos_weight ? 1 + (compute<T>(pos_weight[i]) - 1) * t : compute<T>(1);
    compute<T> size = v < 0 ? -v : v, log_no = (v < 0 ? size : compute<T>(0)) + log1p(exp(-size));  // -log sigmoid(v)
    losses[i] = T((1 - t) * v + weight * log_no);
  }
}

template <class T>
__global__ void logits_grad_x(const T* scale, const T* x, const T* target, const T* pos_weight, Index count, T* gx) {
  EACH(i, count) {
    compute<T> v = x[i], t = target[i], weight = pos_weight ? compute<T>(pos_weight[i]) : compute<T>(1);
    compute<T> e = exp(v < 0 ? v : -v);
    compute<T> yes = v >= 0 ? 1 : e, no = v >= 0 ? e : 1;  // sigmoid(x), sigmoid(-x), both times 1 + e
    gx[i] = T(compute<T>(scale[i]) * ((1 - t) * yes - weight * t * no) / (1 + e));
  }
}
