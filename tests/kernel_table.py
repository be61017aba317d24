"""Every kernel twin, what it launches on a GPU, and which cases prove it: ``docs/kernels.md`` is made of what is seen.

``python -m tests.kernel_table --write docs/kernels.md`` runs the edges of every operation's case, forward and backward,
and every optimiser's case on the emulator, and records which CUDA twin launches which kernel. Every launch proves that
no two of its blocks write one address; geometries are drawn until each kernel has had several blocks. A CPU twin
without a CUDA twin is a gap, and so is a twin or a kernel that nothing launches, or that had one block every time, and
a kernel of a ``*_cpu.py`` (an algorithm that only the CPU has) whose tests ``CPU_ONLY`` does not name.
"""

import argparse
import ast
import copy
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
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, optim
from minicnn.errors import DeviceError
from minicnn.kernels import launch
from minicnn.kernels.conv import PLANS
from minicnn.kernels.launch import CudaSource
from tests.emulator import emulated_gpu, emulator_options
from tests.ops.case import A, Case, Geometry, arrays_of, tensors_of
from tests.ops.test_ops import CASES
from tests.optim.test_optimizers import CASES as OPTIMIZERS

KERNELS = Path(launch.__file__).parent
ROOT = Path(__file__).resolve().parents[1]

# (family, file, kernel) of algorithms without a CUDA twin -> the tests that prove it.
CPU_ONLY = {
    **{
        ("conv", "columns_cpu.py", kernel): "tests/kernels/test_conv_plans.py"
        for kernel in ("add_up", "columns_forward", "columns_grad_w", "columns_grad_x", "turn")
    },
    **{
        ("conv", "grouped_cpu.py", kernel): "tests/kernels/test_direct.py"
        for kernel in ("correlate", "slide", "turn_weights")
    },
    **{
        ("linear", "product_cpu.py", kernel): "tests/kernels/test_product.py"
        for kernel in ("product", "product_in_parts", "products", "products_in_parts")
    },
    **{
        ("rows", "rows_cpu.py", kernel): "tests/kernels/test_rows.py"
        for kernel in ("add", "add_into", "copy", "product_sums", "scale")
    },
    ("conv", "tiles_cpu.py", "pack"): "tests/kernels/test_conv_plans.py",
    ("conv", "tiles_cpu.py", "tiles_forward"): "tests/kernels/test_conv_plans.py",
    ("conv", "winograd_cpu.py", "winograd_forward"): "tests/kernels/test_winograd.py",
    ("conv", "winograd_cpu.py", "winograd_grad_w"): "tests/kernels/test_winograd.py",
    ("pool", "windows_cpu.py", "tap_grad_x"): "tests/ops/test_pool.py",
    ("pool", "windows_cpu.py", "window_average_grad_x"): "tests/ops/test_pool.py",
    ("pool", "windows_cpu.py", "window_averages"): "tests/ops/test_pool.py",
    ("pool", "windows_cpu.py", "window_extremes"): "tests/ops/test_pool.py",
}


# Files whose kernels have CUDA twins, as those of cpu.py have.
MORE_TWINS = ("conv/direct_cpu.py",)


def cpu_twins() -> dict[str, list[str]]:
    """family -> the functions a gate can call: all of ``cpu.py``, in its order, but helpers and what is private."""
    twins = {path.parent.name: _kernels_in(path) for path in sorted(KERNELS.glob("*/cpu.py"))}
    for name in MORE_TWINS:
        twins[Path(name).parent.name] += _kernels_in(KERNELS / name)
    return twins


def cpu_only() -> set[tuple[str, str, str]]:
    """(family, file, kernel) of everything in a ``*_cpu.py`` but ``MORE_TWINS``."""
    files = set(KERNELS.glob("*/*_cpu.py")) - {KERNELS / name for name in MORE_TWINS}
    return {(p.parent.name, p.name, kernel) for p in files for kernel in _kernels_in(p)}


def _kernels_in(path: Path) -> list[str]:
    functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
    return [f.name for f in functions if not f.name.startswith("_") and not _is_helper(f)]


def _is_helper(function: ast.FunctionDef) -> bool:
    return any(getattr(decorator, "id", "").endswith("helper") for decorator in function.decorator_list)


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
    """(family, twin) -> kernels it launched, and cases that called it; every kernel launched, by source file; cases
    that cannot run on a GPU -> why."""

    kernels: dict[tuple[str, str], dict[str, None]]
    cases: dict[tuple[str, str], dict[str, None]]
    blocks: dict[tuple[Path, str], int]
    refused: dict[str, str]


class _Recorder:
    """Wraps the twins and the launcher for as long as the cases run."""

    def __init__(self) -> None:
        self.case = ""
        self.running: list[tuple[str, str]] = []
        self.of_case: dict[str, set[tuple[Path, str]]] = defaultdict(set)  # the kernels it launched
        self.seen = Seen(defaultdict(dict), defaultdict(dict), defaultdict(int), {})

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for family, modules in cuda_modules().items():
            for module in modules:
                for name, function in cuda_twins(module).items():
                    patch.setattr(module, name, self.watched((family, name), function))
        tensor_cores = PLANS["implicit_gemm"]  # holds the functions themselves
        watched = [self.watched(("conv", name), getattr(tensor_cores, name)) for name in tensor_cores._fields]
        patch.setitem(PLANS, "implicit_gemm", type(tensor_cores)(*watched))
        launch_blocks = CudaSource.launch_blocks

        def recorded(source: CudaSource, kernel: str, dtype: Any, blocks: int, *args: Any, **options: Any) -> None:
            launch_blocks(source, kernel, dtype, blocks, *args, **options)
            if blocks:
                key = (source.path, kernel)
                self.of_case[self.case].add(key)
                self.seen.blocks[key] = max(self.seen.blocks[key], blocks)
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


# Geometries for kernels that the cases' own are too small for: several blocks, several parts.
LARGER: dict[str, Geometry] = {
    "adaptive_max_pool2d": {"x": A((5, 13, 6, 6), "distinct"), "output_size": 1, "return_indices": True},
    "cross_entropy": {
        "x": A((1100, 2)),
        "target": A((1100,), "integers", 0, 2),
        "weight": A((2,), "positive", grad=False),
        "reduction": "mean",
    },
    "dropout2d": {"x": A((3, 4, 5, 6)), "p": 0.4, "training": True, "seed": 2},
    "global_avg_pool2d": {"x": A((5, 13, 6, 6))},
    "nll_loss": {"x": A((40, 5)), "target": A((40,), "integers", 0, 5)},
}
ONE_BLOCK = {("optim", "joint_norm")}  # one sum, by one block


def programs() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is run: a name for the table and a function."""
    for case in CASES:
        larger = [LARGER[case.id]] if case.id in LARGER else []
        for geometry in (*case.edges.values(), *larger):
            yield case.id, partial(_run_case, case, geometry)
    for make, _, options in OPTIMIZERS:
        yield f"optim.{make.__name__}", lambda make=make, options=options: make([_weight()], **options).step()  # type: ignore[misc]
    yield "optim.WeightAverage", lambda: optim.WeightAverage([_weight()]).update()
    yield "optim.clip_grad_norm_", lambda: optim.clip_grad_norm_([_weight()], 1.0)
    yield "optim.clip_grad_value_", lambda: optim.clip_grad_value_([_weight()], 0.5)
    yield "conv_plan('implicit_gemm')", _run_tensor_cores


def _weight() -> Tensor:
    weight = Tensor(np.ones(5000), requires_grad=True, device="gpu")
    weight.grad = Tensor(np.ones(5000), device="gpu")
    return weight


def _run_tensor_cores() -> None:
    geometry = {"x": A((2, 5, 24, 24)), "weight": A((8, 5, 3, 3)), "bias": A((8,))}
    (case,) = (case for case in CASES if case.id == "conv2d")
    with minicnn.conv_plan("implicit_gemm"):
        _run_case(case, geometry, np.float16)


def draw_more(recorder: "_Recorder", case: Any) -> None:
    """Run drawn geometries of a case until each kernel that it launches has had several blocks."""
    recorder.case = case.id

    @settings(max_examples=4, phases=[Phase.generate], database=None, deadline=None)
    @given(data=st.data())
    def draw(data: Any) -> None:
        _run_case(case, case.geometry(data.draw))

    for number in range(20):
        launches = recorder.of_case[case.id]
        if (case.edges or number) and all(recorder.seen.blocks[kernel] > 1 for kernel in launches):
            return
        seed(number)(draw)()


def _run_case(case: Case, geometry: Geometry, dtype: Any = np.float64) -> None:
    arrays = arrays_of(geometry, 1, dtype)
    for y in case.run(**tensors_of(geometry, arrays, requires_grad=case.gradient, device="gpu")):
        if y.node is not None:
            y.backward(Tensor(np.ones(y.shape, y.dtype), device=y.device).data, retain_graph=True)


def record() -> Seen:
    """Run everything once on the emulator, in small blocks, and prove that no two blocks write one address."""
    recorder = _Recorder()
    with pytest.MonkeyPatch.context() as patch, emulated_gpu(), emulator_options(write_sets=True):
        patch.setattr(launch, "THREADS", 32)
        recorder.install(patch)
        for name, program in programs():
            recorder.case = name
            try:
                program()
            except DeviceError as error:
                recorder.seen.refused[name] = str(error)
        kernels, cases = copy.deepcopy(recorder.seen.kernels), copy.deepcopy(recorder.seen.cases)  # the edges': no luck
        for case in {case.id: case for case in CASES}.values():
            draw_more(recorder, case)
    return recorder.seen._replace(kernels=kernels, cases=cases)


def gaps(seen: Seen) -> list[str]:
    """What has no twin, is called by no case, or is launched by none."""
    complaints = [f"{case} does not run on a GPU: {why}" for case, why in seen.refused.items()]
    modules = cuda_modules()
    for family, names in cpu_twins().items():
        there = {name for module in modules.get(family, ()) for name in cuda_twins(module)}
        complaints += [f"{family}.{name} has no CUDA twin" for name in names if name not in there]
        complaints += [f"{family}.{n} is called by no case" for n in sorted(there) if (family, n) not in seen.cases]
    wrong = cpu_only() ^ CPU_ONLY.keys()
    wrong |= {key for key, tests in CPU_ONLY.items() if not (ROOT / tests).is_file()}
    complaints += [f"{'/'.join(key)} and CPU_ONLY, which names its tests, do not agree" for key in sorted(wrong)]
    kernels = {(source.path, kernel) for source in sources() for kernel in source.kernels}
    for path, kernel in sorted(kernels):
        blocks, where = seen.blocks.get((path, kernel), 0), f"{path.parent.name}/{path.name}: {kernel}"
        if not blocks:
            complaints.append(f"{where} is launched by no case")
        elif blocks < 2 and (path.parent.name, kernel) not in ONE_BLOCK:
            complaints.append(f"{where} has one block in every case, which proves nothing of the others")
    return complaints


HEAD = """# Kernels: every one twice

Written by `python -m tests.kernel_table --write docs/kernels.md` from what runs; a test fails when it is out of date.

The CPU twin is in `kernels/<family>/cpu.py` (Numba), the CUDA twin of the same name in `kernels/<family>/cuda.py`, and
the `__global__` kernels it launches in the `.cu` file beside it. Each case named is compared with its oracle and its
numerical derivative on both: on the CPU by `tests/ops/test_ops.py`, on the emulated GPU by `tests/ops/test_emulated.py`
(optimisers: `tests/optim`), on a real one by `tests/gpu`. Only the CPU has what a `*_cpu.py` holds, the plan
`winograd` of the convolution; it has tests of its own.

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
