"""EfficientNet: compound scaling as a function of architectures, its rounding, MBConv, stochastic depth."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.models.efficientnet import B0, RELEASED, EfficientNet, MBConv, Stage, coefficients, compound_scale
from minicnn.models.senet import SqueezeExcitation
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.inverted_twin import assert_equals_the_twin, livened

torch = pytest.importorskip("torch")
F = torch.nn.functional


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def blocks(net):
    return [module for module in net.modules() if isinstance(module, MBConv)]


def macs(architecture):
    """Multiply-adds of one picture of the architecture's resolution, counted while the network runs on shapes."""
    found = []
    with minicnn.abstract(), minicnn.no_grad(), listening(lambda op, count: found.append(count)):
        net = EfficientNet(architecture=architecture).eval()
        net(Tensor(minicnn.ShapeArray((1, 3, architecture.resolution, architecture.resolution), "float32")))
    return sum(found)


def test_the_papers_rule():
    """alpha beta^2 gamma^2 is about 2: 1.92, so that phi = 7 stands for 96 times as much, not 128."""
    one, two = coefficients(1), coefficients(2)
    assert one == (1.2, 1.1, 1.15) == (one.depth, one.width, one.resolution)
    assert abs(one.depth * one.width**2 * one.resolution**2 - 2) < 0.08
    assert_close(two, np.square(one), 1e-15)
    assert coefficients(0) == (1, 1, 1) and coefficients(3, 2, 1, 1) == (8, 1, 1)


def test_scaling_by_one_changes_nothing():
    assert compound_scale(B0) == B0 == RELEASED["b0"] == compound_scale(B0, **coefficients(0)._asdict())
    for name, architecture in RELEASED.items():
        assert compound_scale(architecture) == architecture, name


@pytest.mark.parametrize(
    ("factors", "growth", "tolerance"),
    [
        ({"depth": 2.0}, 2, 0.02),
        ({"depth": 3.0}, 3, 0.02),
        ({"resolution": 2.0}, 4, 0.01),
        ({"resolution": 3.0}, 9, 0.01),
        ({"width": 2.0}, 4, 0.07),  # depthwise filters and the first convolution only double
        ({"width": 4.0}, 16, 0.10),
        ({"depth": 2.0, "width": 2.0, "resolution": 2.0}, 32, 0.07),
    ],
)
def test_multiply_adds_grow_with_depth_width_squared_and_resolution_squared(factors, growth, tolerance):
    """Whole factors round nothing. Stem and head do not get deeper; what a gate costs has no resolution."""
    assert abs(macs(compound_scale(B0, **factors)) / macs(B0) / growth - 1) < tolerance


@pytest.mark.parametrize(
    ("phi", "tolerance"),
    [(1, 0.29), (2, 0.18), (4, 0.03), (7, 0.20)],
)
def test_phi_more_doubles_multiply_adds_phi_times(phi, tolerance):
    """Repeats are rounded up, of one block to two: a fifth or more for small phi. From phi = 5 on 1.92^phi is less."""
    factors = coefficients(phi)
    growth = macs(compound_scale(B0, **factors._asdict())) / macs(B0)
    assert abs(growth / 2**phi - 1) < tolerance
    if phi < 3:
        for name, power in (("depth", 1), ("width", 2), ("resolution", 2)):
            factor = getattr(factors, name)
            alone = macs(compound_scale(B0, **{name: factor})) / macs(B0)
            assert abs(alone / factor**power - 1) < 0.24, name


def test_how_scaling_rounds():
    """Channels to multiples of 8 and not below 90 %, repeats up, the resolution to the nearest."""
    scaled = compound_scale(B0, width=1.1, depth=1.2, resolution=1.15, dropout=0.3)
    assert [stage.out_channels for stage in scaled.stages] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.in_channels for stage in scaled.stages] == [32, 16, 24, 48, 88, 120, 208]
    assert [stage.repeats for stage in scaled.stages] == [2, 3, 3, 4, 4, 5, 2]
    assert (scaled.head, scaled.resolution, scaled.dropout) == (1408, 258, 0.3)
    kept = [(stage.expansion, stage.kernel, stage.stride) for stage in scaled.stages]
    assert kept == [(stage.expansion, stage.kernel, stage.stride) for stage in B0.stages]
    assert B0.stages[1] == Stage(6, 3, 2, 16, 24, 2)  # the base is as it was


def test_the_released_architectures_are_rounded_by_hand():
    """B7 would be 3.6 times as deep and have pictures of 596; it is 3.1 times as deep and has 600."""
    assert [len(blocks(abstractly(f"efficientnet_b{number}"))) for number in (0, 1, 4, 7)] == [16, 23, 32, 55]
    rule = compound_scale(B0, **coefficients(7)._asdict())
    assert (rule.resolution, sum(stage.repeats for stage in rule.stages)) == (596, 4 + 8 + 8 + 11 + 11 + 15 + 4)
    for name, architecture in RELEASED.items():
        net, info = abstractly(f"efficientnet_{name}"), models.info(f"efficientnet_{name}")
        assert info.input_shape == (3, architecture.resolution, architecture.resolution)
        assert net.classifier[0].p == architecture.dropout
        assert net.classifier[1].in_features == architecture.head == 4 * architecture.stages[-1].out_channels


def test_table_1():
    """Stage 6 sees 14x14, not the 28x28 of the paper's first version."""
    net = abstractly("efficientnet_b0")
    rows = [
        (len(stage), *stage[0].block[-3][0].kernel_size, stage[0].block[-3][0].stride) for stage in net.features[1:8]
    ]
    assert rows == [(1, 3, 3, 1), (2, 3, 3, 2), (2, 5, 5, 2), (3, 3, 3, 2), (3, 5, 5, 1), (4, 5, 5, 2), (1, 3, 3, 1)]
    assert [stage[-1].block[-1][1].num_features for stage in net.features[1:8]] == [16, 24, 40, 80, 112, 192, 320]
    seen = []
    hook = net.features[6].register_forward_hook(lambda module, args, output: seen.append(args[0].shape[2:]))
    with minicnn.abstract(), minicnn.no_grad():
        net.eval()(Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    hook.remove()
    assert seen == [(14, 14)]
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 16), (4, 24), (8, 40), (16, 112), (32, 1280)),
    ]


@pytest.mark.parametrize(("expansion", "stride", "out_channels"), [(6, 1, 8), (1, 1, 8), (6, 2, 8), (6, 1, 4)])
def test_the_block_is_torchs(expansion, stride, out_channels):
    options = {"expansion": expansion, "kernel_size": 5, "stride": stride, "generator": Generator(0)}
    residual = (stride, out_channels) == (1, 8)
    twin = {"expands": expansion > 1, "stride": stride, "activation": F.silu, "residual": residual, "eps": 1e-5}
    assert_equals_the_twin(
        livened(MBConv(8, out_channels, **options)), (3, 8, 7, 5), gates=(F.silu, torch.sigmoid), **twin
    )


def test_gradients_of_the_block():
    block = MBConv(4, 4, expansion=2, kernel_size=3, stride=1, generator=Generator(0)).double()
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3))
    assert minicnn.gradcheck(block, Tensor(x, requires_grad=True))


def test_gates_have_a_quarter_of_the_input_not_of_the_wide_channels():
    net = abstractly("efficientnet_b3")
    for block in blocks(net):
        gate = next(module for module in block.modules() if isinstance(module, SqueezeExcitation))
        narrow = block.block[0][0].in_channels
        assert gate.fc1.out_channels == narrow // 4 and gate.fc1.in_channels == block.block[-1][0].in_channels
        assert isinstance(gate.activation, nn.SiLU) and isinstance(gate.gate, nn.Sigmoid)
    with minicnn.abstract():
        thin = MBConv(3, 3, expansion=2, kernel_size=3, stride=1)
    assert thin.block[-2].fc1.out_channels == 1


def test_branches_are_left_out_ever_more_often_and_only_where_there_is_a_shortcut():
    net = abstractly("efficientnet_b0")
    found = [block.stochastic_depth.p for block in blocks(net)]
    added = [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert [index for index, block in enumerate(blocks(net)) if block.residual] == added
    assert_close(found, [0.2 * index / 16 if index in added else 0.0 for index in range(16)], 1e-15)
    assert {block.stochastic_depth.mode for block in blocks(net)} == {"row"}
    with minicnn.abstract():
        assert not any(block.stochastic_depth.p for block in blocks(EfficientNet(stochastic_depth=0.0)))


def test_a_branch_is_left_out_image_by_image():
    """Those left out are their input, the others have their branch over the probability of keeping it; in eval mode
    all have theirs."""
    block = MBConv(8, 8, expansion=2, kernel_size=3, stride=1, drop=0.4, generator=Generator(3))
    x = np.random.default_rng(0).standard_normal((400, 8, 3, 3)).astype(np.float32)
    branch = block.block(Tensor(x)).numpy()
    y = block(x).numpy()
    out = (y == x).all((1, 2, 3))
    assert abs(out.mean() - 0.4) < 0.08
    assert_close(y[~out], (x + branch / 0.6)[~out], 1e-5)
    block.eval()
    assert_close(block(x).numpy(), x + block.block(Tensor(x)).numpy(), 1e-6)


def test_batch_norms():
    """torchvision has PyTorch's constants up to B4 and the authors' from B5 on."""
    for name, constants in (("b4", (1e-5, 0.1)), ("b5", (1e-3, 0.01)), ("b8", (1e-3, 0.01))):
        norms = [
            module for module in abstractly(f"efficientnet_{name}").modules() if isinstance(module, nn.BatchNorm2d)
        ]
        assert {(norm.eps, norm.momentum) for norm in norms} == {constants}


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: compound_scale(B0, width=0), "compound_scale: width=0 leaves nothing, expected a number above 0"),
        (lambda: compound_scale(B0, resolution=-1), "compound_scale: resolution=-1 is out of range"),
        (lambda: compound_scale(B0, depth="2"), "compound_scale: depth='2' is a str"),
        (
            lambda: EfficientNet(architecture=B0._replace(stages=B0.stages[:3])),
            "EfficientNet: architecture has .* expected seven",
        ),
        (
            lambda: EfficientNet(architecture=B0._replace(stages=(B0.stages[1], *B0.stages[1:]))),
            "EfficientNet: architecture has .*in_channels=16, .* after .* expected the channels to agree",
        ),
        (lambda: EfficientNet(stochastic_depth=-1.0), "EfficientNet: stochastic_depth=-1.0 is out of range"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
