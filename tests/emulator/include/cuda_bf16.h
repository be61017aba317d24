// bfloat16: the upper half of a float, rounded to nearest, ties to even.
#pragma once
#include "cuda_emu.h"
struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    bits = f != f ? (uint16_t)0x7fff : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  operator float() const {
    uint32_t u = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
  }
};
static inline float __bfloat162float(__nv_bfloat16 h) { return (float)h; }
static inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
static inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
namespace emu { template <> struct Code<__nv_bfloat16> { static std::string text() { return "bf2"; } }; }
