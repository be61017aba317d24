"""The solution by construction: a deeper network that computes what the shallow one does, and can learn from there."""

import numpy as np
import pytest

from minicnn import models, nn, no_grad, ops
from minicnn.errors import ArgumentError
from minicnn.models import identity_insert
from minicnn.random import Generator

RNG = np.random.default_rng(5)


def trained(name, **options):
    """A network whose batch norms are no longer those of the start."""
    net = models.create(name, generator=Generator(0), **options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter in (module.weight, module.bias, module.running_mean):
                parameter.data[...] += 0.1 * RNG.standard_normal(parameter.shape)
            module.running_var.data[...] = RNG.uniform(0.5, 1.5, module.running_var.shape)
    return net


def answers(net, channels=3, side=32):
    x = np.random.default_rng(0).standard_normal((2, channels, side, side)).astype(np.float32)
    with no_grad():
        return net(x).numpy()


@pytest.mark.parametrize(
    ("name", "path", "count"),
    [
        ("resnet20_cifar10", "layer1", 1),
        ("resnet20_cifar10", "layer2.1", 3),
        ("plain20_cifar10", "layer1.1", 2),
        ("resnet164_cifar10", "layer3.4", 1),
        ("preresnet110_cifar10", "layer1", 1),
        ("seresnet20_cifar10", "layer2.1", 1),
        ("wrn16_8_cifar10", "layer1.1", 1),
    ],
)
def test_blocks_are_added_and_the_answers_stay(name, path, count):
    net = trained(name)
    deeper = identity_insert(net, path, count)
    added = {**dict(deeper.named_modules())}.keys() - dict(net.named_modules()).keys()
    assert sum(1 for key in added if isinstance(deeper.get_submodule(key), nn.Conv2d)) >= 2 * count
    before, after = answers(net), answers(deeper)
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()
    assert len(list(net.modules())) < len(list(deeper.modules())) and not deeper.training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("norm", "kernel"), [(True, 3), (False, 5), (False, (1, 4))])
def test_layers_of_a_plain_net(norm, kernel, dtype):
    generator = Generator(1)
    norms = [nn.BatchNorm2d(6)] if norm else []
    conv = nn.Conv2d(3, 6, kernel, bias=not norm, generator=generator)
    head = (nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(6, 9, generator=generator), nn.ReLU())
    net = nn.Sequential(conv, *norms, nn.ReLU(), *head, nn.Linear(9, 4, generator=generator)).astype(dtype).eval()
    act = "2" if norm else "1"
    deeper = identity_insert(net, act)
    assert len(deeper) == len(net) + 2 + norm and deeper[int(act) + 1].weight.shape[:2] == (6, 6)
    deeper = identity_insert(deeper, str(len(deeper) - 2))  # and one after the ReLU of the hidden linear layer
    assert deeper[-3].weight.shape == (9, 9)
    x = RNG.standard_normal((3, 3, 11, 11)).astype(dtype)
    before, after = net(x).numpy(), deeper(x).numpy()
    assert after.dtype == dtype and np.abs(before - after).max() <= 1e-6 * np.abs(before).max()


def test_named_layers_keep_their_names():
    net = nn.Sequential(conv=nn.Conv2d(1, 2, 3, generator=Generator(0)), act=nn.ReLU(), pool=nn.MaxPool2d(2))
    deeper = identity_insert(net, "act")
    assert [name for name, _ in deeper.named_children()] == ["conv", "act", "act_identity1", "act_identity2", "pool"]
    assert np.array_equal(net(np.ones((1, 1, 8, 8), "f")).numpy(), deeper(np.ones((1, 1, 8, 8), "f")).numpy())


def test_the_net_itself_stays_and_the_new_layers_learn():
    net = trained("resnet20_cifar10")
    state = {name: np.array(array) for name, array in net.state_dict().items()}
    deeper = identity_insert(net, "layer1").train()
    loss = ops.cross_entropy(deeper(RNG.standard_normal((4, 3, 16, 16)).astype(np.float32)), np.arange(4))
    loss.backward()
    new = deeper.layer1[3]
    assert np.abs(new.bn2.weight.grad.numpy()).max() > 0  # the first that can move; what is behind a zero waits for it
    new.bn2.weight.data[...] = 1
    assert all(np.array_equal(state[name], array) for name, array in net.state_dict().items())


@pytest.mark.parametrize(
    ("net", "path", "message"),
    [
        (lambda: models.create("resnet20_cifar10"), "layer2.0", r"no layers after 'layer2.0' \(BasicBlock\)"),
        (lambda: models.create("resnet20_cifar10"), "layer9", "no module at 'layer9'"),
        (lambda: models.create("resnet20_cifar10"), "relu", "is in a ResNetCifar, which runs its layers by its own"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "1", r"no layers after '1' \(Tanh\) would pass on"),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2)), "1", "MaxPool2d"),
        (lambda: nn.Sequential(nn.ReLU()), "0", "fix: name a residual block that does not stride, or a ReLU after"),
    ],
)
def test_mistakes(net, path, message):
    with pytest.raises(ArgumentError, match=message):
        identity_insert(net(), path)


def test_the_count_is_a_number():
    with pytest.raises(ArgumentError, match="identity_insert: count=0"):
        identity_insert(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "1", 0)
