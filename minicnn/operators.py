"""The methods and operators of a tensor: one line each, naming the operation in ``minicnn.ops`` that does it."""

from typing import Any

import numpy as np

# The package minicnn.ops, which binds itself here once it is imported: the import arrow stays one-way.
ops: Any = None


class Operators:
    """Python's operators and NumPy-like methods in terms of ``minicnn.ops``."""

    __slots__ = ()
    __hash__ = object.__hash__

    # ---- arithmetic (broadcasting as in NumPy)

    def __add__(self, other: Any) -> Any:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return ops.div(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return ops.div(other, self)

    def __pow__(self, exponent: Any) -> Any:
        return ops.pow(self, exponent)

    def __rpow__(self, base: Any) -> Any:
        return ops.pow(base, self)

    def __matmul__(self, other: Any) -> Any:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __abs__(self) -> Any:
        return ops.abs(self)

    # ---- comparison: bool tensors without history

    def __eq__(self, other: object) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else ops.eq(self, other)

    def __ne__(self, other: object) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else ops.ne(self, other)

    def __lt__(self, other: Any) -> Any:
        return ops.lt(self, other)

    def __le__(self, other: Any) -> Any:
        return ops.le(self, other)

    def __gt__(self, other: Any) -> Any:
        return ops.gt(self, other)

    def __ge__(self, other: Any) -> Any:
        return ops.ge(self, other)

    # ---- shape

    @property
    def T(self) -> Any:
        return ops.permute(self, None)

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, index)

    def reshape(self, *shape: Any) -> Any:
        return ops.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        return ops.flatten(self, start_dim, end_dim)

    def transpose(self, *axes: int) -> Any:
        """All axes reversed, or in the given order (NumPy's rule; PyTorch's name for it is ``permute``)."""
        return ops.permute(self, axes or None)

    permute = transpose

    def squeeze(self, dim: Any = None) -> Any:
        return ops.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Any:
        return ops.unsqueeze(self, dim)

    def expand(self, *shape: Any) -> Any:
        return ops.broadcast_to(self, shape[0] if len(shape) == 1 else shape)

    def chunk(self, chunks: int, dim: int = 0) -> Any:
        return ops.chunk(self, chunks, dim)

    def split(self, split_size_or_sections: Any, dim: int = 0) -> Any:
        return ops.split(self, split_size_or_sections, dim)

    # ---- reductions

    def sum(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.sum(self, dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.mean(self, dim, keepdim)

    def var(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Any:
        return ops.var(self, dim, correction=correction, keepdim=keepdim)

    def std(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Any:
        return ops.std(self, dim, correction=correction, keepdim=keepdim)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.max(self, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.min(self, dim, keepdim)

    def argmax(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.argmax(self, dim, keepdim)

    def argmin(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.argmin(self, dim, keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.prod(self, dim, keepdim)

    # ---- elementwise maths

    def exp(self) -> Any:
        return ops.exp(self)

    def log(self) -> Any:
        return ops.log(self)

    def sqrt(self) -> Any:
        return ops.sqrt(self)

    def abs(self) -> Any:
        return ops.abs(self)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        return ops.clip(self, min, max)

    clamp = clip

    # ---- devices, dtypes, copies

    def to(self, device: str) -> Any:
        """This tensor on another device; gradients flow back across."""
        return ops.to_device(self, device)

    def astype(self, dtype: Any) -> Any:
        """Converted to ``dtype``; differentiable between float dtypes."""
        return ops.astype(self, dtype)

    def float(self) -> Any:
        return ops.astype(self, np.float32)

    def double(self) -> Any:
        return ops.astype(self, np.float64)

    def clone(self) -> Any:
        """A copy, recorded on the tape."""
        return ops.clone(self)
