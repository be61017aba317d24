"""How many threads BLAS may use while a network trains."""

from contextlib import AbstractContextManager, nullcontext

# Below this many multiply-adds an image, the matrices are too small to be worth a second thread.
SMALL_NETWORK_MACS = 100_000_000


def blas_threads(macs: int) -> AbstractContextManager[object]:
    """Context manager: one BLAS thread while a small network trains, BLAS's own choice for a large one.

    The matrices of a small network gain nothing from a second thread, and BLAS's threads wait by spinning: beside
    one busy program on two cores that makes a step of LeNet-5 several times slower. One thread also gives the same
    bits on every machine's number of cores.
    """
    if macs >= SMALL_NETWORK_MACS:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits
