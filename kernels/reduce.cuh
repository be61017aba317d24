// Sums and maxima over the threads of a block, in an order that depends on its size alone: no atomics, same bits.
#pragma once
#include "loops.cuh"

template <class S> __device__ __forceinline__ S warp_sum(S v) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) v += __shfl_down_sync(0xffffffffu, v, step);
  return v;  // in lane 0
}

// The sum of v over all threads of the block, in every thread. All threads must call it; blocks are whole warps.
template <class S> __device__ S block_sum(S v) {
  __shared__ S part[33];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
  v = warp_sum(v);
  __syncthreads();  // the sum before this one has been read by all
  if (lane == 0) part[warp] = v;
  __syncthreads();
  if (warp == 0) {
    S total = warp_sum(lane < warps ? part[lane] : S(0));
    if (lane == 0) part[32] = total;
  }
  __syncthreads();
  return part[32];
}

template <class S> __device__ __forceinline__ S warp_max(S v) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    S other = __shfl_down_sync(0xffffffffu, v, step);
    if (other > v || other != other) v = other;
  }
  return v;  // in lane 0
}

// The largest v over all threads of the block, in every thread, NaN where one is. All threads must call it.
template <class S> __device__ S block_max(S v) {
  __shared__ S part[33];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
  v = warp_max(v);
  __syncthreads();  // the maximum before this one has been read by all
  if (lane == 0) part[warp] = v;
  __syncthreads();
  if (warp == 0) {
    S largest = warp_max(part[lane < warps ? lane : 0]);
    if (lane == 0) part[32] = largest;
  }
  __syncthreads();
  return part[32];
}
