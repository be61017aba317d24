// half: stored in 16 bits, converted to float for every operation.
#pragma once
#include "cuda_emu.h"
struct __half {
  _Float16 value;
  __half() = default;
  __half(float f) : value((_Float16)f) {}
  operator float() const { return (float)value; }
};
typedef __half half;
static inline float __half2float(half h) { return (float)h.value; }
static inline half __float2half(float f) { return half(f); }
static inline half __float2half_rn(float f) { return half(f); }
static inline half __double2half(double d) { half h; h.value = (_Float16)d; return h; }
struct alignas(4) half2 { half x, y; };
typedef half2 __half2;
namespace emu { template <> struct Code<__half> { static std::string text() { return "f2"; } }; }
