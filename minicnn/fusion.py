"""``fuse``: a copy of a model for inference, whose batch norms are in the weights of the layers before them.

After training, a batch norm multiplies each channel by a constant and adds another. So does the layer before it, which
can do both at once. Which norms directly follow a layer, and are alone in following it, is found by running the model
once on shapes alone, on stand-ins for its tensors that note who reads them: the forward pass may be any Python.
"""

import copy
import weakref
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np

from minicnn import nn
from minicnn.context import abstract, enable_grad, running_layers
from minicnn.errors import ArgumentError
from minicnn.kernels.arrays import array_module, is_float
from minicnn.kernels.shape_array import ShapeArray
from minicnn.ops.geometry import integer
from minicnn.tensor import Tensor

M = TypeVar("M", bound=nn.Module)
Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d


def fuse(model: M, input_shape: Sequence[int] | None = None) -> M:
    """A copy of ``model`` in eval mode with the same answers and fewer layers; ``model`` stays as it is.

    A ``BatchNorm2d`` or ``BatchNorm1d`` with running statistics that is the only reader of what a ``Conv2d``,
    ``ConvTranspose2d`` or ``Linear`` (of (N, C)) puts out becomes an ``nn.Identity``; for each output channel k

    **Math** ``scale = gamma / sqrt(var + eps)``, ``W'[k] = scale[k] W[k]``, ``b'[k] = scale[k] (b[k] - mean[k]) +
    beta[k]``, in float64, rounded once to the dtype of the layer, which gets a bias where it had none.

    What cannot be folded stays: a norm before a convolution (its shift would reach into the padding of zeros), one
    after an addition, a pool or dropout, one whose input is read elsewhere too or returned, layers and norms that run
    in different company each time, weights that others read, and layers with hooks.

    ``input_shape`` is (N, C, H, W), (C, H, W) for one image, or what else the model takes; by default the one of the
    catalog. One forward pass of that shape shows who reads what, so a model that takes other ways for other inputs must
    not be fused. The copy is not for training, and hooks on its layers see what the norm would have put out.

    **Raises** ArgumentError for what is no module, without a shape, and when the model fails on a shape without values.
    **See** Jacob et al., "Quantization and Training of Neural Networks", 2017, section 3.2.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"fuse: model is a {type(model).__name__}, expected a Module")
    pairs = _pairs(model, _shape(model, input_shape))
    fused = copy.deepcopy(model).eval()
    fused.zero_grad()
    modules: dict[str, Any] = dict(fused.named_modules())
    for layer, norm in pairs:
        _fold(modules[layer], modules[norm])
    return fused


def _shape(model: nn.Module, input_shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape to trace with; by default one image as the catalog describes it."""
    if input_shape is None:
        if getattr(model, "info", None) is None:
            raise ArgumentError(
                f"fuse: this {type(model).__name__} is not of the catalog, so its input is not known; "
                "fix: fuse(model, input_shape=(3, 224, 224))"
            )
        network: Any = model  # of minicnn/models/network.py
        input_shape = network.input_shape
    if not isinstance(input_shape, (tuple, list)):
        raise ArgumentError(f"fuse: input_shape={input_shape!r}, expected a shape such as (3, 224, 224)")
    shape = tuple(integer("fuse", "input_shape", size, 1) for size in input_shape)
    return (1, *shape) if len(shape) == 3 else shape


# ---- who reads what


class _Watched(Tensor):
    """Stands in for a tensor and notes which module was running when its array was asked for, its shape included."""

    __slots__ = ("readers",)

    def __init__(self, of: Tensor) -> None:
        super().__init__(of)
        self.readers: list[Any] = []
        self.requires_grad, self.node, self.output = is_float(of.dtype), of.node, of.output

    def __getattribute__(self, name: str) -> Any:
        if name == "_data" and running_layers():
            self.readers.append(running_layers()[-1])
        return super().__getattribute__(name)


class _Trace:
    """What one forward pass shows: how often each module ran, and who read what the layers put out."""

    def __init__(self) -> None:
        self.runs: Counter[nn.Module] = Counter()
        self.outputs: dict[nn.Module, list[tuple[weakref.ref[_Watched], list[Any]]]] = {}

    def on_output(self, part: nn.Module, args: Any, output: Any) -> _Watched | None:
        """The forward hook of every module; watches the output of those that can be folded into."""
        self.runs[part] += 1
        if not isinstance(part, Layer) or not _is_made_by(part, output):
            return None
        watched = _Watched(output)
        self.outputs.setdefault(part, []).append((weakref.ref(watched), watched.readers))
        return watched

    def norm_after(self, layer: nn.Module) -> Norm | None:
        """The norm that alone reads what ``layer`` puts out, and reads nothing else."""
        seen = self.outputs[layer]
        readers = {reader for _, all_readers in seen for reader in (all_readers or (None,))}
        norm = readers.pop()
        if readers or not isinstance(norm, Norm) or norm.training or not _is_plain_norm(norm):
            return None
        if any(output() is not None for output, _ in seen):  # alive after the pass: returned, or kept somewhere
            return None
        # As many inputs of the norm as outputs of the layer, each of which it read: these are its inputs.
        always = self.runs[layer] == self.runs[norm] == len(seen)
        return norm if always and _is_private(layer) and _is_private(norm) else None


def _pairs(model: nn.Module, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """The paths of the layers and norms to fold."""
    trace = _Trace()
    with ExitStack() as stack:
        stack.enter_context(abstract())
        stack.enter_context(enable_grad())
        tensors = [t for part in model.modules() for _, t in (*part.own_parameters(), *part.own_buffers())]
        # A copy of the modules alone: deepcopy takes from its memo what stands for each tensor.
        twin = copy.deepcopy(model, {id(t): _Watched(t) for t in tensors}).eval()
        paths = {part: path for path, part in twin.named_modules()}
        hooked = {part for part in paths if part._forward_hooks or part._forward_pre_hooks}
        for part in paths:
            if isinstance(part, Layer) and part.bias is None:  # shows whether its forward would add one
                object.__setattr__(part, "bias", _Watched(Tensor(ShapeArray((_channels(part),), part.weight.dtype))))
            stack.enter_context(part.register_forward_hook(trace.on_output))
        dtype = next((t.dtype for t in tensors if is_float(t.dtype)), np.dtype(np.float32))
        try:
            result = twin(Tensor(ShapeArray(shape, dtype)))
        except Exception as error:
            raise ArgumentError(
                f"fuse: this {type(model).__name__} fails on an input of shape {shape} without values: {error}; "
                "fix: fuse(model, input_shape=...) with a shape that it takes"
            ) from error
        found = {layer: trace.norm_after(layer) for layer in trace.outputs if layer not in hooked}
        del result  # until here, so that what the model returned was alive
    return [(paths[layer], paths[norm]) for layer, norm in found.items() if norm is not None and norm not in hooked]


def _channels(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _is_made_by(layer: Layer, output: Any) -> bool:
    """Whether ``output`` is the bare result of the layer's operation with its own weights, channels in dimension 1."""
    if not isinstance(output, Tensor) or output.node is None:
        return False
    name, ndim = ("linear", 2) if isinstance(layer, nn.Linear) else ("conv2d", 4)
    name = "conv_transpose2d" if isinstance(layer, nn.ConvTranspose2d) else name
    own, edges = vars(layer), output.node.edges
    named = output.node.name == name and output.ndim == ndim
    return named and edges[1] is own.get("weight") and edges[2] is own.get("bias")


def _is_plain_norm(norm: Norm) -> bool:
    """Whether it is the norm that ``_fold`` knows: no other forward, and statistics that are not the batch's."""
    known = type(norm).forward is nn.BatchNorm2d.forward  # which BatchNorm1d has too
    return known and norm.running_mean is not None and norm.running_var is not None


def _is_private(part: nn.Module) -> bool:
    """Whether nobody else read the tensors of ``part``."""
    return all(set(tensor.readers) <= {part} for tensor in vars(part).values() if isinstance(tensor, _Watched))


# ---- folding


def _fold(layer: Layer, norm: Norm) -> None:
    """Give ``layer`` the weights of both, and make ``norm`` an identity wherever it is referred to."""
    assert norm.running_mean is not None and norm.running_var is not None
    tensors = layer.weight, norm.running_mean, norm.running_var
    weight, mean, var = (tensor.data.astype(np.float64) for tensor in tensors)
    scale = 1 / array_module(var).sqrt(var + norm.eps)  # (K,)
    if norm.weight is not None:
        scale = scale * norm.weight.data.astype(np.float64)
    shift = (-mean if layer.bias is None else layer.bias.data.astype(np.float64) - mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias.data.astype(np.float64)
    if isinstance(layer, nn.ConvTranspose2d):  # (C, K / groups, kh, kw): output channels lie in dimension 1, by groups
        groups, (inputs, outputs, *window) = layer.groups, weight.shape
        grouped = weight.reshape(groups, inputs // groups, outputs, *window)
        weight = (grouped * scale.reshape(groups, 1, outputs, 1, 1)).reshape(weight.shape)
    else:
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    learned, dtype = layer.weight.requires_grad, layer.weight.dtype
    # New parameters: others that hold the old ones keep what they have.
    layer.weight, layer.bias = (nn.Parameter(array.astype(dtype), learned) for array in (weight, shift))
    vars(norm).clear()
    norm.__class__ = nn.Identity  # type: ignore[assignment]  # in place: a list of the model may hold it too
    norm.__init__()  # type: ignore[misc]
    norm.eval()
