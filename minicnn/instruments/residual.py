"""Lesions of residual networks: what happens when a block is taken out, or when blocks change places.

A plain network without one layer is broken; a deep residual one hardly notices, because half of its paths never went
through that block.

**See** Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import Residual

Score = Callable[[Any], float]  # of a model: its error on some data


class Lesions(NamedTuple):
    """The score of the whole model, and by path of the block that was taken out."""

    whole: float
    without: dict[str, float]


def residual_blocks(model: Any) -> dict[str, Residual]:
    """The blocks that add their input to what they compute, by path, from the input to the output.

    **Raises** ArgumentError for a model that has none.
    """
    found = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, Residual) and getattr(module, "residual", True)
    }
    if not found:
        raise ArgumentError(
            f"residual_blocks: {type(model).__name__} has no residual blocks; fix: a ResNet, such as resnet20_cifar10"
        )
    return found


@contextmanager
def adding(block: Residual, how: Callable[..., Any]) -> Iterator[None]:
    """Inside, ``how(branch, x, shortcut)`` is what the block does in place of ``branch(x) + shortcut``."""
    block.__dict__["add"] = how
    try:
        yield
    finally:
        del block.__dict__["add"]


@contextmanager
def without(model: Any, path: str) -> Iterator[None]:
    """Inside, only the shortcut is left of the block at ``path``; where the shape changes, its projection."""
    blocks = residual_blocks(model)
    if path not in blocks:
        raise ArgumentError(f"without: no residual block at {path!r}, expected one of {', '.join(blocks)}")
    with adding(blocks[path], lambda branch, x, shortcut: shortcut):
        yield


def changing_shape(model: Any) -> list[str]:
    """The paths of the residual blocks whose shortcut is not the identity: without them only a projection is left."""
    return [path for path, block in residual_blocks(model).items() if not _keeps_shape(block)]


def lesions(model: Any, score: Score) -> Lesions:
    """``score(model)`` without each block in turn."""
    whole, found = score(model), {}
    for path in residual_blocks(model):
        with without(model, path):
            found[path] = score(model)
    return Lesions(whole, found)


def deletions(model: Any, score: Score, counts: Sequence[int], draws: int = 4, seed: int = 0) -> dict[int, list[float]]:
    """``score(model)`` without so many blocks, by their number, for ``draws`` random choices each.

    **Raises** ArgumentError for more blocks than there are.
    """
    paths, random = list(residual_blocks(model)), np.random.default_rng(seed)
    if not all(0 <= count <= len(paths) for count in counts):
        raise ArgumentError(f"deletions: {counts=}, expected numbers from 0 to {len(paths)} blocks")
    found: dict[int, list[float]] = {count: [] for count in counts}
    for count in counts:
        for _ in range(draws):
            with ExitStack() as stack:
                for path in random.choice(paths, count, replace=False).tolist():
                    stack.enter_context(without(model, path))
                found[count].append(score(model))
    return found


@contextmanager
def shuffled(model: Any, swaps: int, seed: int = 0) -> Iterator[list[tuple[str, str]]]:
    """Inside, ``swaps`` pairs of blocks have changed places, one after another; yields the pairs.

    Only blocks of one shape change places, and none whose shortcut projects.
    """
    pairs, random = _pairs(model), np.random.default_rng(seed)
    if not pairs:
        raise ArgumentError(f"shuffled: {type(model).__name__} has no two residual blocks of one shape")
    chosen = [pairs[i] for i in random.integers(len(pairs), size=swaps)]
    for pair in chosen:
        _swap(model, *pair)
    try:
        yield chosen
    finally:
        for pair in reversed(chosen):
            _swap(model, *pair)


def _pairs(model: Any) -> list[tuple[str, str]]:
    kinds: dict[Any, list[str]] = {}
    for path, block in residual_blocks(model).items():
        if _keeps_shape(block):
            shapes = tuple((name, parameter.shape) for name, parameter in block.named_parameters())
            kinds.setdefault((type(block), shapes), []).append(path)
    return [(a, b) for paths in kinds.values() for i, a in enumerate(paths) for b in paths[i + 1 :]]


def _keeps_shape(block: Any) -> bool:
    way = block.downsample if hasattr(block, "downsample") else block.shortcut
    return way is None or isinstance(way, nn.Identity)


def _swap(model: Any, first: str, second: str) -> None:
    homes = [(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in (first, second)]
    (a, i), (b, j) = homes
    one, other = getattr(a, i), getattr(b, j)
    setattr(a, i, other)
    setattr(b, j, one)


class Shuffle(NamedTuple):
    """The score of a model some of whose blocks have changed places."""

    swaps: int
    tau: float  # Kendall's rank correlation of their order with the trained one: 1 the same, -1 reversed
    score: float


def shuffle_study(model: Any, score: Score, swaps: Sequence[int], draws: int = 1, seed: int = 0) -> list[Shuffle]:
    """``score(model)`` after so many swaps of blocks, ``draws`` times each."""
    paths, found = list(residual_blocks(model)), []
    for count in swaps:
        for draw in range(draws):
            with shuffled(model, count, seed + draw) as pairs:
                found.append(Shuffle(count, rank_correlation(_order(paths, pairs)), score(model)))
    return found


def rank_correlation(order: Sequence[int]) -> float:
    """Kendall's tau of a permutation of 0, 1, ... and the sorted one: pairs in order less pairs reversed, over all."""
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    return sum(1 if a < b else -1 for a, b in pairs) / max(1, len(pairs))


def _order(paths: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[int]:
    order = list(range(len(paths)))
    for a, b in ((paths.index(first), paths.index(second)) for first, second in pairs):
        order[a], order[b] = order[b], order[a]
    return order
