"""PreResNet: the five orderings of figure 4, where activations are shared, and the identity path."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.preresnet import ORDERINGS, Convolution
from minicnn.nn import init
from minicnn.random import Generator
from tests.close import assert_close

FIGURE_4 = {
    "original": "conv BN ReLU conv BN add ReLU",
    "bn_after_addition": "conv BN ReLU conv add BN ReLU",
    "relu_before_addition": "conv BN ReLU conv BN ReLU add",
    "relu_preactivation": "ReLU conv BN ReLU conv BN add",
    "preactivation": "BN ReLU conv BN ReLU conv add",
}


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def unit_of(ordering, **options):
    """A unit whose batch norms are not the identity, so that no two steps commute."""
    unit = ORDERINGS[ordering](4, [Convolution(3, 4), Convolution(3, 4)], generator=Generator(0), **options)
    for seed, norm in enumerate(unit.norms):
        for part in norm.parameters():
            init.uniform_(part, -1, 1, Generator(seed))
    return unit


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_unit_is_the_figure(ordering):
    unit, x = unit_of(ordering).eval(), minicnn.Tensor(image(2, 4, 6, 6))
    convs, norms, y = iter(unit.convs), iter(unit.norms), x
    for step in FIGURE_4[ordering].split():
        y = {"conv": lambda: next(convs), "BN": lambda: next(norms), "ReLU": lambda: unit.relu}.get(
            step, lambda: lambda branch: branch + x
        )()(y)
    assert_close(unit(x).numpy(), y.numpy(), 1e-6)
    assert next(convs, None) is None and next(norms, None) is None


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_what_a_unit_without_branch_does_to_its_input(ordering):
    """Only the three orderings without anything after the addition pass it on as it is."""
    unit, x = unit_of(ordering).eval(), image(2, 4, 6, 6)
    init.zeros_(unit.convs[1].weight)
    for part in unit.norms[1].parameters():
        if ordering in ("original", "relu_before_addition", "relu_preactivation"):
            init.zeros_(part)
    y = unit(minicnn.Tensor(x)).numpy()
    assert np.array_equal(y, x) == (ordering not in ("original", "bn_after_addition"))
    assert ordering != "original" or np.array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_all_orderings_of_resnet_110_have_its_parameters(ordering):
    with minicnn.abstract():
        net = models.preresnet110_cifar10(ordering=ordering)
    assert sum(p.size for p in net.parameters()) == 1_727_962


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_every_parameter_gets_a_gradient(ordering):
    net = models.preresnet110_cifar10(depth=8, ordering=ordering, shortcut="B", generator=Generator(0))
    y = net(minicnn.Tensor(image(2, 3, 8, 8)))
    (y * image(2, 10)).sum().backward()
    assert y.shape == (2, 10) and np.isfinite(y.numpy()).all()
    for name, p in net.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any(), name


def inputs_of(net, paths, x):
    """What the modules at ``paths`` are given."""
    seen = {}
    for path in paths:

        def keep(module, args, output, path=path):
            seen[path] = args[0].numpy()

        net.get_submodule(path).register_forward_hook(keep)
    net.eval()(minicnn.Tensor(x))
    return [seen[path] for path in paths]


def test_the_first_unit_of_a_stage_activates_before_it_splits():
    net = models.preresnet164_cifar10(depth=20, generator=Generator(0))
    paths = ("layer2.0.shortcut", "layer2.0.convs.0", "layer2.1.shortcut", "layer2.1.convs.0")
    shared, same, raw, activated = inputs_of(net, paths, image(2, 3, 16, 16))
    assert np.array_equal(shared, same) and shared.min() == 0 and shared.any()
    assert raw.min() < 0 and activated.min() == 0


def test_the_imagenet_stem_activates_for_the_first_unit():
    net = models.preresnet18(depths=(2, 1, 1, 1), num_classes=3, generator=Generator(0))
    pooled, same = inputs_of(net, ("layer1.0", "layer1.0.convs.0"), image(1, 3, 32, 32))
    assert np.array_equal(pooled, same) and pooled.min() >= 0
    assert not list(net.layer1[0].norms[0].parameters()) and list(net.layer1[1].norms[0].parameters())
    assert isinstance(net.layer1[0].shortcut, minicnn.nn.Identity)
    assert isinstance(net.layer2[0].shortcut, minicnn.nn.Conv2d)


def test_the_stride_is_in_the_3x3_for_imagenet_and_in_the_first_1x1_for_cifar():
    with minicnn.abstract():
        imagenet, cifar = models.preresnet50().layer2[0], models.preresnet164_cifar10().layer2[0]
    assert [conv.stride for conv in imagenet.convs] == [1, 2, 1]
    assert [conv.stride for conv in cifar.convs] == [2, 1, 1]


def test_1001_layers_are_333_units_of_three():
    with minicnn.abstract():
        net = models.preresnet1001()
    assert [len(layer) for layer in (net.layer1, net.layer2, net.layer3)] == [111, 111, 111]


def test_the_last_sum_is_normalised_and_seen_by_grad_cam():
    with minicnn.abstract():
        net = models.preresnet50()
        assert net.cam_layer is net.last and [type(m).__name__ for m in net.last] == ["BatchNorm2d", "ReLU"]
        assert isinstance(models.preresnet50(ordering="original").last, minicnn.nn.Identity)
        assert isinstance(models.preresnet50(ordering="relu_preactivation").last, minicnn.nn.ReLU)


def test_weights_start_as_in_the_authors_code():
    net = models.preresnet110_cifar10(depth=20, generator=Generator(0))
    weight = net.layer3[0].convs[0].weight.numpy()
    assert abs(weight.std() / math.sqrt(2 / (9 * 64)) - 1) < 0.05
    assert not net.fc.bias.numpy().any() and net.fc.weight.numpy().any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"ordering": "post"}, "ordering='post' is unknown, expected one of .*preactivation"),
        ({"shortcut": "none"}, "shortcut='none' is unknown, expected one of"),
        ({"block": "wide"}, "block='wide' is unknown"),
        ({"stride_in_1x1": True}, "stride_in_1x1=True needs block='bottleneck'"),
        ({"depth": 100}, r"depth=100, expected 6n \+ 2"),
        ({"depth": 100, "block": "bottleneck"}, r"depth=100, expected 9n \+ 2 such as 29, 164"),
    ],
)
def test_options_are_checked(option, message):
    with pytest.raises(ArgumentError, match=f"PreResNetCifar: {message}"), minicnn.abstract():
        models.preresnet110_cifar10(**option)
