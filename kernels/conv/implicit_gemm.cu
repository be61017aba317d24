// Convolution as one matrix product on the tensor cores (contract: __init__.py; shapes and launches: implicit_gemm.py).
// The column matrix never exists: a block gathers the part it multiplies from the image, into shared memory.
//
// A block of THREADS owns a TILE_M x TILE_N tile of C = A B and walks the depth of the product in stages of 64 bytes a
// row (32 halves or 16 floats). Two stages lie in shared memory: while the tensor cores multiply one, a loader fetches
// the other. Both operands lie there with the depth along a row, counted in words of 32 bits (see ptx.cuh).
#include "loops.cuh"
#include "ptx.cuh"

constexpr int THREADS = 32 * WARPS_M * WARPS_N;
constexpr int WARP_M = TILE_M / WARPS_M, WARP_N = TILE_N / WARPS_N;  // a warp's part of the tile
constexpr int WORDS = 16;         // of depth in a stage
constexpr int PITCH = WORDS + 4;  // words between rows: 8 rows at this pitch touch every one of the 32 banks once
constexpr int RUNS = WORDS / 4;   // a run is 16 bytes, what one thread moves at a time
static_assert(WARP_M % 16 == 0 && WARP_N % 16 == 0, "warps multiply 16 x 16 pieces");
static_assert(THREADS % TILE_N == 0 && TILE_N * RUNS % THREADS == 0, "a thread gathers for one column");
static_assert(TILE_M * WORDS % THREADS == 0, "every thread fetches equally many words");

struct __align__(16) Stage {
  unsigned a[TILE_M][PITCH], b[TILE_N][PITCH];  // b by columns: b[n] is column n
};
typedef float Sums[WARP_M / 16][WARP_N / 8][4];  // a thread's share of its warp's part, as mma lays it out

// Where a thread's sums lie in the tile: row_of(r), column_of(c) belong to sums[r / 2][c / 2][r % 2 * 2 + c % 2].
__device__ __forceinline__ int row_of(int r) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp % WARPS_M * WARP_M + r * 8 + lane / 4;
}
__device__ __forceinline__ int column_of(int c) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp / WARPS_M * WARP_N + c / 2 * 8 + lane % 4 * 2 + c % 2;
}

// sums += the warp's rows of stage.a times its columns of stage.b.
template <class T> __device__ __forceinline__ void multiply(const Stage& stage, Sums& sums) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int m0 = warp % WARPS_M * WARP_M, n0 = warp / WARPS_M * WARP_N;
#pragma unroll
  for (int word = 0; word < WORDS; word += 8) {
    unsigned a[WARP_M / 16][4], b[WARP_N / 8][2], pair[4];
#pragma unroll
    for (int i = 0; i < WARP_M / 16; i++)
      load_blocks(a[i], &stage.a[m0 + 16 * i + lane % 16][word + lane / 16 * 4]);
#pragma unroll
    for (int j = 0; j < WARP_N / 8; j += 2) {  // two columns of blocks at a time
      load_blocks(pair, &stage.b[n0 + 8 * j + lane / 16 * 8 + lane % 8][word + lane / 8 % 2 * 4]);
      b[j][0] = pair[0], b[j][1] = pair[1], b[j + 1][0] = pair[2], b[j + 1][1] = pair[3];
    }
    if (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < WARP_M / 16; i++)
        for (unsigned& w : a[i]) w = round_to_tf32(w);
#pragma unroll
      for (int j = 0; j < WARP_N / 8; j++)
        for (unsigned& w : b[j]) w = round_to_tf32(w);
    }
#pragma unroll
    for (int i = 0; i < WARP_M / 16; i++)
#pragma unroll
      for (int j = 0; j < WARP_N / 8; j++) mma<T>(sums[i][j], a[i], b[j]);
  }
}

// sums = the product over `steps` stages. A loader's request(stage) starts to fetch the next one, deliver(stage) puts
// what it has fetched into registers into shared memory.
template <class T, class Loader>
__device__ __forceinline__ void product(Loader& loader, Index steps, Stage (&stages)[2], Sums& sums) {
#pragma unroll
  for (int i = 0; i < WARP_M / 16 * (WARP_N / 8) * 4; i++) sums[i / 4 / (WARP_N / 8)][i / 4 % (WARP_N / 8)][i % 4] = 0;
  for (Index step = 0; step <= steps; step++) {
    Stage &filling = stages[step & 1], &full = stages[~step & 1];
    if (step < steps) loader.request(filling);
    if (step > 0) multiply<T>(full, sums);
    if (step < steps) loader.deliver(filling);
    wait_for_copies();
    __syncthreads();  // `filling` is complete, and nobody reads `full` any more
  }
}

// Position (n * oh + i) * ow + j of the batch; forward(by) adds one to it in mixed radix, without divisions.
struct Position {
  Index n, i, j;
  __device__ void forward(const Position& by, Index oh, Index ow) {
    n += by.n, i += by.i, j += by.j;
    if (j >= ow) j -= ow, i++;
    if (i >= oh) i -= oh, n++;
  }
};
__device__ __forceinline__ Position position_of(Index number, Index oh, Index ow) {
  return {number / ow / oh, number / ow % oh, number % ow};
}

// ---- forward, and grad_x of one phase: filters x image

// One axis of a convolution: output start + i * pace (i < outputs, of `out` pixels) sums the pixels
// i * stride + first + t * step over the taps t < taps; pixels outside 0..size-1 are zeros.
struct Axis {
  Index size, taps, first, step, stride, outputs, out, start, pace;
};

// A[m][k] from the matrix of filters and B[k][n] from the image, for n a position (image, i, j). The depth runs over
// k = (p, q, c), channels fastest and padded with zeros to whole runs: a run has one tap, so one address and one test
// serve it. Neighbouring threads have neighbouring positions and therefore read neighbouring pixels.
template <class T> struct FiltersAndImage {
  static constexpr int RUN = 16 / sizeof(T), HELD = TILE_N * RUNS / THREADS;
  struct Tap { Index p, q, c; };

  const T *filters, *image;  // from the tile's first row; from the group's first channel in the thread's image
  Index rows, depth, channels, padded;
  Axis vertical, horizontal;
  Index u, v;  // the pixel that a tap at distance 0 would read
  bool exists;
  Index k;
  Tap taps[HELD];
  uint4 held[HELD];

  __device__ void start() {
    k = 0;
    for (int s = 0; s < HELD; s++) {
      taps[s] = {0, 0, 0};
      forward(taps[s], (threadIdx.x / TILE_N + s * (THREADS / TILE_N)) * RUN);
    }
  }

  __device__ void forward(Tap& tap, Index channels_on) {
    tap.c += channels_on;
    while (tap.c >= padded) {  // at most RUNS times: no division
      tap.c -= padded;
      if (++tap.q == horizontal.taps) tap.q = 0, tap.p++;
    }
  }

  __device__ uint4 gather(const Tap& tap) const {
    Index h = vertical.size, row = u + vertical.first + tap.p * vertical.step;
    Index w = horizontal.size, column = v + horizontal.first + tap.q * horizontal.step;
    bool inside = exists && tap.p < vertical.taps && row >= 0 && row < h && column >= 0 && column < w;
    Index found = inside ? channels - tap.c : 0, plane = h * w;
    const T* pixel = image + (tap.c * plane + row * w + column);
    T run[RUN];
#pragma unroll
    for (int c = 0; c < RUN; c++) {
      run[c] = T(0.f);
      if (c < found) run[c] = pixel[c * plane];
    }
    uint4 packed;
    memcpy(&packed, run, 16);
    return packed;
  }

  __device__ void request(Stage& stage) {
#pragma unroll
    for (int s = 0; s < TILE_M * RUNS / THREADS; s++) {
      int run = threadIdx.x % RUNS, row = threadIdx.x / RUNS + s * (THREADS / RUNS);
      Index at = k + run * RUN;
      copy_async<16>(&stage.a[row][4 * run], filters + (row * depth + at), row < rows && at < depth);
    }
#pragma unroll
    for (int s = 0; s < HELD; s++) {
      held[s] = gather(taps[s]);
      forward(taps[s], RUNS * RUN);
    }
    k += RUNS * RUN;
  }

  __device__ void deliver(Stage& stage) {
#pragma unroll
    for (int s = 0; s < HELD; s++) {
      int run = threadIdx.x / TILE_N + s * (THREADS / TILE_N);
      *(uint4*)&stage.b[threadIdx.x % TILE_N][4 * run] = held[s];
    }
  }
};

// y[n, group * rows + m, out(i, j)] = bias + the sum over p, q and c of filters[group, m, p, q, c] x[n, c, pixel].
template <class T>
__global__ void __launch_bounds__(THREADS, 512 / THREADS) convolve(
    const T* x, const T* filters, const T* bias, T* y,
    Index images, Index groups, Index rows, Index channels, Index padded,
    Index h, Index taps_h, Index first_h, Index step_h, Index stride_h, Index oh,
    Index out_h, Index start_h, Index pace_h,
    Index w, Index taps_w, Index first_w, Index step_w, Index stride_w, Index ow,
    Index out_w, Index start_w, Index pace_w
) {
  static_assert(sizeof(T) <= 4, "tensor cores multiply half, bfloat16, and float as TF32");
  __shared__ Stage stages[2];
  Axis vertical{h, taps_h, first_h, step_h, stride_h, oh, out_h, start_h, pace_h};
  Axis horizontal{w, taps_w, first_w, step_w, stride_w, ow, out_w, start_w, pace_w};
  Index positions = images * oh * ow, depth = taps_h * taps_w * padded;
  Index tiles_m = (rows + TILE_M - 1) / TILE_M, tiles_n = (positions + TILE_N - 1) / TILE_N;
  Index stage_depth = RUNS * FiltersAndImage<T>::RUN, steps = (depth + stage_depth - 1) / stage_depth;
  EACH_BLOCK(tile, tiles_m * tiles_n * groups) {  // neighbouring blocks share their part of the image
    Index m0 = tile % tiles_m * TILE_M, n0 = tile / tiles_m % tiles_n * TILE_N, group = tile / (tiles_m * tiles_n);
    Index number = n0 + threadIdx.x % TILE_N;
    Position at = position_of(number, oh, ow);
    FiltersAndImage<T> loader{filters + (group * rows + m0) * depth, x + (at.n * groups + group) * channels * h * w,
                              rows - m0, depth, channels, padded, vertical, horizontal,
                              at.i * stride_h, at.j * stride_w, number < positions};
    loader.start();
    Sums sums;
    product<T>(loader, steps, stages, sums);
#pragma unroll
    for (int c = 0; c < WARP_N / 4; c++) {
      number = n0 + column_of(c);
      if (number >= positions) continue;
      at = position_of(number, oh, ow);
      T* plane = y + (at.n * groups + group) * rows * out_h * out_w;
      T* target = plane + (start_h + at.i * pace_h) * out_w + start_w + at.j * pace_w;
#pragma unroll
      for (int r = 0; r < WARP_M / 8; r++) {
        Index m = m0 + row_of(r);
        if (m >= rows) continue;
        float shift = bias ? float(bias[group * rows + m]) : 0.f;
        target[m * out_h * out_w] = T(sums[r / 2][c / 2][r % 2 * 2 + c % 2] + shift);
      }
    }
  }
}

// ---- grad_w: gy x image, summed over the positions

struct Column {  // of B: the tap it stands for
  Index offset, dp, dq;  // of its pixel from the one at distance 0, with the channel and in rows and columns
  bool exists;
};

// A[m][k] = gy and B[k][n] = the pixel that tap n reads, for k a position: neighbouring threads fetch neighbouring
// positions of a row, WORDS threads a row. Floats go to shared memory by themselves, pairs of halves through registers.
template <class T> struct GradAndImage {
  static constexpr int IN_WORD = 4 / sizeof(T), A_WORDS = TILE_M * WORDS / THREADS, B_WORDS = TILE_N * WORDS / THREADS;

  const T *gy, *x;  // from the tile's first row and the group's first channel, in image 0
  const Column* columns;
  Index rows, gy_image, x_image, h, w, sh, sw, oh, ow;  // *_image: elements of one image, all groups
  Position by;  // the positions of a stage
  Position at[IN_WORD];
  Index first, positions;  // the number of this thread's first one, and how many there are
  unsigned held_a[A_WORDS], held_b[B_WORDS];

  // word = what `source` finds at each of the word's positions, given its number; a null pointer is a zero
  template <class Source> __device__ void fetch(unsigned* word, unsigned& held, Source source) {
    if (sizeof(T) == 4) {
      const T* found = source(0);
      copy_async<4>(word, found ? found : x, found);
    } else {
      held = 0;
#pragma unroll
      for (int e = 0; e < IN_WORD; e++)
        if (const T* found = source(e)) held |= (unsigned)*(const unsigned short*)found << 16 * e;
    }
  }

  __device__ void request(Stage& stage) {
    int word = threadIdx.x % WORDS, row0 = threadIdx.x / WORDS;
#pragma unroll
    for (int s = 0; s < A_WORDS; s++) {
      int row = row0 + s * (THREADS / WORDS);
      fetch(&stage.a[row][word], held_a[s], [&](int e) -> const T* {
        if (row >= rows || first + e >= positions) return nullptr;
        return gy + (at[e].n * gy_image + (row * oh + at[e].i) * ow + at[e].j);
      });
    }
#pragma unroll
    for (int s = 0; s < B_WORDS; s++) {
      int row = row0 + s * (THREADS / WORDS);
      Column column = columns[row];
      fetch(&stage.b[row][word], held_b[s], [&](int e) -> const T* {
        Index u = at[e].i * sh, v = at[e].j * sw;
        bool inside = u + column.dp >= 0 && u + column.dp < h && v + column.dq >= 0 && v + column.dq < w;
        if (!inside || !column.exists || first + e >= positions) return nullptr;
        return x + (at[e].n * x_image + column.offset + u * w + v);
      });
    }
#pragma unroll
    for (int e = 0; e < IN_WORD; e++) at[e].forward(by, oh, ow);
    first += WORDS * IN_WORD;
  }

  __device__ void deliver(Stage& stage) {
    if (sizeof(T) == 4) return;
    int word = threadIdx.x % WORDS, row0 = threadIdx.x / WORDS;
#pragma unroll
    for (int s = 0; s < A_WORDS; s++) stage.a[row0 + s * (THREADS / WORDS)][word] = held_a[s];
#pragma unroll
    for (int s = 0; s < B_WORDS; s++) stage.b[row0 + s * (THREADS / WORDS)][word] = held_b[s];
  }
};

// parts[part, k, c, p, q] = the sum over the positions of the part of gy[n, k, i, j] * the pixel that tap (p, q) reads.
// The positions are cut into `cuts` parts of `steps` stages each, so that small filters still fill the GPU.
template <class T>
__global__ void __launch_bounds__(THREADS, 512 / THREADS) grad_w(
    const T* gy, const T* x, float* parts, Index cuts, Index steps,
    Index images, Index groups, Index rows, Index channels,
    Index h, Index w, Index kh, Index kw, Index sh, Index sw, Index top, Index left, Index dh, Index dw,
    Index oh, Index ow
) {
  static_assert(sizeof(T) <= 4, "tensor cores multiply half, bfloat16, and float as TF32");
  constexpr int IN_WORD = GradAndImage<T>::IN_WORD;
  __shared__ Stage stages[2];
  __shared__ Column columns[TILE_N];
  Index positions = images * oh * ow, taps = kh * kw, size = channels * taps;
  Index tiles_m = (rows + TILE_M - 1) / TILE_M, tiles_n = (size + TILE_N - 1) / TILE_N;
  EACH_BLOCK(tile, tiles_m * tiles_n * groups * cuts) {
    Index m0 = tile % tiles_m * TILE_M, n0 = tile / tiles_m % tiles_n * TILE_N;
    Index group = tile / (tiles_m * tiles_n) % groups, part = tile / (tiles_m * tiles_n * groups);
    EACH_IN_BLOCK(n, TILE_N) {
      Index c = (n0 + n) / taps, dp = (n0 + n) / kw % kh * dh - top, dq = (n0 + n) % kw * dw - left;
      columns[n] = {(c * h + dp) * w + dq, dp, dq, n0 + n < size};
    }
    __syncthreads();
    Index first = part * steps * (WORDS * IN_WORD) + threadIdx.x % WORDS * IN_WORD;
    GradAndImage<T> loader{gy + (group * rows + m0) * oh * ow, x + group * channels * h * w, columns, rows - m0,
                           groups * rows * oh * ow, groups * channels * h * w, h, w, sh, sw, oh, ow,
                           position_of(WORDS * IN_WORD, oh, ow), {}, first, positions};
    for (int e = 0; e < IN_WORD; e++) loader.at[e] = position_of(first + e, oh, ow);
    Sums sums;
    product<T>(loader, steps, stages, sums);
#pragma unroll
    for (int r = 0; r < WARP_M / 8; r++)
#pragma unroll
      for (int c = 0; c < WARP_N / 4; c++) {
        Index m = m0 + row_of(r), n = n0 + column_of(c);
        if (m < rows && n < size)
          parts[((part * groups + group) * rows + m) * size + n] = sums[r / 2][c / 2][r % 2 * 2 + c % 2];
      }
  }
}

// gw = the parts, added in their order.
template <class T>
__global__ void add_parts(const float* parts, Index cuts, Index size, T* gw) {
  EACH(e, size) {
    float total = 0;
    for (Index part = 0; part < cuts; part++) total += parts[part * size + e];
    gw[e] = T(total);
  }
}
