"""``identity_insert``: a deeper network that computes the same, the "solution by construction" of the ResNet paper.

A deeper net need not be worse than a shallow one: copy the shallow one's learned layers and let the new ones pass on
what they get. That solvers do not find this solution in plain nets is the degradation problem. Here it is built: new
layers of the kind they stand beside, whose weights make them the identity, free to learn from there.

- a residual block: a copy whose branch ends in zeros, so that only the shortcut is left;
- convolution (or linear), batch norm and an activation that keeps what it has made (ReLU): a kernel with one 1 in its
  middle, a batch norm of mean 0 and variance 1;
- the block of a plain net: both of its convolutions so.

**See** He et al., "Deep Residual Learning for Image Recognition", 2015, section 1; Chen et al., "Net2Net: Accelerating
Learning via Knowledge Transfer", 2015, section 2.3 (Net2DeeperNet).
"""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from minicnn import nn
from minicnn.context import no_grad
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.geometry import integer

if TYPE_CHECKING:
    from minicnn.models.resnet import Residual

M = TypeVar("M", bound=nn.Module)
Weighted = nn.Conv2d | nn.Linear
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SHORTCUTS = ("downsample", "shortcut", "se")  # what a residual block has beside its branch


def identity_insert(net: M, path: str, count: int = 1) -> M:
    """A copy of ``net`` with ``count`` new identity layers after the submodule at ``path``; ``net`` stays as it is.

    ``path`` names a block or an activation in an ``nn.Sequential`` (``"layer2.1"``, ``"features.3"``), or the
    Sequential itself: after its last module. In eval mode the new net computes the same (residual blocks: the same
    bits; others to rounding). In training mode a new batch norm divides by the deviations of the batch, so plain layers
    pass on a scaled map until its statistics are learned.

    **Raises** ArgumentError where no identity exists: a tanh changes what it has made, a block that strides cannot pass
    on its input.
    """
    integer("identity_insert", "count", count, 1)
    device = next((parameter.device for parameter in net.parameters()), "cpu")
    deeper = copy.deepcopy(net).to("cpu")
    place = deeper.get_submodule(path)
    if isinstance(place, nn.Sequential):
        sequence, position = place, len(place) - 1
    else:
        parent, _, name = path.rpartition(".")
        found = deeper.get_submodule(parent)
        if not isinstance(found, nn.Sequential):
            raise ArgumentError(
                f"identity_insert: {path!r} is in a {type(found).__name__}, which runs its layers by its own forward; "
                "fix: name a module of an nn.Sequential"
            )
        sequence, position = found, [name for name, _ in found.named_children()].index(name)
    modules = list(sequence)
    new = [layer for _ in range(count) for layer in _identity(modules[: position + 1], path)]
    names = [name for name, _ in sequence.named_children()]
    for old in names:
        delattr(sequence, old)
    for name, module in zip(_names(names, position, len(new)), _inserted(modules, position, new), strict=True):
        sequence.add_module(name, module.train(deeper.training))
    return deeper.to(device)


def _inserted(modules: list[nn.Module], position: int, new: list[nn.Module]) -> list[nn.Module]:
    return [*modules[: position + 1], *new, *modules[position + 1 :]]


def _names(names: list[str], position: int, count: int) -> list[str]:
    """Numbers stay numbers; layers with names keep theirs, and new ones are called after the one before."""
    if all(name.isdecimal() for name in names):
        return [str(number) for number in range(len(names) + count)]
    fresh = [f"{names[position]}_identity{number}" for number in range(1, count + 1)]
    return [*names[: position + 1], *fresh, *names[position + 1 :]]


def _identity(before: list[nn.Module], path: str) -> list[nn.Module]:
    """New modules that pass on what the last of ``before`` puts out."""
    from minicnn.models.resnet import Residual  # here: the catalog imports no family before one is asked for

    last = before[-1]
    candidates, makes = (_blocks(last), nn.ReLU()) if isinstance(last, Residual) else (_layers(before), last)
    for layers, channels, flat in candidates:
        if _passes_on(layers, makes, channels, flat):
            return layers
    raise ArgumentError(
        f"identity_insert: no layers after {path!r} ({type(last).__name__}) would pass on their input; "
        "fix: name a residual block that does not stride, or a ReLU after a convolution or linear layer"
    )


Candidate = tuple[list[nn.Module], int, bool]  # the layers, the channels they get, whether as (N, C)


def _blocks(block: "Residual") -> Iterable[Candidate]:
    """Copies of a block, each with another part made silent; which of them is the identity is found by trying."""
    branch = [name for name, _ in block.named_modules() if name and name.split(".")[0] not in SHORTCUTS]
    if not getattr(block, "residual", True):  # the block of a plain net
        plain = copy.deepcopy(block)
        for name in branch:
            _pass_on(plain.get_submodule(name))
        yield [plain], _channels(block, branch), False
        return
    for kinds in (NORMS, (nn.Conv2d,)):
        found = [name for name in branch if isinstance(block.get_submodule(name), kinds)]
        for name in reversed(found[-1:]):
            twin = copy.deepcopy(block)
            for parameter in twin.get_submodule(name).parameters():
                parameter.data[...] = 0
            yield [twin], _channels(block, branch), False


def _channels(block: "Residual", branch: list[str]) -> int:
    """Those that come out of the block."""
    return [m for m in map(block.get_submodule, branch) if isinstance(m, nn.Conv2d)][-1].out_channels


def _layers(before: list[nn.Module]) -> Iterable[Candidate]:
    """Convolution or linear layer, norm and activation like those that ``before`` ends with."""
    tail: list[nn.Module] = []
    for module in reversed(before):
        tail.insert(0, module)
        if isinstance(module, Weighted):
            break
    if len(tail) < 2 or not isinstance(tail[0], Weighted):
        return
    first = tail[0]
    has_bias = first.bias is not None
    if isinstance(first, nn.Linear):
        width, flat = first.out_features, True
        new: nn.Module = nn.Linear(width, width, bias=has_bias)
    else:
        width, flat = first.out_channels, False
        odd = [size if size % 2 else size + 1 for size in first.kernel_size]
        new = nn.Conv2d(width, width, (odd[0], odd[1]), padding=(odd[0] // 2, odd[1] // 2), bias=has_bias)
    layers = [new.astype(first.weight.dtype), *map(copy.deepcopy, tail[1:])]
    for layer in layers:
        _pass_on(layer)
    yield layers, width, flat


def _pass_on(layer: nn.Module) -> None:
    """Give a convolution, linear layer or batch norm the weights that pass on its input."""
    if isinstance(layer, NORMS) and layer.running_mean is not None and layer.running_var is not None:
        layer.running_mean.data[...] = 0
        layer.running_var.data[...] = 1
    if isinstance(layer, NORMS) and layer.weight is not None:
        layer.weight.data[...] = np.sqrt(1 + layer.eps)
    elif isinstance(layer, Weighted):
        layer.weight.data[...] = 0
        channels = np.arange(min(layer.weight.shape[:2]))
        middle = tuple(size // 2 for size in layer.weight.shape[2:])
        layer.weight.data[(channels, channels, *middle)] = 1
    if isinstance(layer, (*NORMS, nn.Conv2d, nn.Linear)) and layer.bias is not None:
        layer.bias.data[...] = 0


def _passes_on(layers: list[nn.Module], makes: nn.Module, channels: int, flat: bool) -> bool:
    """Whether ``layers`` are the identity for what ``makes`` can put out."""
    rng = np.random.default_rng(0)
    dtype = next((parameter.dtype for layer in layers for parameter in layer.parameters()), np.float32)
    x = rng.standard_normal((2, channels) if flat else (2, channels, 8, 8)).astype(dtype)
    with no_grad():
        y = expected = makes(x)
        for layer in layers:
            mode = layer.training
            try:
                y = layer.eval()(y)
            except ShapeError:
                return False
            finally:
                layer.train(mode)
    got, want = y.numpy(), expected.numpy()
    return got.shape == want.shape and bool(abs(got - want).max() <= 1e-5 * abs(want).max())
