"""Fractal of FractalNets: the rule that makes a fractal of convolutions makes a fractal of FractalNets.

Seven FractalNet blocks M of three columns stand where a fractal of three columns has its convolutions. The four of the
deepest column have 64, 128, 256 and 512 channels and halve the image each; a block beside two or four of them has the
channels of the last and pools as much as they do together, so the shallowest leads from the image to 2x2 in one block.

Two ideas change the last join. A Taylor series net (``taylor``) raises the branches to powers, the shallowest to the
first, the next to the second and so on. A stagewise boosting net (``boosting``) adds up instead: what a branch puts out
is the correction of those before it. Its ``FreezeDropPath`` trains one branch at a time; those before it are frozen,
those after it dropped. There the two deeper branches are one, their mean.

**Math** ``y = join(g(x), f(h(x)), e(d(h(x))))`` with ``h(x) = join(c(x), b(a(x)))``, a ... g blocks M; Taylor:
``join(g, f^2, e^3)``; boosting: ``g + (f + e) / 2``; both: ``g + ((f + e) / 2)^2``.
**See** Smith and Topin, "Deep Convolutional Neural Network Design Patterns", 2016.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar

from minicnn import nn
from minicnn.context import is_abstract_mode
from minicnn.errors import ArgumentError
from minicnn.models.fractalnet import CAFFE_RECIPE, Fractal, FractalBlock, Join, caffe_xavier
from minicnn.models.network import Network
from minicnn.models.spec import spec
from minicnn.ops.arguments import number
from minicnn.random import Generator, generator_or_default


class FreezeDropPath(nn.Module):
    """The sum of branches that learn in turn: branch k of K in ``(k + 1)^2`` of every ``1 + 4 + ... + K^2`` steps.

    The step of a branch has it and those before it, and these get no gradient. Eval mode has them all. Branches are
    drawn, or follow ``position``: set it to ``(step % cycle) / cycle`` to train one after the other.

    **Shapes** a list of tensors of one shape -> that shape.
    """

    def __init__(self, generator: Generator | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.position: float | None = None  # from 0 to 1, None to draw

    def branch(self, count: int) -> int:
        """Which of ``count`` branches this step trains."""
        position = self.position
        if position is None:
            position = float(generator_or_default(self.generator).uniform())
        *turns, cycle = accumulate(k * k for k in range(1, count + 1))
        place = number("FreezeDropPath", "position", position, 0, 1) * cycle
        return sum(place >= turn for turn in turns)

    def forward(self, branches: Sequence[Any]) -> Any:
        if not self.training or is_abstract_mode():
            return sum(branches[1:], start=branches[0])
        trained = self.branch(len(branches))
        return sum((frozen.detach() for frozen in branches[:trained]), start=branches[trained])


class FractalOfFractalNet(Network):
    """Seven blocks in a fractal, the last join, linear; ``dropout`` is that of a block by the row where it starts.

    Images are 32x32: the linear layer sees the 2x2 places of the last map.
    """

    stage_paths: ClassVar = {
        "stage1": "fractal.first.first.unit",
        "stage2": "fractal.join",
        "stage3": "fractal.second.first.unit",
        "stage4": "join",
    }

    def __init__(
        self,
        *,
        filters: tuple[int, ...] = (64, 128, 256, 512),
        dropout: tuple[float, ...] = (0.1, 0.2, 0.3, 0.3),
        drop_path: float = 0.15,
        taylor: bool = False,
        boosting: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("filters", filters), ("dropout", dropout)):
            if len(value) != 4:
                raise ArgumentError(f"FractalOfFractalNet: {name}={value!r}, expected four numbers, one a row")
        self.taylor, self.boosting = taylor, boosting

        def block(start: int, end: int) -> nn.Module:
            return FractalBlock(
                (in_channels, *filters)[start],
                filters[end - 1],
                dropout=0.0 if end - start == 4 else dropout[start],
                drop_path=drop_path,
                affine=False,
                pool=2 ** (end - start),
                generator=generator,
            )

        self.fractal = Fractal(block, 3, partial(Join, drop_path, generator))
        if boosting:
            self.mean = Join(0.0)
            freeze, bn = FreezeDropPath(generator), nn.BatchNorm2d(filters[-1], affine=False)
            self.join: nn.Module = nn.Sequential(freeze=freeze, bn=bn)
        else:
            self.join = Join(drop_path, generator)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * filters[-1], num_classes, generator=generator)
        caffe_xavier(self, generator)

    def forward(self, x: Any) -> Any:
        shallow, *deep = self.fractal.branches(x)
        terms = [shallow, self.mean(deep)] if self.boosting else [shallow, *deep]
        if self.taylor:
            terms = [term**power for power, term in enumerate(terms, 1)]
        return self.fc(self.flatten(self.join(terms)))


RECIPE = CAFFE_RECIPE._replace(
    source="iPhysicist/CNNDesignPatterns: solver.prototxt, FoF.prototxt, FoF-TSN.prototxt, SBN-FDP.prototxt, "
    "TSN-FDP.prototxt",
)
_fof = partial(
    spec,
    FractalOfFractalNet,
    family="FractalNet",
    year=2016,
    paper="arXiv:1611.00847",
    input_shape=(3, 32, 32),
    num_classes=10,
    form="authors' code",
    recipe=RECIPE,
)
_join = partial(
    _fof,
    dropout=(0.1, 0.2, 0.3, 0.3),
    deviations="the file has no dropout in the first two convolutions of the block of 256 channels",
)
_boosting = partial(_fof, boosting=True, dropout=(0.0, 0.1, 0.2, 0.3))

TABLE = (
    _join("fractal_of_fractalnet"),
    _join("fof_tsn", taylor=True),
    _boosting("sbn_fdp"),
    _boosting("tsn_fdp", taylor=True),
)
