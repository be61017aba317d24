// How threads and blocks share the work: they stride over it, so any grid computes the same.
#pragma once
#include "scalar.cuh"

// Each thread of the grid takes the items i = its number, + all threads, + all threads, ...
#define EACH(i, count) \
  for (Index i = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x, end_##i = (count); i < end_##i; \
       i += (Index)gridDim.x * (Index)blockDim.x)

// Each block takes the items b = its number, + all blocks, ...: the same for all of its threads.
#define EACH_BLOCK(b, count) \
  for (Index b = (Index)blockIdx.x, end_##b = (count); b < end_##b; b += (Index)gridDim.x)

// The threads of one block share the items j.
#define EACH_IN_BLOCK(j, count) for (Index j = (Index)threadIdx.x, end_##j = (count); j < end_##j; j += (Index)blockDim.x)
