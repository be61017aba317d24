"""How every CUDA kernel is compiled and launched: the GPU's counterpart of ``jit.py``.

A kernel family keeps its kernels in ``cuda.cu``, templates over the storage type ``T``; ``cuda.py`` beside it names
them, one function a twin. ``CudaSource`` compiles the source through CuPy's ``RawModule`` when a kernel of it is first
launched, once a dtype and width of index, and CuPy keeps the result on disk. Here, and nowhere else, arguments get
their C++ types:

* arrays must be C-contiguous (a kernel sees a pointer and no strides) and on the current device;
* Python ints become ``Index`` (``int``, or ``long long`` where an array is too large for it), floats ``double``, bools
  ``bool``; tuples are spread; None is a null pointer; NumPy scalars go as they are;
* ``#include "name.cuh"`` is replaced by that header of ``kernels/``, so that what is compiled is what CuPy hashes.

Kernels run on CuPy's current stream and nothing here waits for them.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.errors import DeviceError
from minicnn.kernels.arrays import Array, cupy

# The storage types of CUDA kernels: the dtype's name and the C++ type. Half and bfloat16 are computed in float.
CUDA_TYPES = {"float32": "float", "float64": "double", "float16": "half", "bfloat16": "bfloat16"}

THREADS = 256  # a block
MAX_BLOCKS = 1 << 20  # a grid; kernels stride over what is left
NARROW = 1 << 30  # elements an array may have for int indices: a grid's stride beyond it must not overflow
BUSY = 1 << 18  # threads that keep a GPU busy; beyond them one thread may as well do more

HEADERS = Path(__file__).parent
_KERNEL = re.compile(r"template <class T>\s+__global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(")


class CudaSource:
    """The kernels of one ``.cu`` file. ``file`` is the ``cuda.py`` that launches them; ``defines`` are set for all."""

    def __init__(self, file: str, name: str = "cuda.cu", **defines: int) -> None:
        self.path = Path(file).with_name(name)
        self.defines = defines
        self._functions: dict[tuple[Any, ...], Any] = {}

    @property
    def text(self) -> str:
        """The source with its headers in place."""
        return _with_headers(self.path)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of the kernels, in the order of the file."""
        return tuple(_KERNEL.findall(self.path.read_text(encoding="utf-8")))

    def options(self, wide: bool) -> tuple[str, ...]:
        """What the compiler is told."""
        defines = (f"-D{name}={value}" for name, value in self.defines.items())
        return ("-std=c++17", f"-DINDEX={'long long' if wide else 'int'}", *defines)

    def name_expressions(self, dtype: Any) -> tuple[str, ...]:
        """Every kernel for one dtype (or its name)."""
        scalar = CUDA_TYPES[dtype if isinstance(dtype, str) else np.dtype(dtype).name]
        return tuple(f"{name}<{scalar}>" for name in self.kernels)

    def launch(self, kernel: str, dtype: Any, count: int, *arguments: Any) -> None:
        """Run ``kernel`` with at least one thread for each of ``count`` items, or fewer that stride over them."""
        self.launch_blocks(kernel, dtype, -(-count // THREADS), *arguments, count=count)

    def launch_blocks(
        self,
        kernel: str,
        dtype: Any,
        blocks: int,
        *arguments: Any,
        threads: int | None = None,
        shared_bytes: int = 0,
        count: int = 0,
    ) -> None:
        """Run ``kernel`` with one block for each of ``blocks`` items (a row, a plane), or fewer that stride over them.

        ``count`` is the largest number the kernel computes with, where no array is that large.
        """
        if not blocks:
            return  # CUDA refuses an empty grid
        flat = _spread(arguments)
        wide = max((_magnitude(a) for a in flat), default=0) > NARROW or max(count, blocks) > NARROW
        function = self._function(kernel, np.dtype(dtype), wide)
        if shared_bytes > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared_bytes
        typed = tuple(_typed(kernel, a, wide) for a in flat)
        function((min(blocks, MAX_BLOCKS),), (threads or THREADS,), typed, shared_mem=shared_bytes)

    def _function(self, kernel: str, dtype: np.dtype[Any], wide: bool) -> Any:
        xp = cupy()
        key = (xp, kernel, dtype.name, wide)
        if key not in self._functions:
            names = self.name_expressions(dtype)
            module = xp.RawModule(code=self.text, options=self.options(wide), name_expressions=names)
            for name, expression in zip(self.kernels, names, strict=True):
                self._functions[(xp, name, dtype.name, wide)] = module.get_function(expression)
        return self._functions[key]


def _spread(arguments: tuple[Any, ...]) -> list[Any]:
    flat: list[Any] = []
    for argument in arguments:
        flat.extend(argument) if isinstance(argument, tuple) else flat.append(argument)
    return flat


def _magnitude(argument: Any) -> int:
    if type(argument) is int:
        return abs(argument)
    return int(argument.size) if hasattr(argument, "flags") and not isinstance(argument, np.generic) else 0


def _typed(kernel: str, argument: Any, wide: bool) -> Any:
    if type(argument) is int:
        return np.int64(argument) if wide else np.int32(argument)
    if type(argument) is float:
        return np.float64(argument)
    if type(argument) is bool:
        return np.bool_(argument)
    if argument is None or isinstance(argument, np.generic):
        return argument
    check_array(kernel, argument)
    return argument


def check_array(kernel: str, array: Array) -> None:
    """**Raises** unless ``kernel`` can take the address of ``array``."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{kernel}: an array of shape {array.shape} is not contiguous; kernels ignore strides")
    here = cupy().cuda.Device().id
    if array.device.id != here:
        raise DeviceError(
            f"{kernel}: an array is on cuda:{array.device.id}, but the current device is cuda:{here}; "
            f"fix: run inside `with cupy.cuda.Device({array.device.id}):`"
        )


@cache
def _with_headers(path: Path) -> str:
    """The text of ``path`` with each of our headers in place of its first #include and gone from the others."""
    seen: set[str] = set()

    def read(file: Path) -> str:
        def replaced(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in seen:
                return ""
            seen.add(name)
            return read(HEADERS / name)

        name = file.relative_to(HEADERS).as_posix()
        text = file.read_text(encoding="utf-8").replace("#pragma once", "")
        lines = []
        for number, line in enumerate(text.splitlines(), 1):
            included = re.sub(r'^#include "([\w.]+)"', replaced, line)
            lines.append(included if included == line else f'{included}\n#line {number + 1} "{name}"')
        return f'#line 1 "{name}"\n' + "\n".join(lines) + "\n"

    return read(path)


def row_groups(rows: int, size: int) -> int:
    """Into how many groups to deal ``rows`` rows of ``size`` items, for kernels whose threads take one item of every
    row of their group: up to 16 rows, so that what depends on the item alone is worked out once for them all."""
    return -(-rows // min(16, max(1, rows * size // BUSY)))


_device_copies: dict[tuple[int, ...], tuple[np.ndarray, Array]] = {}


def device_copy(host: np.ndarray) -> Array:
    """``host`` on the current device, copied once and kept: for the small tables that shapes are cached with."""
    xp = cupy()
    key = (id(host), id(xp), xp.cuda.Device().id)
    if key not in _device_copies:
        if len(_device_copies) >= 1024:
            _device_copies.clear()
        _device_copies[key] = (host, xp.asarray(host))  # the host array is kept, so its id stays its own
    return _device_copies[key][1]
