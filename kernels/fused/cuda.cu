// CUDA twins of the fused passes (contract: __init__.py). Bounds are rounded as y is, so that the derivative finds them
// there; a bound that is NaN bounds nothing.
#include "center.cuh"
#include "map.cuh"
#include "team.cuh"

template <class C> __device__ __forceinline__ C bounded(C v, C low, C high) {
  return v <= low ? low : v >= high ? high : v;
}

// y = bounded(x + other); y may be x or other, other null.
template <class T>
__global__ void bounded_forward(const T* x, const T* other, T* y, Index size, double low, double high) {
  compute<T> bottom = T(compute<T>(low)), top = T(compute<T>(high));
  if (other)
    map(x, other, y, size, [=](auto v, auto added) { return bounded(v + added, bottom, top); });
  else
    map(x, y, size, [=](auto v) { return bounded(v, bottom, top); });
}

template <class T>
__global__ void bounded_grad(const T* gy, const T* y, T* g, Index size, double low, double high) {
  compute<T> bottom = T(compute<T>(low)), top = T(compute<T>(high));
  map(gy, y, g, size, [=](auto v, auto result) { return result <= bottom || result >= top ? 0 : v; });
}

// y = bounded((x - mean) * rstd * weight + bias + other); without weight, bias or other (null) 1, 0 and 0. A team takes
// `piece` values of a row r = n * channels + c, so that a few long rows keep the GPU busy too.
template <class T>
__global__ void __launch_bounds__(1024) norm_forward(
    const T* x, const double* mean, const double* rstd, const compute<T>* weight, const compute<T>* bias,
    const T* other, double low, double high, Index rows, Index size, Index channels, Index piece, T* y, Index lanes) {
  Index pieces = (size + piece - 1) / piece;
  compute<T> bottom = T(compute<T>(low)), top = T(compute<T>(high));
  EACH_TEAM(e, rows * pieces, lanes) {
    if (e >= rows * pieces) continue;
    Index r = e / pieces, first = e % pieces * piece, c = r % channels;
    Center<compute<T>> center(mean[c]);
    compute<T> scale = compute<T>(weight ? rstd[c] * double(weight[c]) : rstd[c]), shift = bias ? bias[c] : 0;
    EACH_IN_TEAM(j, r * size + first, r * size + min(first + piece, size), lanes) {
      compute<T> v = center.from(x[j]) * scale + shift;
      y[j] = T(bounded(other ? v + compute<T>(other[j]) : v, bottom, top));
    }
  }
}
