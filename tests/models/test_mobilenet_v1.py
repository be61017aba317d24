"""MobileNet v1: what splitting a convolution saves, the two multipliers, Tables 1 to 5, timm's names, SE gates."""

from fractions import Fraction

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.mobilenet_v1 import DepthwiseSeparable, FullConvolution
from minicnn.models.senet import ChannelScale, SqueezeExcitation
from minicnn.random import Generator
from tests.close import assert_close

SIDES, WIDTHS = (224, 192, 160, 128), (1.0, 0.75, 0.5, 0.25)

# Table 1, with the stride of the last depthwise convolution mended: channels in and out, stride, times
TABLE_1 = [(32, 64, 1, 1), (64, 128, 2, 1), (128, 128, 1, 1), (128, 256, 2, 1), (256, 256, 1, 1), (256, 512, 2, 1)]
TABLE_1 += [(512, 512, 1, 5), (512, 1024, 2, 1), (1024, 1024, 1, 1)]


def image(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def products(block, channels, side):
    """The multiply-adds the engine counts for one map."""
    counted = []
    with minicnn.abstract(), listening(lambda op, macs: counted.append(macs)):
        block(minicnn.Tensor(ShapeArray((1, channels, side, side), "float32")))
    return sum(counted)


def restless(block):
    """A block in float64 whose batch norms have scales, shifts and statistics of their own."""
    state = block.double().state_dict()
    for number, (path, value) in enumerate(state.items()):
        if "bn" in path and value.ndim == 1:
            state[path] = np.abs(image(*value.shape, seed=number)) + 0.3
    block.load_state_dict(state)
    return block


@pytest.mark.parametrize(("m", "n", "side"), [(512, 512, 14), (32, 64, 8), (7, 3, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_separable_convolution_costs_1_over_n_plus_1_over_9_of_a_full_one(m, n, side, stride):
    """Section 3.1; the depthwise part does the striding."""
    with minicnn.abstract():
        blocks = [kind(m, n, stride) for kind in (DepthwiseSeparable, FullConvolution)]
    separable, full = (products(block, m, side) for block in blocks)
    assert Fraction(separable, full) == Fraction(1, n) + Fraction(1, 9)


def test_table_3():
    """A layer of 512 channels on 14x14: full, separable, thinner, smaller."""
    found = []
    for kind, channels, side in (
        *((FullConvolution, 512, 14), (DepthwiseSeparable, 512, 14)),
        *((DepthwiseSeparable, 384, 14), (DepthwiseSeparable, 384, 10)),
    ):
        with minicnn.abstract():
            block = kind(channels, channels)
        weights = sum(p.size for p in block.parameters() if p.ndim == 4)
        found.append((f"{products(block, channels, side) / 1e6:.3g}", f"{weights / 1e6:.2f}"))
    assert found == [("462", "2.36"), ("52.3", "0.27"), ("29.6", "0.15"), ("15.1", "0.15")]


def test_counts_follow_from_table_1():
    side, params, macs = 112, 27 * 32 + 2 * 32, 27 * 32 * 112**2
    for m, n, stride, times in TABLE_1:
        side //= stride
        params += times * (9 * m + 2 * m + m * n + 2 * n)
        macs += times * (9 * m + m * n) * side**2
    assert models.counts("mobilenet_v1_1.0_224") == (params + 1024 * 1000 + 1000, macs + 1024 * 1000)
    side, params, macs = 112, 27 * 32 + 2 * 32, 27 * 32 * 112**2
    for m, n, stride, times in TABLE_1:
        side //= stride
        params += times * (9 * m * n + 2 * n)
        macs += times * 9 * m * n * side**2
    assert models.counts("conv_mobilenet") == (params + 1024 * 1000 + 1000, macs + 1024 * 1000)
    assert round(macs / 1e6) == 4866 and round(params / 1e6 + 1.025, 1) == 29.3  # Table 4, without the classifier


def test_table_2():
    """Where arithmetic and weights are; the paper prints 1.19 for the first convolution, a swap of 1.91."""
    net, macs, weights = abstractly("mobilenet_v1_1.0_224"), {}, {}

    def count(module, args, output):
        kernel = getattr(module, "kernel_size", None)
        kind = "fc" if kernel is None else "dw" if module.groups > 1 else kernel[0]
        places = 1 if kernel is None else output.shape[2] * output.shape[3]
        weights[kind] = weights.get(kind, 0) + module.weight.size
        macs[kind] = macs.get(kind, 0) + module.weight.size * places

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with minicnn.abstract():
        net(minicnn.Tensor(ShapeArray((1, 3, 224, 224), "float32")))
    shares = [
        [f"{100 * part[kind] / sum(part.values()):.2f}" for kind in (1, "dw", 3, "fc")] for part in (macs, weights)
    ]
    assert shares == [["94.86", "3.06", "1.91", "0.18"], ["74.59", "1.06", "0.02", "24.33"]]
    assert sum(macs.values()) == models.counts("mobilenet_v1_1.0_224").macs


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_width_acts_as_its_square_on_pointwise_layers_and_nearly_so_on_all(width):
    full, thin = (abstractly(f"mobilenet_v1_{w}_224") for w in (1.0, width))
    pairs = list(zip(full.parameters(), thin.parameters(), strict=True))
    pointwise = [(a.size, b.size) for a, b in pairs if a.ndim == 4 and a.shape[1] > 3]
    depthwise = [(a.size, b.size) for a, b in pairs if a.ndim == 4 and a.shape[1] == 1]
    assert len(pointwise) == len(depthwise) == 13
    assert all(b == width**2 * a for a, b in pointwise) and all(b == width * a for a, b in depthwise)
    ratio = models.counts(f"mobilenet_v1_{width}_224").macs / models.counts("mobilenet_v1_1.0_224").macs
    assert width**2 < ratio < width**2 * 1.16


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("side", SIDES[1:])
def test_resolution_acts_as_its_square_on_all_but_the_classifier(width, side):
    whole, small = (models.counts(f"mobilenet_v1_{width}_{s}") for s in (224, side))
    classifier = int(1024 * width) * 1000
    assert (small.macs - classifier) * 224**2 == (whole.macs - classifier) * side**2
    assert small.params == whole.params


def test_the_twins_see_maps_of_the_same_shapes():
    found = [abstractly(name).stages for name in ("mobilenet_v1_1.0_224", "conv_mobilenet", "shallow_mobilenet")]
    assert found[0] == found[1] == found[2]
    assert [(s.stride, s.channels) for s in found[0]] == [(2, 64), (4, 128), (8, 256), (16, 512), (32, 1024)]
    layers = [sum(isinstance(m, nn.Conv2d | nn.Linear) for m in abstractly(n).modules()) for n in ("conv_mobilenet",)]
    assert layers == [15] and sum(p.ndim > 1 for p in abstractly("mobilenet_v1_1.0_224").parameters()) == 28


def test_the_shallow_net_lacks_five_blocks_of_512_channels():
    lost = np.subtract(models.counts("mobilenet_v1_1.0_224"), models.counts("shallow_mobilenet"))
    assert tuple(lost) == (5 * (512 * 9 + 512 * 512 + 4 * 512), 5 * (512 * 9 + 512 * 512) * 14 * 14)


def test_a_block_is_torchs_functions():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    block = restless(DepthwiseSeparable(6, 10, 2, generator=Generator(0)))
    theirs = [torch.from_numpy(np.array(p.numpy())).requires_grad_() for p in block.parameters()]
    x, seed = image(3, 6, 7, 8), image(3, 10, 4, 4, seed=1)
    ours, other = minicnn.Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    depth, scale1, shift1, point, scale2, shift2 = theirs
    y = functional.conv2d(other, depth, stride=2, padding=1, groups=6)
    y = functional.relu(functional.batch_norm(y, None, None, scale1, shift1, training=True, eps=1e-3))
    y = functional.batch_norm(functional.conv2d(y, point), None, None, scale2, shift2, training=True, eps=1e-3).relu()
    result = block.train()(ours)
    assert_close(result.numpy(), y.detach().numpy(), 1e-12)
    (y * torch.from_numpy(seed)).sum().backward()
    (result * seed).sum().backward()
    for mine, their in zip((ours, *block.parameters()), (other, *theirs), strict=True):
        assert_close(mine.grad.numpy(), their.grad.numpy(), 1e-9)


def test_depthwise_layers_filter_and_pointwise_layers_combine():
    """A change of one channel stays in it; a change of one place stays there and reaches all channels."""
    block, x = DepthwiseSeparable(5, 8, generator=Generator(0)).double(), image(1, 5, 6, 6)
    other = x.copy()
    other[0, 2, 3, 4] += 1
    places = np.argwhere(block.conv_dw(x).numpy() != block.conv_dw(other).numpy())
    assert set(places[:, 1]) == {2} and set(places[:, 2]) == {2, 3, 4} and set(places[:, 3]) == {3, 4, 5}
    places = np.argwhere(block.conv_pw(x).numpy() != block.conv_pw(other).numpy())
    assert set(places[:, 1]) == set(range(8)) and set(places[:, 2]) == {3} and set(places[:, 3]) == {4}


def test_without_norm_and_relu_it_is_a_full_convolution_of_few_filters():
    """Its filter from m to n is the filter of m, times a number."""
    block, x = DepthwiseSeparable(4, 6, generator=Generator(0)).double(), image(2, 4, 5, 5)
    for name in ("bn1", "act1", "bn2", "act2"):
        setattr(block, name, nn.Identity())
    kernel = block.conv_pw.weight.numpy() * block.conv_dw.weight.numpy()[:, 0][None]  # (6, 4, 1, 1) x (4, 3, 3)
    assert kernel.shape == (6, 4, 3, 3)
    assert_close(block(x).numpy(), minicnn.ops.conv2d(x, kernel, padding=1).numpy(), 1e-13)


def test_names_and_shapes_are_timms():
    expected, channels = {"conv_stem.weight": (32, 3, 3, 3)}, 32
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected |= {f"bn1.{part}": (32,) for part in norm}
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512, 1024), (1, 2, 2, 6, 2), strict=True)):
        for number in range(depth):
            block = f"blocks.{stage}.{number}"
            expected[f"{block}.conv_dw.weight"] = (channels, 1, 3, 3)
            expected |= {f"{block}.bn1.{part}": (channels,) for part in norm}
            expected[f"{block}.conv_pw.weight"] = (width, channels, 1, 1)
            expected |= {f"{block}.bn2.{part}": (width,) for part in norm}
            channels = width
    expected |= {"classifier.weight": (1000, 1024), "classifier.bias": (1000,)}
    expected |= {path: () for path in expected if path.endswith("tracked")}
    ours = abstractly("timm/mobilenetv1_100").state_dict()
    assert {path: value.shape for path, value in ours.items()} == expected and list(ours) == list(expected)


def test_relu6_and_the_constants_of_the_authors_code():
    nets = [
        models.create("mobilenet_v1_0.25_128", relu6=r, num_classes=3, generator=Generator(0)) for r in (False, True)
    ]
    x = 100 * image(1, 3, 32, 32, dtype=np.float32)
    peaks = [[y.numpy().max() for y in net.eval().stage_outputs(x).values()] for net in nets]
    assert max(peaks[0]) > 6.5 and max(peaks[1]) <= 6
    net = nets[0]
    assert {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 3e-4)}
    assert abs(net.blocks[4][1].conv_pw.weight.numpy().std() - 0.09) < 1e-3
    assert abs(net.blocks[4][1].conv_dw.weight.numpy().std() - 0.09) < 5e-3
    assert not net.classifier.bias.numpy().any() and net.dropout.p == 0.001


def test_gates_stand_after_every_pointwise_layer_and_cost_what_table_3_of_senet_prints():
    blocks = [m for m in abstractly("se_mobilenet_v1").modules() if isinstance(m, DepthwiseSeparable)]
    assert len(blocks) == 13 and all(isinstance(block.se, SqueezeExcitation) for block in blocks)
    widths = [block.conv_pw.out_channels for block in blocks]
    more = np.subtract(models.counts("se_mobilenet_v1"), models.counts("mobilenet_v1_1.0_224"))
    both = sum(2 * c * (c // 16) for c in widths)
    assert tuple(more) == (both + sum(c + c // 16 for c in widths), both)
    net = models.se_mobilenet_v1(width=0.25, depths=(1, 1, 1, 1, 1), num_classes=3, generator=Generator(0))
    block, x = restless(net.blocks[1][0].eval()), image(2, 16, 4, 4)
    bare = DepthwiseSeparable(16, 32, 2).double().eval()
    bare.load_state_dict({path: value for path, value in block.state_dict().items() if not path.startswith("se.")})
    y = bare(x).numpy()
    assert_close(block(x).numpy(), y * block.se.excitation(y).numpy(), 1e-13)
    with minicnn.abstract():
        scaled = models.se_mobilenet_v1(gate="scale")
    assert sum(isinstance(module, ChannelScale) for module in scaled.modules()) == 13


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.conv_mobilenet(depths=(1, 2, 3)),
            r"MobileNetV1: depths=\(1, 2, 3\), expected the numbers of blocks",
        ),
        (lambda: models.conv_mobilenet(depths=(1, 2, 2, 0, 2)), "expected the numbers of blocks of five stages"),
        (lambda: models.conv_mobilenet(width=0), "MobileNetV1: width=0 is out of range"),
        (lambda: models.conv_mobilenet(width="wide"), "MobileNetV1: width='wide' is a str"),
        (lambda: models.se_mobilenet_v1(reduction=65), "SEMobileNetV1: reduction=65 leaves nothing of 64 channels"),
        (lambda: models.se_mobilenet_v1(gate="none"), "SEMobileNetV1: gate='none' is unknown"),
        (lambda: models.shallow_mobilenet(alpha=0.5), "has no option 'alpha'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
