// CUDA twins of local response normalisation (contract: __init__.py). Rows r = i * channels + k are channel planes; one
// thread owns a pixel j of a row and walks the window's channels q.
#include "loops.cuh"

// d = k + scale * sum of x[q, j]^2 over the channels q from `before` below to `after` above row r's, in storage order.
template <class T>
__device__ compute<T> denominator(const T* x, Index r, Index j, Index pixels, Index channels, Index before, Index after,
                                  compute<T> scale, compute<T> k) {
  Index channel = r % channels, first = r - channel;
  Index low = max(channel - before, Index(0)), high = min(channel + after, channels - 1);
  compute<T> energy = 0;
  for (Index q = first + low; q <= first + high; q++) {
    compute<T> v = x[q * pixels + j];
    energy += v * v;
  }
  return k + scale * energy;
}

// d^-beta; 3/4, which everybody uses, by two square roots.
template <class C> __device__ C inverse_power(C d, double beta) {
  if (beta == 0.75) {
    C root = sqrt(d);
    return C(1) / (root * sqrt(root));
  }
  return pow(d, C(-beta));
}

template <class T>
__global__ void lrn_forward(const T* x, Index rows, Index pixels, Index channels, Index before, Index after, double scale,
                            double beta, double k, T* y) {
  EACH(e, rows * pixels) {
    Index r = e / pixels, j = e % pixels;
    compute<T> d = denominator(x, r, j, pixels, channels, before, after, compute<T>(scale), compute<T>(k));
    y[e] = T(compute<T>(x[e]) * inverse_power(d, beta));
  }
}

// ratio = gy x d^(-beta-1): what each gx sums over the windows its x belongs to.
template <class T>
__global__ void lrn_ratio(const T* gy, const T* x, Index rows, Index pixels, Index channels, Index before, Index after,
                          double scale, double beta, double k, compute<T>* ratio) {
  EACH(e, rows * pixels) {
    Index r = e / pixels, j = e % pixels;
    compute<T> d = denominator(x, r, j, pixels, channels, before, after, compute<T>(scale), compute<T>(k));
    ratio[e] = compute<T>(gy[e]) * compute<T>(x[e]) * inverse_power(d, beta) / d;
  }
}

template <class T>
__global__ void lrn_grad_x(const T* gy, const T* x, const compute<T>* ratio, Index rows, Index pixels, Index channels,
                           Index before, Index after, double scale, double beta, double k, T* gx) {
  EACH(e, rows * pixels) {
    Index r = e / pixels, j = e % pixels, channel = r % channels;
    compute<T> d = denominator(x, r, j, pixels, channels, before, after, compute<T>(scale), compute<T>(k));
    compute<T> total = 0;
    for (Index q = r - min(channel, after); q <= r + min(channels - 1 - channel, before); q++) total += ratio[q * pixels + j];
    gx[e] = T(compute<T>(gy[e]) * inverse_power(d, beta) - compute<T>(2 * scale * beta) * compute<T>(x[e]) * total);
  }
}
