"""One network in one library, in a process of its own, that ``train_bench.py`` asks in turns over a pipe.

It answers each line of its input with a line of JSON: ``infer`` and ``train`` with the seconds of a step, ``memory``
with the peak since the last answer of that kind. Before every answer it waits until its idle threads sleep, so that
they take nothing from whoever is asked next.
"""

import argparse
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import set_threads
from timing import settle

SAMPLE_SECONDS = 0.2  # an answer repeats a short step for about this long
WARM_BATCH, WARM_SIDE = 2, 64  # the step after which memory counts
WIDTHS = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)  # MobileNetV1, after its first convolution
STRIDES = (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1)

# Of torchvision's compiled part: it registers more about them while it is imported.
REGIONS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
OPERATORS = ("nms", "qnms", "qroi_align", *REGIONS, *(f"_{name}_backward" for name in REGIONS))


class Steps(NamedTuple):
    """What a network does with a batch; both return what a check can look at."""

    train: Callable[[], float]  # a step of SGD with momentum; the loss before it
    infer: Callable[[], np.ndarray]  # the logits in eval mode
    parameters: int


def minicnn_steps(name: str, x: np.ndarray, labels: np.ndarray) -> Steps:
    import minicnn
    from minicnn import models, ops, optim

    model = models.create(name)
    optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def train() -> float:
        model.train()
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(minicnn.Tensor(x)), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    def infer() -> np.ndarray:
        model.eval()
        with minicnn.no_grad():
            return np.asarray(model(minicnn.Tensor(x)).numpy())

    return Steps(train, infer, sum(parameter.size for parameter in model.parameters()))


def torch_steps(name: str, x: np.ndarray, labels: np.ndarray) -> Steps:
    import torch

    model, images, targets = torch_network(name), torch.from_numpy(x), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def train() -> float:
        model.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.item())

    def infer() -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return np.asarray(model(images).numpy())

    return Steps(train, infer, sum(parameter.numel() for parameter in model.parameters()))


def torch_network(name: str) -> Any:
    """The two that torchvision lacks by hand, the others from torchvision; **raises** ImportError without it."""
    from torch import nn

    if name == "lenet5":
        maps = (nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        head = (nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
        return nn.Sequential(*maps, nn.Flatten(), *head)
    if name == "mobilenet_v1_1.0_224":
        layers: list[Any] = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        for before, width, stride in zip((32, *WIDTHS), WIDTHS, STRIDES, strict=False):
            layers += [nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)]
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers += [nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))
    return getattr(torchvision_models(), name)(weights=None)


def torchvision_models() -> Any:
    """``torchvision.models``, also of a wheel whose compiled part does not load; no classifier uses that."""
    try:
        from torchvision import models  # type: ignore[import-untyped]
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        from torchvision import models

        models.operators = library  # they live as long as it does
    return models


def batch_of(name: str, batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    from minicnn import models

    channels, height, _ = models.info(name).input_shape
    side = min(side, height)
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, channels, side, side), np.float32), rng.integers(0, 10, batch)


# ---- memory


def resident(field: str) -> int | None:
    """Bytes of ``VmRSS`` or ``VmHWM``; None where there is no such file."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), None)


def give_back() -> None:
    """Let the C library return what is freed: kept for later, it would hide in the baseline. Glibc only."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> bool:
    """Let ``VmHWM`` begin again at what is resident now; whether that is possible here."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


# ---- the conversation


def answer(steps: Steps, which: str) -> dict[str, Any]:
    """Seconds of a step, the mean of as many as fill a sample, after one that is not counted where it is short."""
    call = getattr(steps, which)
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    repeats = int(SAMPLE_SECONDS / max(seconds, 1e-9))
    if repeats > 1:
        start = time.perf_counter()
        for _ in range(repeats):
            result = call()
        seconds = (time.perf_counter() - start) / repeats
    return {"seconds": seconds, "finite": bool(np.isfinite(result).all())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=("minicnn", "torch"))
    parser.add_argument("network")
    for argument in ("batch", "side", "threads"):
        parser.add_argument(argument, type=int)
    chosen = parser.parse_args()
    make = minicnn_steps if chosen.library == "minicnn" else torch_steps
    threads = set_threads(chosen.threads or None, chosen.library == "torch")
    with ExitStack() as stack:
        if chosen.library == "minicnn":  # as `minicnn train` does
            from minicnn import models
            from minicnn.train.threads import blas_threads

            stack.enter_context(blas_threads(models.counts(chosen.network).macs))
        try:
            warm = make(chosen.network, *batch_of(chosen.network, WARM_BATCH, min(WARM_SIDE, chosen.side)))
        except ImportError as missing:
            print(json.dumps({"trouble": str(missing)}), flush=True)
            return
        warm.train(), warm.infer()
        del warm
        gc.collect()
        give_back()
        known = forget_peak()
        before = resident("VmRSS")
        steps = make(chosen.network, *batch_of(chosen.network, chosen.batch, chosen.side))
        print(json.dumps({"parameters": steps.parameters, "threads": threads}), flush=True)
        for line in sys.stdin:
            which = line.strip()
            if which == "memory":
                peak = resident("VmHWM")
                said = {"peak": peak - before if known and peak is not None and before is not None else None}
                forget_peak()
            else:
                said = answer(steps, which)
            settle()
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
