"""The paths through a residual network, by length, and which of them carry the gradient.

n blocks are 2^n paths: each goes through a block or round it. Most are of middling length, but the gradient comes
through the short ones: every block that a path goes through makes its gradient smaller.

**See** Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from minicnn import ops
from minicnn.errors import ArgumentError
from minicnn.instruments.looking import looking
from minicnn.instruments.residual import adding, residual_blocks
from minicnn.tensor import Tensor


def path_lengths(blocks: int) -> list[int]:
    """How many of the 2^blocks paths go through 0, 1, ..., ``blocks`` blocks: the binomial coefficients."""
    return [math.comb(blocks, k) for k in range(blocks + 1)]


def path_gradient(model: Any, images: Any, labels: Any, through: Sequence[str]) -> np.ndarray:
    """The part of the loss's gradient that comes to the images (N, C, H, W) along one path: through the branches of
    the blocks ``through``, and round those of all others.

    The forward pass is the whole network's. Summed over all paths this is the gradient (of the summed cross-entropy).
    **Raises** ArgumentError for a path that is no block's.
    """
    blocks = residual_blocks(model)
    unknown = [path for path in through if path not in blocks]
    if unknown:
        raise ArgumentError(f"path_gradient: no residual block at {unknown[0]!r}, expected some of {', '.join(blocks)}")
    x = Tensor(np.asarray(images), requires_grad=True)
    with looking(model), ExitStack() as stack:
        for path, block in blocks.items():
            stack.enter_context(adding(block, _one_way(block, path in through)))
        ops.cross_entropy(model(x), Tensor(np.asarray(labels)), reduction="sum").backward()
    assert x.grad is not None
    return x.grad.numpy()


def _one_way(block: Any, chosen: bool) -> Any:
    """The block's addition with its ordinary value, whose gradient takes one of the two ways."""

    def add(branch: Any, x: Any, shortcut: Any) -> Any:
        ways = (x, shortcut.detach()) if chosen else (x.detach(), shortcut)
        return type(block).add(block, branch, *ways)

    return add


def gradient_by_length(
    model: Any, images: Any, labels: Any, lengths: Sequence[int], draws: int = 8, seed: int = 0
) -> np.ndarray:
    """The mean norm of the gradient of a path of each of ``lengths``, over ``draws`` random paths: (L,).

    Times ``path_lengths`` this says how much all paths of a length carry.
    """
    paths, random = list(residual_blocks(model)), np.random.default_rng(seed)
    if not all(0 <= length <= len(paths) for length in lengths):
        raise ArgumentError(f"gradient_by_length: {lengths=}, expected numbers from 0 to {len(paths)} blocks")
    means = []
    for length in lengths:
        chosen = (random.choice(paths, length, replace=False).tolist() for _ in range(draws))
        means.append(np.mean([np.linalg.norm(path_gradient(model, images, labels, through)) for through in chosen]))
    return np.array(means)
