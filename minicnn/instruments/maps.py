"""Where a network looks: class activation maps, and pictures of the gradient.

**See** Zhou et al., "Learning Deep Features for Discriminative Localization", 2016 (CAM); Selvaraju et al.,
"Grad-CAM", 2017; Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2014 (saliency);
Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014 (deconvnet); Springenberg et al.,
"Striving for Simplicity", 2015 (guided backpropagation).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.context import no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.instruments.looking import looking, outputs_at
from minicnn.record import record
from minicnn.tensor import Tensor

RULES = ("gradient", "guided", "deconvnet")


def cam_path(model: Any) -> str:
    """The path of the layer that Grad-CAM weighs: the last that still has places."""
    if not getattr(model, "stage_paths", None):
        raise ArgumentError(f"grad_cam: {type(model).__name__} names no stages; fix: layer='path of a convolution'")
    return str(model.cam_path or list(model.stage_paths.values())[-1])


def answer(model: Any, images: Any) -> np.ndarray:
    """The class that the model takes each image (N, C, H, W) for: (N,)."""
    with looking(model), no_grad():
        return np.asarray(model(Tensor(np.asarray(images))).numpy().argmax(1))


def grad_cam(model: Any, images: Any, classes: Any, layer: str = "") -> np.ndarray:
    """How much each place of ``layer`` (default: the model's own choice) speaks for ``classes`` (N,): (N, H, W).

    **Math** ``relu(sum_c a[c] A[c])``: A is what the layer puts out, ``a[c]`` the mean over all places of
    ``d logit / d A[c]``.
    """
    layer = layer or cam_path(model)
    found: list[Tensor] = []

    def cut(module: Any, args: Any, output: Any) -> Tensor:
        """What follows the layer is all that needs a tape."""
        found.append(output.detach().requires_grad_())
        return found[-1]

    with looking(model), model.get_submodule(layer).register_forward_hook(cut):
        _pull(model(Tensor(np.asarray(images))), classes)
    seen = found[-1]
    if seen.ndim != 4 or seen.grad is None:
        raise ShapeError(f"grad_cam: {layer} puts out {seen.shape}, expected (N, C, H, W) on the way to the classes")
    weights = seen.grad.numpy().mean((2, 3), keepdims=True)
    return np.asarray(np.maximum((weights * seen.numpy()).sum(1), 0))


def cam(model: Any, images: Any, classes: Any) -> np.ndarray:
    """The class activation map (N, H, W): ``sum_c w[class, c] A[c]``, of networks that end in global mean and linear.

    A is what comes into the global mean. **Raises** ArgumentError for networks that end otherwise.
    """
    means = [(path, module) for path, module in model.named_modules() if isinstance(module, _MEANS)]
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    found: list[Any] = []
    if len(means) == 1 and len(linears) == 1:
        with looking(model), no_grad(), means[0][1].register_forward_pre_hook(lambda m, args: found.append(args[0])):
            model(Tensor(np.asarray(images)))
    if not found or found[0].shape[1] != linears[0].in_features:
        raise ArgumentError(
            f"cam: {type(model).__name__} does not end in a global mean and one linear layer; fix: grad_cam"
        )
    rows = linears[0].weight.numpy()[np.asarray(classes)]  # (N, C)
    return np.asarray((rows[:, :, None, None] * found[0].numpy()).sum(1))


_MEANS = (nn.GlobalAvgPool2d,)


def pixel_gradient(model: Any, images: Any, classes: Any, rule: str = "gradient") -> np.ndarray:
    """``d logit of classes (N,) / d images`` (N, C, H, W), by one of three rules for what a ReLU lets back.

    ``gradient``: where its input was positive. ``deconvnet``: where the gradient is. ``guided``: where both are.
    **Raises** ArgumentError for a model without ``nn.ReLU`` and ``nn.ReLU6``, and a rule that is about them.
    """
    if rule not in RULES:
        raise ArgumentError(f"pixel_gradient: {rule=}, expected one of {', '.join(RULES)}")
    x = Tensor(np.asarray(images), requires_grad=True)
    with looking(model), _rectified(model, rule):
        _pull(model(x), classes)
    assert x.grad is not None
    return np.asarray(x.grad.numpy())


class Unit(NamedTuple):
    """A channel of a layer at the place where it answers most, and what of the image that answer came from."""

    channel: int
    place: tuple[int, int]  # row, column
    value: float
    pixels: np.ndarray  # (C, H, W)


def strongest_units(model: Any, image: Any, path: str, count: int = 6, rule: str = "deconvnet") -> list[Unit]:
    """The ``count`` channels at ``path`` that answer one image (C, H, W) most, each sent back by itself.

    As in Zeiler and Fergus' figures all that the layer puts out is set to 0 but one value of one channel, and that
    goes back to the pixels: max pools to where the maximum was, convolutions transposed, ReLUs by ``rule``.
    **Raises** ShapeError where the layer has no places.
    """
    maps = feature_maps(model, image, [path]).get(path)
    if maps is None:
        raise ShapeError(f"strongest_units: {path} does not put out (N, C, H, W)")
    channels = np.argsort(-maps.max((1, 2)), kind="stable")[:count]
    places = [np.unravel_index(maps[k].argmax(), maps[k].shape) for k in channels]
    x = Tensor(np.repeat(np.asarray(image)[None], len(channels), 0), requires_grad=True)
    with looking(model), _rectified(model, rule):
        y = outputs_at(model, [path], x)[1][path]
        direction = np.zeros(y.shape, y.dtype)
        for n, (k, (row, column)) in enumerate(zip(channels, places, strict=True)):
            direction[n, k, row, column] = maps[k, row, column]
        y.backward(direction)
    assert x.grad is not None
    sent = x.grad.numpy()
    return [
        Unit(int(k), (int(row), int(column)), float(maps[k, row, column]), sent[n])
        for n, (k, (row, column)) in enumerate(zip(channels, places, strict=True))
    ]


def saliency(model: Any, images: Any, classes: Any) -> np.ndarray:
    """How much each pixel matters: the largest absolute gradient over the channels, (N, H, W)."""
    return np.asarray(np.abs(pixel_gradient(model, images, classes)).max(1))


def _pull(logits: Any, classes: Any) -> None:
    if logits.ndim != 2:
        raise ShapeError(f"the model puts out {logits.shape}, expected (N, classes)")
    direction = np.zeros(logits.shape, logits.dtype)
    direction[np.arange(len(direction)), np.asarray(classes)] = 1
    logits.backward(direction)


@contextmanager
def _rectified(model: Any, rule: str) -> Iterator[None]:
    """Inside, the ReLU layers send back what the rule says."""
    kinds = (nn.ReLU, nn.ReLU6)
    layers = [module for module in model.modules() if isinstance(module, kinds)] if rule != "gradient" else []
    if rule != "gradient" and not layers:
        raise ArgumentError(f"pixel_gradient: {type(model).__name__} has no nn.ReLU layers, which {rule!r} is about")

    def replace(module: Any, args: Any, output: Any) -> Tensor:
        y = output.data
        passed = (y > 0) & (y < 6) if isinstance(module, nn.ReLU6) else y > 0

        def vjp(gy: Any, needs: Any) -> Any:
            back = gy * (gy > 0)
            return (back * passed if rule == "guided" else back,)

        return record(f"{rule}_relu", y, (args[0],), vjp)

    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(layer.register_forward_hook(replace))
        yield


def feature_maps(model: Any, image: Any, paths: Any) -> dict[str, np.ndarray]:
    """What the layers at ``paths`` put out for one image (C, H, W): (K, H, W) each; others have no places to show."""
    with looking(model), no_grad():
        _, found = outputs_at(model, list(paths), Tensor(np.asarray(image)[None]))
    return {path: y.numpy()[0] for path, y in found.items() if y.ndim == 4}


def first_filters(model: Any) -> np.ndarray:
    """The weights of the first convolution: (K, C, KH, KW)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return np.asarray(module.weight.numpy())
    raise ArgumentError(f"first_filters: {type(model).__name__} has no convolution")


def quadrilaterals(model: Any, images: Any) -> dict[str, np.ndarray]:
    """Which part of the images each spatial transformer reads: its four corners in pixels, (N, 4, (x, y)), by path.

    In the order top left, top right, bottom right, bottom left of what it puts out.
    """
    found: dict[str, np.ndarray] = {}
    with looking(model), no_grad(), ExitStack() as stack:
        for path, module in model.named_modules():
            if isinstance(module, nn.SpatialTransformer):

                def see(module: Any, args: Any, path: str = path) -> None:
                    found[path] = _corners(module.theta(args[0]).numpy(), args[0].shape[2:], module.align_corners)

                stack.enter_context(module.register_forward_pre_hook(see))
        model(Tensor(np.asarray(images)))
    return found


def transformed(model: Any, images: Any) -> dict[str, np.ndarray]:
    """What each spatial transformer puts out, (N, C, H, W), by path."""
    paths = [path for path, module in model.named_modules() if isinstance(module, nn.SpatialTransformer)]
    with looking(model), no_grad():
        _, found = outputs_at(model, paths, Tensor(np.asarray(images)))
    return {path: y.numpy() for path, y in found.items()}


def _corners(theta: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """(N, 2, 3) to (N, 4, 2): -1 and 1 are the middles of the outer pixels, or (not ``align_corners``) their rims."""
    ends = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)
    places = ends @ theta.transpose(0, 2, 1)  # (N, 4, 2), from -1 to 1
    extent = np.array(size[::-1], float)
    pixels: np.ndarray = (places + 1) / 2 * (extent - 1) if align_corners else ((places + 1) * extent - 1) / 2
    return pixels
