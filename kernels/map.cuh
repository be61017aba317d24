// Elementwise kernels: `y = f(x)` and `gx = f(gy, kept)` over flat arrays, f a lambda from one element to one. The
// lambda of `map_at` is also given the element's index i.
#pragma once
#include "loops.cuh"

// A thread takes this many elements at once, a block apart: 16 bytes of each array under way a thread keep the memory
// busy, neighbouring threads touch neighbouring addresses, and nothing depends on how the arrays are aligned.
template <class T> constexpr int AT_ONCE = 16 / sizeof(T);

// Each thread takes the items first, first + blockDim.x, ... (AT_ONCE of them), and strides over what is left.
#define EACH_FEW(first, size)                                                                 \
  for (Index first = (Index)blockIdx.x * (Index)blockDim.x * AT_ONCE<T> + (Index)threadIdx.x, \
             stride_##first = (Index)gridDim.x * (Index)blockDim.x * AT_ONCE<T>;              \
       first < (size); first += stride_##first)

template <class T, class F> __device__ __forceinline__ void map_at(const T* x, T* y, Index size, F f) {
  EACH_FEW(first, size) {
    T v[AT_ONCE<T>];
#pragma unroll
    for (int k = 0; k < AT_ONCE<T>; k++) {
      Index i = first + k * (Index)blockDim.x;
      if (i < size) v[k] = x[i];
    }
#pragma unroll
    for (int k = 0; k < AT_ONCE<T>; k++) {
      Index i = first + k * (Index)blockDim.x;
      if (i < size) y[i] = T(compute<T>(f(compute<T>(v[k]), i)));
    }
  }
}

template <class T, class F> __device__ __forceinline__ void map_at(const T* gy, const T* kept, T* gx, Index size, F f) {
  EACH_FEW(first, size) {
    T g[AT_ONCE<T>], v[AT_ONCE<T>];
#pragma unroll
    for (int k = 0; k < AT_ONCE<T>; k++) {
      Index i = first + k * (Index)blockDim.x;
      if (i < size) g[k] = gy[i], v[k] = kept[i];
    }
#pragma unroll
    for (int k = 0; k < AT_ONCE<T>; k++) {
      Index i = first + k * (Index)blockDim.x;
      if (i < size) gx[i] = T(compute<T>(f(compute<T>(g[k]), compute<T>(v[k]), i)));
    }
  }
}

template <class T, class F> __device__ __forceinline__ void map(const T* x, T* y, Index size, F f) {
  map_at(x, y, size, [=](auto v, Index) { return f(v); });
}

template <class T, class F> __device__ __forceinline__ void map(const T* gy, const T* kept, T* gx, Index size, F f) {
  map_at(gy, kept, gx, size, [=](auto g, auto v, Index) { return f(g, v); });
}
