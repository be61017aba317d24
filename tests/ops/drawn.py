"""Geometries and seeds of a case, drawn by hypothesis once a process: all questions are asked of the same ones.

An engine for each case and question would take longer than most of the answers. An error carries the geometry and the
seed that repeat it; hypothesis draws others in the next run, except where ``CI`` is set.
"""

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.ops.case import Case, Geometry

some_seed = st.integers(0, 2**32 - 1)


@cache
def drawn(case: Case, count: int, same: bool | None = None) -> tuple[tuple[Geometry, int], ...]:
    """``count`` geometries of ``case``, the first of them the simplest, each with a seed; ``same``: in every run."""
    found: list[tuple[Geometry, int]] = []
    more: dict[str, Any] = {} if same is None else {"derandomize": same}

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    @given(data=st.data(), seed=some_seed)
    def draw(data: Any, seed: int) -> None:
        found.append((case.geometry(data.draw), seed))

    draw()
    return tuple(found)


def asked_of(count: int, of: int | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of (case, geometry, seed) becomes one of a case, run for the first ``count`` ``of`` those drawn for it."""

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        others = [p for name, p in signature.parameters.items() if name not in ("geometry", "seed")]

        @wraps(test)
        def run(case: Case, **fixed: Any) -> None:
            for geometry, seed in drawn(case, of or count)[:count]:
                try:
                    test(case, geometry, seed, **fixed)
                except BaseException as error:
                    error.add_note(f"with the seed {seed} and the geometry {geometry}")
                    raise

        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorated
