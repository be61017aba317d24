"""A deliberate bug in a copy of a CUDA source, for as long as a block: the real file is never touched."""

import contextlib
from collections.abc import Iterator

import pytest

from minicnn.kernels.launch import CudaSource


@contextlib.contextmanager
def planted(source: CudaSource, old: str, new: str) -> Iterator[None]:
    """Inside the block ``source`` has ``new`` for ``old``, which must occur once, headers included."""
    text = source.text
    if text.count(old) != 1:
        raise ValueError(f"{source.path.parent.name}: {old!r} occurs {text.count(old)} times, expected once")
    true_text = CudaSource.text.fget
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_functions", {})  # what is compiled already stays with the true source
        patch.setattr(
            CudaSource, "text", property(lambda self: text.replace(old, new) if self is source else true_text(self))
        )
        yield
