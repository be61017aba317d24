"""Stochastic depth: ResNets that train short and test deep.

A training step leaves out each residual branch, for its whole mini-batch, with probability ``1 - p_l``. A branch left
out is not computed and its parameters get no gradient; Eval mode
has every branch, times ``p_l``: the expectation. ``p_l`` falls linearly with depth to ``last_survival`` in the last of
the L blocks. ``linear_decay`` does the same to any network of residual blocks.

**Math** ``p_l = 1 - l/L (1 - p_L)``; the expected number of blocks is ``L - (L + 1)(1 - p_L)/2``, for ``p_L = 0.5``
thus ``(3L - 1)/4``. **See** Huang et al., "Deep Networks with Stochastic Depth", 2016.
"""

from functools import partial
from typing import TypeVar

from minicnn import nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import Block, Residual, ResNet
from minicnn.models.resnet_cifar import ResNetCifar
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.arguments import number
from minicnn.random import Generator

M = TypeVar("M", bound=nn.Module)


def linear_decay(model: M, last_survival: float = 0.5, generator: Generator | None = None) -> M:
    """Set the survival probabilities of the residual blocks of ``model``, in their order; returns the model.

    Training draws from ``generator``, one seed a block. **Raises** ArgumentError where there is no residual block.
    """
    last = number("linear_decay", "last_survival", last_survival, 0, 1, "a probability from 0 to 1 (of keeping)")
    blocks = [block for block in model.modules() if isinstance(block, Residual)]
    if not blocks or any(isinstance(block, Block) and not block.residual for block in blocks):
        raise ArgumentError(
            f"linear_decay: {type(model).__name__} is no residual network, expected blocks with shortcuts"
        )
    for index, block in enumerate(blocks, 1):
        block.survival, block.generator = 1 - index / len(blocks) * (1 - last), generator
    return model


class StochasticDepthResNet(ResNet):
    """``ResNet`` whose branches survive with probabilities that fall to ``last_survival``."""

    def __init__(
        self,
        *,
        last_survival: float = 0.5,
        block: str = "bottleneck",
        depths: tuple[int, int, int, int] = (3, 8, 36, 3),
        shortcut: str = "B",
        stride_in_1x1: bool = False,
        groups: int = 1,
        base_width: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            block=block,
            depths=depths,
            shortcut=shortcut,
            stride_in_1x1=stride_in_1x1,
            groups=groups,
            base_width=base_width,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        linear_decay(self, last_survival, generator)


class StochasticDepthCifar(ResNetCifar):
    """``ResNetCifar`` whose branches survive with probabilities that fall to ``last_survival``."""

    def __init__(
        self,
        *,
        last_survival: float = 0.5,
        depth: int = 110,
        block: str = "basic",
        shortcut: str = "A",
        stride_in_1x1: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            depth=depth,
            block=block,
            shortcut=shortcut,
            stride_in_1x1=stride_in_1x1,
            num_classes=num_classes,
            in_channels=in_channels,
            generator=generator,
        )
        linear_decay(self, last_survival, generator)


_CODE = "yueatsprograms/Stochastic_Depth"
RECIPE = Recipe(
    optimizer="sgd",
    lr=0.1,
    batch=128,
    epochs=500,
    momentum=0.9,
    weight_decay=1e-4,
    milestones=(250, 375),
    augmentation=("random crop 32, pad 4", "flip", "mean and deviation"),
    options=(("nesterov", True),),
    source=f"{_CODE}, main.lua",
    notes="45,000 images to train, 5,000 to choose the epoch; weights of a branch left out decay there, here not",
)

_sd = partial(spec, family="StochasticDepth", year=2016, paper="arXiv:1603.09382", last_survival=0.5)
_cifar = partial(_sd, StochasticDepthCifar, input_shape=(3, 32, 32), num_classes=10)
_DEVIATIONS = "option A subsamples as in the ResNet paper; the authors' code averages, and has biases (1,732,010)"

TABLE = (
    _cifar(
        "resnet110_sd_cifar10",
        depth=110,
        published=Published(top1_error=5.25, source=f"{_CODE}, README"),
        recipe=RECIPE,
        deviations=_DEVIATIONS,
    ),
    _cifar(
        "resnet1202_sd_cifar10",
        depth=1202,
        published=Published(top1_error=4.91, source="abstract"),
        deviations=_DEVIATIONS,
    ),
    _sd(
        StochasticDepthResNet,
        "resnet152_sd",
        block="bottleneck",
        depths=(3, 8, 36, 3),
        input_shape=(3, 224, 224),
        num_classes=1000,
        form="torchvision",
        deviations="stride in the 3x3; torchvision's weights for resnet152 fit, trained without stochastic depth",
    ),
)
