"""Vectors inside CPU kernels: LANES numbers side by side, and how planes of pixels are turned into them and back.

Numba has no vectors, and LLVM does not find by itself those that lie across planes. These few operations are LLVM's
portable ones: every processor has instructions for them, and a vector is as many registers as it takes. No index is
checked.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.extending import intrinsic, register_model

from minicnn.kernels.jit import helper

LANES = 16  # numbers of a vector
PIXELS = 8  # of a line that are turned at once

INDEX = ir.IntType(64)

_intrinsic: Any = intrinsic


class Lanes(types.Type):
    """LANES numbers of one dtype, which LLVM keeps in as many registers as the machine needs."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(manager.lookup(lanes.dtype).get_value_type(), LANES))


def _address(context: Any, builder: Any, array: Any, value: Any, index: Any, width: int = LANES) -> tuple[Any, Any]:
    """Where entry ``index`` of an array begins, as a pointer to a vector, and its alignment."""
    vector = ir.VectorType(context.get_value_type(array.dtype), width)
    data = cgutils.create_struct_proxy(array)(context, builder, value=value).data
    size = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer()), size


@_intrinsic
def get(_, source, at):  # type: ignore[no-untyped-def]
    """The vector source[at : at + LANES]."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, size = _address(context, builder, source, *args)
        return builder.load(pointer, align=size.constant)

    return Lanes(source.dtype)(source, types.int64), code


@_intrinsic
def put(_, target, at, vector):  # type: ignore[no-untyped-def]
    """target[at : at + LANES] = vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, size = _address(context, builder, target, *args[:2])
        builder.store(args[2], pointer, align=size.constant)
        return context.get_dummy_value()

    return types.void(target, types.int64, vector), code


@_intrinsic
def spread(_, source, at):  # type: ignore[no-untyped-def]
    """The vector of LANES times the number source[at]."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = cgutils.create_struct_proxy(source)(context, builder, value=args[0]).data
        number = builder.load(builder.gep(data, [args[1]]))
        none = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
        return _shuffled(builder, builder.insert_element(none, number, INDEX(0)), none, [0] * LANES)

    return Lanes(source.dtype)(source, types.int64), code


@_intrinsic
def multiply(_, a, b):  # type: ignore[no-untyped-def]
    """a * b."""
    return a(a, b), lambda context, builder, signature, args: builder.fmul(*args, flags=("contract",))


@_intrinsic
def add(_, a, b):  # type: ignore[no-untyped-def]
    """a + b, fused with a product where the machine can."""
    return a(a, b), lambda context, builder, signature, args: builder.fadd(*args, flags=("contract",))


def _between(builder: Any, low: Any, high: Any) -> Any:
    """Bit b of PIXELS says whether low <= b < high."""
    many = ir.VectorType(INDEX, PIXELS)
    number, nothing = ir.Constant(many, list(range(PIXELS))), ir.Constant(many, ir.Undefined)

    def spread(value: Any) -> Any:
        return _shuffled(builder, builder.insert_element(nothing, value, INDEX(0)), nothing, [0] * PIXELS)

    return builder.and_(builder.icmp_signed(">=", number, spread(low)), builder.icmp_signed("<", number, spread(high)))


def _shuffled(builder: Any, a: Any, b: Any, which: list[int]) -> Any:
    """The entries ``which`` of a and b, one behind the other."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(which)), which))


def _turned(builder: Any, vectors: list[Any]) -> list[Any]:
    """Vector b, entry 8*h + r, of what was vector r, entry 8*h + b: two squares of 8 x 8 are transposed.

    Each round interleaves the first four vectors with the last four: three bits of the number of a vector change
    places with three of that of an entry.
    """
    first = [8 * h + i // 2 + LANES * (i % 2) for h in range(2) for i in range(8)]
    second = [entry + 4 for entry in first]
    for _ in range(3):
        pairs = list(zip(vectors[:4], vectors[4:], strict=True))
        vectors = [_shuffled(builder, a, b, which) for a, b in pairs for which in (first, second)]
    return vectors


def _masked(context: Any, builder: Any, name: str, array: Any, *args: Any) -> Any:
    """Call llvm.masked.load or store of PIXELS entries: what the mask leaves out is not touched."""
    result = args[-1].type if name == "load" else ir.VoidType()
    function = ir.FunctionType(result, [value.type for value in args])
    full = f"llvm.masked.{name}.v{PIXELS}f{array.dtype.bitwidth}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, full), args)


@_intrinsic
def gather(_, target, at, source, start, apart, low, high, lanes):  # type: ignore[no-untyped-def]
    """target[at + LANES*b + l] = source[start + apart*l + b] for low <= b < high and l < lanes, else 0; b < PIXELS."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        inside, rows = _between(builder, args[5], args[6]), []
        none = ir.Constant(inside.type, [0] * PIXELS)
        zeros = ir.Constant(ir.VectorType(context.get_value_type(source.dtype), PIXELS), [0.0] * PIXELS)
        for l in range(LANES):
            index = builder.add(args[3], builder.mul(args[4], INDEX(l)))
            pointer, size = _address(context, builder, source, args[2], index, PIXELS)
            mask = builder.select(builder.icmp_signed(">", args[7], INDEX(l)), inside, none)
            rows.append(_masked(context, builder, "load", source, pointer, size, mask, zeros))
        both = [_shuffled(builder, rows[r], rows[r + 8], list(range(LANES))) for r in range(8)]
        for b, column in enumerate(_turned(builder, both)):
            pointer, size = _address(context, builder, target, args[0], builder.add(args[1], INDEX(b * LANES)))
            builder.store(column, pointer, align=size.constant)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, *(types.int64,) * 5), code


@_intrinsic
def scatter(_, target, at, apart, count, lanes, source, start):  # type: ignore[no-untyped-def]
    """target[at + apart*l + b] = source[start + LANES*b + l] for b < count and l < lanes; b < PIXELS."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        inside, columns = _between(builder, INDEX(0), args[3]), []
        none = ir.Constant(inside.type, [0] * PIXELS)
        for b in range(PIXELS):
            pointer, size = _address(context, builder, source, args[5], builder.add(args[6], INDEX(b * LANES)))
            columns.append(builder.load(pointer, align=size.constant))
        turned = _turned(builder, columns)
        for l in range(LANES):
            row = _shuffled(builder, turned[l % 8], turned[l % 8], [l // 8 * 8 + b for b in range(PIXELS)])
            index = builder.add(args[1], builder.mul(args[2], INDEX(l)))
            pointer, size = _address(context, builder, target, args[0], index, PIXELS)
            mask = builder.select(builder.icmp_signed(">", args[4], INDEX(l)), inside, none)
            _masked(context, builder, "store", target, row, pointer, size, mask)
        return context.get_dummy_value()

    return types.void(target, *(types.int64,) * 4, source, types.int64), code


@_intrinsic
def nothing(_, like):  # type: ignore[no-untyped-def]
    """A vector of zeros, of the dtype of an array."""
    return Lanes(like.dtype)(like), lambda context, builder, signature, args: ir.Constant(
        context.get_value_type(signature.return_type), [0.0] * LANES
    )


@helper
def multiply_add(a, b, c):
    return add(multiply(a, b), c)


@_intrinsic
def rolled(_):  # type: ignore[no-untyped-def]
    """Keeps the loop around it from being unrolled: its vectors fill the registers as it is."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call = builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)
        call.attributes.add("convergent")
        return context.get_dummy_value()

    return types.void(), code
