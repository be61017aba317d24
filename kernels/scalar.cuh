// The scalar types of the kernels. Storage types T are float, double, half and bfloat16; the last two are only read and
// written: `compute<T> v = x[i]` converts to float, `y[i] = T(v)` rounds to nearest.
#pragma once
#include <cuda_fp16.h>
#include <cuda_bf16.h>

typedef __nv_bfloat16 bfloat16;
typedef INDEX Index;  // int, or long long where an array is too large for it (kernels/launch.py)

template <class T> struct Compute { typedef T type; };
template <> struct Compute<half> { typedef float type; };
template <> struct Compute<bfloat16> { typedef float type; };
template <class T> using compute = typename Compute<T>::type;
