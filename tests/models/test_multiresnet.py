"""Multi-ResNet: one identity and k functions, and with one function the pre-activation ResNet."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.multiresnet import MultiResidual
from minicnn.models.preresnet import Convolution, bottleneck
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def lively(net):
    """In float64, with batch norms that do something."""
    for number, module in enumerate(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(module.weight, 0.5, 1.5, Generator(number))
        nn.init.uniform_(module.bias, -1, 1, Generator(number + 500))
    return net.double()


def norm(x, state, path):
    return functional.batch_norm(x, None, None, state[f"{path}.weight"], state[f"{path}.bias"], training=True)


@pytest.mark.parametrize("changes", [False, True])
def test_a_block_against_pytorch(changes):
    convolutions = [Convolution(3, 6 if changes else 4, 2 if changes else 1), Convolution(3, 6 if changes else 4)]
    block = lively(MultiResidual(4, convolutions, 3, generator=Generator(0)))
    state = {name: torch.from_numpy(value) for name, value in block.state_dict().items()}
    x = torch.from_numpy(image(2, 4, 6, 6))
    if changes:
        x = functional.relu(norm(x, state, "enter.0"))
    y = functional.conv2d(x, state["shortcut.weight"], stride=2) if changes else x
    for k in range(3):
        path, at = f"functions.{k}", 0 if changes else 2
        z = x if changes else functional.relu(norm(x, state, f"{path}.0"))
        z = functional.conv2d(z, state[f"{path}.{at}.weight"], stride=2 if changes else 1, padding=1)
        z = functional.relu(norm(z, state, f"{path}.{at + 1}"))
        y = y + functional.conv2d(z, state[f"{path}.{at + 3}.weight"], padding=1)
    assert_close(block(image(2, 4, 6, 6)).numpy(), y.numpy(), 1e-12)


def test_without_its_functions_a_block_is_the_identity():
    block = MultiResidual(8, bottleneck(2, 1, True), 4, generator=Generator(0))
    for function in block.functions:
        nn.init.zeros_(function[-1].weight)
    x = image(2, 8, 5, 5).astype(np.float32)
    assert np.array_equal(block(x).numpy(), x)


def test_functions_have_no_order():
    block = MultiResidual(8, bottleneck(2, 1, True), 3, generator=Generator(0)).double()
    x = image(2, 8, 5, 5)
    y = block(x).numpy()
    block.functions = nn.ModuleList(reversed(list(block.functions)))
    assert_close(block(x).numpy(), y, 1e-13)
    block.functions = nn.ModuleList(list(block.functions)[:2])
    assert np.abs(block(x).numpy() - y).max() > 0.01


def preresnets_name(name):
    """The path of a parameter of Multi-ResNet with one function in the pre-activation ResNet."""
    if "." not in name or not name.startswith("layer"):
        return name.replace("conv1.", "stem.0.")
    unit, number, part, rest = name.split(".", 3)
    if part == "enter":
        return f"{unit}.{number}.norms.0.{rest.split('.')[1]}"
    if part == "shortcut":
        return f"{unit}.{number}.shortcut.{rest}"
    _, layer, kind = rest.split(".")
    at = int(layer) + (1 if number == "0" else 0) * 2  # the first unit's activation is not in its function
    return f"{unit}.{number}.{'convs' if at % 3 == 2 else 'norms'}.{at // 3}.{kind}"


@pytest.mark.parametrize("training", [True, False])
def test_with_one_function_it_is_the_preactivation_resnet(training):
    ours = lively(models.multiresnet200_k5_cifar10(depth=20, k=1, generator=Generator(0)))
    theirs = models.preresnet164_cifar10(depth=20, generator=Generator(1)).double()
    state = {preresnets_name(name): value for name, value in ours.state_dict().items()}
    assert theirs.load_state_dict(state) == ([], [])
    x = image(3, 3, 16, 16)
    assert_close(ours.train(training)(x).numpy(), theirs.train(training)(x).numpy(), 1e-13)


def size(net):
    return sum(p.size for p in net.parameters())


def test_functions_cost_and_the_identity_does_not():
    def block(k, channels):
        return MultiResidual(channels, bottleneck(4, 1, True), k)

    function = 16 * 4 + 9 * 4 * 4 + 4 * 16 + 2 * (16 + 4 + 4)
    assert [size(block(k, 16)) for k in (1, 2, 5)] == [function, 2 * function, 5 * function]
    shared = 2 * 12 + 12 * 16  # where the shape changes: one batch norm, one projection
    function = 12 * 4 + 9 * 4 * 4 + 4 * 16 + 2 * (4 + 4)
    assert [size(block(k, 12)) for k in (1, 2, 5)] == [shared + k * function for k in (1, 2, 5)]


def test_26_layers_are_four_wide_blocks_a_stage():
    with minicnn.abstract():
        net = models.multiresnet26_k2_w10_cifar10()
    assert [len(layer) for layer in (net.layer1, net.layer2, net.layer3)] == [4, 4, 4]
    assert [stage.channels for stage in net.stages] == [16, 160, 320, 640]
    assert {len(unit.functions) for layer in (net.layer1, net.layer2, net.layer3) for unit in layer} == {2}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"k": 0}, "MultiResNetCifar: k=0 is too small"),
        ({"widen": 0}, "MultiResNetCifar: widen=0 is too small"),
        ({"depth": 26}, r"MultiResNetCifar: depth=26, expected 9n \+ 2"),
        ({"block": "wide"}, "MultiResNetCifar: block='wide' is unknown"),
    ],
)
def test_mistakes(options, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.multiresnet200_k5_cifar10(**options)
    with minicnn.abstract(), pytest.raises(ArgumentError, match="MultiResidual: k=0"):
        MultiResidual(4, [Convolution(3, 4)], 0)
