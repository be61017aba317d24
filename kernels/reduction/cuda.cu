// CUDA twins of the reductions (contract: __init__.py): first sums over rows or over blocks of rows in double, then
// over what those left of a channel.
#include "team.cuh"

// total[r] = sum of x[r, :]: a team a row.
template <class T>
__global__ void __launch_bounds__(1024) row_sums(
    const T* __restrict__ x, Index rows, Index size, double* total, Index lanes) {
  EACH_TEAM(r, rows, lanes) {
    double sum = 0;
    EACH_IN_TEAM(j, r * size, r < rows ? (r + 1) * size : 0, lanes) sum += double(compute<T>(x[j]));
    sum = team_sum(sum, lanes);
    if (r < rows && team_lane(lanes) == 0) total[r] = sum;
  }
}

// total[part, j] = sum of x[r, j] over the `block` rows of a part: one thread a column j of a part.
template <class T>
__global__ void column_sums(const T* __restrict__ x, Index rows, Index size, Index block, double* total) {
  EACH(e, (rows + block - 1) / block * size) {
    Index part = e / size, j = e % size, stop = min((part + 1) * block, rows);
    double sum = 0;
    _Pragma("unroll 4") for (Index r = part * block; r < stop; r++) sum += double(compute<T>(x[r * size + j]));
    total[e] = sum;
  }
}

// y[k] = sum of part[n, k, j] over n and j: a team a channel.
template <class T>
__global__ void __launch_bounds__(1024) channel_sum(
    const double* __restrict__ part, Index batch, Index channels, Index size, T* y, Index lanes) {
  EACH_TEAM(k, channels, lanes) {
    double sum = 0;
    EACH_IN_TEAM(q, 0, k < channels ? batch * size : 0, lanes) sum += part[(q / size * channels + k) * size + q % size];
    sum = team_sum(sum, lanes);
    if (k < channels && team_lane(lanes) == 0) y[k] = T(compute<T>(sum));
  }
}
