// The numbers of a Window2d (kernels/window.py) in a kernel: what they are called, and which taps read a pixel.
#pragma once
#include "loops.cuh"

// The parameters that a Window2d becomes when the launcher spreads it.
#define WINDOW                                                                                                        \
  Index h, Index w, Index kh, Index kw, Index sh, Index sw, Index top, Index bottom, Index left, Index right, Index dh, \
      Index dw, Index oh, Index ow

// The taps of one axis that read a pixel: `tap`, `tap + period`, ... through the outputs `output`, `output - jump`, ...
// with period = step / gcd(step, dilation) and jump = dilation / gcd(step, dilation).
struct Readers { Index tap, output; };

// `at` is the pixel plus the padding before it: output i reads it through tap p where i * step + p * dilation = at.
__device__ __forceinline__ Readers readers(Index at, Index step, Index dilation, Index taps) {
  Index output = at / step, rest = at - output * step, tap = 0;
  while (rest != 0 && tap < taps) {  // the next tap lies `dilation` pixels further on
    tap++;
    for (rest -= dilation; rest < 0; rest += step) output--;
  }
  return {tap, output};
}
