"""The functions that expressions of the ledger may call; ``net`` is a name of the catalog or of ``lecture_nets``.

All but the last ask ``minicnn.summary``, so a slip in the counter shows in the ledger.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from minicnn import models, nn, ops
from minicnn.context import abstract, enable_grad, no_grad
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.efficientnet import RELEASED, coefficients
from minicnn.slides.lecture_nets import NETS
from minicnn.summary import Summary, SummaryRow, summary
from minicnn.summary.receptive_field import reachable
from minicnn.tensor import Tensor

Weighted = (nn.Conv2d, nn.Linear)


@cache
def _built(net: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The network by shapes, and the shape of one input."""
    with abstract():
        if net in NETS:
            build, shape = NETS[net]
            return build(), shape
        return models.create(net), models.info(net).input_shape


@cache
def _summary(net: str) -> Summary:
    model, shape = _built(net)
    return summary(model, (1, *shape))


@cache
def _counted(net: str) -> int:
    """Multiply-adds of a pass in eval mode, without the summary's second one."""
    total = []
    model, shape = _built(net)
    with abstract(), no_grad(), listening(lambda op, macs: total.append(macs)):
        model.eval()(Tensor(ShapeArray((1, *shape), "float32")))
    return sum(total)


def _rows(net: str, path: str) -> list[SummaryRow]:
    """The layers at or inside ``path``."""
    found = [row for row in _summary(net).rows if not path or f"{row.path}.".startswith(f"{path}.")]
    if not found:
        raise KeyError(f"{net} has no layer {path}")
    return found


def params(net: str, path: str = "") -> int:
    """Numbers that training changes, biases and batch norms too."""
    return sum(p.size for p in _built(net)[0].get_submodule(path).parameters())


def weights(net: str, path: str = "") -> int:
    """Weights of convolutions and linear layers, without biases and batch norms."""
    parts = _built(net)[0].get_submodule(path).modules()
    return sum(part.weight.size for part in parts if isinstance(part, Weighted))


def macs(net: str, path: str = "") -> int:
    """Multiply-adds for one input."""
    return sum(row.macs for row in _rows(net, path)) if path else _counted(net)


def size(net: str, path: str = "") -> str:
    """What a layer puts out, as slides write it: ``55x55x96``, rows first; ``4096`` for a vector."""
    return _text(_rows(net, path)[-1].output_shape[1:])


def size_before(net: str, path: str) -> str:
    """What a layer takes."""
    return _text(_rows(net, path)[0].input_shape[1:])


def values(net: str, path: str = "") -> int:
    """How many numbers a layer puts out."""
    return int(np.prod(_rows(net, path)[-1].output_shape[1:]))


def kept(net: str, *kinds: str) -> int:
    """How many numbers the layers of these kinds put out together, and the image itself."""
    rows = [row for row in _summary(net).rows if row.kind in kinds]
    return sum(int(np.prod(row.output_shape)) for row in rows) + int(np.prod(_built(net)[1]))


def field(net: str, path: str = "") -> int:
    """Side of the square of pixels that a unit of a layer sees."""
    seen = _rows(net, path)[-1].field
    return seen.size[0] if seen else 0


def filters(net: str, path: str) -> str:
    """A layer's filters as MobileNet's table writes them: ``s2 3x3x3x32``; of one channel each: ``s1 3x3x32 dw``."""
    part: Any = _built(net)[0].get_submodule(path)
    if isinstance(part, nn.Linear):
        return f"s1 {part.in_features}x{part.out_features}"
    count, channels, height, width = part.weight.shape
    rest = f"{count} dw" if _is_depthwise(part) else f"{channels}x{count}"
    return f"s{_pair(part.stride)[0]} {height}x{width}x{rest}"


def window(net: str, path: str) -> str:
    """The window of a convolution or a pool: ``5x5 stride 1``."""
    part: Any = _built(net)[0].get_submodule(path)
    height, width = _pair(part.kernel_size)
    return f"{height}x{width} stride {_pair(part.stride or part.kernel_size)[0]}"


def channels(net: str, path: str) -> int:
    """How many maps a layer puts out."""
    return int(_rows(net, path)[-1].output_shape[1])


def channels_before(net: str, path: str) -> int:
    """How many maps a layer takes."""
    return int(_rows(net, path)[0].input_shape[1])


def option(net: str, path: str, name: str) -> Any:
    """An option of a layer, such as a dropout's ``p`` or a convolution's ``groups``."""
    return getattr(_built(net)[0].get_submodule(path), name)


def layers(net: str, kind: str) -> int:
    """How many layers of a kind (``Conv2d``, ``Linear``) there are, side by side or one after the other."""
    return sum(type(part).__name__ == kind for part in _built(net)[0].modules())


def blocks(net: str, path: str) -> int:
    """How many parts a stage has."""
    return len(list(_built(net)[0].get_submodule(path).children()))


def stage(net: str, path: str) -> str:
    """A line of EfficientNet's table: size before, channels, how many blocks (or layers that are none)."""
    parts = [part for part in _built(net)[0].get_submodule(path).children() if list(part.children())]
    return f"{size_before(net, path).rpartition('x')[0]} {channels(net, path)} {len(parts) or 1}"


@cache
def depth(net: str) -> int:
    """Layers with weights on the longest way from the image to the end, counted along the tape."""
    model, shape = _built(net)
    with abstract(), enable_grad():
        y = model.eval()(Tensor(ShapeArray((1, *shape), "float32"), requires_grad=True))
    longest: dict[Any, int] = {}
    for node in reachable([y.node]):
        before = max((longest.get(edge[0], 0) for edge in node.edges if isinstance(edge, tuple)), default=0)
        longest[node] = before + (node.name in ("conv2d", "linear"))
    return longest[y.node]


def share(net: str, of: str, kind: str) -> float:
    """Per cent of a network's ``"macs"`` or ``"weights"`` in layers of a kind: 1x1, depthwise, 3x3, linear."""
    model, _ = _built(net)
    paths = [path for path, part in model.named_modules() if isinstance(part, Weighted)]
    count = {path: (macs if of == "macs" else weights)(net, path) for path in paths}
    return 100 * sum(count[path] for path in paths if _kind(model.get_submodule(path)) == kind) / sum(count.values())


def _kind(part: Any) -> str:
    if isinstance(part, nn.Linear):
        return "linear"
    return "depthwise" if _is_depthwise(part) else "x".join(map(str, part.weight.shape[2:]))


def _is_depthwise(part: Any) -> bool:
    """Whether every filter sees a map of its own."""
    return bool(part.groups > 1 and part.weight.shape[1] == 1)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def recipe(net: str, name: str) -> Any:
    """What the authors trained it with: ``lr``, ``batch``, ``momentum``, ``weight_decay``."""
    return getattr(models.info(net).recipe, name)


def variance_before(activation: str) -> float:
    """What n times the variance of new weights is in front of an activation, n being the inputs of a unit."""
    return round(nn.init.calculate_gain(activation) ** 2, 6)


def growth(phi: float) -> float:
    """By how much EfficientNet's rule multiplies the multiply-adds: ``depth * width^2 * resolution^2``."""
    by = coefficients(phi)
    return by.depth * by.width**2 * by.resolution**2


def released_by_the_rule() -> int:
    """How many of EfficientNet B1 to B7 have the resolution that a phi of 1 to 7 gives."""
    sides = [RELEASED[f"b{phi}"].resolution for phi in range(1, 8)]
    return sum(side == round(224 * coefficients(phi).resolution) for phi, side in enumerate(sides, 1))


def _text(shape: Any) -> str:
    """``(C, H, W)`` as slides write it."""
    return "x".join(map(str, (*shape[1:], shape[0]) if len(shape) > 1 else shape))


# ---- computed by the kernels


def _matrix(net: str) -> np.ndarray:
    """The matrix that a net of lecture_nets with all weights 1 is, found by what it makes of unit vectors."""
    build, shape = NETS[net]
    model = build()
    for p in model.parameters():
        p.data = np.ones(p.shape, np.float32)
    inputs = int(np.prod(shape))
    with no_grad():
        made: np.ndarray = model(np.eye(inputs, dtype=np.float32).reshape(inputs, *shape)).numpy()
    return made.reshape(inputs, -1).T


def arrows(net: str) -> int:
    """How many inputs are connected to how many outputs, all together."""
    return int(np.count_nonzero(_matrix(net)))


def product_of(column: tuple[float, ...], row: tuple[float, ...]) -> str:
    """The 3x3 kernel that a 3x1 convolution and then a 1x3 make, from what they do to a single bright pixel."""
    spot = np.zeros((1, 1, 5, 5), np.float32)
    spot[0, 0, 2, 2] = 1
    first, second = (np.array(v, np.float32)[::-1] for v in (column, row))  # a correlation turns what it meets round
    with no_grad():
        y = ops.conv2d(ops.conv2d(spot, first.reshape(1, 1, 3, 1).copy()), second.reshape(1, 1, 1, 3).copy())
    return "; ".join(" ".join(f"{number:g}" for number in line) for line in y.numpy()[0, 0])


FUNCTIONS: tuple[Callable[..., Any], ...] = (
    *(params, weights, macs, size, size_before, values, kept, field, filters, window, channels, channels_before),
    *(option, layers, blocks, stage, depth, share, recipe, variance_before, growth, released_by_the_rule),
    *(arrows, product_of),
)
VOCABULARY = {function.__name__: function for function in FUNCTIONS}
