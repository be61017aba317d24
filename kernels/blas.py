"""Matrix products inside CPU kernels: ``gemm`` calls SciPy's BLAS from compiled code, in the thread that asks.

A kernel cuts its work into pieces by shape, each thread takes a piece, and its products run where its columns or tiles
still lie in the cache. The bits of a result therefore do not depend on how many threads there are, and BLAS's own
threads, which would spin beside ours, stay asleep: ``one_blas_thread`` sees to it.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic
from numba.np.linalg import get_blas_kind

_intrinsic: Any = intrinsic


@_intrinsic
def gemm(typing, sizes, a, a_place, b, b_place, c, c_place):  # type: ignore[no-untyped-def]
    """C (m, n) = A (m, k) @ B (k, n), ``sizes`` is (m, n, k); matrices lie in the flat arrays ``a``, ``b``, ``c``.

    A place is (where the matrix begins, how far its rows are apart, a flag). Flagged, A is stored as its transpose,
    (k, m), so is B, (n, k), and C is added to. Nothing is checked.
    """
    del typing, sizes, a_place, b_place, c_place
    three = types.UniTuple(types.intp, 3)
    return types.void(three, a, three, b, three, c, three), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The code of one call. BLAS counts by columns, so it is told C^T = B^T @ A^T."""
    dtype = signature.args[1].dtype
    char, size, pointer = ir.IntType(8), ir.IntType(64), cgutils.voidptr_t

    def matrix(index: int) -> tuple[Any, Any, Any]:
        flat = context.make_array(signature.args[index])(context, builder, arguments[index])
        begin, apart, flag = cgutils.unpack_tuple(builder, arguments[index + 1], 3)
        data = builder.bitcast(builder.gep(flat.data, [begin]), pointer)
        return data, apart, cgutils.is_not_null(builder, flag)

    def choose(flag: Any, then: Any, otherwise: Any) -> Any:
        place = cgutils.alloca_once_value(builder, builder.select(flag, then, otherwise))
        return builder.bitcast(place, pointer)

    def way(flag: Any) -> Any:
        return builder.select(flag, ir.Constant(char, ord("t")), ir.Constant(char, ord("n")))

    m, n, k = cgutils.unpack_tuple(builder, arguments[0], 3)
    (a, a_apart, a_flag), (b, b_apart, b_flag), (c, c_apart, c_flag) = map(matrix, (1, 3, 5))
    number = context.get_value_type(dtype)
    one, zero = ir.Constant(number, 1.0), ir.Constant(number, 0.0)
    alpha, beta = choose(c_flag, one, one), choose(c_flag, one, zero)
    parameters = [char, char, char, size, size, size, pointer, pointer, size, pointer, size, pointer, pointer, size]
    kind = ir.FunctionType(ir.IntType(32), parameters)
    function = cgutils.get_or_insert_function(builder.module, kind, "numba_xxgemm")
    letter = ir.Constant(char, ord(get_blas_kind(dtype)))
    builder.call(
        function,
        (letter, way(b_flag), way(a_flag), n, m, k, alpha, b, b_apart, a, a_apart, beta, c, c_apart),
    )
    return context.get_dummy_value()


def workers() -> int:
    """How many threads share a kernel's work; no result depends on it."""
    return int(numba.get_num_threads())


@cache
def _pools() -> list[Any]:
    """The thread pools of SciPy's BLAS, which is the one that Numba calls: its wheel's own, or whatever is shared."""
    importlib.import_module("scipy.linalg.cython_blas")  # loads it
    pools = importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas").lib_controllers
    return [pool for pool in pools if "scipy.libs" in pool.filepath] or list(pools)


class _Inside:
    """How many are inside ``one_blas_thread``, and the sizes of the pools before the first came."""

    lock, count = threading.Lock(), 0
    before: tuple[int, ...] = ()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Every product inside runs in the thread that asks for it; any number of threads may be inside at once."""
    with _Inside.lock:
        if _Inside.count == 0:
            _Inside.before = tuple(pool.get_num_threads() for pool in _pools())
            _resize(1 for _ in _pools())
        _Inside.count += 1
    try:
        yield
    finally:
        with _Inside.lock:
            _Inside.count -= 1
            if _Inside.count == 0:
                _resize(_Inside.before)


def _resize(sizes: Any) -> None:
    for pool, size in zip(_pools(), sizes, strict=True):
        if pool.get_num_threads() != size:
            pool.set_num_threads(size)
