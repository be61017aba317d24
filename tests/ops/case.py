"""``Case``: what an operation must declare to be part of minicnn; ``tests/ops/test_ops.py`` runs every one of them.

A geometry is a dict from argument name to ``A`` (an array still to be drawn) or to a plain value. Hypothesis draws
geometries and one seed; the arrays are filled from the seed, so the same geometry serves every dtype and every test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn import Tensor, ops

Geometry = dict[str, Any]


@dataclass(frozen=True)
class A:
    """An array argument. ``kind`` says how it is filled:

    normal: standard normal. distinct: a shuffled, evenly spaced ladder (no ties, far apart: for max pooling).
    away: normal, pushed at least 0.2 from 0 (for kinks at 0). positive: in [0.5, 2]. unit: in [0.05, 0.95].
    integers: int64 in [low, high). bool: random bools.
    """

    shape: tuple[int, ...]
    kind: str = "normal"
    low: int = 0
    high: int = 10
    grad: bool = True

    @property
    def is_float(self) -> bool:
        return self.kind not in ("integers", "bool")

    def fill(self, rng: np.random.Generator, dtype: Any = np.float64) -> np.ndarray:
        size = int(np.prod(self.shape))
        if self.kind == "integers":
            return rng.integers(self.low, self.high, self.shape)
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        if self.kind == "distinct":
            values = (rng.permutation(size) - size / 2) * 0.1
        elif self.kind == "positive":
            values = rng.uniform(0.5, 2.0, size)
        elif self.kind == "unit":
            values = rng.uniform(0.05, 0.95, size)
        else:
            values = rng.standard_normal(size)
            if self.kind == "away":
                values = values + np.where(values < 0, -0.2, 0.2)
        return values.reshape(self.shape).astype(dtype)

    def fill_integers(self, rng: np.random.Generator) -> np.ndarray:
        """Small whole numbers in float32: sums of products are exact, so results must be bit-equal."""
        if not self.is_float:
            return self.fill(rng)
        if self.kind == "distinct":
            return (rng.permutation(int(np.prod(self.shape))) - 7.0).reshape(self.shape).astype(np.float32)
        return rng.integers(1 if self.kind == "positive" else -4, 5, self.shape).astype(np.float32)


@dataclass(frozen=True)
class Mistake:
    """A wrong call: ``call()`` must raise ``error`` with a message that matches ``match``."""

    name: str
    call: Callable[[], Any]
    error: type[Exception]
    match: str


@dataclass(frozen=True, eq=False)
class Case:
    """One operation (or one way of using it) and its companions.

    ``oracle`` takes the same arguments as the operation, as NumPy arrays, and shares no code with it.
    ``saves`` names the arguments (and ``"y"``) whose bytes the backward pass may keep; ``extra_bytes`` adds to that.
    ``exact``: whole-number inputs give bit-exact float32 results. ``nonfinite``: NaN and inf land where the oracle's
    do. ``call`` replaces ``getattr(ops, op)(**arguments)`` where the operation needs more (a seed, a picked output).
    """

    op: str
    geometry: Callable[[Callable[..., Any]], Geometry]
    oracle: Callable[..., Any]
    label: str = ""
    edges: dict[str, Geometry] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    exact: bool = True
    nonfinite: bool = True
    gradient: bool = True
    saves: tuple[str, ...] = ()
    extra_bytes: Callable[[dict[str, Any]], int] = lambda arrays: 0
    tolerance: float = 1e-10
    call: Callable[..., Any] | None = None

    @property
    def id(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op

    def run(self, **arguments: Any) -> tuple[Any, ...]:
        """The outputs, always as a tuple."""
        result = (self.call or getattr(ops, self.op))(**arguments)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def expected(self, **arguments: Any) -> tuple[np.ndarray, ...]:
        result = self.oracle(**arguments)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def arrays_of(geometry: Geometry, seed: int, dtype: Any = np.float64, integers: bool = False) -> dict[str, Any]:
    """The geometry with its arrays filled; lists of ``A`` are filled too."""
    rng = np.random.default_rng(seed)

    def fill(value: Any) -> Any:
        if isinstance(value, A):
            return value.fill_integers(rng) if integers else value.fill(rng, dtype)
        if isinstance(value, (list, tuple)) and any(isinstance(item, A) for item in value):
            return [fill(item) for item in value]
        return value

    return {name: fill(value) for name, value in geometry.items()}


def tensors_of(
    geometry: Geometry, arrays: dict[str, Any], requires_grad: bool = False, device: str | None = None
) -> dict[str, Any]:
    """The arrays wrapped as tensors on ``device``; those a gradient may be asked of require it when told so."""

    def wrap(spec: Any, value: Any) -> Any:
        if isinstance(spec, A):
            return Tensor(value, requires_grad=requires_grad and spec.grad and spec.is_float, device=device)
        if isinstance(value, list) and isinstance(spec, (list, tuple)):
            return [wrap(s, v) for s, v in zip(spec, value, strict=True)]
        return value

    return {name: wrap(geometry[name], value) for name, value in arrays.items()}


def shapes(min_dims: int = 0, max_dims: int = 4, max_side: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Small shapes, with sides of at least 1."""
    return st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims).map(tuple)
