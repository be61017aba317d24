"""``minicnn env``: what works here, what is missing, and the line that installs it."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import click

from minicnn.cli.output import json_option, print_json

# extra of the package -> (distribution, what it is for)
OPTIONAL = {
    "cuda13": ("cupy-cuda13x", "GPU kernels, CUDA 13"),
    "cuda12": ("cupy-cuda12x", "GPU kernels, CUDA 12"),
    "bench": ("torch", "the peer in benchmarks"),
    "mpi": ("mpi4py", "training on several processes"),
    "onnx": ("onnx", "ONNX export"),
    "tensorboard": ("tensorboardX", "event files for TensorBoard"),
}
REQUIRED = (
    "numpy",
    "numba",
    "scipy",
    "click",
    "rich",
    "matplotlib",
    "pillow",
    "pooch",
    "safetensors",
    "tomli-w",
    "platformdirs",
    "threadpoolctl",
)


def version(distribution: str) -> str | None:
    """Installed version, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def facts() -> dict[str, Any]:
    """Everything the command shows."""
    import numba

    import minicnn
    from minicnn.devices import choose_device, gpu_facts, gpu_trouble
    from minicnn.kernels import jit

    folder = jit.cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    device, reason = choose_device("auto")
    gpu = gpu_facts()
    return {
        "minicnn": minicnn.__version__,
        "package": str(Path(minicnn.__file__).parent),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": numba.get_num_threads(),
        "threading_layer": str(numba.config.THREADING_LAYER),  # type: ignore[attr-defined]
        "libraries": {name: version(name) for name in REQUIRED},
        "device": device,
        "device_reason": reason,
        "gpu": gpu_trouble() or "ready",
        "gpu_facts": None if gpu is None else {**gpu._asdict(), "memory": gpu.memory._asdict()},
        "kernel_cache": {"folder": str(folder), "files": len(files), "bytes": sum(p.stat().st_size for p in files)},
        "optional": {
            extra: {
                "package": package,
                "version": version(package),
                "for": purpose,
                "install": f"pip install 'minicnn[{extra}]'",
            }
            for extra, (package, purpose) in OPTIONAL.items()
        },
    }


def _echo_gpu(gpu: dict[str, Any] | None) -> None:
    if gpu is None:
        return
    from minicnn.kernels.memory import readable

    memory = {name: readable(count) for name, count in gpu["memory"].items()}
    click.echo(
        f"GPU {gpu['name']}, compute capability {gpu['capability']}, {gpu['multiprocessors']} multiprocessors; "
        f"driver for CUDA {gpu['driver']}, CUDA {gpu['runtime']}, NVRTC {gpu['nvrtc']}, CuPy {gpu['cupy']}"
    )
    click.echo(
        f"GPU memory: {memory['total']}, of which {memory['free']} free; "
        f"this process uses {memory['used']} and holds {memory['held']}"
    )


@click.command("env")
@json_option
def command(as_json: bool) -> None:
    """Show versions, threads, GPU, caches, and how to get what is missing."""
    known = facts()
    if as_json:
        print_json(known)
        return
    click.echo(f"minicnn {known['minicnn']} in {known['package']}")
    click.echo(f"Python {known['python']} on {known['system']}")
    click.echo(f"{known['cores']} cores, kernels use {known['threads']} threads ({known['threading_layer']})")
    click.echo(f"device {known['device']}: {known['device_reason']}")
    _echo_gpu(known["gpu_facts"])
    cache = known["kernel_cache"]
    click.echo(f"kernel cache {cache['folder']}: {cache['files']} files, {cache['bytes'] / 2**20:.1f} MiB")
    click.echo("\nlibraries")
    for name, found in known["libraries"].items():
        click.echo(f"  {name:<14}{found or 'MISSING'}")
    click.echo("\noptional")
    for extra in known["optional"].values():
        state = extra["version"] or f"not installed; {extra['install']}"
        click.echo(f"  {extra['package']:<14}{extra['for']}: {state}")
