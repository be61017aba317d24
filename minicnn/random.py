"""Where random numbers come from: generators of 64-bit seeds, and which sample of the whole batch comes first.

A random operation draws one seed a call; its mask is a hash of that seed and the global index of each element
(``minicnn.kernels.random``), so nothing else is random and nothing has to be saved. The state of a generator is two
integers: its own seed and how many seeds it has handed out.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn.context import bound
from minicnn.errors import ArgumentError, GradientError
from minicnn.kernels.random.hashing import MASK64, mix64

_recorders: ContextVar[tuple[list[int], ...]] = ContextVar("minicnn_seed_recorders", default=())
_replay: ContextVar[deque[int] | None] = ContextVar("minicnn_seed_replay", default=None)
_sample_offset: ContextVar[int] = ContextVar("minicnn_sample_offset", default=0)


class Generator:
    """Hands out 64-bit seeds: the n-th is a hash of the generator's own seed and n. Threads may share one.

    ``state`` and ``set_state`` use a dict of two integers that survives JSON. The order in which threads draw is
    theirs: give each its own generator where runs must repeat.
    """

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self.manual_seed(seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, drawn={self._drawn})"

    def manual_seed(self, seed: int) -> "Generator":
        """Start again from ``seed``; returns the generator."""
        checked = check_seed("manual_seed", seed)
        with self._lock:
            self._seed, self._drawn = checked, 0
        return self

    def next_seed(self) -> int:
        """Draw a 64-bit seed. While a checkpointed block is recomputed, the one drawn the first time comes back."""
        replay = _replay.get()
        if replay is None:
            with self._lock:
                self._drawn += 1
                seed = mix64(mix64(self._seed) + self._drawn)
        elif replay:
            seed = replay.popleft()
        else:
            raise GradientError(
                "checkpoint: the block drew more random seeds when it was recomputed than in its forward pass; "
                "fix: let it do the same work both times, or give its random operations seed="
            )
        for recorder in _recorders.get():
            recorder.append(seed)
        return seed

    def numpy(self) -> "np.random.Generator":  # quoted: NumPy loads numpy.random on first use
        """A NumPy generator from the next seed, for initialisers and shuffles."""
        return np.random.Generator(np.random.PCG64(self.next_seed()))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        """Uniform float64 numbers on [low, high), from the next seed."""
        return self.numpy().uniform(low, high, size)

    def normal(self, mean: float = 0.0, std: float = 1.0, size: Any = None) -> Any:
        """Normal float64 numbers, from the next seed."""
        return self.numpy().normal(mean, std, size)

    def state(self) -> dict[str, int]:
        """The seed and the count of draws."""
        with self._lock:
            return {"seed": self._seed, "drawn": self._drawn}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned."""
        if not isinstance(state, dict) or set(state) != {"seed", "drawn"}:
            raise ArgumentError(f"Generator.set_state: got {state!r}, expected a dict with 'seed' and 'drawn'")
        seed, drawn = (check_seed("Generator.set_state", state[name]) for name in ("seed", "drawn"))
        with self._lock:
            self._seed, self._drawn = seed, drawn

    def __getstate__(self) -> dict[str, int]:
        return self.state()  # copies and pickles (modules hold generators) leave the lock behind

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self.set_state(state)


def check_seed(op: str, seed: Any) -> int:
    """``seed`` as an int. **Raises** ArgumentError unless it is an integer in [0, 2**64)."""
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) <= MASK64:
        raise ArgumentError(f"{op}: seed={seed!r} is not usable, expected an integer from 0 to 2**64 - 1")
    return int(seed)


_default = Generator(0)


def default_generator() -> Generator:
    """The generator used where none is given; it starts from seed 0, so an unseeded program repeats too."""
    return _default


def generator_or_default(generator: Any) -> Generator:
    """``generator``, or where it is None the default one. **Raises** ArgumentError for a seed or another library's."""
    if generator is None:
        return _default
    if not isinstance(generator, Generator):
        raise ArgumentError(
            f"generator={generator!r} is a {type(generator).__name__}, expected a minicnn.Generator; "
            "fix: generator=minicnn.Generator(seed)"
        )
    return generator


def manual_seed(seed: int) -> Generator:
    """Start the default generator again from ``seed``; weights, masks and shuffles drawn from it then repeat."""
    return _default.manual_seed(seed)


@contextmanager
def sample_offset(first: int) -> Iterator[None]:
    """Inside the block, sample 0 of every array is sample ``first`` of the whole batch.

    A rank, or one of the pieces of a split batch, then draws the masks that the whole batch would have drawn, given
    the same seeds.
    """
    if isinstance(first, bool) or not isinstance(first, (int, np.integer)) or first < 0:
        raise ArgumentError(f"sample_offset: first={first!r}, expected the non-negative index of the first sample")
    with bound(_sample_offset, int(first)):
        yield


def first_sample() -> int:
    """The global index of sample 0 of the arrays at hand."""
    return _sample_offset.get()


@contextmanager
def recorded_seeds() -> Iterator[list[int]]:
    """A list that receives every seed this thread draws inside the block, from whichever generator."""
    seeds: list[int] = []
    with bound(_recorders, (*_recorders.get(), seeds)):
        yield seeds


@contextmanager
def replayed_seeds(seeds: Iterable[int]) -> Iterator[deque[int]]:
    """Inside the block this thread draws ``seeds`` again, in order, and no generator moves; yields those left."""
    left = deque(seeds)
    with bound(_replay, left), bound(_recorders, ()):
        yield left
