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
from minicnn.instruments.looking import looking, outputs_at
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
    return _deviation("equivariance", first, second, shift // stride, edge)


def _deviation(what: str, first: np.ndarray, second: np.ndarray, moved: int, edge: int) -> Deviation:
    h, w = first.shape[2:]
    if min(h, w) <= moved + 2 * edge:
        raise ShapeError(f"{what}: nothing of {h}x{w} outputs is left after a move by {moved}; fix: less shift")
    difference = np.abs(first[..., moved:, moved:] - second[..., : h - moved, : w - moved])
    scale = _largest(first)
    inner = difference[..., edge : h - moved - edge, edge : w - moved - edge]
    return Deviation(float(difference.max() / scale), float(inner.max() / scale))


class Shifted(NamedTuple):
    """What shifts do to a network."""

    stages: dict[str, list[Deviation]]  # by stage, for each shift; ``inside`` is the middle half of the places
    answer: list[float]  # for each shift, as of ``invariance``
    classes: list[int]  # that the network answers, for each shift


def shift_study(model: Any, scene: Any, shifts: Sequence[int]) -> Shifted:
    """``equivariance`` of every stage of a network of the catalog, and ``invariance`` of its answer.

    ``scene`` (1, C, H, W) is as much larger than the picture as the largest shift. Stages whose outputs a shift moves
    out of sight are left out.
    """
    largest = max(shifts)
    strides = {stage.name: stage.stride for stage in model.stages}
    paths = model.stage_paths
    with looking(model), no_grad():
        runs = []
        for picture in _pictures(scene, shifts):
            answer, found = outputs_at(model, list(paths.values()), Tensor(np.ascontiguousarray(picture)))
            runs.append((answer.numpy(), {path: y.numpy() for path, y in found.items()}))
    first, later = runs[0][1], runs[1:]
    stages = {}
    for stage, path in paths.items():
        y = first[path]
        if y.ndim == 4 and min(y.shape[2:]) > largest // strides[stage]:
            moves = [s // strides[stage] for s in shifts]
            edges = [(min(y.shape[2:]) - moved) // 4 for moved in moves]
            both = zip((found[path] for _, found in later), moves, edges, strict=True)
            stages[stage] = [_deviation("shift_study", y, other, moved, edge) for other, moved, edge in both]
    answers = [answer for answer, _ in runs]
    return Shifted(stages, _apart(answers), [int(answer[0].argmax()) for answer in answers[1:]])


def invariance(model: Any, scene: Any, shifts: Sequence[int]) -> list[float]:
    """For each shift how far the outputs for a picture and for its shifted self are apart, relative to the largest.

    ``scene`` (N, C, H, W) is as much larger than the picture as the largest shift.
    """
    return _apart([_output(model, picture) for picture in _pictures(scene, shifts)])


def _pictures(scene: Any, shifts: Sequence[int]) -> list[np.ndarray]:
    """The picture in the corner of a scene, and the one at each shift, as large as the largest shift leaves them."""
    values = np.asarray(scene)
    h, w = (n - max(shifts) for n in values.shape[-2:])
    return [values[..., s : s + h, s : s + w] for s in (0, *shifts)]


def _apart(outputs: Sequence[np.ndarray]) -> list[float]:
    """The largest difference of each later one from the first, relative to the largest of the first."""
    first = outputs[0]
    return [float(np.abs(output - first).max() / _largest(first)) for output in outputs[1:]]


def _largest(y: np.ndarray) -> Any:
    return max(np.abs(y).max(), np.finfo(y.dtype).tiny)


def _both(layer: Any, scene: Any, shift: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(scene)
    if values.ndim != 4 or not 0 < shift < min(values.shape[-2:]):
        raise ShapeError(f"equivariance: scene {values.shape}, shift={shift}; expected (N, C, H, W), larger than shift")
    return _output(layer, values[..., :-shift, :-shift]), _output(layer, values[..., shift:, shift:])


def _output(layer: Any, pictures: np.ndarray) -> np.ndarray:
    with looking(layer), no_grad():
        return np.asarray(layer(Tensor(np.ascontiguousarray(pictures))).numpy())
