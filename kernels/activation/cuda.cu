// CUDA twins of the activations (contract: __init__.py). Elementwise ones map one number v (and its upstream gradient
// g) to one number; float32, half and bfloat16 are computed in float throughout, also where the CPU takes float64.
#include "map.cuh"
#include "reduce.cuh"
#include "team.cuh"

#define ROOT_HALF 0.70710678118654752440
#define ROOT_2_OVER_PI 0.79788456080286535588

// Without overflow: the exponential is only taken of what is not positive.
template <class C> __device__ __forceinline__ C sigmoid(C v) {
  C e = exp(-fabs(v));
  return (v >= 0 ? C(1) : e) / (1 + e);
}

// log(1 + exp(v)) without overflow; NaN passes.
template <class C> __device__ __forceinline__ C softplus(C v) { return (v <= 0 ? C(0) : v) + log1p(exp(-fabs(v))); }

template <class T>
__global__ void relu_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return v <= 0 ? 0 : v; });  // comparing this way round lets NaN through
}

template <class T>
__global__ void relu_grad_x(const T* gy, const T* y, T* gx, Index size) {
  map(gy, y, gx, size, [](auto g, auto v) { return v > 0 ? g : 0; });
}

// The bounds are rounded as y is: the derivative finds them there.
template <class T>
__global__ void hardtanh_forward(const T* x, T* y, Index size, double low, double high) {
  compute<T> bottom = T(compute<T>(low)), top = T(compute<T>(high));
  map(x, y, size, [=](auto v) { return v < bottom ? bottom : v > top ? top : v; });
}

template <class T>
__global__ void hardtanh_grad_x(const T* gy, const T* y, T* gx, Index size, double low, double high) {
  compute<T> bottom = T(compute<T>(low)), top = T(compute<T>(high));
  map(gy, y, gx, size, [=](auto g, auto v) { return v <= bottom || v >= top ? 0 : g; });
}

template <class T>
__global__ void leaky_relu_forward(const T* x, T* y, Index size, double slope) {
  compute<T> below = slope;
  map(x, y, size, [=](auto v) { return v > 0 ? v : below * v; });
}

template <class T>
__global__ void leaky_relu_grad_x(const T* gy, const T* x, T* gx, Index size, double slope) {
  compute<T> below = slope;
  map(gy, x, gx, size, [=](auto g, auto v) { return v > 0 ? g : below * g; });
}

template <class T>
__global__ void elu_forward(const T* x, T* y, Index size, double scale, double alpha, double beta) {
  compute<T> above = scale, below = scale * alpha, inner = beta;
  map(x, y, size, [=](auto v) { return v > 0 ? above * v : below * expm1(inner * v); });
}

template <class T>
__global__ void elu_grad_x(const T* gy, const T* x, T* gx, Index size, double scale, double alpha, double beta) {
  compute<T> above = scale, below = scale * alpha * beta, inner = beta;
  map(gy, x, gx, size, [=](auto g, auto v) { return v > 0 ? above * g : below * exp(inner * v) * g; });
}

// The approximation's (1 + tanh(u)) / 2 is sigmoid(2u), which loses no digits where tanh is near -1.
template <class C> __device__ __forceinline__ C gelu_gate(C v) {
  return sigmoid(C(2 * ROOT_2_OVER_PI) * (v + C(0.044715) * v * v * v));
}

template <class T>
__global__ void gelu_forward(const T* x, T* y, Index size, bool by_tanh) {
  typedef compute<T> C;
  if (by_tanh)
    map(x, y, size, [](C v) { return v * gelu_gate(v); });
  else
    map(x, y, size, [](C v) { return C(0.5) * v * erfc(C(-ROOT_HALF) * v); });
}

template <class T>
__global__ void gelu_grad_x(const T* gy, const T* x, T* gx, Index size, bool by_tanh) {
  typedef compute<T> C;
  if (by_tanh)
    map(gy, x, gx, size, [](C g, C v) {
      C gate = gelu_gate(v), slope = C(2 * ROOT_2_OVER_PI) * (1 + C(3 * 0.044715) * v * v);
      return g * (gate + v * gate * (1 - gate) * slope);
    });
  else
    map(gy, x, gx, size, [](C g, C v) {
      C density = C(0.5 * ROOT_2_OVER_PI) * exp(C(-0.5) * v * v);
      return g * (C(0.5) * erfc(C(-ROOT_HALF) * v) + v * density);
    });
}

template <class T>
__global__ void silu_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return v * sigmoid(v); });
}

template <class T>
__global__ void silu_grad_x(const T* gy, const T* x, T* gx, Index size) {
  map(gy, x, gx, size, [](auto g, auto v) {
    auto s = sigmoid(v);
    return g * s * (1 + v * (1 - s));
  });
}

template <class T>
__global__ void hardswish_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return v <= -3 ? 0 : v >= 3 ? v : v * (v + 3) / 6; });
}

template <class T>
__global__ void hardswish_grad_x(const T* gy, const T* x, T* gx, Index size) {
  map(gy, x, gx, size, [](auto g, auto v) { return v <= -3 ? 0 : v >= 3 ? g : g * (2 * v + 3) / 6; });
}

template <class T>
__global__ void hardsigmoid_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return v <= -3 ? 0 : v >= 3 ? 1 : (v + 3) / 6; });
}

template <class T>
__global__ void hardsigmoid_grad_x(const T* gy, const T* x, T* gx, Index size) {
  map(gy, x, gx, size, [](auto g, auto v) { return -3 < v && v < 3 ? g / 6 : 0; });
}

template <class T>
__global__ void sigmoid_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return sigmoid(v); });
}

template <class T>
__global__ void sigmoid_grad_x(const T* gy, const T* y, T* gx, Index size) {
  map(gy, y, gx, size, [](auto g, auto v) { return g * v * (1 - v); });
}

template <class T>
__global__ void tanh_forward(const T* x, T* y, Index size, double outer, double inner) {
  compute<T> out = outer, in = inner;
  map(x, y, size, [=](auto v) { return out * tanh(in * v); });
}

template <class T>
__global__ void tanh_grad_x(const T* gy, const T* y, T* gx, Index size, double outer, double inner) {
  compute<T> out = outer, in = inner;
  map(gy, y, gx, size, [=](auto g, auto v) { return g * in * (out - v * v / out); });
}

template <class T>
__global__ void softplus_forward(const T* x, T* y, Index size, double beta, double threshold) {
  compute<T> b = beta, top = threshold;
  map(x, y, size, [=](auto v) { return b * v > top ? v : softplus(b * v) / b; });
}

template <class T>
__global__ void softplus_grad_x(const T* gy, const T* x, T* gx, Index size, double beta, double threshold) {
  compute<T> b = beta, top = threshold;
  map(gy, x, gx, size, [=](auto g, auto v) { return b * v > top ? g : g * sigmoid(b * v); });
}

template <class T>
__global__ void mish_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return v * tanh(softplus(v)); });
}

template <class T>
__global__ void mish_grad_x(const T* gy, const T* x, T* gx, Index size) {
  map(gy, x, gx, size, [](auto g, auto v) {
    auto t = tanh(softplus(v));
    return g * (t + v * sigmoid(v) * (1 - t * t));
  });
}

template <class T>
__global__ void logsigmoid_forward(const T* x, T* y, Index size) {
  map(x, y, size, [](auto v) { return -softplus(-v); });
}

template <class T>
__global__ void logsigmoid_grad_x(const T* gy, const T* x, T* gx, Index size) {
  map(gy, x, gx, size, [](auto g, auto v) { return g * sigmoid(-v); });
}

// x, y (n, channels, s); weight (channels,).
template <class T>
__global__ void prelu_forward(const T* x, const T* weight, T* y, Index size, Index channels, Index s) {
  map_at(x, y, size, [=](auto v, Index i) { return v > 0 ? v : compute<T>(weight[i / s % channels]) * v; });
}

template <class T>
__global__ void prelu_grad_x(const T* gy, const T* x, const T* weight, T* gx, Index size, Index channels, Index s) {
  map_at(gy, x, gx, size,
         [=](auto g, auto v, Index i) { return v > 0 ? g : compute<T>(weight[i / s % channels]) * g; });
}

// partial (channels, slices): one block sums a slice of a channel's n * s elements e. A channel may be the whole array.
template <class T>
__global__ void prelu_partial_w(const T* gy, const T* x, Index n, Index channels, Index s, Index slices,
                                double* partial) {
  Index elements = n * s;
  EACH_BLOCK(b, channels * slices) {
    Index c = b / slices, first = b % slices * SLICE;
    double total = 0;
    EACH_IN_BLOCK(j, min(elements - first, Index(SLICE))) {
      Index e = first + j, i = (e / s * channels + c) * s + e % s;
      compute<T> v = x[i];
      if (!(v > 0)) total += compute<T>(gy[i]) * v;
    }
    total = block_sum(total);
    if (threadIdx.x == 0) partial[b] = total;
  }
}

template <class T>
__global__ void prelu_grad_w(const double* partial, Index channels, Index slices, T* gw) {
  EACH_BLOCK(c, channels) {
    double total = 0;
    EACH_IN_BLOCK(k, slices) total += partial[c * slices + k];
    total = block_sum(total);
    if (threadIdx.x == 0) gw[c] = T(compute<T>(total));
  }
}

// Softmax sees (n, classes, positions); a row r = (n, i) is one distribution, its classes c `positions` apart. A team
// shares a row where that is 1; else each thread has its own, and what neighbouring threads touch is neighbouring. A
// team without a row has no classes.
__device__ __forceinline__ Index first_class(Index r, Index rows, Index classes, Index positions) {
  return r < rows ? r / positions * classes * positions + r % positions : 0;
}

// The largest of a row. NaN, +inf, or -inf alone, make the sum of the exponentials NaN, and that the row.
template <class T> __device__ compute<T> row_top(const T* x, Index classes, Index positions, Index lanes) {
  compute<T> top = classes ? compute<T>(x[0]) : compute<T>(0);
  EACH_IN_TEAM(c, 0, classes, lanes) top = larger(top, compute<T>(x[c * positions]));
  return team_max(top, lanes);
}

template <class T> __device__ double row_sum(const T* x, compute<T> top, Index classes, Index positions, Index lanes) {
  double total = 0;
  EACH_IN_TEAM(c, 0, classes, lanes) total += exp(compute<T>(x[c * positions]) - top);
  return team_sum(total, lanes);
}

template <class T>
__global__ void __launch_bounds__(1024) softmax_forward(
    const T* x, Index rows, Index classes, Index positions, T* y, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    Index first = first_class(r, rows, classes, positions), present = r < rows ? classes : 0;
    compute<T> top = row_top(x + first, present, positions, lanes);
    compute<T> total = row_sum(x + first, top, present, positions, lanes);
    EACH_IN_TEAM(c, 0, present, lanes) {
      Index e = first + c * positions;
      y[e] = T(exp(compute<T>(x[e]) - top) / total);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(1024) softmax_grad_x(
    const T* gy, const T* y, Index rows, Index classes, Index positions, T* gx, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    Index first = first_class(r, rows, classes, positions), present = r < rows ? classes : 0;
    double total = 0;
    EACH_IN_TEAM(c, 0, present, lanes) {
      Index e = first + c * positions;
      total += double(compute<T>(gy[e])) * double(compute<T>(y[e]));
    }
    total = team_sum(total, lanes);
    EACH_IN_TEAM(c, 0, present, lanes) {
      Index e = first + c * positions;
      gx[e] = T(compute<T>(y[e]) * compute<T>(compute<T>(gy[e]) - total));
    }
  }
}

template <class T>
__global__ void __launch_bounds__(1024) log_softmax_forward(
    const T* x, Index rows, Index classes, Index positions, T* y, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    Index first = first_class(r, rows, classes, positions), present = r < rows ? classes : 0;
    compute<T> top = row_top(x + first, present, positions, lanes);
    compute<T> log_total = log(row_sum(x + first, top, present, positions, lanes));
    EACH_IN_TEAM(c, 0, present, lanes) {
      Index e = first + c * positions;
      y[e] = T(compute<T>(x[e]) - top - log_total);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(1024) log_softmax_grad_x(
    const T* gy, const T* y, Index rows, Index classes, Index positions, T* gx, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    Index first = first_class(r, rows, classes, positions), present = r < rows ? classes : 0;
    double total = 0;
    EACH_IN_TEAM(c, 0, present, lanes) total += compute<T>(gy[first + c * positions]);
    total = team_sum(total, lanes);
    EACH_IN_TEAM(c, 0, present, lanes) {
      Index e = first + c * positions;
      gx[e] = T(compute<T>(gy[e]) - exp(compute<T>(y[e])) * compute<T>(total));
    }
  }
}
