"""Local response normalisation."""

from typing import Any

from minicnn.errors import ShapeError
from minicnn.kernels import lrn as K
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.record import record, unwrap
from minicnn.tensor import Tensor


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, alpha_over_n: bool = True
) -> Tensor:
    """Divide each value by a power of the energy of ``size`` neighbouring channels at the same pixel.

    **Shapes** (N, C, *) with at least one * -> same. **Math** ``y[c] = x[c] / (k + a * sum x[q]^2)^beta`` over
    ``c - size//2 <= q <= c + (size-1)//2``, ``a = alpha / size`` as in PyTorch and Caffe; ``alpha_over_n=False`` takes
    ``a = alpha``, the formula of the AlexNet paper (size 5, alpha 1e-4, beta 0.75, k 2). **Saves** x.

    **See** Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep CNNs", 2012, section 3.3.
    """
    op = "local_response_norm"
    (xa,) = unwrap(op, x=x)
    if xa.ndim < 3:
        raise ShapeError(f"{op}: x has shape {tuple(xa.shape)}, expected (N, C, *) with at least 3 dimensions")
    size = integer(op, "size", size, 1)
    scale = number(op, "alpha", alpha) / (size if alpha_over_n else 1)
    options = (size, scale, number(op, "beta", beta), number(op, "k", k))
    y = K.lrn_forward(xa, *options)
    return record(op, y, (x,), lambda gy, needs: (K.lrn_grad_x(gy, xa, *options),))
