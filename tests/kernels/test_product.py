"""One large product, cut among the threads: against NumPy's in float64, in every orientation, the same bits always."""

import numba
import numpy as np
import pytest

from minicnn.kernels.linear import linear_forward, linear_grad_w, linear_grad_x, matmul, product_cpu
from tests.close import assert_close

SIZES = [(1, 5, 3), (64, 400, 120), (4, 700, 900), (900, 64, 10), (700, 90, 33), (0, 5, 3), (3, 0, 2)]


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_three_products_of_a_linear_layer(rows, inputs, outputs, dtype, bound):
    rng = np.random.default_rng(rows)
    x, weight, gy = (rng.standard_normal(s) for s in ((rows, inputs), (outputs, inputs), (rows, outputs)))
    narrow = [array.astype(dtype) for array in (x, weight, gy)]
    x, weight, gy = (array.astype(np.float64) for array in narrow)
    assert_close(linear_forward(narrow[0], narrow[1], None), np.einsum("ri,oi->ro", x, weight), bound)
    assert_close(linear_grad_x(narrow[2], narrow[1]), np.einsum("ro,oi->ri", gy, weight), bound)
    assert_close(linear_grad_w(narrow[2], narrow[0]), np.einsum("ro,ri->oi", gy, x), bound)


@pytest.mark.parametrize(("m", "n"), [(300, 40), (40, 300), (33, 33)])
@pytest.mark.parametrize("flips", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_parts_do_not_show(m, n, flips, monkeypatch):
    """Cut small, whole, and by any number of threads: near the same result, and by threads the same bits."""
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, 70)), rng.standard_normal((70, n))
    stored = [np.ascontiguousarray(array.T if flip else array) for array, flip in zip((a, b), flips, strict=True)]
    found = []
    monkeypatch.setattr(product_cpu, "WORTH", 0)
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        c = np.empty((m, n))
        product_cpu.product(stored[0], flips[0], stored[1], flips[1], c)
        found.append(c)
    assert_close(found[0], np.einsum("mk,kn->mn", a, b), 1e-13)
    assert all(np.array_equal(found[0], other) for other in found[1:])


LEADS = [((), ()), ((3,), ()), ((), (3,)), ((5, 2), (2,)), ((5, 1), (1, 2)), ((0,), ()), ((1, 2), (7, 1))]


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 7, 2), (70, 33, 65), (2, 0, 3), (150, 90, 80)])
def test_batches_of_products_stored_either_way(leads, sizes):
    m, k, n = sizes
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((*leads[0], m, k)), rng.standard_normal((*leads[1], k, n))
    expected = np.einsum("...mk,...kn->...mn", a, b)
    for left in (a, a.swapaxes(-1, -2).copy().swapaxes(-1, -2), np.repeat(a, 2, -1)[..., ::2]):
        for right in (b, b.swapaxes(-1, -2).copy().swapaxes(-1, -2), np.repeat(b, 2, -2)[..., ::2, :]):
            found = matmul(left, right)
            assert found.shape == expected.shape and found.flags.c_contiguous
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
            narrow = matmul(left.astype(np.float32), right.astype(np.float32))
            assert narrow.dtype == np.float32
            np.testing.assert_allclose(narrow, expected, rtol=0, atol=1e-4)
