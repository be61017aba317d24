// CUDA twins of the optimiser steps (contract: __init__.py). One launch moves all weights of a group: the blocks share
// chunks of weights, and find their arrays in a table. Hyper-parameters are rounded to the weight's type, after
// differences such as `1 - beta2` were taken in double.
#include "reduce.cuh"

// `arrays` has one row of addresses a weight: its own, its gradient's, its slots' (0 where absent). `chunks` has three
// numbers a chunk: which weight, the first element, how many; nobody else touches these.
#define TABLE const unsigned long long *arrays, const long long *chunks, Index chunk_count

// Calls f on references to the element i of a weight and of its arrays; what f changes is written back.
template <class F, class C> __device__ __forceinline__ void call(F f, C (&v)[1]) { f(v[0]); }
template <class F, class C> __device__ __forceinline__ void call(F f, C (&v)[2]) { f(v[0], v[1]); }
template <class F, class C> __device__ __forceinline__ void call(F f, C (&v)[3]) { f(v[0], v[1], v[2]); }
template <class F, class C> __device__ __forceinline__ void call(F f, C (&v)[4]) { f(v[0], v[1], v[2], v[3]); }
template <class F, class C> __device__ __forceinline__ void call(F f, C (&v)[5]) { f(v[0], v[1], v[2], v[3], v[4]); }

// f on every element of every weight; ARRAYS is the length of a row of the table. A thread takes 16 bytes of each array
// at once, a block apart, which keeps the memory busy. The gradient, number 1, is not written.
template <class T, int ARRAYS, class F> __device__ __forceinline__ void each_element(TABLE, F f) {
  const int AT_ONCE = 16 / sizeof(T);
  EACH_BLOCK(b, chunk_count) {
    const unsigned long long* row = arrays + chunks[3 * b] * ARRAYS;
    T* array[ARRAYS];
#pragma unroll
    for (int a = 0; a < ARRAYS; a++) array[a] = row[a] ? (T*)row[a] + chunks[3 * b + 1] : nullptr;
    Index size = chunks[3 * b + 2], step = blockDim.x;
    for (Index first = threadIdx.x; first < size; first += AT_ONCE * step) {
      compute<T> v[AT_ONCE][ARRAYS];
#pragma unroll
      for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
        for (int a = 0; a < ARRAYS; a++)
          v[k][a] = array[a] && first + k * step < size ? compute<T>(array[a][first + k * step]) : compute<T>(0);
#pragma unroll
      for (int k = 0; k < AT_ONCE; k++) {
        Index i = first + k * step;
        if (i < size) {
          call(f, v[k]);
#pragma unroll
          for (int a = 0; a < ARRAYS; a++)
            if (a != 1 && array[a]) array[a][i] = T(v[k][a]);
        }
      }
    }
  }
}

template <class C> __device__ __forceinline__ C with_decay(C w, C g, C decay, bool maximize) {
  return (maximize ? -g : g) + decay * w;
}

template <class T>
__global__ void sgd_step(TABLE, double lr, double weight_decay, bool maximize) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay;
  each_element<T, 2>(arrays, chunks, chunk_count, [=](C& w, C g) { w -= rate * with_decay(w, g, decay, maximize); });
}

template <class T>
__global__ void momentum_step(TABLE, double lr, double momentum, double dampening, double weight_decay, bool nesterov,
                              bool maximize) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay, mu = momentum, fresh = 1 - dampening;
  each_element<T, 3>(arrays, chunks, chunk_count, [=](C& w, C g, C& v) {
    C gradient = with_decay(w, g, decay, maximize);
    v = mu * v + fresh * gradient;
    w -= rate * (nesterov ? gradient + mu * v : v);
  });
}

template <class T>
__global__ void caffe_momentum_step(TABLE, double lr, double momentum, double weight_decay, bool nesterov,
                                    bool maximize) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay, mu = momentum;
  each_element<T, 3>(arrays, chunks, chunk_count, [=](C& w, C g, C& v) {
    C before = v;
    v = mu * before + rate * with_decay(w, g, decay, maximize);
    w -= nesterov ? v + mu * (v - before) : v;
  });
}

template <class T>
__global__ void adam_step(TABLE, double rate, double root, double beta1, double beta2, double eps, double weight_decay,
                          double shrink, bool maximize, bool amsgrad) {
  typedef compute<T> C;
  C fresh1 = 1 - beta1, keep2 = beta2, fresh2 = 1 - beta2, step = rate, unbias = 1 / root, tiny = eps;
  C decay = weight_decay, keep = shrink;
  each_element<T, 5>(arrays, chunks, chunk_count, [=](C& w, C g, C& m, C& v, C& largest) {
    C gradient = with_decay(w, g, decay, maximize);
    m += fresh1 * (gradient - m);
    v = keep2 * v + fresh2 * gradient * gradient;
    C square = v;
    if (amsgrad) largest = square = square <= largest ? largest : square;
    w = keep * w - step * m / (sqrt(square) * unbias + tiny);
  });
}

template <class T>
__global__ void rmsprop_step(TABLE, double lr, double alpha, double eps, double weight_decay, double momentum,
                             bool maximize, bool centered, bool moving) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay, mu = momentum, keep = alpha, fresh = 1 - alpha, tiny = eps;
  each_element<T, 5>(arrays, chunks, chunk_count, [=](C& w, C g, C& square, C& mean, C& v) {
    C gradient = with_decay(w, g, decay, maximize);
    square = keep * square + fresh * gradient * gradient;
    C variance = square;
    if (centered) {
      mean += fresh * (gradient - mean);
      variance -= mean * mean;
      variance = variance < 0 ? C(0) : variance;  // by rounding, where gradients are all alike
    }
    C quotient = gradient / (sqrt(variance) + tiny);
    if (moving) v = quotient += mu * v;
    w -= rate * quotient;
  });
}

template <class T>
__global__ void adagrad_step(TABLE, double lr, double eps, double weight_decay, bool maximize) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay, tiny = eps;
  each_element<T, 3>(arrays, chunks, chunk_count, [=](C& w, C g, C& total) {
    C gradient = with_decay(w, g, decay, maximize);
    total += gradient * gradient;
    w -= rate * gradient / (sqrt(total) + tiny);
  });
}

template <class T>
__global__ void adadelta_step(TABLE, double lr, double rho, double eps, double weight_decay, bool maximize) {
  typedef compute<T> C;
  C rate = lr, decay = weight_decay, tiny = eps, keep = rho, fresh = 1 - rho;
  each_element<T, 4>(arrays, chunks, chunk_count, [=](C& w, C g, C& square, C& moved) {
    C gradient = with_decay(w, g, decay, maximize);
    square = keep * square + fresh * gradient * gradient;
    C change = sqrt(moved + tiny) / sqrt(square + tiny) * gradient;
    moved = keep * moved + fresh * change * change;
    w -= rate * change;
  });
}

template <class T>
__global__ void average_step(TABLE, double fresh) {
  typedef compute<T> C;
  C part = fresh;
  each_element<T, 2>(arrays, chunks, chunk_count, [=](C& average, C w) { average += part * (w - average); });
}

// partial[b]: the chunk's sum of |g|^norm_type, or its largest |g| where norm_type is infinite.
template <class T>
__global__ void norm_of_chunks(TABLE, double norm_type, double* partial) {
  EACH_BLOCK(b, chunk_count) {
    const T* g = (const T*)arrays[chunks[3 * b]] + chunks[3 * b + 1];
    double total = 0;
#pragma unroll 4
    EACH_IN_BLOCK(i, Index(chunks[3 * b + 2])) {
      double size = fabs(double(compute<T>(g[i])));
      if (isinf(norm_type))
        total = size > total || size != size ? size : total;  // NaN stays
      else
        total += norm_type == 2 ? size * size : norm_type == 1 ? size : pow(size, norm_type);
    }
    total = isinf(norm_type) ? block_max(total) : block_sum(total);
    if (threadIdx.x == 0) partial[b] = total;
  }
}

// norm[0]: the joint norm of all chunks, by one block.
template <class T>
__global__ void joint_norm(const double* partial, Index chunk_count, double norm_type, double* norm) {
  if (blockIdx.x > 0) return;
  double total = 0;
  EACH_IN_BLOCK(b, chunk_count) {
    if (isinf(norm_type))
      total = partial[b] > total || partial[b] != partial[b] ? partial[b] : total;
    else
      total += partial[b];
  }
  total = isinf(norm_type) ? block_max(total) : block_sum(total);
  if (threadIdx.x == 0) norm[0] = isinf(norm_type) ? total : norm_type == 2 ? sqrt(total) : pow(total, 1 / norm_type);
}

template <class T>
__global__ void scale_to_norm(TABLE, const double* norm, double max_norm) {
  typedef compute<T> C;
  double scale = max_norm / (norm[0] + 1e-6);
  if (scale >= 1) return;  // NaN goes on, and spoils every gradient
  each_element<T, 1>(arrays, chunks, chunk_count, [=](C& g) { g *= C(scale); });
}

template <class T>
__global__ void clip_values(TABLE, double limit) {
  typedef compute<T> C;
  C top = limit;
  each_element<T, 1>(arrays, chunks, chunk_count, [=](C& g) { g = g < -top ? -top : g > top ? top : g; });
}
