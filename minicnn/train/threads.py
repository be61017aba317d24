"""How many threads BLAS may use while a network trains."""

from contextlib import AbstractContextManager, nullcontext

# Below this many multiply-adds an image, the matrices are too small to be worth a second thread.
SMALL_NETWORK_MACS = 100_000_000


def blas_threads(macs: int) -> AbstractContextManager[object]:
    """Context manager: one BLAS thread while a small network trains, BLAS's own choice for a large one.

    The matrices of a small network gain nothing from a second thread, and BLAS's threads wait by spinning: with one other
    busy program on the machine a step of LeNet-5 took 31 ms with one thread and 220 to 250 ms with two
    (two cores, batch 64, ``OPENBLAS_NUM_THREADS=1`` and ``2``).
    """
    if macs >= SMALL_NETWORK_MACS:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits
