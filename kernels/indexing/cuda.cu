// CUDA twin of adding at positions (contract: __init__.py). The positions are sorted; the thread at the first of a run of
// equal ones owns the element and adds what belongs there, in the order of the index.
#include "loops.cuh"

template <class T>
__global__ void add_at(const T* gy, const long long* order, const long long* positions, Index count, T* gx) {
  EACH(i, count) {
    long long here = positions[i];
    if (i > 0 && positions[i - 1] == here) continue;
    compute<T> total = gx[here];
    for (Index j = i; j < count && positions[j] == here; j++) total += compute<T>(gy[order[j]]);
    gx[here] = T(total);
  }
}
