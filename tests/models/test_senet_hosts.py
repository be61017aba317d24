"""Gates in BN-Inception, VGG and wide ResNets: where they stand, and that nothing else changed."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.senet import SqueezeExcitation
from minicnn.random import Generator


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def gates(net):
    return [module for module in net.modules() if isinstance(module, SqueezeExcitation)]


@pytest.mark.parametrize(
    ("gated", "bare", "widths"),
    [
        ("se_bn_inception", "bn_inception", (256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024)),
        ("se_vgg16_bn", "vgg16_bn", (64, 64, 128, 128, *(256,) * 3, *(512,) * 6)),
        ("se_wrn16_8_cifar10", None, (128, 128, 256, 256, 512, 512)),
    ],
)
def test_a_gate_for_every_map_and_nothing_else(gated, bare, widths):
    assert [gate.fc1.in_channels for gate in gates(abstractly(gated))] == list(widths)
    assert [gate.fc1.out_channels for gate in gates(abstractly(gated))] == [c // 16 for c in widths]
    if bare:
        products = sum(2 * c * (c // 16) for c in widths)
        more = np.subtract(models.counts(gated), models.counts(bare))
        assert tuple(more) == (products + sum(c + c // 16 for c in widths), products)


def test_vgg_has_its_gates_after_the_nonlinearity_and_keeps_its_names():
    gated, bare = abstractly("se_vgg16_bn"), abstractly("vgg16_bn")
    assert gated.stage_paths == bare.stage_paths
    assert {path for path in gated.state_dict() if ".se." not in path} == set(bare.state_dict())
    order = [type(layer).__name__ for layer in gated.features[:4]]
    assert order == ["Conv2d", "BatchNorm2d", "Sequential", "Conv2d"]
    assert [type(layer).__name__ for layer in gated.features[2]] == ["ReLU", "SqueezeExcitation"]


@pytest.mark.parametrize("gate", ["excitation", "scale"])
def test_an_inception_module_is_weighed_where_its_filters_are_joined(gate):
    net = models.se_bn_inception(gate=gate, num_classes=2, generator=Generator(0)).eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    stages = net.stage_outputs(x)
    bare = models.bn_inception(num_classes=2, generator=Generator(0)).eval().stage_outputs(x)
    assert np.array_equal(stages["stage1"].numpy(), bare["stage1"].numpy())
    same = np.array_equal(stages["stage2"].numpy(), bare["stage2"].numpy())
    assert same == (gate == "scale") and stages["stage2"].shape == bare["stage2"].shape


@pytest.mark.parametrize(
    "build",
    [
        lambda g: models.se_wrn16_8_cifar10(depth=10, widen=2, num_classes=3, generator=g),
        lambda g: models.se_vgg16_bn(configuration="A", hidden=8, num_classes=3, dropout=0.0, generator=g),
    ],
)
def test_every_gate_learns(build):
    net = build(Generator(0))
    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    assert all(np.abs(gate.fc1.weight.grad.numpy()).max() > 0 for gate in gates(net))


def test_plain_vgg_takes_gates_too():
    net = abstractly("se_vgg16_bn", batch_norm=False, configuration="A")
    assert len(gates(net)) == 8 and not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


@pytest.mark.parametrize("name", ["se_bn_inception", "se_vgg16_bn", "se_wrn16_8_cifar10"])
def test_mistakes(name):
    with pytest.raises(ArgumentError, match="gate='none' is unknown"):
        abstractly(name, gate="none")
    with pytest.raises(ArgumentError, match="reduction=5000 leaves nothing of"):
        abstractly(name, reduction=5000)
