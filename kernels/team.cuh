// Teams: the threads that share a row. A team is `lanes` neighbouring threads of a warp (1 to 32, a power of two), or a
// whole block (lanes == blockDim.x, up to 1024: hence the launch bounds); kernels/team.py chooses. Results depend on
// lanes alone, not on the grid.
#pragma once
#include "loops.cuh"

// Each team takes rows r. All threads of a block go round equally often, so that teams may meet at barriers inside: a
// team without a row in the last round sees r >= count.
#define EACH_TEAM(r, count, lanes)                                                                      \
  for (Index teams_##r = (Index)blockDim.x / (lanes), step_##r = (Index)gridDim.x * teams_##r,          \
             first_##r = (Index)blockIdx.x * teams_##r, r = first_##r + (Index)threadIdx.x / (lanes), \
             end_##r = (count);                                                                         \
       first_##r < end_##r; first_##r += step_##r, r += step_##r)

// The threads of a team share the items first <= j < end.
#define EACH_IN_TEAM(j, first, end, lanes) \
  _Pragma("unroll 4") for (Index j = (first) + team_lane(lanes), end_##j = (end); j < end_##j; j += (lanes))

__device__ __forceinline__ Index team_lane(Index lanes) { return (Index)threadIdx.x % lanes; }

// What `join` makes of the v of all threads of the team, in every thread, in an order fixed by lanes. Joining must not
// depend on the order of its two arguments. All threads of the block must call it.
template <class S, class Join> __device__ S team_join(S v, Index lanes, Join join) {
  for (int step = lanes < 32 ? (int)lanes / 2 : 16; step > 0; step /= 2)
    v = join(v, __shfl_xor_sync(0xffffffffu, v, step));
  if (lanes <= 32) return v;
  __shared__ S part[32];
  __syncthreads();  // what was joined before this has been read by all
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = part[0];
  for (int warp = 1; warp < (int)blockDim.x / 32; warp++) v = join(v, part[warp]);
  return v;
}

template <class S> __device__ S team_sum(S v, Index lanes) {
  return team_join(v, lanes, [](S a, S b) { return a + b; });
}

// The larger of two, or NaN where one is NaN.
template <class S> __device__ __forceinline__ S larger(S a, S b) { return a != a || a >= b ? a : b; }

template <class S> __device__ S team_max(S v, Index lanes) {
  return team_join(v, lanes, [](S a, S b) { return larger(a, b); });
}
