"""ENAS: all networks of the search share their weights, so a candidate is judged without training it anew.

The controller picks a path through one large graph, and what is trained there serves the next path. Two spaces were
searched. Macro: 24 layers, each a convolution and the set of earlier layers that it reads beside it; all is joined and
brought back to the width by a 1x1. Micro: a normal and a reduction cell of five pairs, stacked; what no operation reads
is a cell's output. Both were trained again alone. The graphs are those of the authors' scripts.

In the macro script "separable" convolutions (1 and 3) are full ones and pools (4 and 5) do nothing; the arc has no
pool. At both reductions every map stored so far, the stem's too, is halved by weights of its own.

**Math** macro: ``y_k = norm(w_k * relu([y_i for i in skips_k] + [f_k(y_(k-1))]))``, f_k a 1x1 and a 3x3 or 5x5.
**See** Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", 2018.
"""

from functools import partial
from typing import Any, ClassVar

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.nas_cells import CellNetwork, Edge, Genotype, Step, initialise
from minicnn.models.nas_operations import FactorizedReduction, Operations
from minicnn.models.network import Network
from minicnn.models.spec import Published, Recipe, spec
from minicnn.ops.arguments import number
from minicnn.ops.geometry import integer
from minicnn.random import Generator

# scripts/cifar10_macro_final.sh, a row a layer: its operation, then 1 for each map that it reads besides the last; the
# first of them is the stem's
MACRO = """
0
3 0
0 1 0
2 0 0 1
2 0 0 0 0
3 1 1 0 1 0
2 0 0 0 0 0 1
2 0 1 1 0 1 1 1
1 0 1 1 1 0 1 0 1
0 0 0 0 0 0 0 0 0 0
2 0 0 0 0 0 1 0 0 0 0
0 1 0 0 1 1 0 0 0 0 1 1
2 0 1 0 0 0 0 0 1 0 1 1 0
1 0 0 1 0 0 0 1 1 1 0 1 0 1
0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
"""
KERNELS = (3, 3, 5, 5)  # of operations 0 to 3

# scripts/cifar10_micro_final.sh: state and operation of both edges of every pair
NORMAL = "0 2 0 0  0 4 0 1  0 4 1 1  1 0 0 1  0 2 1 1"
REDUCTION = "1 0 1 0  0 3 0 2  1 1 3 1  1 0 0 4  0 3 1 1"
EDGES = ("sep_3x3", "sep_5x5", "avg_3x3", "max_3x3", "skip")  # operations 0 to 4


def parse_macro(arc: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """For every layer the side of its filters, and the stored maps that it reads besides (0 is the stem)."""
    layers = []
    for k, row in enumerate(arc.strip().splitlines()):
        operation, *skips = (int(word) for word in row.split())
        if operation not in range(len(KERNELS)) or len(skips) != k or not set(skips) <= {0, 1}:
            raise ArgumentError(
                f"parse_macro: row {k} is {row!r}, expected an operation from 0 to 3 (the authors' code builds no "
                f"pools) and {k} skips of 0 or 1"
            )
        layers.append((KERNELS[operation], tuple(i for i, read in enumerate(skips) if read)))
    return tuple(layers)


def parse_micro(arc: str) -> Genotype:
    """The cell of an arc; its output is what no operation reads."""
    numbers = [int(word) for word in arc.split()]
    if not numbers or len(numbers) % 4 or not set(numbers[1::2]) <= set(range(len(EDGES))):
        raise ArgumentError(
            f"parse_micro: arc={arc!r}, expected four numbers a pair: state, operation from 0 to 4, state, operation"
        )
    edges: list[Edge] = [(EDGES[o], state) for state, o in zip(numbers[::2], numbers[1::2], strict=True)]
    cell = Genotype(tuple(zip(edges[::2], edges[1::2], strict=True)), ())
    return cell._replace(concat=cell.unused)


class MacroLayer(nn.Module):
    """1x1 and kxk of the last map, then a 1x1 of that and the ``skips`` among the maps before; ReLU before each.

    **Shapes** a list of (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, kernel: int, skips: tuple[int, ...], first: bool, operations: Operations) -> None:
        super().__init__()
        self.skips = skips
        self.conv_1x1 = operations.unit(channels, channels, 1)
        self.conv_kxk = operations.unit(channels, channels, kernel)
        # the first layer has nothing to skip, and no 1x1 for it
        self.join = None if first else operations.unit(channels * (len(skips) + 1), channels, 1)

    def forward(self, maps: list[Any]) -> Any:
        y = self.conv_kxk(self.conv_1x1(maps[-1]))
        return y if self.join is None else self.join(ops.concatenate([*(maps[i] for i in self.skips), y], 1))


class ENASMacro(Network):
    """3x3 convolution, the layers of ``arc`` with two reductions that double the channels, global mean, linear."""

    def __init__(
        self,
        *,
        arc: str = MACRO,
        channels: int = 96,
        dropout: float = 0.5,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        width, layers = integer("ENASMacro", "channels", channels, 1), parse_macro(arc)
        if len(layers) < 3:
            raise ArgumentError(f"ENASMacro: arc has {len(layers)} layers, expected 3 or more: a third before each end")
        operations = Operations(same=True, generator=generator)
        self.stem = nn.Sequential(conv=operations.conv(in_channels, width, 3), bn=nn.BatchNorm2d(width))
        third = len(layers) // 3
        self.ends = (third, 2 * third, len(layers))
        self.layers, self.reductions = nn.ModuleList(), nn.ModuleList()
        for k, (kernel, skips) in enumerate(layers):
            self.layers.append(MacroLayer(width, kernel, skips, k == 0, operations))
            if k + 1 in self.ends[:2]:
                halve = partial(FactorizedReduction, width, 2 * width, relu=False, generator=generator)
                self.reductions.append(nn.ModuleList(halve() for _ in range(k + 2)))
                width *= 2
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(width, num_classes, bias=False, generator=generator)
        self.stage_paths = {f"stage{i}": f"layers.{end - 1}" for i, end in enumerate(self.ends, 1)}  # type: ignore[misc]
        initialise(self, 1e-5, 0.1, "fan_in", generator)

    def forward(self, x: Any) -> Any:
        maps = [self.stem(x)]
        for k, layer in enumerate(self.layers, 1):
            maps.append(layer(maps))
            if k in self.ends[:2]:
                halves = self.reductions[self.ends.index(k)]
                maps = [halve(y) for halve, y in zip(halves, maps, strict=True)]
        return self.fc(self.dropout(self.flatten(self.avgpool(maps[-1]))))


class PlainReductions(Operations):
    """A skip that must halve does so without a ReLU before."""

    def skip(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        if stride == 1:
            return nn.Identity()
        return FactorizedReduction(in_channels, out_channels, relu=False, generator=self.generator)


class ENASMicro(CellNetwork):
    """3x3 convolution to 3 times the channels, ``layers`` normal cells and two reduction cells, ReLU, mean, linear."""

    cam_path: ClassVar[str] = "relu"

    def __init__(
        self,
        *,
        normal: str = NORMAL,
        reduction: str = REDUCTION,
        channels: int = 36,
        layers: int = 15,
        drop_path: float = 0.4,
        dropout: float = 0.2,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        width = integer("ENASMicro", "channels", channels, 1)
        self.drop_path = number("ENASMicro", "drop_path", drop_path, 0, 1, "a probability from 0 to 1 (of dropping)")
        operations = PlainReductions(same=True, generator=generator)
        self.stem = nn.Sequential(conv=operations.conv(in_channels, 3 * width, 3), bn=nn.BatchNorm2d(3 * width))
        third = integer("ENASMicro", "layers", layers, 3) // 3
        reductions, steps = (third, 2 * third + 1), []
        for i in range(layers + 2):
            stride = 2 if i in reductions else 1
            width *= stride
            steps.append(Step(f"cell_{i}", parse_micro(reduction if stride == 2 else normal), width, stride))
        out_channels = self.add_cells(steps, (3 * channels, 1), (3 * channels, 1), operations, generator)
        for step in steps:  # the newer input passes a second 1x1
            cell = getattr(self, step.name)
            cell.conv_1x1 = nn.Sequential(calibrate=cell.conv_1x1, base=operations.unit(step.channels, step.channels))
        self.relu, self.avgpool, self.flatten = nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten()
        self.dropout = nn.Dropout(dropout, generator=generator)
        self.fc = nn.Linear(out_channels, num_classes, bias=False, generator=generator)
        ends = enumerate((*reductions, layers + 2), 1)
        self.stage_paths = {"stem": "stem"} | {f"stage{i}": f"cell_{end - 1}" for i, end in ends}  # type: ignore[misc]
        initialise(self, 1e-5, 0.1, "fan_in", generator)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x, _ = self.run_cells(x, x)
        return self.fc(self.dropout(self.flatten(self.avgpool(self.relu(x)))))


_CODE = "melodyguan/enas"
MACRO_RECIPE = Recipe(
    optimizer="sgd",
    lr=0.05,
    batch=100,
    epochs=310,
    momentum=0.9,
    weight_decay=4e-4,
    schedule="cosine",
    augmentation=("random crop 32, pad 4", "flip"),
    options=(
        *(("nesterov", True), ("lr_min", 0.001), ("first_period_epochs", 10), ("period_factor", 2)),
        *(("dropout", 0.5), ("clip_norm", 5.0)),
    ),
    source=f"{_CODE}: scripts/cifar10_macro_final.sh, src/cifar10/main.py, src/utils.py",
    notes="adds 2e-4 |w|^2 of all weights, batch norms too: a decay of 4e-4. Gradients are clipped to norm 5, but the "
    "code then takes the one before clipping",
)
MICRO_RECIPE = MACRO_RECIPE._replace(
    batch=144,
    epochs=630,
    options=(
        *(("nesterov", True), ("lr_min", 0.0001), ("first_period_epochs", 10), ("period_factor", 2)),
        *(("dropout", 0.2), ("drop_path", 0.4), ("aux_weight", 0.4), ("clip_norm", 5.0)),
    ),
    source=MACRO_RECIPE.source.replace("macro", "micro"),
)

_enas = partial(
    spec,
    family="NAS",
    year=2018,
    paper="arXiv:1802.03268 / melodyguan script",
    input_shape=(3, 32, 32),
    num_classes=10,
    form="authors' code",
)

TABLE = (
    _enas(
        ENASMacro,
        "enas_macro_cifar10",
        published=Published("38.0M", source="as tests/reference/catalog.tsv quotes the paper"),
        recipe=MACRO_RECIPE,
        deviations="low confidence: 42.6M parameters follow from the script, the paper has 38.0M",
    ),
    _enas(
        ENASMicro,
        "enas_micro_cifar10",
        published=Published(
            "4.6M", "", 2.89, None, "CIFAR-10 test", "abstract; parameters as the reference counts quote the paper"
        ),
        recipe=MICRO_RECIPE,
        deviations="low confidence: 3.9M parameters follow from the script, and its auxiliary head, left out here, has "
        "0.5M; the paper has 4.6M",
    ),
)
