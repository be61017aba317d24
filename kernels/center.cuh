// What normalisations subtract.
#pragma once
#include "scalar.cuh"

// A double center subtracted in two parts: x - center keeps the digits of x also where the mean is large, without the
// double arithmetic that is slow on many GPUs.
template <class C> struct Center {
  C high, low;
  __device__ Center(double center) : high(C(center)), low(high - high == 0 ? C(center - double(high)) : C(0)) {}
  __device__ C from(C x) const { return (x - high) - low; }
};
