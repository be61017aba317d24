"""Whether a layer treats a shifted picture as a picture shifted.

A convolution without padding does exactly; padding tells it where the edge is, a stride holds only for shifts by whole
strides, and a classifier is meant not to notice at all. Pictures are cut out of a larger one, so that what enters at
one side is image, not something wrapped round.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.context import no_grad
from minicnn.errors import ShapeError
from minicnn.instruments.looking import looking
from minicnn.tensor import Tensor


class Deviation(NamedTuple):
    """Largest difference, relative to the largest output: over all places, and over those away from the edge."""

    anywhere: float
    inside: float


def equivariance(layer: Any, scene: Any, shift: int, stride: int = 1, edge: int = 0) -> Deviation:
    """How far ``layer(shifted picture)`` is from ``layer(picture)`` shifted, over the places that both have.

    ``scene`` (N, C, H, W) is ``shift`` rows and columns larger than the picture. An output moves by ``shift // stride``
    places, so a shift that is no multiple of the stride leaves a deviation. ``edge`` places a side are not inside.
    """
    first, second = _both(layer, scene, shift)
    if first.ndim != 4:
        raise ShapeError(f"equivariance: the layer puts out {first.shape}, expected (N, C, H, W)")
    moved, (h, w) = shift // stride, first.shape[2:]
    if min(h, w) <= moved + 2 * edge:
        raise ShapeError(f"equivariance: nothing of {h}x{w} outputs is left after a move by {moved}; fix: less shift")
    difference = np.abs(first[..., moved:, moved:] - second[..., : h - moved, : w - moved])
    scale = max(np.abs(first).max(), np.finfo(first.dtype).tiny)
    inner = difference[..., edge : h - moved - edge, edge : w - moved - edge]
    return Deviation(float(difference.max() / scale), float(inner.max() / scale))


def invariance(model: Any, scene: Any, shifts: Sequence[int]) -> list[float]:
    """For each shift how far the outputs for a picture and for its shifted self are apart, relative to the largest.

    ``scene`` (N, C, H, W) is as much larger than the picture as the largest shift.
    """
    largest = max(shifts)
    values = np.asarray(scene)
    size = [n - largest for n in values.shape[-2:]]
    outputs = [_output(model, values[..., s : s + size[0], s : s + size[1]]) for s in (0, *shifts)]
    scale = max(np.abs(outputs[0]).max(), np.finfo(outputs[0].dtype).tiny)
    return [float(np.abs(output - outputs[0]).max() / scale) for output in outputs[1:]]


def _both(layer: Any, scene: Any, shift: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(scene)
    if values.ndim != 4 or not 0 < shift < min(values.shape[-2:]):
        raise ShapeError(f"equivariance: scene {values.shape}, shift={shift}; expected (N, C, H, W), larger than shift")
    return _output(layer, values[..., :-shift, :-shift]), _output(layer, values[..., shift:, shift:])


def _output(layer: Any, pictures: np.ndarray) -> np.ndarray:
    with looking(layer), no_grad():
        return np.asarray(layer(Tensor(np.ascontiguousarray(pictures))).numpy())
