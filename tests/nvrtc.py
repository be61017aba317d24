"""NVRTC, NVIDIA's run-time compiler, without a GPU: does a source compile for an architecture?

Needs the wheels of the extra ``nvrtc`` (compiler, headers) and nothing else.
"""

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")  # Turing, Ampere, Hopper


@cache
def _wheels() -> Path | None:
    """The folder the wheels share (nvidia/cu13, say), or None."""
    found = find_spec("nvidia")
    for root in found.submodule_search_locations or () if found else ():
        for library in sorted(Path(root).glob("cu*/lib/libnvrtc.so.*")):
            return library.parent.parent
    return None


def available() -> bool:
    """Whether the compiler's wheel is installed."""
    return _wheels() is not None


@cache
def _library() -> ctypes.CDLL:
    wheels = _wheels()
    assert wheels is not None
    for builtins in (wheels / "lib").glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(next((wheels / "lib").glob("libnvrtc.so.*"))))


@cache
def version() -> tuple[int, int]:
    """Major and minor."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def compile_cubin(
    code: str, options: tuple[str, ...], name_expressions: tuple[str, ...], architecture: str
) -> tuple[int, str]:
    """Compile to machine code; returns its size in bytes (0: it does not compile) and the compiler's log."""
    nvrtc, program = _library(), ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"minicnn.cu", 0, None, None))
    try:
        for name in name_expressions:
            _check(nvrtc.nvrtcAddNameExpression(program, name.encode()))
        flags = [*options, f"--gpu-architecture={architecture}", f"-I{_wheels()}/include"]
        array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        failed = nvrtc.nvrtcCompileProgram(program, len(flags), array)
        size = ctypes.c_size_t()
        _check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
        log = ctypes.create_string_buffer(size.value)
        _check(nvrtc.nvrtcGetProgramLog(program, log))
        if failed:
            return 0, log.value.decode()
        _check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        return size.value, log.value.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC answered with error {code}")
