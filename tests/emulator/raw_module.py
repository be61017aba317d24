"""``RawModule``: CuPy's class of that name, for a machine without a GPU.

It compiles CUDA C++ with g++ (``include/cuda_emu.h``), checks every argument of a launch against the kernel's
parameter, runs the blocks one after another on host memory, and then looks at the guard bytes round every array.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn.kernels.jit import cache_folder

INCLUDE = Path(__file__).parent / "include"
# With address sanitizing (LD_PRELOAD libasan.so) a read outside an array ends the process, with the line of the source.
SANITIZED = bool(os.environ.get("MINICNN_EMULATOR_ASAN"))
GUARD = 1024 if SANITIZED else 256  # bytes kept on both sides of every array; NumPy reuses blocks below 1 KiB, unseen
GUARD_BYTE = 0xA5

_one_launch = threading.Lock()  # the emulator's state is static


class EmulatorError(RuntimeError):
    """The source does not compile, or a launch did what a GPU must not do."""


@dataclass(frozen=True)
class Options:
    """How launches run: ``order`` of the threads (0 ascending, 1 descending, else shuffled with that seed), and
    whether every launch proves that no two of its blocks write one address."""

    order: int = 0
    write_sets: bool = False


_options: ContextVar[Options] = ContextVar("emulator_options", default=Options())  # noqa: B039 (frozen)
launched: set[tuple[str, str]] = set()  # (kernel, its name expression): what the tests have run


@contextlib.contextmanager
def emulator_options(order: int = 0, write_sets: bool = False) -> Iterator[None]:
    """Run the launches inside the block with these ``Options``."""
    token = _options.set(Options(order, write_sets))
    try:
        yield
    finally:
        _options.reset(token)


def guarded(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Uninitialised memory as a GPU gives it: NaN where numbers are floats, with guard bytes on both sides."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    buffer = np.full(GUARD + size + GUARD, GUARD_BYTE, np.uint8)
    buffer[GUARD : GUARD + size] = 0xFF  # NaN in every float format
    if SANITIZED:
        start, forbid = buffer.ctypes.data, ctypes.CDLL(None).__asan_poison_memory_region
        for address in (start, start + GUARD + size):
            forbid(ctypes.c_void_p(address), ctypes.c_size_t(GUARD))
    array: np.ndarray = buffer[GUARD : GUARD + size].view(dtype).reshape(shape)
    return array


def _buffer(array: np.ndarray) -> np.ndarray | None:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if array.dtype == np.uint8 and array.nbytes >= 2 * GUARD else None


def check_guards(array: np.ndarray, who: str) -> None:
    buffer = _buffer(array)
    if buffer is not None:
        for side, part in (("before", buffer[:GUARD]), ("after", buffer[-GUARD:])):
            if (part != GUARD_BYTE).any():
                raise EmulatorError(f"{who}: wrote {side} an array of shape {array.shape}")


# The arrays whose addresses have been asked for: a kernel may find them in a table instead of among its arguments.
_exposed: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()


def exposed(array: np.ndarray) -> int:
    """The address of ``array``; launches that are given a table with it check the array like an argument."""
    address = array.ctypes.data
    if array.nbytes:
        _exposed[address] = array
    return address


class RawModule:
    """``cupy.RawModule(code=..., options=..., name_expressions=...)``; compiled when a function is asked for."""

    def __init__(
        self, *, code: str, options: tuple[str, ...] = (), name_expressions: tuple[str, ...] = (), **_: Any
    ) -> None:
        self._code, self._options, self._names = code, tuple(options), tuple(name_expressions)
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> "Kernel":
        if self._library is None:
            self._library = ctypes.CDLL(str(self._compiled()))
        position = self._names.index(name)
        run = getattr(self._library, f"emu_run_{position}")
        return Kernel(name, run, self._signature(position), self._library.emu_used_shared_memory)

    def _signature(self, position: int) -> list[str]:
        function = getattr(self._library, f"emu_signature_{position}")
        function.restype = ctypes.c_char_p
        return str(function().decode()).split()

    def _compiled(self) -> Path:
        code = (
            _shared_memory(self._code)
            + '\nextern "C" bool emu_used_shared_memory() { return emu::used_shared_memory; }'
        )
        for position, name in enumerate(self._names):
            code += (
                f'\nextern "C" const char* emu_signature_{position}() {{ return emu::signature({name}); }}'
                f'\nextern "C" const char* emu_run_{position}(const unsigned* grid, const unsigned* block,'
                f" size_t shared, void** arguments, int order, long first, long last) {{"
                f" return emu::launch({name}, grid, block, shared, arguments, order, first, last); }}"
            )
        flags = ["-std=c++17", "-O1", "-march=native", "-fPIC", "-shared", "-x", "c++", "-Wno-unknown-pragmas"]
        flags += ["-fno-gnu-unique"]  # or libraries with equal kernel names would share their `__shared__` arrays
        if SANITIZED:
            flags += ["-g", "-fsanitize=address"]
        flags += [f"-I{INCLUDE}", "-include", "cuda_emu.h", *(o for o in self._options if o.startswith("-D"))]
        headers = "".join(path.read_text(encoding="utf-8") for path in sorted(INCLUDE.glob("*.h")))
        key = hashlib.sha256("\0".join([code, headers, *flags]).encode()).hexdigest()[:20]
        library = cache_folder() / "emulator" / f"{key}.so"
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            unfinished = library.with_name(f"{key}.{os.getpid()}.so")
            command = [_compiler(), *flags, "-", "-o", str(unfinished)]
            done = subprocess.run(command, input=code, encoding="utf-8", capture_output=True, check=False)
            if done.returncode:
                raise EmulatorError(done.stderr[:8000])
            unfinished.replace(library)
        return library


def _compiler() -> str:
    """The C++ compiler; a test that needs one where none is installed is skipped."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"the emulated GPU needs a C++ compiler and {compiler} is not on the path; fix: apt install g++")
    return compiler


class Kernel:
    """One compiled kernel; called as CuPy's: ``kernel(grid, block, arguments, shared_mem=...)``."""

    def __init__(self, name: str, run: Any, signature: list[str], used_shared_memory: Any) -> None:
        self.name, self._run, self.signature = name, run, signature
        self._used_shared_memory = used_shared_memory
        used_shared_memory.restype = ctypes.c_bool
        run.restype = ctypes.c_char_p
        run.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int] + [ctypes.c_long] * 2
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        arrays = self._checked(arguments)
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise EmulatorError(f"{self.name}: {shared_mem} bytes of shared memory; set max_dynamic_shared_size_bytes")
        full_grid, full_block = ((*t, 1, 1)[:3] for t in (grid, block))
        if min(full_grid) < 1 or max(full_grid[1:]) > 65535 or full_grid[0] > 2**31 - 1:
            raise EmulatorError(f"{self.name}: CUDA refuses a grid of {grid}")
        values = [np.asarray(0, np.uint64) if a is None else a for a in arguments]
        holders = [
            ctypes.c_void_p(arrays[i].ctypes.data) if i in arrays else np.ascontiguousarray(v)
            for i, v in enumerate(values)
        ]
        pointers = (ctypes.c_void_p * len(holders))(
            *(ctypes.addressof(h) if isinstance(h, ctypes.c_void_p) else h.ctypes.data for h in holders)
        )
        blocks = int(np.prod(full_grid))
        tables = [a for i, a in arrays.items() if self.signature[i] == "pu8"]
        pointed = {address: _exposed[address] for a in tables for address in a.ravel().tolist() if address in _exposed}
        options = _options.get()
        launched.add((self.name.partition("<")[0], self.name))

        def run(first: int, last: int, order: int = options.order) -> None:
            three = [(ctypes.c_uint * 3)(*t) for t in (full_grid, full_block)]
            trouble = self._run(*three, shared_mem, pointers, order, first, last)
            if trouble:
                raise EmulatorError(f"{self.name}: {trouble.decode()}")

        written = {i: a for i, a in arrays.items() if self.signature[i].startswith("P") and a.size} | pointed
        with _one_launch:
            start = {i: a.copy() for i, a in written.items()}
            if options.write_sets and blocks > 1:
                self._prove_one_writer(run, blocks, written, start)
            run(0, blocks)
            if self._used_shared_memory():
                self._prove_barriers(run, blocks, written, start)
        for array in (*arrays.values(), *pointed.values()):
            check_guards(array, self.name)

    def _checked(self, arguments: tuple[Any, ...]) -> dict[int, np.ndarray]:
        """The arrays among the arguments by position; CuPy would pass whatever it is given, right or wrong."""
        if len(arguments) != len(self.signature):
            raise EmulatorError(f"{self.name}: {len(arguments)} arguments for {len(self.signature)} parameters")
        arrays: dict[int, np.ndarray] = {}
        for position, (argument, code) in enumerate(zip(arguments, self.signature, strict=True)):
            where = f"{self.name}: argument {position}"
            if argument is None and code[0] in "pP":
                continue
            host = getattr(argument, "host", None)
            if host is not None:
                if not host.flags.c_contiguous:  # RawKernel ignores strides
                    raise EmulatorError(f"{where} is not C-contiguous")
                found = _code(host.dtype)
                if code[0] not in "pP" or found != code[1:]:
                    raise EmulatorError(f"{where} is an array of {found}, the parameter is {code}")
                arrays[position] = host
            elif not isinstance(argument, np.generic):
                raise EmulatorError(
                    f"{where} is a {type(argument).__name__}: only arrays and NumPy scalars have one type"
                )
            elif _code(argument.dtype) != code:
                raise EmulatorError(f"{where} is {_code(argument.dtype)}, the parameter is {code}")
        return arrays

    def _prove_barriers(
        self, run: Any, blocks: int, written: dict[int, np.ndarray], start: dict[int, np.ndarray]
    ) -> None:
        """Run again with the threads in another order: where no barrier is missing, every bit is the same."""
        first = {i: a.copy() for i, a in written.items()}
        for i, a in written.items():
            a[...] = start[i]
        run(0, blocks, 0 if _options.get().order == 1 else 1)
        for i, a in written.items():
            if (_bytes(a) != _bytes(first[i])).any():
                raise EmulatorError(f"{self.name}: argument {i} depends on which thread goes first: a missing barrier")

    def _prove_one_writer(
        self, run: Any, blocks: int, written: dict[int, np.ndarray], start: dict[int, np.ndarray]
    ) -> None:
        """Run block by block on fresh and on perturbed memory: an address is written when it changes in either run."""
        owner = {i: np.full(a.nbytes, -1, np.int64) for i, a in written.items()}
        for block in range(blocks):
            changed = {i: np.zeros(a.nbytes, bool) for i, a in written.items()}
            for flip in (0x00, 0x5A):
                for i, a in written.items():
                    _bytes(a)[...] = _bytes(start[i]) ^ np.uint8(flip if a.dtype.kind not in "iub" else 0)
                before = {i: _bytes(a).copy() for i, a in written.items()}
                run(block, block + 1)
                for i, a in written.items():
                    changed[i] |= _bytes(a) != before[i]
            for i, mine in changed.items():
                taken = mine & (owner[i] >= 0)
                if taken.any():
                    other = owner[i][taken][0]
                    raise EmulatorError(f"{self.name}: blocks {other} and {block} both write argument {i}")
                owner[i][mine] = block
        for i, a in written.items():
            a[...] = start[i]


def _shared_memory(code: str) -> str:
    """Declarations of shared memory as the emulator's; the first thread of a block to meet one poisons it."""
    align, kind = r"(?:__align__\(\d+\)\s+)?", r"([\w:<>, ]+?)"
    code = re.sub(
        rf"extern\s+__shared__\s+{align}{kind}\s+(\w+)\s*\[\s*\]\s*;", r"\1* \2 = (\1*)__emu_dynamic_shared();", code
    )
    static = rf"(__shared__\s+{align}{kind}\s+(\w+)\s*(?:\[[^\];]+\]\s*)*;)"
    code, read = re.subn(static, r"\1 __emu_fresh_shared(\3)", code)
    if len(re.findall(r"__shared__", re.sub(r"//[^\n]*", "", code))) != read:
        raise EmulatorError("the emulator reads shared memory declared one array a statement: __shared__ T name[SIZE];")
    return code


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _code(dtype: np.dtype[Any]) -> str:
    if dtype.name == "bfloat16":
        return "bf2"
    return f"{dtype.kind if dtype.kind != 'c' else '?'}{dtype.itemsize}"
