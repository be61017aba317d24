"""``pad``: a margin round a tensor, as ``torch.nn.functional.pad`` adds it."""

from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.kernels.arrays import Array, allocate, is_cupy, is_float
from minicnn.kernels.indexing import add_at
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.ops.operands import Shape
from minicnn.record import record
from minicnn.tensor import Tensor, as_array, beside

Sides = list[tuple[int, int]]  # (before, after) of every dimension, first to last
Index = tuple[slice, ...]

MODES = ("constant", "reflect", "replicate", "circular")


def pad(x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """A margin added to (or, where negative, cut from) the last dimensions.

    **Shapes** ``pad`` lists two numbers a dimension, the last dimension first: (left, right, top, bottom, ...); each
    size grows by its two. ``mode`` says what fills the margin: "constant" ``value`` (default 0), "reflect" the pixels
    mirrored without repeating the edge, "replicate" the edge, "circular" the opposite side. **Saves** nothing.

    **Raises** ShapeError when x has too few dimensions or pixels for the margin; ArgumentError.
    """
    xa = as_array(x, op="pad", name="x")
    sides = _sides(pad, xa.shape)
    if mode not in MODES:
        raise ArgumentError(f"pad: mode={mode!r} is unknown, expected one of {', '.join(map(repr, MODES))}")
    if mode != "constant":
        if value is not None:
            raise ArgumentError(f"pad: value={value!r} has no meaning with mode={mode!r}; fix: leave it out")
        return _padded_by_index(x, xa, sides, mode)
    if value is not None and not number("pad", "value", value).is_integer() and not is_float(xa.dtype):
        raise ArgumentError(f"pad: value={value!r} does not fit in x of dtype {xa.dtype}, expected a whole number")
    out = tuple(n + before + after for n, (before, after) in zip(xa.shape, sides, strict=True))
    inner, kept = _overlap(out, sides), _overlap(xa.shape, [(-before, -after) for before, after in sides])
    y = allocate(xa, out, fill=0 if value is None else value)
    y[inner] = xa[kept]
    shape = xa.shape

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        gx = allocate(gy, shape, fill=0)
        gx[kept] = gy[inner]
        return (gx,)

    return record("pad", y, (x,), vjp)


def _sides(pad: Any, shape: Shape) -> Sides:
    numbers = [integer("pad", "pad", n, -(10**9)) for n in (pad if isinstance(pad, (list, tuple)) else (pad,))]
    if len(numbers) % 2:
        raise ArgumentError(f"pad: pad={pad!r} has {len(numbers)} numbers, expected two a dimension: (left, right)")
    if len(numbers) > 2 * len(shape):
        raise ShapeError(f"pad: pad={pad!r} names {len(numbers) // 2} dimensions, but x has shape {shape}")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    sides = [(0, 0)] * (len(shape) - len(pairs)) + pairs[::-1]
    for d, (n, (before, after)) in enumerate(zip(shape, sides, strict=True)):
        if n + min(before, 0) + min(after, 0) < 0:
            raise ShapeError(f"pad: pad={pad!r} cuts {-before - after} from dimension {d} of x {shape}, which has {n}")
    return sides


def _overlap(shape: Shape, sides: Sides) -> Index:
    """The part of an array of ``shape`` that lies within its positive margins."""
    return tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(shape, sides, strict=True))


def _padded_by_index(x: Any, xa: Array, sides: Sides, mode: str) -> Tensor:
    """Each dimension in turn is read through a list of source positions; the way back adds in the same order."""
    sources = [(d, beside(_source(mode, d, xa.shape, *side), xa)) for d, side in enumerate(sides) if side != (0, 0)]
    sizes = xa.shape
    y = xa
    for d, source in sources:
        y = y[(*(slice(None),) * d, source)]

    def vjp(gy: Array, needs: tuple[bool, ...]) -> tuple[Array]:
        for d, source in reversed(sources):
            gy = _add_back(gy, d, source, sizes[d])
        return (gy,)

    return record("pad", y, (x,), vjp)


def _source(mode: str, d: int, shape: Shape, before: int, after: int) -> np.ndarray:
    """For every position of padded dimension ``d``, the position of ``x`` it repeats."""
    n, most = shape[d], max(before, after)
    limit = {"reflect": n - 1, "circular": n, "replicate": most if n else 0}[mode]
    if most > limit:
        raise ShapeError(
            f"pad: mode={mode!r} can add at most {limit} to dimension {d} of x {shape}, got {most}; "
            "fix: a smaller margin or mode='constant'"
        )
    position: np.ndarray = np.arange(-before, n + after)
    if mode == "circular":
        position %= max(n, 1)
    elif mode == "replicate":
        position.clip(0, n - 1, out=position)
    else:
        position = n - 1 - np.abs(n - 1 - np.abs(position))
    return position


def _add_back(gy: Array, d: int, source: Array, size: int) -> Array:
    """The adjoint of reading through ``source``: slices are added one at a time, in order."""
    lead = (slice(None),) * d
    gx = allocate(gy, (*gy.shape[:d], size, *gy.shape[d + 1 :]), fill=0)
    if is_cupy(gy):  # a launch a slice would be slow there
        add_at(gx, (*lead, source), gy)
        return gx
    for position, where in enumerate(source.tolist()):
        gx[(*lead, where)] += gy[(*lead, position)]
    return gx
