"""NAS: the network a controller wrote, token by token (Figure 7, "v1 no stride or pooling").

An RNN emits for every layer the height, width and number of its filters, and which earlier layers it reads; the
accuracy of the trained network is its reward. What came out has 15 layers and no resolution but the image's: many
filters are not square, large ones are near the end, and a layer concatenates all that it reads.

The graph is data: ``LAYERS`` has one row a layer. Every layer but the last is read by a later one.

**Math** ``y_k = relu(norm(w_k * [y_i for i in inputs_k]))``, y_0 the image.
**See** Zoph and Le, "Neural Architecture Search with Reinforcement Learning", 2016.
"""

from typing import Any, NamedTuple

from minicnn import nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.network import Network
from minicnn.models.resnet import he_initialise
from minicnn.models.spec import Published, spec
from minicnn.random import Generator


class Layer(NamedTuple):
    """Filters of height x width, and the layers it reads (0 is the image)."""

    height: int
    width: int
    filters: int
    inputs: tuple[int, ...]


LAYERS = (
    Layer(3, 3, 36, (0,)),
    Layer(3, 3, 48, (1,)),
    Layer(3, 3, 36, (1, 2)),
    Layer(5, 5, 36, (1, 2, 3)),
    Layer(3, 7, 48, (3, 4)),
    Layer(7, 7, 48, (2, 3, 4, 5)),
    Layer(7, 7, 48, (2, 3, 4, 5, 6)),
    Layer(7, 3, 36, (1, 6, 7)),
    Layer(7, 1, 36, (1, 5, 6, 8)),
    Layer(7, 7, 36, (1, 3, 4, 5, 6, 7, 8, 9)),
    Layer(5, 7, 36, (1, 2, 5, 6, 7, 8, 9, 10)),
    Layer(7, 7, 48, (1, 2, 3, 4, 6, 11)),
    Layer(7, 5, 48, (1, 3, 6, 7, 8, 9, 10, 11, 12)),
    Layer(7, 5, 48, (3, 7, 12, 13)),
    Layer(7, 5, 48, (6, 7, 11, 12, 13, 14)),
)


class NASv1(Network):
    """``layers`` of convolution, batch norm and ReLU on concatenated inputs, global mean of the last, linear."""

    def __init__(
        self,
        *,
        layers: tuple[Layer, ...] = LAYERS,
        num_classes: int = 10,
        in_channels: int = 3,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ArgumentError("NASv1: layers=() is empty, expected rows such as Layer(3, 3, 36, (0,))")
        self.layers, self.inputs = nn.ModuleList(), [layer.inputs for layer in layers]
        widths = [in_channels]
        for number, layer in enumerate(layers, 1):
            height, width, filters, inputs = layer
            if not inputs or not set(inputs) <= set(range(number)):
                raise ArgumentError(f"NASv1: layer {number} reads {inputs}, expected some of 0 to {number - 1}")
            if not height % 2 or not width % 2:
                raise ArgumentError(f"NASv1: layer {number} is {height}x{width}, expected odd sizes: maps keep theirs")
            channels = sum(widths[i] for i in inputs)
            size, padding = (height, width), (height // 2, width // 2)
            unit = nn.Sequential(
                conv=nn.Conv2d(channels, filters, size, padding=padding, bias=False, generator=generator),
                bn=nn.BatchNorm2d(filters),
                relu=nn.ReLU(),
            )
            self.layers.append(unit)
            widths.append(filters)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.fc = nn.Linear(widths[-1], num_classes, generator=generator)
        self.stage_paths = {"stage": f"layers.{len(layers) - 1}"}  # type: ignore[misc]
        he_initialise(self, generator)

    def forward(self, x: Any) -> Any:
        maps = [x]
        for layer, inputs in zip(self.layers, self.inputs, strict=True):
            maps.append(layer(ops.concatenate([maps[i] for i in inputs], 1)))
        return self.fc(self.flatten(self.avgpool(maps[-1])))


TABLE = (
    spec(
        NASv1,
        "nas_v1_cifar10",
        family="NAS",
        year=2016,
        paper="arXiv:1611.01578 Fig.7",
        input_shape=(3, 32, 32),
        num_classes=10,
        published=Published("4.2M", "", 5.50, None, "CIFAR-10 test", "Table 1, as the first version of ENAS quotes it"),
        deviations="the graph is a third party's transcription of the figure; it has the paper's 4.2M parameters",
    ),
)
