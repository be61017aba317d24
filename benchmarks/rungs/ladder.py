"""The rungs in the order of a course, and how much code each is."""

import ast
import importlib.util
import io
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from conv_shapes import Conv

from minicnn.kernels import conv as K
from minicnn.kernels.window import Window2d
from rungs import fft, im2col, numba_direct, numba_parallel, python_loops, strided_view, taps, tiled, winograd

Convolve = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


class Rung(NamedTuple):
    """``source`` is the file that is counted, None for a library; ``kernel`` the only size of filter it can do."""

    name: str
    convolve: Convolve
    source: ModuleType | None = None
    kernel: int | None = None

    def trouble(self, conv: Conv) -> str:
        """Why it cannot compute this convolution; empty when it can."""
        wrong = self.kernel is not None and conv.kernel != self.kernel
        return f"only {self.kernel}x{self.kernel} filters" if wrong else ""

    @property
    def lines(self) -> int | None:
        return None if self.source is None else code_lines(Path(str(self.source.__file__)).read_text(encoding="utf-8"))


def ladder(with_torch: bool) -> list[Rung]:
    """Every rung; the last is PyTorch's, where it is wanted and installed."""
    rungs = [
        Rung("Python loops", python_loops.convolve, python_loops),
        Rung("NumPy, loop over taps", taps.convolve, taps),
        Rung("im2col and product", im2col.convolve, im2col),
        Rung("strided view", strided_view.convolve, strided_view),
        Rung("Numba, one thread", numba_direct.convolve, numba_direct),
        Rung("Numba, parallel", numba_parallel.convolve, numba_parallel),
        Rung("Numba, tiled", tiled.convolve, tiled),
        Rung("Winograd F(2,3)", winograd.convolve, winograd, 3),
        Rung("Winograd F(4,3)", winograd.convolve_4, winograd, 3),
        Rung("FFT", fft.convolve, fft),
        Rung("minicnn", engine),
    ]
    if with_torch and importlib.util.find_spec("torch"):
        rungs.append(Rung("PyTorch", torch_convolve))
    return rungs


def engine(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    """What our networks run: the plan that the engine chooses for these shapes."""
    (_, _, height, width), (_, _, rows, columns) = x.shape, weight.shape
    pads, out = (padding,) * 4, (height + 2 * padding - rows + 1, width + 2 * padding - columns + 1)
    window = Window2d(height, width, rows, columns, 1, 1, *pads, 1, 1, *out)
    y: np.ndarray = K.conv2d_forward(x, weight, None, window, 1, "auto")
    return y


def torch_convolve(x: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    """oneDNN; the arrays are shared, not copied."""
    import torch

    with torch.no_grad():
        y: Any = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, 1, padding)
    result: np.ndarray = y.numpy()
    return result


def code_lines(source: str) -> int:
    """The lines that hold code: no empty ones, no comments, no docstrings."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
        if documented:
            text = node.body[0]  # type: ignore[attr-defined]
            lines.difference_update(range(text.lineno, text.end_lineno + 1))
    return len(lines)
