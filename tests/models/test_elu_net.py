"""ELU networks: the unit and its mean, the stacks and their padding, residual blocks that end in a batch norm."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.gradcheck import gradcheck
from minicnn.models.elu_net import ELU11, ELU18, ELUBlock, ELUNet, ELUResNet
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_unit_and_its_slope():
    values = np.linspace(-6, 6, 241)
    x = Tensor(values, requires_grad=True)
    y = nn.ELU()(x)
    y.sum().backward()
    assert_close(y.numpy(), np.where(values > 0, values, np.exp(np.minimum(values, 0)) - 1), 1e-15)
    assert_close(x.grad.numpy(), np.where(values > 0, 1, np.exp(np.minimum(values, 0))), 1e-15)
    assert y.numpy().min() > -1 and nn.ELU()(np.array([-1e4])).numpy()[0] == -1
    assert all(elu.alpha == 1 for elu in models.elu11_cifar100(in_channels=1).modules() if isinstance(elu, nn.ELU))


def test_the_mean_is_nearer_to_zero_than_a_relus():
    """Of normal numbers: 1 / sqrt(2 pi) for ReLU, from which ELU takes 1/2 - sqrt(e) Phi(-1), more than half."""
    x = noise(1_000_000)
    means = {unit: unit()(x).numpy().mean() for unit in (nn.ELU, nn.ReLU)}
    assert abs(means[nn.ReLU] - 1 / np.sqrt(2 * np.pi)) < 0.002
    assert abs(means[nn.ReLU] - means[nn.ELU] - (0.5 - np.sqrt(np.e) * 0.158655)) < 0.002
    assert 0 < means[nn.ELU] < 0.45 * means[nn.ReLU]


@pytest.mark.parametrize(("name", "stacks", "layers"), [("elu11_cifar100", ELU11, 11), ("elu18_cifar100", ELU18, 19)])
def test_the_stacks(name, stacks, layers):
    """18 layers and the one of the classes; the pools bring 32 pixels to one."""
    with minicnn.abstract():
        net = models.create(name)
        outputs = net.stage_outputs(Tensor(minicnn.ShapeArray((1, 3, 32, 32), "float32")))
    found = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.out_channels, conv.kernel_size[0]) for conv in found] == [*sum(stacks, ()), (100, 1)]
    assert len(found) == layers and len([m for m in net.modules() if isinstance(m, nn.ELU)]) == layers - 1
    assert [y.shape[2] for y in outputs.values()] == [32, 16, 8, 4, 2, 1]
    assert [stage.stride for stage in net.stages] == [1, 2, 4, 8, 16, 32]
    assert not [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert net.cam_layer is net.features.stack5
    drops = [net.features.get_submodule(f"drop{i}").p for i in range(1, len(stacks) + 1)]
    assert drops[:6] == [0, 0.1, 0.2, 0.3, 0.4, 0.5] and not any(drops[6:])


def test_a_2x2_kernel_looks_to_the_right_and_below():
    """Zeros stand in the extra last row and column: at a single pixel one weight of four is used."""
    net = ELUNet(stacks=(((2, 2),), *(((2, 1),),) * 5), num_classes=3, generator=Generator(0)).double().eval()
    conv = net.features.stack1.conv1
    x = noise(1, 3, 4, 5)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
    windows = np.stack([[padded[0, :, i : i + 2, j : j + 2] for j in range(5)] for i in range(4)])
    expected = np.einsum("ijckl,ockl->oij", windows, conv.weight.numpy())
    assert_close(conv(x).numpy()[0], expected, 1e-13)
    pixel = noise(1, 3, 1, 1)
    assert_close(conv(pixel).numpy()[0, :, 0, 0], conv.weight.numpy()[:, :, 0, 0] @ pixel[0, :, 0, 0], 1e-13)


def test_logits_may_be_negative():
    net = models.elu11_cifar100(generator=Generator(0)).eval()
    with minicnn.no_grad():
        logits = net(noise(1, 3, 32, 32).astype(np.float32)).numpy()
    assert logits.min() < -1 and logits.shape == (1, 100)  # no ELU after the last layer


def test_the_block_is_conv_elu_conv_bn_and_the_input():
    block = ELUBlock(3, 3, generator=Generator(0)).double().eval()
    kinds = [type(module).__name__ for module in block.children()]
    assert kinds == ["Conv2d", "ELU", "Conv2d", "BatchNorm2d"]
    nn.init.normal_(block.bn.running_mean, 0.0, 1.0, Generator(1))
    nn.init.constant_(block.bn.weight, 1.5)
    x = noise(2, 3, 5, 5)
    inner = block.conv1(x).numpy()
    maps = block.conv2(np.where(inner > 0, inner, np.expm1(np.minimum(inner, 0)))).numpy()
    mean = block.bn.running_mean.numpy().reshape(3, 1, 1)
    assert_close(block(x).numpy(), 1.5 * (maps - mean) / np.sqrt(1 + 1e-5) + x, 1e-12)


def test_nothing_follows_the_addition():
    """With the last batch norm at zero the block is the identity, of negative numbers too; and where the shape
    changes, subsampling and zero channels."""
    x = noise(2, 4, 6, 6)
    block = ELUBlock(4, 4, generator=Generator(0)).double()
    nn.init.zeros_(block.bn.weight)
    assert np.array_equal(block(x).numpy(), x) and x.min() < 0
    block = ELUBlock(4, 6, 2, generator=Generator(0)).double()
    nn.init.zeros_(block.bn.weight)
    y = block(x).numpy()
    assert np.array_equal(y[:, :4], x[:, :, ::2, ::2]) and not y[:, 4:].any()


def test_the_gradient_of_a_block():
    assert gradcheck(ELUBlock(2, 3, 2, generator=Generator(0)).double(), Tensor(noise(2, 2, 4, 4), requires_grad=True))


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_one_batch_norm_a_block_less_than_resnet(depth):
    with minicnn.abstract():
        ours, resnet = models.create(f"elu_resnet{depth}_cifar10"), models.create(f"resnet{depth}_cifar10")
    blocks = (depth - 2) // 2
    norms = [len([m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]) for net in (ours, resnet)]
    assert norms == [1 + blocks, 1 + 2 * blocks]
    assert len([m for m in ours.modules() if isinstance(m, nn.Conv2d)]) == depth - 1
    removed = blocks // 3 * 2 * (16 + 32 + 64)
    name = f"elu_resnet{depth}_cifar10"
    assert models.counts(f"resnet{depth}_cifar10").params - models.counts(name).params == removed
    assert models.counts(f"resnet{depth}_cifar10").macs == models.counts(name).macs


def test_stochastic_depth_takes_it_as_a_residual_network():
    net = linear_decay(ELUResNet(depth=8, num_classes=3, generator=Generator(0)), 0.0, Generator(1))
    net(noise(2, 3, 16, 16).astype(np.float32)).sum().backward()
    assert net.layer3[0].bn.weight.grad is None and net.layer1[0].survival == pytest.approx(2 / 3)


def test_weights_start_as_he_says():
    small = ELUNet(generator=Generator(0))
    conv = small.features.stack2.conv2
    assert abs(conv.weight.numpy().std() - np.sqrt(2 / (9 * 192))) < 1e-3 * np.sqrt(2 / (9 * 192)) * 4
    assert not conv.bias.numpy().any()
    weight = ELUResNet(generator=Generator(0)).layer3[1].conv2.weight.numpy()
    assert abs(weight.std() / np.sqrt(2 / (9 * 64)) - 1) < 0.02


def test_every_parameter_of_small_ones_learns():
    stacks = tuple(tuple((4, kernel) for _, kernel in stack) for stack in ELU11)
    for net in (ELUNet(stacks=stacks, num_classes=3, generator=Generator(0)), ELUResNet(depth=8, num_classes=3)):
        x = noise(4, 3, 32, 32).astype(np.float32)
        ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
        assert not [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: ELUNet(stacks=ELU11[:5]), "ELUNet: 5 stacks, expected at least 6, none of them empty"),
        (lambda: ELUNet(stacks=(*ELU11[:5], ())), "ELUNet: 6 stacks, expected at least 6, none of them empty"),
        (lambda: ELUNet(dropouts=(0.5,)), r"ELUNet: dropouts=\(0.5,\), expected one for each of 6 stacks"),
        (lambda: ELUResNet(depth=21), r"ELUResNet: depth=21, expected 6n \+ 2"),
        (lambda: models.elu_resnet20_cifar10(alpha=2), "elu_resnet20_cifar10 has no option 'alpha'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
