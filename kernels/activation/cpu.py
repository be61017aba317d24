"""Numba twins of the activations. All arrays are flat and of one dtype; ``i`` runs over elements."""

from numba import prange

from minicnn.kernels.jit import kernel


@kernel()
def relu_forward(x, y):
    for i in prange(x.size):
        v = x[i]
        y[i] = 0.0 if v <= 0 else v  # comparing this way round lets NaN through


@kernel()
def relu_grad_x(gy, y, gx):
    for i in prange(gy.size):
        gx[i] = gy[i] if y[i] > 0 else 0.0
