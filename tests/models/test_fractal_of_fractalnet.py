"""Fractal of FractalNets: the seven blocks of the authors' files, Taylor terms, and stages that learn in turn."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.fractal_of_fractalnet import FractalOfFractalNet, FreezeDropPath
from minicnn.models.fractalnet import FractalBlock, Join
from minicnn.random import Generator
from tests.close import assert_close

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 32, 32))
# block of FoF.prototxt -> its path: the four of the deepest column, and those beside them
BLOCKS = {
    "a": "first.first.unit",
    "b": "first.second.unit",
    "c": "first.unit",
    "d": "second.first.unit",
    "e": "second.second.unit",
    "f": "second.unit",
    "g": "unit",
}
FORMS = [(False, False), (True, False), (False, True), (True, True)]


def tiny(**options):
    options = {"filters": (2, 3, 4, 5), "dropout": (0.0,) * 4, "num_classes": 3, **options}
    net = FractalOfFractalNet(**options, generator=Generator(0)).double()
    for number, (_, value) in enumerate(net.named_buffers()):
        if value.ndim:
            nn.init.uniform_(value, 0.5, 1.5, Generator(number))
    return net


def blocks_of(net):
    return {name: net.fractal.get_submodule(path) for name, path in BLOCKS.items()}


def by_hand(net, x):
    """The branches of the last join, from the blocks and NumPy's means, as the prototxt wires them."""
    block = {name: (lambda y, module=module: module(y).numpy()) for name, module in blocks_of(net).items()}
    middle = (block["b"](block["a"](x)) + block["c"](x)) / 2
    return block["g"](x), block["f"](middle), block["e"](block["d"](middle))


@pytest.mark.parametrize(("taylor", "boosting"), FORMS)
def test_the_wiring_of_the_files(taylor, boosting):
    net = tiny(taylor=taylor, boosting=boosting).eval()
    g, f, e = by_hand(net, IMAGE)
    if boosting:
        deep = (f + e) / 2
        total = g + (deep * deep if taylor else deep)
        mean, var = (net.join.bn.state_dict()[name].reshape(5, 1, 1) for name in ("running_mean", "running_var"))
        last = (total - mean) / np.sqrt(var + 1e-5)
    else:
        last = (g + f * f + e * e * e) / 3 if taylor else (g + f + e) / 3
    expected = last.reshape(2, 20) @ net.fc.weight.numpy().T + net.fc.bias.numpy()
    assert g.shape == f.shape == e.shape == (2, 5, 2, 2) and np.abs(e).min() >= 0
    assert_close(net(IMAGE).numpy(), expected, 1e-12)


def test_the_seven_blocks():
    with minicnn.abstract():
        net = models.fractal_of_fractalnet()
    found = {
        name: (block.fractal.unit.conv.weight.shape[1::-1], block.pool.kernel_size)
        for name, block in blocks_of(net).items()
    }
    assert found == {
        "a": ((3, 64), 2),
        "b": ((64, 128), 2),
        "c": ((3, 128), 4),
        "d": ((128, 256), 2),
        "e": ((256, 512), 2),
        "f": ((128, 512), 4),
        "g": ((3, 512), 16),
    }
    assert sum(isinstance(module, FractalBlock) for module in net.modules()) == 7
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == 7 * 7
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(2, 64), (4, 128), (8, 256), (16, 512)]


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("fof_tsn", {"a": 0.1, "b": 0.2, "c": 0.1, "d": 0.3, "e": 0.3, "f": 0.3, "g": 0.0}),
        ("tsn_fdp", {"a": 0.0, "b": 0.1, "c": 0.0, "d": 0.2, "e": 0.3, "f": 0.2, "g": 0.0}),
    ],
)
def test_dropout_is_that_of_the_files(name, rates):
    with minicnn.abstract():
        net = models.create(name)
    found = {
        name: {module.p for module in block.modules() if isinstance(module, nn.Dropout)}
        for name, block in blocks_of(net).items()
    }
    assert found == {name: {rate} for name, rate in rates.items()}


def test_sixteen_joins():
    net, found = tiny(), []
    for module in net.modules():
        if isinstance(module, Join):
            assert module.survival == 0.85
            module.register_forward_hook(lambda module, args, y: found.append(len(args[0])))
    net.eval()(IMAGE)
    met = [count for count in found if count > 1]
    assert len(met) == 16 and met.count(2) == 7 + 1 and met.count(3) == 7 + 1
    assert tiny(boosting=True).mean.survival == 1  # the file drops neither of the two that make one stage


def parts(count):
    return [minicnn.Tensor(np.array([[10.0**k]]), requires_grad=True) for k in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_freeze_drop_path_adds_up_and_trains_one(count):
    freeze = FreezeDropPath()
    for trained in range(count):
        squares = [k * k for k in range(1, count + 1)]
        freeze.position = (sum(squares[:trained]) + 0.5) / sum(squares)
        branches = parts(count)
        y = freeze.train()(branches)
        assert y.item() == sum(10.0**k for k in range(trained + 1))
        (y * 7.0).sum().backward()
        grads = [branch.grad.numpy().item() if branch.grad is not None else None for branch in branches]
        assert grads == [7.0 if k == trained else None for k in range(count)]
    branches = parts(count)
    y = freeze.eval()(branches)
    y.sum().backward()
    assert y.item() == sum(10.0**k for k in range(count)) and all(b.grad.numpy().item() == 1 for b in branches)


def test_turns_are_as_long_as_the_squares():
    freeze = FreezeDropPath()

    def turns(cycle, count):
        found = []
        for step in range(cycle):
            freeze.position = (step % cycle) / cycle
            found.append(freeze.branch(count))
        assert found == sorted(found)
        return np.bincount(found, minlength=count).tolist()

    assert turns(5, 2) == [1, 4] and turns(14, 3) == [1, 4, 9] and turns(140, 3) == [10, 40, 90]
    freeze = FreezeDropPath(Generator(0))
    drawn = np.bincount([freeze.branch(3) for _ in range(1400)])
    expected = np.array([100, 400, 900])
    assert np.all(np.abs(drawn - expected) < 4 * np.sqrt(expected * (1 - expected / 1400)))


@pytest.mark.parametrize("taylor", [False, True])
def test_boosting_freezes_what_was_before_and_drops_what_comes_later(taylor):
    net = tiny(boosting=True, taylor=taylor, drop_path=0.0).train()
    shallow = {name for name, _ in net.named_parameters() if name.startswith("fractal.unit.")}
    deep = {name for name, _ in net.named_parameters() if name.startswith(("fractal.first.", "fractal.second."))}
    results = []
    for position, expected in ((0.1, shallow), (0.3, deep)):
        net.join.freeze.position = position
        net.zero_grad()
        y = net(IMAGE)
        ops.cross_entropy(y, np.array([0, 2])).backward()
        assert {name for name, p in net.named_parameters() if p.grad is not None} == expected | {
            "fc.weight",
            "fc.bias",
        }
        results.append(y.numpy())
    assert len(shallow) == 14 and len(deep) == 6 * 14
    assert np.abs(results[1] - results[0]).max() > 1e-3  # the frozen part is still in the sum
    for parameter in net.fractal.unit.parameters():
        nn.init.zeros_(parameter)
    assert np.abs(net(IMAGE).numpy() - results[1]).max() > 1e-3


def test_every_parameter_learns_without_drop_path():
    """Biases in front of batch norm aside, which takes them away again."""
    net = tiny(drop_path=0.0, taylor=True).train()
    ops.cross_entropy(net(IMAGE), np.array([1, 2])).backward()
    silent = [
        name
        for name, p in net.named_parameters()
        if not name.endswith("conv.bias") and not np.abs(p.grad.numpy()).max() > 1e-9
    ]
    assert not silent


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: tiny(filters=(1, 2)), r"FractalOfFractalNet: filters=\(1, 2\), expected four numbers, one a row"),
        (lambda: tiny(dropout=(0.1,)), r"FractalOfFractalNet: dropout=\(0.1,\), expected four numbers, one a row"),
        (lambda: tiny(drop_path=1.5), "Join: drop_path=1.5 is out of range"),
    ],
)
def test_mistakes(mistake, match):
    with pytest.raises(ArgumentError, match=match):
        mistake()


def test_a_position_outside_of_the_cycle():
    freeze = FreezeDropPath()
    freeze.position = 1.5
    with pytest.raises(ArgumentError, match=r"FreezeDropPath: position=1.5 is out of range, expected a number from 0"):
        freeze(parts(2))
