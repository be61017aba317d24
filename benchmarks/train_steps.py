"""What ``train_worker.py`` times: a training step or an inference of one network, in each of the libraries.

A training step is forward, loss, backward and a step of SGD with momentum. Inference is what one would do to answer
many images: ours after ``minicnn.fuse``, PyTorch's in eval mode without gradients, and ONNX Runtime's session, whose
optimiser fuses too, on the network that PyTorch exports.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SGD: dict[str, Any] = {"lr": 0.001, "momentum": 0.9}
WIDTHS = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)  # MobileNetV1, after its first convolution
STRIDES = (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1)

# Of torchvision's compiled part: it registers more about them while it is imported.
REGIONS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
OPERATORS = ("nms", "qnms", "qroi_align", *REGIONS, *(f"_{name}_backward" for name in REGIONS))


class Step(NamedTuple):
    """A call that gives what a check can look at, the loss before the step or the logits, and the network's size."""

    call: Callable[[], Any]
    parameters: int


def minicnn_step(name: str, which: str, x: np.ndarray, labels: np.ndarray, threads: int) -> Step:
    import minicnn
    from minicnn import models, ops, optim

    model = models.create(name)
    parameters = sum(parameter.size for parameter in model.parameters())
    if which == "infer":
        model = minicnn.fuse(model)  # the unfused weights go

        def infer() -> np.ndarray:
            with minicnn.no_grad():
                return np.asarray(model(minicnn.Tensor(x)).numpy())

        return Step(infer, parameters)
    optimizer = optim.SGD(model.parameters(), **SGD)

    def train() -> float:
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(minicnn.Tensor(x)), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return Step(train, parameters)


def torch_step(name: str, which: str, x: np.ndarray, labels: np.ndarray, threads: int) -> Step:
    import torch

    torch.set_num_threads(threads)
    model, images, targets = torch_network(name), torch.from_numpy(x), torch.from_numpy(labels)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if which == "infer":
        model.eval()

        def infer() -> np.ndarray:
            with torch.no_grad():
                return np.asarray(model(images).numpy())

        return Step(infer, parameters)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)

    def train() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.item())

    return Step(train, parameters)


def onnxruntime_step(name: str, which: str, x: np.ndarray, labels: np.ndarray, threads: int) -> Step:
    """Inference only. PyTorch exports in a process of its own, so that this one never holds it."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            parameters = pool.submit(export, name, x.shape, path).result()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Step(lambda: session.run(None, {"x": x})[0], parameters)


STEPS = {"minicnn": minicnn_step, "torch": torch_step, "onnxruntime": onnxruntime_step}


def export(name: str, shape: tuple[int, ...], path: Path) -> int:
    """Write PyTorch's network, for inputs of this shape, as an ONNX file; how many parameters it has."""
    import torch

    model = torch_network(name).eval()
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):  # the worker's output is a conversation
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(shape),), path, input_names=["x"], verbose=False)
    return sum(parameter.numel() for parameter in model.parameters())


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
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        from torchvision import models

        models.operators = library  # they live as long as it does
    return models


def batch_of(name: str, batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (batch, channels, side, side), no larger than the network's own, and labels (batch,)."""
    from minicnn import models

    channels, height, _ = models.info(name).input_shape
    side = min(side, height)
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, channels, side, side), np.float32), rng.integers(0, 10, batch)
