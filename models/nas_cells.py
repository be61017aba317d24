"""What networks of searched cells share. A cell is data: a graph whose edges are named operations.

A cell reads the outputs of the two cells before it, brought to one size and width: state 0, the older, and state 1.
Every pair of its ``Genotype`` makes one more state, the sum of two operations on earlier states; the states that no
operation reads, and at times others, are its output, side by side. A reduction cell is the same graph with stride 2
wherever an operation reads state 0 or 1. Searching is cheap because the graph is small: it is stacked many times.

**Math** ``s_k = f(s_i) + g(s_j)`` with i, j < k; ``y = [s_k for k in concat]``.
**See** Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.nas_operations import OPERATIONS, Operations
from minicnn.models.network import Network
from minicnn.nn import init
from minicnn.ops.arguments import number
from minicnn.random import Generator

CALIBRATIONS = ("conv", "reduce", "as_is")

Edge = tuple[str, int]  # an operation, and the state it reads


class Genotype(NamedTuple):
    """``pairs[k]`` makes state ``k + 2``; the states in ``concat`` are the output."""

    pairs: tuple[tuple[Edge, Edge], ...]
    concat: tuple[int, ...]

    @property
    def unused(self) -> tuple[int, ...]:
        """The states that no operation reads."""
        read = {state for pair in self.pairs for _, state in pair}
        return tuple(state for state in range(len(self.pairs) + 2) if state not in read)

    def check(self, stride: int) -> None:
        """**Raises** ArgumentError unless this is a graph that runs from the inputs to the output and loses nothing."""
        for made, pair in enumerate(self.pairs, 2):
            for operation, state in pair:
                if operation not in OPERATIONS:
                    raise ArgumentError(f"Genotype: operation {operation!r} is unknown, expected one of {OPERATIONS}")
                if not 0 <= state < made:
                    raise ArgumentError(
                        f"Genotype: state {made} reads state {state}, expected one from 0 to {made - 1}"
                    )
        first = 2 if stride > 1 else 0  # a reduction cell's inputs are too large to stand beside its states
        known, lost = range(first, len(self.pairs) + 2), set(self.unused) - {0, 1} - set(self.concat)
        if not self.concat or not set(self.concat) <= set(known) or lost:
            raise ArgumentError(
                f"Genotype: concat={self.concat}, expected states from {first} to {known[-1]}, "
                f"among them those that nothing reads: {tuple(state for state in self.unused if state > 1)}"
            )


class Cell(nn.Module):
    """The graph of ``genotype`` with weights.

    **Shapes** an older map of ``in_channels[0]`` and a newer one (N, ``in_channels[1]``, H, W) ->
    (N, len(concat) * channels, H / stride, W / stride). ``older`` says how the older one is calibrated: "conv",
    "reduce" (it is twice as large) or "as_is" (then only operations that can change channels may read it).

    While training each operation but a skip is left out with the probability ``drop_path.p``, for each image.
    """

    def __init__(
        self,
        genotype: Genotype,
        in_channels: tuple[int, int],
        channels: int,
        *,
        operations: Operations,
        stride: int = 1,
        older: str = "conv",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        genotype.check(stride)
        if older not in CALIBRATIONS:
            raise ArgumentError(f"Cell: older={older!r} is unknown, expected one of {CALIBRATIONS}")
        self.genotype, self.stride = genotype, stride
        calibrate = operations.reduce if older == "reduce" else operations.unit
        self.conv_prev_1x1 = nn.Identity() if older == "as_is" else calibrate(in_channels[0], channels)
        self.conv_1x1 = operations.unit(in_channels[1], channels)
        widths = [in_channels[0] if older == "as_is" else channels, *[channels] * (len(genotype.pairs) + 1)]
        for i, pair in enumerate(genotype.pairs):
            for side, (name, state) in zip(("left", "right"), pair, strict=True):
                module = operations(name, widths[state], channels, stride if state < 2 else 1)
                self.add_module(f"comb_iter_{i}_{side}", module)
        self.out_channels = sum(widths[state] for state in genotype.concat)
        self.drop_path = nn.StochasticDepth(0.0, "row", generator=generator)

    def forward(self, older: Any, newer: Any) -> Any:
        states = [self.conv_prev_1x1(older), self.conv_1x1(newer)]
        for i, (left, right) in enumerate(self.genotype.pairs):
            y = self._edge(f"comb_iter_{i}_left", *left, states)
            states.append(y + self._edge(f"comb_iter_{i}_right", *right, states))
        return ops.concatenate([states[state] for state in self.genotype.concat], 1)

    def _edge(self, path: str, name: str, state: int, states: Sequence[Any]) -> Any:
        y = getattr(self, path)(states[state])
        return y if name == "skip" else self.drop_path(y)


class AuxiliaryHead(nn.Module):
    """Classifies a map half way, while training: ReLU, mean pool, 1x1 to 128, a ``size`` x ``size`` filter bank to 768.

    ``size`` is the side of the pooled map, all of which the 768 filters see. ``last_norm``: batch norm after them too.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        size: int,
        stride: int = 3,
        last_norm: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.ReLU(), nn.AvgPool2d(5, stride)),
            *(nn.Conv2d(in_channels, 128, 1, bias=False, generator=generator), nn.BatchNorm2d(128), nn.ReLU()),
            nn.Conv2d(128, 768, size, bias=False, generator=generator),
            *((nn.BatchNorm2d(768),) if last_norm else ()),
            nn.ReLU(),
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(768, num_classes, generator=generator)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.features(x)))


class CellOutputs(NamedTuple):
    """What a net with an auxiliary head returns while training."""

    logits: Any
    aux_logits: Any


class Step(NamedTuple):
    """One cell of a network."""

    name: str
    genotype: Genotype
    channels: int
    stride: int = 1


class CellNetwork(Network):
    """A chain of cells, each of which reads the two outputs before it.

    ``drop_path`` is the probability of the last cell at the end of training. With ``skip_reduction_input`` the cell
    after a reduction reads as its older input what that read as its older one, not the newer.

    **Math** (ScheduledDropPath) the k-th of K cells leaves out an operation with ``drop_path * k/K * progress``, or all
    alike with ``drop_path * progress``.
    """

    drop_path: float = 0.0
    deeper_drops_more: bool = True
    skip_reduction_input: bool = False
    cell_names: tuple[str, ...] = ()

    def add_cells(
        self,
        steps: Sequence[Step],
        older: tuple[int, int],
        newer: tuple[int, int],
        operations: Operations,
        generator: Generator | None,
    ) -> int:
        """Add the cells of ``steps``; ``older`` and ``newer``: channels and stride of what the first reads.

        Returns the channels of the last.
        """
        for step in steps:
            cell = Cell(
                step.genotype,
                (older[0], newer[0]),
                step.channels,
                operations=operations,
                stride=step.stride,
                older="conv" if older[1] == newer[1] else "reduce",
                generator=generator,
            )
            self.add_module(step.name, cell)
            older = older if self._skips(cell) else newer
            newer = cell.out_channels, newer[1] * step.stride
        self.cell_names = tuple(step.name for step in steps)
        return newer[0]

    def run_cells(self, older: Any, newer: Any, watched: str = "") -> tuple[Any, Any]:
        """The output of the last cell, and that of the cell called ``watched``."""
        seen = None
        for name in self.cell_names:
            cell = getattr(self, name)
            y = cell(older, newer)
            older, newer = older if self._skips(cell) else newer, y
            seen = y if name == watched else seen
        return newer, seen

    def _skips(self, cell: Cell) -> bool:
        return self.skip_reduction_input and cell.stride == 2

    def set_progress(self, progress: float) -> None:
        """Say how much of the training is over, from 0 (a new network) to 1; call it at the start of every epoch."""
        progress = number(type(self).__name__, "progress", progress, 0, 1, "the part of the training that is over")
        cells = [module for module in self.modules() if isinstance(module, Cell)]
        for k, cell in enumerate(cells, 1):
            cell.drop_path.p = self.drop_path * progress * (k / len(cells) if self.deeper_drops_more else 1)


def initialise(model: nn.Module, eps: float, momentum: float, mode: str, generator: Generator | None) -> None:
    """Give batch norms ``eps`` and ``momentum``, draw weights with variance 2 / fan, and set biases to 0.

    ``mode`` says which fan; that of a depthwise filter is its own taps.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = eps, momentum
        elif isinstance(module, nn.Conv2d | nn.Linear):
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            init.kaiming_normal_(module.weight, 0, "fan_in" if depthwise else mode, "relu", generator)
            if module.bias is not None:
                init.zeros_(module.bias)
