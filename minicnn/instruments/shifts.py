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
    scale = max(np.abs(first).max(), np.finfo(first.dtype).tiny)
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
    values, largest = np.asarray(scene), max(shifts)
    h, w = (n - largest for n in values.shape[-2:])
    strides = {stage.name: stage.stride for stage in model.stages}
    paths = model.stage_paths
    with looking(model), no_grad():
        runs = []
        for s in (0, *shifts):
            picture = np.ascontiguousarray(values[..., s : s + h, s : s + w])
            answer, found = outputs_at(model, list(paths.values()), Tensor(picture))
            runs.append((answer.numpy(), {path: y.numpy() for path, y in found.items()}))
    (logits, first), later = runs[0], runs[1:]
    scale = max(np.abs(logits).max(), np.finfo(logits.dtype).tiny)
    stages = {}
    for stage, path in paths.items():
        y = first[path]
        if y.ndim == 4 and min(y.shape[2:]) > largest // strides[stage]:
            moves = [s // strides[stage] for s in shifts]
            edges = [(min(y.shape[2:]) - moved) // 4 for moved in moves]
            both = zip((found[path] for _, found in later), moves, edges, strict=True)
            stages[stage] = [_deviation("shift_study", y, other, moved, edge) for other, moved, edge in both]
    answers = [answer for answer, _ in later]
    return Shifted(
        stages,
        [float(np.abs(answer - logits).max() / scale) for answer in answers],
        [int(answer[0].argmax()) for answer in answers],
    )


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
