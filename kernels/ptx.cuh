// The only inline PTX: copies to shared memory that do not wait, and the matrix product of tensor cores. Each helper
// has a second body for the emulator of the tests. They need compute capability 8.0; below it they compile, and trap.
//
// Operands are counted in words of 32 bits: two halves (or bfloat16), or one float of which TF32 keeps 10 bits of
// mantissa. In words the layout is the same for all three types. See: PTX ISA, "Matrix Fragments for mma.m16n8k16".
#pragma once
#include "scalar.cuh"

#if !defined(__CUDA_EMU__) && __CUDA_ARCH__ >= 800
#define PTX(...) asm volatile(__VA_ARGS__)
#else
#define PTX(...) __trap()
#endif

// Start to copy BYTES (4 or 16, both addresses multiples of it) to shared memory; zeros, unread, unless `exists`.
template <int BYTES> __device__ __forceinline__ void copy_async(void* shared, const void* global, bool exists) {
  static_assert(BYTES == 4 || BYTES == 16, "a copy has 4 or 16 bytes");
#ifdef __CUDA_EMU__
  emu::copy_later(shared, global, BYTES, exists);
#else
  unsigned to = (unsigned)__cvta_generic_to_shared(shared);
  if (BYTES == 16)
    PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(exists ? 16 : 0) : "memory");
  else
    PTX("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(exists ? 4 : 0) : "memory");
#endif
}

// Until all copies this thread has started are done. Other threads see them after the next __syncthreads().
__device__ __forceinline__ void wait_for_copies() {
#ifdef __CUDA_EMU__
  emu::finish_copies();
#else
  PTX("cp.async.wait_all;" ::: "memory");
#endif
}

// Four blocks of 8 rows of 4 words: lane 8 i + r names row r of block i (16 bytes); lane 4 g + t gets word t of row g
// of each block.
__device__ __forceinline__ void load_blocks(unsigned (&words)[4], const unsigned* row) {
#ifdef __CUDA_EMU__
  auto* rows = emu::exchange(~0u, row);
  for (int i = 0; i < 4; i++) {
    const unsigned* named = emu::from<const unsigned*>(rows, 8 * i + emu::lane() / 4);
    words[i] = (uintptr_t)named % 16 ? ~0u : named[emu::lane() % 4];  // NaN where a GPU would stop
  }
#else
  unsigned from = (unsigned)__cvta_generic_to_shared(row);
  PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(from) : "memory");
#endif
}

// A float (given and returned as its bits) rounded to TF32: to nearest, ties away from zero.
__device__ __forceinline__ unsigned round_to_tf32(unsigned word) {
#ifdef __CUDA_EMU__
  return (word & 0x7f800000u) == 0x7f800000u ? word : (word + 0x1000u) & ~0x1fffu;
#else
  unsigned rounded = 0;
  PTX("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(word)));
  return rounded;
#endif
}

#ifdef __CUDA_EMU__
namespace emu {
// The sum of products inside one word of each operand.
template <class T> double multiply_words(unsigned a, unsigned b) {
  T x[2], y[2];
  memcpy(x, &a, 4);
  memcpy(y, &b, 4);
  return (double)(float)x[0] * (float)y[0] + (double)(float)x[1] * (float)y[1];
}
template <> double multiply_words<float>(unsigned a, unsigned b) {  // the hardware reads no more than TF32 has
  return (double)__uint_as_float(a & ~0x1fffu) * __uint_as_float(b & ~0x1fffu);
}

// d (16 x 8) += a (16 x 8 words) b (8 words x 8). Lane 4 g + t holds: of a, words t and t + 4 of rows g, g + 8; of b,
// words t and t + 4 of column g; of d, columns 2 t and 2 t + 1 of rows g and g + 8.
template <class T> void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Operands { const unsigned *a, *b; };
  auto* lanes = exchange(~0u, Operands{a, b});
  int g = lane() / 4, t = lane() % 4;
  for (int e = 0; e < 4; e++) {
    int row = g + e / 2 * 8, column = 2 * t + e % 2;
    double sum = d[e];
    for (int word = 0; word < 8; word++) {
      unsigned from_a = from<Operands>(lanes, row % 8 * 4 + word % 4).a[row / 8 + word / 4 * 2];
      unsigned from_b = from<Operands>(lanes, column * 4 + word % 4).b[word / 4];
      sum += multiply_words<T>(from_a, from_b);
    }
    d[e] = (float)sum;
  }
  __syncwarp();  // the operands lie on the lanes' stacks until all have read them
}
}  // namespace emu
#define MMA(T, instruction) emu::mma<T>(d, a, b)
#else
#define MMA(T, instruction)                                                                            \
  PTX("mma.sync.aligned." instruction " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"           \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

// d += a b by the 32 lanes of a warp: a 16 rows of 8 words, b 8 columns of 8 words, sums in float.
template <class T> __device__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <>
__device__ __forceinline__ void mma<half>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA(half, "m16n8k16.row.col.f32.f16.f16.f32");
}
template <>
__device__ __forceinline__ void mma<bfloat16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA(bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32");
}
template <>
__device__ __forceinline__ void mma<float>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  MMA(float, "m16n8k8.row.col.f32.tf32.tf32.f32");
}
