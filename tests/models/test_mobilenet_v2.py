"""MobileNetV2: rounding of widths, the inverted residual and its linear end, widths and pictures of the table."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.mobilenet_v2 import InvertedResidual, MobileNetV2, make_divisible
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.inverted_twin import assert_equals_the_twin, livened

F = pytest.importorskip("torch").nn.functional


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def blocks(net):
    return [module for module in net.modules() if isinstance(module, InvertedResidual)]


@pytest.mark.parametrize(
    ("channels", "divisor", "rounded"),
    [
        *((1, 8, 8), (8.4, 8, 8), (11.2, 8, 16), (12, 8, 16), (17.7, 8, 16), (17.8, 8, 24), (19, 8, 24), (20, 8, 24)),
        *((33.6, 8, 32), (44.8, 8, 48), (60, 8, 64), (99, 8, 96), (100, 8, 104), (147.2, 8, 144), (1792.0, 8, 1792)),
        *((2, 4, 4), (9, 4, 12), (10, 4, 12), (41, 4, 40), (1.0, 1, 1)),
    ],
)
def test_make_divisible(channels, divisor, rounded):
    assert make_divisible(channels, divisor) == rounded


def test_make_divisible_is_the_nearest_multiple_of_at_least_90_per_cent():
    multiples = np.arange(8, 1024, 8)
    for channels in np.arange(1, 800, 0.25):
        allowed = multiples[multiples >= 0.9 * channels]
        distance = np.abs(allowed - channels)
        assert make_divisible(channels) == allowed[distance == distance.min()].max()  # halves go up


@pytest.mark.parametrize(
    ("channels", "stride", "residual"),
    [
        ((6, 24, 6), 1, True),
        ((6, 24, 8), 1, False),
        ((6, 24, 6), 2, False),
        ((6, 6, 6), 1, True),
        ((6, 6, 4), 2, False),
    ],
)
def test_the_block_is_torchs(channels, stride, residual):
    block = livened(InvertedResidual(*channels, 3, stride, generator=Generator(0)), 3.0)
    options = {"expands": channels[0] != channels[1], "stride": stride, "activation": F.relu6, "eps": 1e-5}
    assert_equals_the_twin(block, (3, 6, 7, 5), residual=residual, **options)


def test_gradients_of_the_block():
    block = InvertedResidual(2, 6, 2, generator=Generator(0)).double()
    assert minicnn.gradcheck(block, minicnn.Tensor(image(2, 2, 4, 3), requires_grad=True))


@pytest.mark.parametrize(("stride", "out_channels"), [(1, 6), (2, 6), (1, 5)])
def test_the_input_is_added_only_where_shapes_match(stride, out_channels):
    """A branch that gives nothing leaves the input, or nothing."""
    block = InvertedResidual(6, 12, out_channels, 3, stride, generator=Generator(0)).double()
    nn.init.zeros_(block.conv[-1].weight)
    x = image(2, 6, 8, 8)
    expected = x if (stride, out_channels) == (1, 6) else np.zeros((2, out_channels, 8 // stride, 8 // stride))
    assert np.array_equal(block(x).numpy(), expected)


def test_the_end_is_linear():
    """What the last batch norm puts out is neither cut at 0 nor at 6; what the others put out is both."""
    block = InvertedResidual(6, 12, 4, generator=Generator(0)).double()
    x = 5 * image(2, 6, 8, 8)
    for shift in (-10.0, 10.0):
        nn.init.constant_(block.conv[-1].bias, shift)
        assert_close(block(x).numpy().mean((0, 2, 3)), np.full(4, shift), 1e-9)
    nn.init.constant_(block.conv[0][1].weight, 9.0)
    wide = block.conv[0](minicnn.Tensor(x)).numpy()
    assert wide.min() == 0 and wide.max() == 6
    with minicnn.abstract():
        for block in blocks(models.create("mobilenet_v2_1.0_224")):
            assert isinstance(block.conv[-1], nn.BatchNorm2d) and isinstance(block.conv[-2], nn.Conv2d)
            assert [type(layer) for part in block.conv[:-2] for layer in part][2::3] == [nn.ReLU6] * len(
                block.conv[:-2]
            )


def test_table_2():
    net = abstractly("mobilenet_v2_1.0_224")
    out = [block.conv[-1].num_features for block in blocks(net)]
    assert out == [16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
    wide = [block.conv[-2].in_channels for block in blocks(net)]
    assert wide == [32, *(6 * channels for channels in (16, *out[1:-1]))]
    strides = [block.conv[-3][0].stride for block in blocks(net)]
    assert [index for index, stride in enumerate(strides) if stride == 2] == [1, 3, 6, 13]
    added = [index for index, block in enumerate(blocks(net)) if block.residual]
    assert added == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]
    assert len(blocks(net)[0].conv) == 3 and {len(block.conv) for block in blocks(net)[1:]} == {4}
    assert net.classifier[0].p == 0.2
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 16), (4, 24), (8, 32), (16, 96), (32, 1280)),
    ]


@pytest.mark.parametrize(
    ("width", "channels", "last"),
    [
        (1.4, [48, 24, 32, 48, 88, 136, 224, 448], 1792),
        (0.75, [24, 16, 24, 24, 48, 72, 120, 240], 1280),
        (0.35, [16, 8, 8, 16, 24, 32, 56, 112], 1280),
    ],
)
def test_all_widths_but_the_last_shrink(width, channels, last):
    net = abstractly(f"mobilenet_v2_{width}_224")
    found = [net.features[0][0].out_channels, *(block.conv[-1].num_features for block in blocks(net))]
    assert [found[index] for index in (0, 1, 2, 4, 7, 11, 14, 17)] == channels
    assert net.classifier[1].in_features == last == net.features[18][0].out_channels


def test_rows_of_one_width_are_one_network():
    shapes = {}
    for name in models.names("mobilenet_v2_*"):
        width = name.split("_")[2]
        state = {path: value.shape for path, value in abstractly(name).state_dict().items()}
        assert shapes.setdefault(width, state) == state
    assert list(shapes) == ["1.4", "1.3", "1.0", "0.75", "0.5", "0.35"]
    large, small = models.counts("mobilenet_v2_1.0_192"), models.counts("mobilenet_v2_1.0_96")
    head = 1280 * 1000  # the linear layer, which sees no picture
    assert large.params == small.params and large.macs - head == 4 * (small.macs - head)


def test_initial_weights():
    net = MobileNetV2(width_mult=0.35, num_classes=500, generator=Generator(1))
    drawn = minicnn.random.default_generator().state()
    again = MobileNetV2(width_mult=0.35, num_classes=500, generator=Generator(1))
    assert minicnn.random.default_generator().state() == drawn
    for first, second in zip(net.parameters(), again.parameters(), strict=True):
        assert np.array_equal(first.numpy(), second.numpy())
    for conv, fan_out in ((net.features[17].conv[0][0], 336), (net.features[17].conv[1][0], 9 * 336)):
        assert abs(conv.weight.numpy().std() * (fan_out / 2) ** 0.5 - 1) < 0.05
    assert abs(net.classifier[1].weight.numpy().std() - 0.01) < 1e-4 and not net.classifier[1].bias.numpy().any()


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.mobilenet_v2_1_0_224(width_mult=0),
            r"MobileNetV2: width_mult=0 leaves no channels, expected a",
        ),
        (lambda: models.mobilenet_v2_1_0_224(width_mult=-1.0), r"MobileNetV2: width_mult=-1.0 is out of range"),
        (lambda: models.mobilenet_v2_1_0_224(width_mult="1"), r"MobileNetV2: width_mult='1' is a str"),
        (lambda: models.mobilenet_v2_1_0_224(dropout=1.5), r"Dropout: p=1.5"),
        (lambda: InvertedResidual(4, 8, 4, stride=3), r"InvertedResidual: stride=3, expected 1 or 2"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
