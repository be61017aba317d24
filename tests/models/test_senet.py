"""SENet: the gate and its ablation, where gates stand, SENet-154's own blocks, gates for any residual network."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import BasicBlock, Residual
from minicnn.models.senet import ChannelScale, SENet154, SqueezeExcitation, squeeze_and_excite
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows


def image(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def test_the_gate_is_squeeze_excitation_and_scale():
    gate = SqueezeExcitation(6, 2, generator=Generator(0)).double()
    for number, parameter in enumerate(gate.parameters()):
        nn.init.normal_(parameter, 0.0, 1.0, Generator(number + 1))
    x = image(3, 6, 4, 5)
    w1, b1, w2, b2 = (p.numpy().squeeze() for p in gate.parameters())
    means = x.mean((2, 3))
    weights = 1 / (1 + np.exp(-(np.maximum(means @ w1.T + b1, 0) @ w2.T + b2)))
    assert_close(gate(x).numpy(), x * weights[..., None, None], 1e-12)
    assert_close(gate.excitation(x).numpy()[:, :, 0, 0], weights, 1e-12)
    assert np.ptp(weights, 0).min() > 0.01  # every image has its own


def test_gates_start_near_a_half():
    gate = SqueezeExcitation(64, 4, generator=Generator(0))
    assert not gate.fc1.bias.numpy().any() and not gate.fc2.bias.numpy().any()
    weights = gate.excitation(np.abs(image(8, 64, 7, 7, dtype=np.float32))).numpy()
    assert abs(weights.mean() - 0.5) < 0.1 and 0.05 < weights.std() < 0.3


def test_the_ablation_is_a_number_a_channel_whatever_the_image():
    scale = ChannelScale(3).double()
    assert np.array_equal(scale(image(2, 3, 4, 4)).numpy(), image(2, 3, 4, 4))
    scale.load_state_dict({"weight": np.array([1.0, -2.0, 0.5])})
    x = image(2, 3, 4, 4)
    assert_close(scale(x).numpy(), x * np.array([1.0, -2.0, 0.5]).reshape(3, 1, 1), 1e-15)
    nets = [abstractly("resnet20", shortcut="B"), *(abstractly("seresnet20", gate=g) for g in ("excitation", "scale"))]
    bare, gated, scaled = (sum(p.size for p in net.parameters()) for net in nets)
    assert gated - bare == 3 * sum(2 * c * (c // 16) + c // 16 + c for c in (16, 32, 64))
    assert scaled - bare == 3 * (16 + 32 + 64)


@pytest.mark.parametrize("name", ["resnet20", "preresnet110_cifar10"])
def test_a_net_with_scales_starts_as_the_bare_net(name):
    depth = {"depth": 8}
    bare = models.create(name, **depth, generator=Generator(0)).eval()
    scaled = squeeze_and_excite(models.create(name, **depth, generator=Generator(0)), gate="scale").eval()
    x = image(2, 3, 16, 16, dtype=np.float32)
    assert_close(scaled(x).numpy(), bare(x).numpy(), 1e-6)  # fused with a norm, a sum rounds once less
    blocks = [block for block in scaled.modules() if isinstance(block, Residual)]
    assert len(blocks) == 3 and all(isinstance(block.se, ChannelScale) for block in blocks)
    nn.init.zeros_(blocks[1].se.weight)
    assert np.abs(scaled(x).numpy() - bare(x).numpy()).max() > 1e-3


def test_the_gate_stands_after_the_last_norm_and_before_the_addition():
    block = squeeze_and_excite(BasicBlock(32, 32, generator=Generator(0))).double().eval()
    nn.init.constant_(block.bn2.bias, 0.3)
    x = image(2, 32, 5, 5)
    branch = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(minicnn.Tensor(x)))))).numpy()
    expected = np.maximum(branch * block.se.excitation(branch).numpy() + x, 0)
    assert_close(block(x).numpy(), expected, 1e-12)


def test_stochastic_depth_leaves_out_the_gate_with_its_branch():
    net = linear_decay(models.seresnet20(depth=8, num_classes=3, generator=Generator(0)), 0.0, Generator(1))
    x = image(2, 3, 16, 16, dtype=np.float32)
    net(x).sum().backward()
    dropped = net.layer3[0].se.fc1.weight
    assert dropped.grad is None and net.fc.weight.grad is not None
    net.eval()
    whole = net(x).numpy()
    nn.init.constant_(dropped, 9.0)
    assert np.array_equal(net(x).numpy(), whole)  # times its survival, which is 0


def test_the_units_of_every_gate_are_a_sixteenth():
    for name in ("seresnet18", "seresnet50", "senet154"):
        gates = [module for module in abstractly(name).modules() if isinstance(module, SqueezeExcitation)]
        assert [gate.fc1.out_channels * 16 for gate in gates] == [gate.fc1.in_channels for gate in gates]
        assert all(gate.fc1.bias is not None and gate.fc2.bias is not None for gate in gates)
        assert len(gates) == {"seresnet18": 8, "seresnet50": 16, "senet154": 50}[name]


@pytest.mark.parametrize(
    ("gated", "bare", "widths"),
    [
        ("seresnet18", "resnet18", (64, 128, 256, 512)),
        ("seresnet50_v1", "resnet50_v1", (256, 512, 1024, 2048)),
        ("seresnext50_32x4d", "resnext50_32x4d", (256, 512, 1024, 2048)),
        ("seresnext152_64x4d", "resnext152_64x4d", (256, 512, 1024, 2048)),
    ],
)
def test_what_gates_cost(gated, bare, widths):
    """2 C^2 / 16 weights and C + C / 16 biases a block; products of the two layers alone are counted."""
    with minicnn.abstract():
        depths = [len(list(models.create(gated).get_submodule(f"layer{i}").children())) for i in (1, 2, 3, 4)]
    products = sum(depth * 2 * c * (c // 16) for depth, c in zip(depths, widths, strict=True))
    biases = sum(depth * (c + c // 16) for depth, c in zip(depths, widths, strict=True))
    more = np.subtract(models.counts(gated), models.counts(bare))
    assert tuple(more) == (products + biases, products)


def test_other_weights_are_those_of_the_bare_net():
    gated, bare = (abstractly(name).state_dict() for name in ("seresnet50", "resnet50"))
    rest = {path: value for path, value in gated.items() if ".se." not in path}
    assert {path: value.shape for path, value in rest.items()} == {path: value.shape for path, value in bare.items()}
    assert gated["layer1.0.se.fc1.weight"].shape == (16, 256, 1, 1) and gated["layer1.0.se.fc2.bias"].shape == (256,)


def test_the_nets_of_caffe_round_the_first_pool_up():
    x = minicnn.Tensor(image(1, 3, 32, 32, dtype=np.float32))
    pools = [abstractly(name).maxpool for name in ("seresnet50_v1", "senet154", "seresnet50", "seresnext50_32x4d")]
    assert [pool.ceil_mode for pool in pools] == [True, True, False, False]
    assert [pool(x).shape[2:] for pool in pools] == [(16, 16)] * 4
    assert not np.array_equal(pools[0](x).numpy(), pools[2](x).numpy())  # the windows lie one pixel apart


def test_senet_154_is_no_se_resnext_152():
    """Half as many channels before the grouped 3x3, 3x3 shortcuts where the stride is, a stem of three convolutions."""
    net = abstractly("senet154")
    first, second = net.layer1[0], net.layer2[0]
    shapes = [conv.weight.shape for conv in (second.conv1, second.conv2, second.conv3, second.downsample[0])]
    assert shapes == [(256, 256, 1, 1), (512, 4, 3, 3), (512, 512, 1, 1), (512, 256, 3, 3)]
    assert first.downsample[0].weight.shape == (256, 128, 1, 1) and net.layer2[1].downsample is None
    assert [second.conv1.stride, second.conv2.stride, second.downsample[0].stride] == [1, 2, 2]
    stem = [(conv.out_channels, conv.stride) for conv in net.stem if isinstance(conv, nn.Conv2d)]
    assert stem == [(64, 2), (64, 1), (128, 1)] and net.dropout.p == 0.2
    assert len([m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]) == 3 + 50 + 3
    assert models.counts("seresnext152_64x4d").params - models.counts("senet154").params == 6_512_000


def small_senet154():
    return SENet154(depths=(1, 1, 1, 1), groups=4, base_width=4, num_classes=3, generator=Generator(0))


SMALL = {
    "seresnet20": lambda: models.seresnet20(depth=8, num_classes=3, generator=Generator(0)),
    "seresnet164": lambda: models.seresnet164(depth=11, num_classes=3, generator=Generator(0)),
    "seresnet18": lambda: models.seresnet18(depths=(1, 1, 1, 1), num_classes=3, generator=Generator(0)),
    "scale": lambda: models.seresnet20(depth=8, gate="scale", num_classes=3, generator=Generator(0)),
    "senet154": small_senet154,
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "senet154")) for n in SMALL])
def test_every_parameter_learns(name):
    """Where no unit of a gate is alive, nothing before it learns; 4 images and wide gates leave some alive."""
    net = SMALL[name]()
    minicnn.ops.cross_entropy(net(image(4, 3, 32, 32, dtype=np.float32)), np.array([0, 1, 2, 0])).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    silent = [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent


def test_a_gate_learns_as_torchs_functions():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    gate = SqueezeExcitation(8, 3, generator=Generator(0)).double()
    x, seed = image(2, 8, 3, 4), image(2, 8, 3, 4, seed=1)
    theirs = [torch.from_numpy(np.array(p.numpy())).requires_grad_() for p in gate.parameters()]
    input_ = torch.from_numpy(x).requires_grad_()
    squeezed = functional.relu(functional.conv2d(input_.mean((2, 3), keepdim=True), theirs[0], theirs[1]))
    (input_ * functional.conv2d(squeezed, theirs[2], theirs[3]).sigmoid() * torch.from_numpy(seed)).sum().backward()
    ours = minicnn.Tensor(x, requires_grad=True)
    (gate(ours) * seed).sum().backward()
    for mine, other in zip((ours, *gate.parameters()), (input_, *theirs), strict=True):
        assert_close(mine.grad.numpy(), other.grad.numpy(), 1e-12)


def test_short_names():
    assert models.info("seresnet110").name == "seresnet110_cifar10"
    assert set(models.names("seres*")) <= set(rows())


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.seresnet50(gate="sigmoid"), "gate='sigmoid' is unknown, expected one of"),
        (lambda: models.seresnet20(reduction=17), "reduction=17 leaves nothing of 16 channels"),
        (lambda: models.seresnet20(reduction=0), "reduction=0"),
        (lambda: models.senet154(depths=(3, 8)), "SENet154: depths="),
        (lambda: models.seresnet18(groups=32), "groups=32 needs block='bottleneck'"),
        (lambda: squeeze_and_excite(models.lenet5()), "LeNet5 is no residual network"),
        (lambda: squeeze_and_excite(models.plain18()), "ResNet is no residual network"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
