"""Every kernel twin, what it launches on a GPU, and which cases prove it: ``docs/kernels.md`` is made of what is seen.

``python -m tests.kernel_table --write docs/kernels.md`` runs the edges of every operation's case, forward and backward,
and every optimiser's case on the emulator, and records which CUDA twin launches which kernel. A twin or a kernel that
nothing launches is a gap, and so is a CPU twin without a CUDA twin.
"""

import argparse
import ast
import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn.errors import DeviceError
from minicnn.kernels import launch
from minicnn.kernels.launch import CudaSource
from minicnn.tensor import Tensor
from tests.emulator import emulated_gpu

KERNELS = Path(launch.__file__).parent


def cpu_twins() -> dict[str, list[str]]:
    """family -> its public Numba kernels, in the order of ``cpu.py``."""
    found = {}
    for path in sorted(KERNELS.glob("*/cpu.py")):
        functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
        found[path.parent.name] = [f.name for f in functions if any(map(_is_kernel, f.decorator_list))]
    return found


def _is_kernel(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "kernel"


def cuda_modules() -> dict[str, list[ModuleType]]:
    """family -> its modules that hold a ``CudaSource``."""
    found = defaultdict(list)
    for path in sorted(KERNELS.glob("*/*.py")):
        if "CudaSource(" in path.read_text(encoding="utf-8"):
            found[path.parent.name].append(importlib.import_module(f"minicnn.kernels.{path.parent.name}.{path.stem}"))
    return dict(found)


def sources() -> list[CudaSource]:
    """Every ``.cu`` file, through the object that launches it."""
    modules = (module for found in cuda_modules().values() for module in found)
    return [value for module in modules for value in vars(module).values() if isinstance(value, CudaSource)]


def cuda_twins(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


class Seen(NamedTuple):
    """(family, twin) -> kernels it launched, and cases that called it; every kernel launched, by source file; cases that
    cannot run on a GPU -> why."""

    kernels: dict[tuple[str, str], dict[str, None]]
    cases: dict[tuple[str, str], dict[str, None]]
    launched: set[tuple[Path, str]]
    refused: dict[str, str]


class _Recorder:
    """Wraps the twins and the launcher for as long as the cases run."""

    def __init__(self) -> None:
        self.case = ""
        self.running: list[tuple[str, str]] = []
        self.seen = Seen(defaultdict(dict), defaultdict(dict), set(), {})

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for family, modules in cuda_modules().items():
            for module in modules:
                for name, function in cuda_twins(module).items():
                    patch.setattr(module, name, self.watched((family, name), function))
        launch_blocks = CudaSource.launch_blocks

        def recorded(source: CudaSource, kernel: str, dtype: Any, blocks: int, *args: Any, **options: Any) -> None:
            launch_blocks(source, kernel, dtype, blocks, *args, **options)
            if blocks:
                self.seen.launched.add((source.path, kernel))
                for twin in self.running:
                    self.seen.kernels[twin][kernel] = None

        patch.setattr(CudaSource, "launch_blocks", recorded)

    def watched(self, twin: tuple[str, str], function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.seen.cases[twin][self.case] = None
            self.running.append(twin)
            try:
                return function(*args, **kwargs)
            finally:
                self.running.pop()

        return call


def programs() -> Iterator[tuple[str, Callable[[], None]]]:
    """What is run: a name for the table and a function."""
    from tests.ops.test_ops import CASES
    from tests.optim.test_optimizers import CASES as OPTIMIZERS

    for case in CASES:
        for geometry in case.edges.values():
            yield case.id, partial(_run_case, case, geometry)
    for make, _, options in OPTIMIZERS:
        yield f"optim.{make.__name__}", partial(_run_optimizer, make, options)


def _run_case(case: Any, geometry: dict[str, Any]) -> None:
    from tests.ops.case import arrays_of, tensors_of

    arrays = arrays_of(geometry, 1)
    for y in case.run(**tensors_of(geometry, arrays, requires_grad=case.gradient, device="gpu")):
        if y.node is not None:
            y.backward(Tensor(np.ones(y.shape), device="gpu").data, retain_graph=True)


def _run_optimizer(make: Any, options: dict[str, Any]) -> None:
    weight = Tensor(np.ones(5), requires_grad=True, device="gpu")
    weight.grad = Tensor(np.ones(5), device="gpu")
    make([weight], **options).step()


def record() -> Seen:
    """Run everything once on the emulator."""
    recorder = _Recorder()
    with pytest.MonkeyPatch.context() as patch, emulated_gpu():
        patch.setattr(launch, "THREADS", 64)
        recorder.install(patch)
        for name, program in programs():
            recorder.case = name
            try:
                program()
            except DeviceError as error:
                recorder.seen.refused[name] = str(error)
    return recorder.seen


def gaps(seen: Seen) -> list[str]:
    """What has no twin, is called by no case, or is launched by none."""
    complaints = [f"{case} does not run on a GPU: {why}" for case, why in seen.refused.items()]
    modules = cuda_modules()
    for family, names in cpu_twins().items():
        there = {name for module in modules.get(family, ()) for name in cuda_twins(module)}
        complaints += [f"{family}.{name} has no CUDA twin" for name in names if name not in there]
        complaints += [f"{family}.{n} is called by no case" for n in sorted(there) if (family, n) not in seen.cases]
    for source in sources():
        for kernel in source.kernels:
            if (source.path, kernel) not in seen.launched:
                complaints.append(f"{source.path.parent.name}/{source.path.name}: {kernel} is launched by no case")
    return complaints


HEAD = """# Kernels: every one twice

Written by `python -m tests.kernel_table --write docs/kernels.md` from what runs; a test fails when it is out of date.

The CPU twin is in `kernels/<family>/cpu.py` (Numba), the CUDA twin of the same name in `kernels/<family>/cuda.py`, and
the `__global__` kernels it launches in the `.cu` file beside it. Each case named is compared with its oracle and its
numerical derivative on both: on the CPU by `tests/ops/test_ops.py`, on the emulated GPU by `tests/ops/test_emulated.py`
(optimisers: `tests/optim`), on a real one by `tests/gpu`.

| family | CPU twin | CUDA twin | launches | cases |
|---|---|---|---|---|
"""


def table(seen: Seen) -> str:
    """The document."""
    lines = []
    modules, on_cpu = cuda_modules(), cpu_twins()
    for family in sorted({*on_cpu, *modules}):
        there = {name: module for module in modules.get(family, ()) for name in cuda_twins(module)}
        for name in [*on_cpu.get(family, ()), *(n for n in there if n not in on_cpu.get(family, ()))]:
            cpu = f"`{name}`" if name in on_cpu.get(family, ()) else "-"
            cuda = f"`{there[name].__name__.rpartition('.')[2]}.{name}`" if name in there else "**none**"
            kernels = ", ".join(f"`{kernel}`" for kernel in sorted(seen.kernels.get((family, name), ()))) or "-"
            lines.append(f"| {family} | {cpu} | {cuda} | {kernels} | {_named(seen.cases.get((family, name), {}))} |")
    return HEAD + "\n".join(lines) + "\n"


def _named(cases: dict[str, None]) -> str:
    names = list(cases)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="write the table to this Markdown file")
    chosen = parser.parse_args()
    seen = record()
    missing = gaps(seen)
    print("\n".join(missing) or "no gaps")
    if chosen.write:
        chosen.write.write_text(table(seen), encoding="utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
