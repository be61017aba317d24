"""How results are compared: normwise a tensor, ``max|a-b| <= tol * max|b|``; NaN and inf positions must match."""

import numpy as np


def assert_close(actual, expected, tol: float = 1e-10, what: str = "result") -> None:
    a, b = np.asarray(actual), np.asarray(expected)
    assert a.shape == b.shape, f"{what}: shape {a.shape}, expected {b.shape}"
    if not a.size:
        return
    if a.dtype.kind in "biu" and b.dtype.kind in "biu":
        assert np.array_equal(a, b), f"{what}: {np.argwhere(a != b)[:5].tolist()} differ"
        return
    assert np.array_equal(np.isnan(a), np.isnan(b)), (
        f"{what}: NaN at {np.argwhere(np.isnan(a) != np.isnan(b))[:5].tolist()}"
    )
    infinite = np.isinf(b)
    assert np.array_equal(np.isinf(a), infinite), f"{what}: inf at {np.argwhere(np.isinf(a) != infinite)[:5].tolist()}"
    assert np.array_equal(a[infinite], b[infinite]), f"{what}: an infinity has the wrong sign"
    finite = np.isfinite(b)
    if finite.any():
        error, scale = np.abs(a[finite].astype(float) - b[finite]).max(), np.abs(b[finite]).max()
        assert error <= tol * scale, (
            f"{what}: off by {error:.3g} of {scale:.3g}, {error / max(scale, 1e-300):.3g} > {tol:.3g}"
        )
