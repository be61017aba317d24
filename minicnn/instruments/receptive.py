"""The effective receptive field: not what a unit could see, but what it looks at.

The theoretical field (``minicnn.summary``) is a rectangle. Within it pixels count unequally: many paths lead from the
middle to the unit and few from the corners, so that the weight falls off like a bell.

**See** Luo, Li, Urtasun and Zemel, "Understanding the Effective Receptive Field in Deep CNNs", 2016.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.instruments.looking import looking, outputs_at
from minicnn.kernels.conv.plan import conv_plan
from minicnn.summary import summary
from minicnn.tensor import Tensor

FADED = 1 - 0.9545  # of the largest: what lies within two deviations of a bell is above it, as in the paper


class EffectiveField(NamedTuple):
    """What the unit in the middle of a layer looks at."""

    weights: np.ndarray  # (H, W): root mean square of the gradient of the unit by each pixel
    unit: tuple[int, int]  # row and column of the unit
    box: tuple[int, int, int, int] | None  # theoretical field: top, bottom, left, right (bottom, right exclusive)

    @property
    def side(self) -> float:
        """Side of a square as large as all that counts for more than 4.55 % of the largest."""
        return float(np.sqrt(np.count_nonzero(self.weights > FADED * self.weights.max())))


def effective_field(
    model: Any, input_shape: Sequence[int], layer: str = "", draws: int = 8, seed: int = 0
) -> EffectiveField:
    """The effective field of the unit in the middle of what ``layer`` puts out, for images (C, H, W).

    **Math** ``weights[y, x] = sqrt(mean over draws of sum_c (d (r . unit) / d image[c, y, x])**2)``: images and the
    direction r over the unit's channels are normal noise.
    **Raises** ShapeError where the layer has no places left.
    """
    if len(input_shape) != 3 or draws < 1:
        raise ArgumentError(f"effective_field: {input_shape=}, {draws=}; expected a shape (C, H, W) and 1 draw or more")
    random = np.random.default_rng(seed)
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    x = Tensor(random.standard_normal((draws, *input_shape)).astype(dtype), requires_grad=True)
    with looking(model), conv_plan("exact"):  # Winograd's transforms leave rounding all over a tile
        _, found = outputs_at(model, [layer], x)
        y = found[layer]
        if y.ndim != 4:
            raise ShapeError(f"effective_field: {layer or 'the model'} puts out {y.shape}, expected (N, C, H, W)")
        unit = (y.shape[2] // 2, y.shape[3] // 2)
        direction = np.zeros(y.shape, dtype)
        direction[:, :, *unit] = random.standard_normal(y.shape[:2])
        y.backward(direction)
    assert x.grad is not None
    power = np.square(x.grad.numpy().astype(np.float64)).sum(1).mean(0)  # (H, W)
    return EffectiveField(np.sqrt(power), unit, theoretical_box(model, input_shape, layer, unit))


def theoretical_box(
    model: Any, input_shape: Sequence[int], layer: str, unit: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of what ``unit`` of ``layer`` can see of the image; None where nobody knows."""
    inside = f"{layer}." if layer else ""
    rows = [row for row in summary(model, (1, *input_shape)).rows if row.path == layer or row.path.startswith(inside)]
    field = rows[-1].field if rows else None  # a block ends where the last of its layers does
    if field is None:
        return None
    edges: list[int] = []
    for axis, pixels in enumerate(input_shape[1:]):
        middle = field.start[axis] + unit[axis] * field.jump[axis]
        first = round(middle - field.size[axis] / 2)
        edges += [max(first, 0), min(first + field.size[axis], pixels)]
    return edges[0], edges[1], edges[2], edges[3]
