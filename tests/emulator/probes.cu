// Kernels that show one property of the emulator each; tests/emulator/test_emulator.py says what must come out.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
typedef __nv_bfloat16 bfloat16;

__device__ int thread_of_block() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

// y = x with each block turned round, through shared memory; without the barrier some order of the threads shows it.
template <bool BARRIER> __global__ void reversed(const float* x, float* y) {
  __shared__ float part[64];
  int t = threadIdx.x, first = blockIdx.x * blockDim.x;
  part[t] = x[first + t];
  if (BARRIER) __syncthreads();
  y[first + t] = part[blockDim.x - 1 - t];
}

// Many barriers in a loop: a running sum over the block, one doubling a step.
__global__ void scan(int* x) {
  __shared__ int part[256];
  int t = threadIdx.x;
  part[t] = x[t];
  for (int step = 1; step < blockDim.x; step *= 2) {
    __syncthreads();
    int before = t >= step ? part[t - step] : 0;
    __syncthreads();
    part[t] += before;
  }
  x[t] = part[t];
}

__global__ void divergent_barrier(int* x) {
  if (threadIdx.x < 7) __syncthreads();
  x[threadIdx.x] = 1;
  __syncthreads();
}

__global__ void barrier_against_warp(int* x) {
  if (threadIdx.x % 32 == 3) __syncthreads();
  else __syncwarp();
  x[threadIdx.x] = 1;
}

__global__ void lane_outside_its_mask(int* x) { x[threadIdx.x] = __shfl_sync(0xffffu, (int)threadIdx.x, 0); }

// Half of the block has left when the others meet.
__global__ void early_exit(int* x, int last) {
  int t = threadIdx.x;
  if (t > last) return;
  x[t] = __shfl_down_sync(0xffffffffu, t, 1);
  __syncthreads();
  x[t] += 1000;
}

__global__ void shuffles(int* y, int width) {
  int t = threadIdx.x, n = blockDim.x;
  y[t] = __shfl_down_sync(0xffffffffu, t, 3, width);
  y[n + t] = __shfl_up_sync(0xffffffffu, t, 3, width);
  y[2 * n + t] = __shfl_xor_sync(0xffffffffu, t, 5, width);
  y[3 * n + t] = __shfl_sync(0xffffffffu, t, 2, width);
  double two_words = __shfl_sync(0xffffffffu, t + 0.25, 31 - t % 32);
  y[4 * n + t] = (int)(4 * two_words);
}

// Even and odd lanes meet by themselves, at different times.
__global__ void partial_masks(int* y) {
  int t = threadIdx.x;
  if (t % 2) y[t] = __shfl_xor_sync(0xaaaaaaaau, t, 2);
  else y[t] = 100 + __shfl_xor_sync(0x55555555u, t, 4);
}

__global__ void votes(unsigned* y) {
  int t = threadIdx.x;
  y[t] = __ballot_sync(0xffffffffu, t % 3 == 0);
  y[blockDim.x + t] = __any_sync(0xffffffffu, t == 5);
  y[2 * blockDim.x + t] = __all_sync(0xffffffffu, t < 32);
}

__global__ void atomics(int* y, float* f) {
  int t = threadIdx.x + blockIdx.x * blockDim.x;
  atomicAdd(&y[0], t);
  atomicMax(&y[1], t);
  atomicMin(&y[2], -t);
  if (atomicCAS(&y[3], 0, t + 1) == 0) atomicExch(&y[4], t);
  atomicAdd(&f[0], 0.5f);
}

// The sum of what shared memory holds before anybody has written there.
__global__ void untouched_shared(int* y, int count) {
  extern __shared__ __align__(16) int dynamic[];
  __shared__ int fixed[4];
  __shared__ double table[2][3];
  int same = 0;
  for (int i = 0; i < count; i++) same += dynamic[i] == (int)0xcbcbcbcb;
  for (int i = 0; i < 4; i++) same += fixed[i] == (int)0xcbcbcbcb;
  y[blockIdx.x] = same + (table[1][2] == table[0][0]);
  for (int i = 0; i < count; i++) dynamic[i] = 0;
  for (int i = 0; i < 4; i++) fixed[i] = 0;
  table[1][2] = 1;
}

__global__ void coordinates(int* y) {
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int t = block * blockDim.x * blockDim.y * blockDim.z + thread_of_block();
  y[t] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * (blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z);
}

template <class T> __global__ void from_float(const float* x, int n, T* y) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = T(x[i]);
}
template <class T> __global__ void to_float(const T* x, int n, float* y) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = (float)x[i];
}

template <class T> __global__ void filled(T* y, int first, int last, int value) {
  for (int i = first + (int)(threadIdx.x + blockIdx.x * blockDim.x); i < last; i += blockDim.x * gridDim.x) y[i] = (T)value;
}

// Every block writes y[0]: the same value, or its own.
template <bool SAME> __global__ void one_address(float* y) {
  if (threadIdx.x == 0) y[0] = SAME ? 1.f : (float)blockIdx.x;
  y[1 + blockIdx.x * blockDim.x + threadIdx.x] = 2.f;
}

// Every block adds to y[0]: right when they run one after another, never on a GPU.
__global__ void unguarded_sum(float* y) { if (threadIdx.x == 0) y[0] = y[0] + 1.f; }

__global__ void every_kind(const float* x, float* y, int n, long long count, double scale, bool flag) {
  if (threadIdx.x < n && count > 0) y[threadIdx.x] = (flag ? -1.f : 1.f) * (float)scale * x[threadIdx.x];
}

// Local variables larger than the emulator's stack of a thread.
__global__ void deep(int* y, int n) {
  volatile char local[(1 << 16) + 64];
  for (int i = 0; i < n; i++) local[i] = (char)i;
  y[0] = local[n - 1];
}
