"""How every CPU kernel is compiled: one decorator, ``@kernel``, and the few facts about Numba that it hides.

* Compiled code is cached on disk in a folder named by a hash of the kernel's whole source file and of the kernel files
  it imports from, so an edited helper recompiles its callers (Numba alone would return stale code).
* Numba's cache key ignores ``parallel``, ``fastmath`` and bounds checking; the folder name and the function's
  qualified name carry them.
* A damaged cache entry is compiled again, and a cache that cannot be written costs time, not an error.
* Kernels run on the threads of TBB where its wheel is installed: a parallel loop starts in 2 microseconds (Numba's
  portable ``workqueue`` takes 80), idle threads sleep, and any number of Python threads may call kernels at once. GNU
  OpenMP hangs forked children and, spinning between kernels, slows BLAS several times. ``workqueue`` is what is left
  elsewhere; it aborts the process when two Python threads enter it at once, so there parallel kernels take one lock.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import os
import re
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import platformdirs
from numba.core import caching

F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered (vectorised) and products fused, but NaN and inf keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz"}

# Elements that one thread is done with before another, which sleeps, would have begun (10 microseconds).
FEW = 1 << 14

_njit: Any = numba.njit
_config: Any = numba.config


def _load_tbb() -> bool:
    """Load the library of the ``tbb`` wheel, which Numba asks for by a bare name and does not find by itself."""
    try:
        files = importlib.metadata.files("tbb") or []
        library = next(file for file in files if file.name == "libtbb.so.12")
        ctypes.CDLL(str(library.locate()), mode=ctypes.RTLD_GLOBAL)
        importlib.import_module("numba.np.ufunc.tbbpool")
    except (importlib.metadata.PackageNotFoundError, StopIteration, ImportError, OSError):
        return False
    return True


if "NUMBA_THREADING_LAYER" not in os.environ:
    _config.THREADING_LAYER = "tbb" if _load_tbb() else "workqueue"

# Only workqueue cannot be entered twice.
_parallel_region: Any = (
    contextlib.nullcontext() if _config.THREADING_LAYER in ("tbb", "threadsafe") else threading.RLock()
)


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$MINICNN_CACHE_DIR``, else the user's cache folder."""
    root = os.environ.get("MINICNN_CACHE_DIR") or platformdirs.user_cache_dir("minicnn", appauthor=False)
    return Path(root) / "kernels"


@functools.cache
def _source_hash(path: str) -> str:
    facts = f"numba {numba.__version__} numpy {np.__version__} boundscheck {_config.BOUNDSCHECK}"
    return hashlib.sha256(_with_imported(path) + facts.encode()).hexdigest()[:16]


def _with_imported(path: str) -> bytes:
    """The source of a file, and of each file it imports a callee from (a module of this package, by its full name)."""
    source = Path(path).read_bytes()
    names = re.findall(rb"^from minicnn\.kernels\.([\w.]+) import", source, re.MULTILINE)
    files = (Path(__file__).parent.joinpath(*name.decode().split(".")).with_suffix(".py") for name in names)
    return source + b"".join(file.read_bytes() for file in files if file.exists() and file != Path(__file__))


@functools.cache
def _say_once(message: str) -> None:
    sys.stderr.write(f"minicnn: {message}\n")
    sys.stderr.flush()


class _SourceHashLocator(caching._CacheLocator):
    """Cache location and freshness decided by the content of the source file, not its path or time stamp."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file = py_file
        source = Path(py_file)
        self._path = cache_folder() / f"{source.parent.name}-{source.stem}-{_source_hash(py_file)}"

    def get_cache_path(self) -> str:
        return str(self._path)

    def get_source_stamp(self) -> str:
        return _source_hash(self._py_file)

    def get_disambiguator(self) -> str:
        return _source_hash(self._py_file)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_SourceHashLocator":
        return cls(py_func, py_file)


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_SourceHashLocator]  # noqa: RUF012


class _KernelCache(caching.FunctionCache):
    """Numba's on-disk cache that survives damaged entries and unwritable folders."""

    _impl_class = _CacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # a truncated or altered pickle can raise anything
            _say_once(f"rebuilding damaged kernel cache in {self.cache_path} ({type(error).__name__})")
            self._discard()
            found = None
        if found is None:
            _say_once(f"compiling kernels on first use; kept in {cache_folder()} for the next start")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _say_once(f"cannot keep compiled kernels in {self.cache_path} ({error}); set MINICNN_CACHE_DIR to mend it")

    def _discard(self) -> None:
        for path in Path(self.cache_path).glob(self._impl.filename_base + ".*"):
            path.unlink(missing_ok=True)


def kernel(*, parallel: bool = True, fastmath: bool = True, elementwise: bool = False) -> Callable[[F], F]:
    """Compile a function over arrays on first call, for the dtypes it is called with.

    ``parallel`` kernels may use ``numba.prange``; each iteration must own its output slice (no reductions over the
    ``prange`` variable), so results do not depend on the number of threads. ``elementwise`` ones, whose first argument
    has an element an iteration, run in the calling thread where those are ``FEW``.
    """

    def decorate(function: F) -> F:
        if _config.DISABLE_JIT:
            return function
        compiled = _compiled(function, parallel, fastmath)
        if not parallel:
            return compiled  # type: ignore[no-any-return]
        shared = _locked(compiled, function)
        return _by_size(_compiled(function, False, fastmath), shared) if elementwise else shared

    return decorate


def _compiled(function: F, parallel: bool, fastmath: bool) -> Any:
    variant = ("_parallel" if parallel else "_serial") + ("" if fastmath else "_strict")
    named = types.FunctionType(function.__code__, function.__globals__, function.__name__ + variant)
    named.__defaults__, named.__module__ = function.__defaults__, function.__module__
    named.__qualname__ = function.__qualname__ + variant
    options = {"fastmath": FASTMATH if fastmath else False, "error_model": "numpy", "nogil": True}
    compiled = _njit(parallel=parallel, **options)(named)
    compiled._cache = _KernelCache(named)  # type: ignore[no-untyped-call]
    return compiled


def _by_size(alone: Any, shared: F) -> F:
    @functools.wraps(shared)
    def call(*args: Any) -> Any:
        return alone(*args) if args[0].size <= FEW else shared(*args)

    return call  # type: ignore[return-value]


def _locked(compiled: Any, function: F) -> F:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with _parallel_region:
            return compiled(*args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def helper(function: F) -> F:
    """A function inlined into the kernels of the same file."""
    options = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True}
    return _njit(inline="never", **options)(function)  # type: ignore[no-any-return]


def strict_helper(function: F) -> F:
    """A helper for kernels with ``fastmath=False``: their bits do not depend on how code is vectorised or inlined."""
    return _njit(inline="never", error_model="numpy", nogil=True)(function)  # type: ignore[no-any-return]
