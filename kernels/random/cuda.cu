// CUDA twins of the random masks (contract: __init__.py). `m` runs over decisions, `j` over the elements that share one.
// The integers of the hash are of 64 bits and wrap, as the CPU's: both draw the same bits.
#include "map.cuh"

// The upper half of SplitMix64's index-th output after `key`.
__device__ __forceinline__ unsigned long long hash32(unsigned long long key, unsigned long long index) {
  unsigned long long z = key + (index + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return (z ^ (z >> 31)) >> 32;
}

// y[m, :] = x[m, :] * scale where hash32(key, start + m) >= threshold, else 0; x (decisions, shared). A thread takes one
// j of every groups-th decision.
template <class T>
__global__ void mask_forward(const T* x, Index decisions, Index shared, Index groups, unsigned long long key,
                             unsigned long long start, unsigned long long threshold, double scale, T* y) {
  compute<T> factor = scale;
  EACH(e, groups * shared) {
    Index j = e % shared;
    for (Index m = e / shared; m < decisions; m += groups) {
      compute<T> v = 0;
      if (hash32(key, start + m) >= threshold) v = compute<T>(x[m * shared + j]) * factor;
      y[m * shared + j] = T(v);
    }
  }
}

// `mask_forward` with a decision an element: x (size,).
template <class T>
__global__ void mask_elements(const T* x, Index size, unsigned long long key, unsigned long long start,
                              unsigned long long threshold, double scale, T* y) {
  compute<T> factor = scale;
  map_at(x, y, size, [=](compute<T> v, Index m) { return hash32(key, start + m) >= threshold ? v * factor : 0; });
}
