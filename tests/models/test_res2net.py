"""Res2Net: the staircase and what each split sees, the first block of a stage, v1b, gates, Res2NeXt, timm's names."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError
from minicnn.models.res2net import Bottle2neck
from minicnn.models.resnet import Bottleneck
from minicnn.models.senet import SqueezeExcitation
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows
from tests.models.test_resnet import batch_norm


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def lively(module):
    """Batch norms that do something."""
    for number, (name, parameter) in enumerate(module.named_parameters()):
        if parameter.ndim == 1:
            nn.init.normal_(parameter, float(name.endswith("weight")), 0.3, Generator(number + 1))
    return module.double()


def block(in_channels=64, channels=16, stride=1, **options):
    options = {"base_width": 16, "generator": Generator(0)} | options
    return lively(Bottle2neck(in_channels, channels, stride, **options))


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


@pytest.mark.parametrize(("in_channels", "stride", "groups"), [(64, 1, 1), (24, 1, 1), (64, 2, 1), (64, 2, 4)])
def test_one_split_is_the_bottleneck(in_channels, stride, groups):
    """The same weights give the same outputs, gradients and statistics, also where the shape changes."""
    options = {"groups": groups, "base_width": 16, "generator": Generator(0)}
    plain = lively(Bottleneck(in_channels, 16, stride, **options))
    names = {name: name.replace("conv2.", "convs.0.").replace("bn2.", "bns.0.") for name in plain.state_dict()}
    split = Bottle2neck(in_channels, 16, stride, scale=1, **options | {"generator": Generator(9)}).double()
    assert split.load_state_dict({names[old]: v for old, v in plain.state_dict().items()}) == ([], [])
    x, seen = image(2, in_channels, 6, 6), []
    for net in (plain, split):
        given = Tensor(x, requires_grad=True)
        y = net(given)
        (y * image(*y.shape, seed=1)).sum().backward()
        seen.append((y.numpy(), given.grad.numpy(), {k: p.grad.numpy() for k, p in net.named_parameters()}))
    (y, slope, slopes), (other_y, other_slope, other_slopes) = seen
    assert np.abs(slope).max() > 0
    assert_close(other_y, y, 1e-13)
    assert_close(other_slope, slope, 1e-12)
    for old, value in slopes.items():
        assert_close(other_slopes[names[old]], value, 1e-12, old)
    for old, value in plain.state_dict().items():
        assert_close(split.state_dict()[names[old]], value, 1e-13, old)


def positive(net):
    """Nothing is lost to a ReLU or to opposite signs."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.constant_(parameter, 1.0)
    return net.double().eval()


def support(y):
    """Rows and columns that one pixel reaches; a square."""
    reached = y.numpy()[0].any(0)
    sides = [np.flatnonzero(reached.any(axis)) for axis in (0, 1)]
    assert reached.sum() == len(sides[0]) * len(sides[1]) and all(np.ptp(side) == len(side) - 1 for side in sides)
    return tuple(len(side) for side in sides)


def impulse(channels):
    x = np.zeros((1, channels, 21, 21))
    x[:, :, 10, 10] = 1
    return Tensor(x)


@pytest.mark.parametrize("scale", [2, 4, 6])
def test_every_step_sees_one_3x3_more(scale):
    net = positive(Bottle2neck(64, 16, scale=scale, base_width=16, generator=Generator(0)))
    sides = [support(y) for y in net.splits(impulse(64))]
    assert sides == [(2 * i + 1, 2 * i + 1) for i in range(1, scale)] + [(1, 1)]


def test_in_the_first_block_of_a_stage_no_step_sees_another():
    first = positive(Bottle2neck(24, 16, scale=4, base_width=16, generator=Generator(0)))
    assert [support(y) for y in first.splits(impulse(24))] == [(3, 3)] * 4


@pytest.mark.parametrize(("in_channels", "reached"), [(16, [{0}, {0, 1}, {0, 1, 2}, {3}]), (8, [{0}, {1}, {2}, {3}])])
def test_which_splits_a_step_sees(in_channels, reached):
    """A step sees its split and those before it; with another number of input channels it is the first of a stage."""
    net = positive(Bottle2neck(in_channels, 4, scale=4, base_width=16, generator=Generator(0)))
    net.conv1 = nn.Identity()
    before = net.splits(Tensor(np.ones((1, 4, 5, 5))))
    found = [set() for _ in before]
    for split in range(4):
        x = np.ones((1, 4, 5, 5))
        x[:, split] = 2
        for step, (y, old) in enumerate(zip(net.splits(Tensor(x)), before, strict=True)):
            found[step] |= {split} if np.abs(y.numpy() - old.numpy()).max() > 0 else set()
    assert found == reached


def test_one_split_passes_untouched():
    net, x = block(), Tensor(image(2, 64, 5, 5))
    opened = net.relu(net.bn1(net.conv1(x))).numpy()
    *_, last = net.splits(x)
    assert last.shape == (2, 4, 5, 5) and np.array_equal(last.numpy(), opened[:, 12:])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_first_block_averages_the_last_split_with_the_zeros_around(stride):
    net, x = block(24, stride=stride).eval(), Tensor(image(2, 24, 6, 6))
    opened = np.pad(net.relu(net.bn1(net.conv1(x))).numpy()[:, 12:], ((0, 0), (0, 0), (1, 1), (1, 1)))
    means = sum(opened[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)) / 9
    assert_close(net.splits(x)[-1].numpy(), means[:, :, ::stride, ::stride], 1e-13)


def torch_block(torch, weights, x, *, scale, stride, groups, first, average):
    """Equation (1), the first split untouched as printed; in training mode."""
    functional = torch.nn.functional

    def norm(y, path):
        return functional.batch_norm(y, None, None, weights[f"{path}.weight"], weights[f"{path}.bias"], training=True)

    def step(y, i):
        conv = functional.conv2d(y, weights[f"convs.{i}.weight"], stride=stride, padding=1, groups=groups)
        return norm(conv, f"bns.{i}").relu()

    x1, *others = norm(functional.conv2d(x, weights["conv1.weight"]), "bn1").relu().split(weights["width"], 1)
    outputs = [functional.avg_pool2d(x1, 3, stride, 1) if first else x1]
    for i, split in enumerate(others):
        outputs.append(step(split if first or i == 0 else split + outputs[-1], i))
    assert len(outputs) == scale
    y = norm(functional.conv2d(torch.cat(outputs, 1), weights["conv3.weight"]), "bn3")
    if first and average:
        x = functional.avg_pool2d(x, stride) if stride > 1 else x
        x = norm(functional.conv2d(x, weights["downsample.1.weight"]), "downsample.2")
    elif first:
        x = norm(functional.conv2d(x, weights["downsample.0.weight"], stride=stride), "downsample.1")
    return (y + x).relu()


@pytest.mark.parametrize(
    ("in_channels", "stride", "scale", "groups", "shortcut"),
    [(64, 1, 4, 1, "B"), (64, 1, 3, 2, "B"), (24, 1, 4, 1, "D"), (24, 2, 4, 2, "B"), (64, 2, 2, 1, "D")],
)
def test_a_block_is_equation_1_in_torch(in_channels, stride, scale, groups, shortcut):
    """The paper's first split is the authors' last: their channels are moved round by one split."""
    torch = pytest.importorskip("torch")
    net = block(in_channels, stride=stride, scale=scale, groups=groups, shortcut=shortcut)
    width = 4 * groups
    weights = {name: torch.from_numpy(np.array(p.numpy())).requires_grad_() for name, p in net.named_parameters()}
    moved = weights | {"width": width}
    for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
        moved[name] = weights[name].roll(width, 0)
    moved["conv3.weight"] = weights["conv3.weight"].roll(width, 1)
    x = image(2, in_channels, 6, 6)
    given, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    first, average = stride != 1 or in_channels != 64, shortcut == "D"
    y = net(given)
    expected = torch_block(
        torch, moved, theirs, scale=scale, stride=stride, groups=groups, first=first, average=average
    )
    assert_close(y.numpy(), expected.detach().numpy(), 1e-12)
    seed = image(*y.shape, seed=1)
    (y * seed).sum().backward()
    (expected * torch.from_numpy(seed)).sum().backward()
    assert_close(given.grad.numpy(), theirs.grad.numpy(), 1e-11)
    for name, parameter in net.named_parameters():
        assert_close(parameter.grad.numpy(), weights[name].grad.numpy(), 1e-10, name)


def test_gradients_are_differences():
    net = block(32, channels=8).eval()
    x = Tensor(image(1, 32, 4, 4), requires_grad=True)
    assert minicnn.gradcheck(lambda value, *_: net(value), x, *net.parameters())


WIDTHS = {"res2net50_48w_2s": 48, "res2net50_26w_4s": 26, "res2net50_14w_8s": 14}


def test_scale_costs_no_more_than_width():
    """Table 3: more and thinner splits of about the size of ResNet-50."""
    base = models.counts("resnet50")
    for name, width in WIDTHS.items():
        counted, net = models.counts(name), abstractly(name)
        assert abs(counted.params / base.params - 1) < 0.02 and abs(counted.macs / base.macs - 1) < 0.05
        splits = [layer[0].convs[0].weight.shape[0] for layer in (net.layer1, net.layer2, net.layer3, net.layer4)]
        assert splits == [width, 2 * width, 4 * width, 8 * width]


def test_one_block_a_stage_is_a_first_one():
    for name in ("res2net50_26w_4s", "res2net50_v1b", "res2next29_6c24w4s_cifar100"):
        net = abstractly(name)
        stages = [layer for path, layer in net.named_children() if path.startswith("layer")]
        for layer in stages:
            assert [inner.first for inner in layer] == [True] + [False] * (len(layer) - 1)
            assert [isinstance(inner.pool, nn.AvgPool2d) for inner in layer] == [inner.first for inner in layer]
    assert len(stages) == 3 and [len(layer) for layer in stages] == [3, 3, 3]


def test_v1b_has_a_deep_stem_and_averages_in_its_shortcuts():
    net = abstractly("res2net50_v1b")
    stem = [(conv.out_channels, conv.kernel_size, conv.stride) for conv in net.conv1 if isinstance(conv, nn.Conv2d)]
    assert stem == [(32, (3, 3), 2), (32, (3, 3), 1), (64, (3, 3), 1)]
    assert isinstance(net.layer1[0].downsample[0], nn.Identity)
    for layer in (net.layer2, net.layer3, net.layer4):
        pool, conv, _ = layer[0].downsample
        assert (pool.kernel_size, pool.ceil_mode, pool.count_include_pad, conv.stride) == (2, True, False, 1)
    plain, stems = models.counts("res2net50_26w_4s").params, 27 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 4 * 32 - 147 * 64
    assert models.counts("res2net50_v1b").params - plain == stems


def test_gates_stand_before_the_addition():
    net = models.se_res2net50_26w_4s(depths=(1, 1, 1, 1), base_width=2, num_classes=3, generator=Generator(0)).double()
    inner = net.eval().layer1[0]
    x = Tensor(image(2, 64, 5, 5))
    branch = inner.branch(x).numpy()
    weights = inner.se.excitation(branch).numpy()
    assert 0 < weights.min() < weights.max() < 1
    assert_close(inner(x).numpy(), np.maximum(branch * weights + inner.downsample(x).numpy(), 0), 1e-12)
    gates = [gate for gate in abstractly("se_res2net50_26w_4s").modules() if isinstance(gate, SqueezeExcitation)]
    assert [gate.fc1.in_channels for gate in gates] == [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    assert {gate.fc1.in_channels // gate.fc1.out_channels for gate in gates} == {16}
    more = np.subtract(models.counts("se_res2net50_26w_4s"), models.counts("res2net50_26w_4s"))
    assert tuple(more) == tuple(np.subtract(models.counts("seresnet50"), models.counts("resnet50")))


def timm_state(depths, width, scale, groups, v1b):
    """The names and shapes of timm's file, in its order."""
    state = [("conv1.weight", (64, 3, 7, 7))]
    if v1b:
        state = [("conv1.0.weight", (32, 3, 3, 3)), *batch_norm("conv1.1", 32), ("conv1.3.weight", (32, 32, 3, 3))]
        state += [*batch_norm("conv1.4", 32), ("conv1.6.weight", (64, 32, 3, 3))]
    state += batch_norm("bn1", 64)
    before = 64
    for stage, depth in enumerate(depths):
        w, after = width * 2**stage * groups, 256 * 2**stage
        for number in range(depth):
            path = f"layer{stage + 1}.{number}"
            state += [(f"{path}.conv1.weight", (w * scale, before, 1, 1)), *batch_norm(f"{path}.bn1", w * scale)]
            state += [(f"{path}.convs.{i}.weight", (w, w // groups, 3, 3)) for i in range(scale - 1)]
            state += [entry for i in range(scale - 1) for entry in batch_norm(f"{path}.bns.{i}", w)]
            state += [(f"{path}.conv3.weight", (after, w * scale, 1, 1)), *batch_norm(f"{path}.bn3", after)]
            if number == 0:
                state += [(f"{path}.downsample.{int(v1b)}.weight", (after, before, 1, 1))]
                state += batch_norm(f"{path}.downsample.{v1b + 1}", after)
            before = after
    return [*state, ("fc.weight", (1000, 2048)), ("fc.bias", (1000,))]


@pytest.mark.parametrize(
    ("name", "depths", "width", "scale", "groups", "v1b"),
    [
        ("res2net50_14w_8s", (3, 4, 6, 3), 14, 8, 1, False),
        ("res2net101_26w_4s", (3, 4, 23, 3), 26, 4, 1, False),
        ("res2net50_v1b", (3, 4, 6, 3), 26, 4, 1, True),
        ("res2next50", (3, 4, 6, 3), 4, 4, 8, False),
    ],
)
def test_weight_names_and_shapes_are_timms(name, depths, width, scale, groups, v1b):
    state = abstractly(name).state_dict()
    assert [(path, value.shape) for path, value in state.items()] == timm_state(depths, width, scale, groups, v1b)
    assert models.info(name).timm and models.info(name).timm == rows()[name].timm


def test_groups_are_those_of_the_name():
    for groups, width, scale in ((6, 24, 4), (8, 25, 4), (6, 24, 6)):
        net = abstractly(f"res2next29_{groups}c{width}w{scale}s_cifar100")
        convs = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
        assert {conv.groups for conv in convs} == {groups} and len(convs) == 9 * (scale - 1)
        assert [conv.weight.shape[1] for conv in convs[:: 3 * (scale - 1)]] == [width, 2 * width, 4 * width]


SMALL = {"base_width": 4, "num_classes": 3, "generator": Generator(0)}


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("res2net50_26w_4s", 64, {"depths": (1, 2, 1, 1)}),
        ("res2net50_v1b", 64, {"depths": (1, 1, 1, 1)}),
        ("res2next29_6c24w4s_cifar100", 16, {"depth": 11, "groups": 2}),
    ],
)
def test_every_parameter_learns(name, side, options):
    net = models.create(name, **SMALL, **options)
    x = image(4, 3, side, side).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    silent = [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent and all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.res2net50_26w_4s(depths=(3, 4)), r"Res2Net: depths=\(3, 4\), expected the numbers of blocks"),
        (lambda: models.res2net50_26w_4s(scale=0), "Res2Net: scale=0 is too small, expected at least 1"),
        (lambda: models.res2net50_26w_4s(base_width=2.5), "Res2Net: base_width=2.5 is a float, expected an integer"),
        (lambda: models.res2next50(groups=0), "Res2Net: groups=0"),
        (lambda: models.se_res2net50_26w_4s(reduction=0), "reduction=0"),
        (lambda: models.res2next29_6c24w4s_cifar100(depth=28), r"Res2NeXtCifar: depth=28, expected 9n \+ 2"),
        (lambda: models.res2next29_6c24w4s_cifar100(scale=-1), "Res2NeXtCifar: scale=-1"),
        (lambda: Bottle2neck(64, 16, shortcut="A"), "Bottle2neck: shortcut='A' is unknown, expected one of"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
