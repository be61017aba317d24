"""ShuffleNets: what the shuffle is and does, torch twins of the units, their costs, halves that walk past, SE gates."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.resnet import Bottleneck
from minicnn.models.senet import squeeze_and_excite
from minicnn.models.shufflenet_v1 import CHANNELS, ShuffleUnit
from minicnn.models.shufflenet_v2 import ShuffleUnitV2
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close


def image(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def abstractly(name, **options):
    with minicnn.abstract():
        return models.create(name, **options)


def restless(module):
    """A module in float64 whose batch norms have scales, shifts and statistics of their own."""
    state = module.double().state_dict()
    for number, (path, value) in enumerate(state.items()):
        if value.ndim == 1:
            state[path] = np.abs(image(*value.shape, seed=number)) + 0.3
    module.load_state_dict(state)
    return module


def products(block, channels, side):
    """The multiply-adds the engine counts for one map."""
    counted = []
    with minicnn.abstract(), listening(lambda op, macs: counted.append(macs)):
        block(minicnn.Tensor(ShapeArray((1, channels, side, side), "float32")))
    return sum(counted)


# the shuffle


@pytest.mark.parametrize(("channels", "groups"), [(12, 3), (12, 4), (9, 3), (8, 1), (8, 8), (60, 3)])
def test_the_shuffle_is_a_permutation_undone_by_the_other_number(channels, groups):
    x = image(2, channels, 3, 2)
    y = ops.channel_shuffle(x, groups).numpy()
    n = channels // groups
    assert np.array_equal(y, x.reshape(2, groups, n, 3, 2).swapaxes(1, 2).reshape(2, channels, 3, 2))
    order = ops.channel_shuffle(np.arange(channels, dtype=np.float32).reshape(1, -1, 1), groups).numpy().ravel()
    assert sorted(order) == list(range(channels))
    assert np.array_equal(ops.channel_shuffle(y, n).numpy(), x)
    again = np.array_equal(ops.channel_shuffle(y, groups).numpy(), x)
    assert again == (n == groups or 1 in (n, groups))  # its own inverse where the table of channels is square


def reach(layers, channels, groups):
    """Which groups of the input the groups of the output depend on: (out, in), by gradients."""
    found = np.zeros((groups, groups), bool)
    for group in range(groups):
        x = minicnn.Tensor(np.abs(image(2, channels, 3, 3)) + 0.1, requires_grad=True)
        y = layers(x)
        size = y.shape[1] // groups
        part = y[:, group * size : (group + 1) * size]
        (part * image(*part.shape, seed=5)).sum().backward()
        slopes = np.abs(x.grad.numpy()).reshape(2, groups, -1)
        found[group] = slopes.max((0, 2)) > 0
    return found


@pytest.mark.parametrize("groups", [2, 3])
def test_without_the_shuffle_groups_are_networks_side_by_side(groups):
    """Section 3.1, Figure 1: also after several units, also through batch norm; one shuffle and all is connected."""
    channels = 4 * groups * groups

    def units(shuffle):
        options = {"groups": groups, "first_groups": groups, "shuffle": shuffle, "generator": Generator(0)}
        return nn.Sequential(*(ShuffleUnit(channels, channels, **options) for _ in range(2))).double()

    assert np.array_equal(reach(units(False), channels, groups), np.eye(groups, dtype=bool))
    assert reach(units(True)[:1], channels, groups).all()


def test_an_impulse_in_one_group_stays_there():
    """The same by values: a change of a channel in group 0 changes nothing of groups 1 and 2."""
    for shuffle, changed in ((False, {0}), (True, {0, 1, 2})):
        unit = ShuffleUnit(36, 36, shuffle=shuffle, generator=Generator(0)).double().eval()
        x = np.abs(image(1, 36, 5, 5)) + 1
        other = x.copy()
        other[0, 4, 2, 2] += 1
        places = np.argwhere(unit(x).numpy() != unit(other).numpy())
        assert set(places[:, 1] // 12) == changed


# version 1


def twin_v1(torch, statistics, x, values, groups, first_groups, stride, shuffle):
    """``ShuffleUnit`` in eval mode by torch's functions; in train mode the shift of bn2 is lost in bn3."""
    functional = torch.nn.functional
    w1, s1, b1, w2, s2, b2, w3, s3, b3 = values

    def norm(y, scale, shift):
        return functional.batch_norm(y, *next(statistics), scale, shift)

    y = functional.relu(norm(functional.conv2d(x, w1, groups=first_groups), s1, b1))
    if shuffle:
        n, c, h, w = y.shape
        y = y.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
    y = norm(functional.conv2d(y, w2, stride=stride, padding=1, groups=w2.shape[0]), s2, b2)
    y = norm(functional.conv2d(y, w3, groups=groups), s3, b3)
    if stride == 1:
        return functional.relu(x + y)
    return torch.cat([functional.avg_pool2d(x, 3, 2, 1), functional.relu(y)], 1)


@pytest.mark.parametrize(
    ("channels", "out", "stride", "groups", "first_groups", "shuffle"),
    [(24, 24, 1, 3, 3, True), (12, 36, 2, 3, 1, True), (16, 32, 2, 4, 4, True), (24, 24, 1, 2, 2, False)],
)
def test_a_unit_is_torchs_functions(channels, out, stride, groups, first_groups, shuffle):
    torch = pytest.importorskip("torch")
    options = {"groups": groups, "first_groups": first_groups, "shuffle": shuffle}
    unit = restless(ShuffleUnit(channels, out, stride, **options, generator=Generator(0)))
    theirs = [torch.from_numpy(np.array(p.numpy())).requires_grad_() for p in unit.parameters()]
    x = np.abs(image(2, channels, 6, 6))
    ours, other = minicnn.Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    state = {path: torch.from_numpy(np.array(value)) for path, value in unit.eval().state_dict().items()}
    statistics = iter([[state[f"bn{i}.running_{what}"] for what in ("mean", "var")] for i in (1, 2, 3)])
    y, expected = unit(ours), twin_v1(torch, statistics, other, theirs, groups, first_groups, stride, shuffle)
    assert_close(y.numpy(), expected.detach().numpy(), 1e-12)
    seed = image(*y.shape, seed=1)
    (y * seed).sum().backward()
    (expected * torch.from_numpy(seed)).sum().backward()
    for mine, their in zip((ours, *unit.parameters()), (other, *theirs), strict=True):
        assert_close(mine.grad.numpy(), their.grad.numpy(), 1e-9)


def test_a_strided_unit_keeps_the_mean_of_its_input_and_makes_what_is_missing():
    unit, x = ShuffleUnit(12, 48, 2, generator=Generator(0)).double(), np.abs(image(2, 12, 6, 6))
    y = unit(x).numpy()
    assert y.shape == (2, 48, 3, 3) and np.array_equal(y[:, :12], ops.avg_pool2d(x, 3, 2, 1).numpy())
    assert unit.conv3.out_channels == 36 and (y[:, 12:] >= 0).all() and (y[:, 12:] == 0).any()


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_a_unit_costs_2cm_over_g_plus_9m(groups):
    """Section 3.2, beside ResNet's 2cm + 9mm and ResNeXt's 2cm + 9mm/g."""
    c, m, side = 192, 48, 7
    with minicnn.abstract():
        unit = ShuffleUnit(c, c, groups=groups, first_groups=groups)
        resnet, resnext = Bottleneck(c, m), Bottleneck(c, m, groups=groups, base_width=64 // groups)
    assert products(unit, c, side) == side**2 * (2 * c * m // groups + 9 * m)
    assert products(resnet, c, side) == side**2 * (2 * c * m + 9 * m * m)
    if m * (64 // groups) // 64 * groups == m:
        assert products(resnext, c, side) == side**2 * (2 * c * m + 9 * m * m // groups)


@pytest.mark.parametrize(("groups", "channels"), [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)])
def test_table_1(groups, channels):
    net = abstractly(f"shufflenet_v1_g{groups}_1.0x")
    expected = [(2, 24), (8, channels), (16, 2 * channels), (32, 4 * channels)]
    assert [(stage.stride, stage.channels) for stage in net.stages] == expected
    assert [len(stage) for stage in (net.stage2, net.stage3, net.stage4)] == [4, 8, 4]
    first, second = net.stage2[0], net.stage2[1]
    assert first.conv1.groups == 1 and first.conv3.groups == second.conv1.groups == groups
    assert first.conv1.weight.shape == (channels // 4, 24, 1, 1)  # reads all of the stem
    assert net.stage3[0].conv1.groups == groups
    assert CHANNELS[groups] == channels and net.fc.bias is not None


def test_wider_maps_for_the_same_cost():
    """More groups, more channels, about 140 million multiply-adds."""
    macs = [models.counts(f"shufflenet_v1_g{groups}_1.0x").macs for groups in CHANNELS]
    assert all(abs(count / 140e6 - 1) < 0.05 for count in macs) and list(CHANNELS.values()) == sorted(CHANNELS.values())


def test_the_networks_of_the_authors_code_have_no_bias_and_their_own_stems():
    for name, stem in (("g3_0.5x", 12), ("g3_1.5x", 24), ("g3_2.0x", 48), ("g8_0.5x", 16), ("g8_2.0x", 48)):
        net = abstractly(f"shufflenet_v1_{name}")
        assert net.conv1.out_channels == stem and net.fc.bias is None
        assert net.stage2[-1].conv3.out_channels == CHANNELS[net.stage2[0].conv3.groups] * float(name[3:-1])


@pytest.mark.parametrize("name", ["shufflenet_v1_g8_0.5x", "shufflenet_v2_0.5x"])
def test_weights_start_as_in_the_authors_code(name):
    net = models.create(name, generator=Generator(0))
    stem, *others = (module for module in net.modules() if isinstance(module, nn.Conv2d))
    assert abs(stem.weight.numpy().std() / 0.01 - 1) < 0.1
    for conv in others:
        weight = conv.weight.numpy()
        assert abs(weight.std() * weight.shape[1] - 1) < 6 / np.sqrt(weight.size)
    assert {float(p) for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.bias.numpy()} == {
        float(np.float32(1e-4))
    }
    assert abs(net.fc.weight.numpy().std() / 0.01 - 1) < 0.01


# version 2


def test_the_left_half_walks_past_a_unit():
    """It is every second channel of what comes out, bit by bit; the right half decides all others."""
    unit, x = restless(ShuffleUnitV2(12, 12, generator=Generator(0))), image(2, 12, 5, 5)
    y = unit(x).numpy()
    assert np.array_equal(y[:, 0::2], x[:, :6])
    other = x.copy()
    other[:, :6] += 1
    assert np.array_equal(unit(other).numpy()[:, 1::2], y[:, 1::2])
    assert not np.array_equal(unit(np.roll(x, 1, 3)).numpy()[:, 1::2], y[:, 1::2])


def test_reuse_falls_by_half_with_every_unit():
    """Section 3: c / 2^j channels are untouched after j units."""
    x = image(1, 32, 3, 3)
    y = x
    for j in range(1, 5):
        y = restless(ShuffleUnitV2(32, 32, generator=Generator(j)))(y).numpy()
        untouched = sum(any(np.array_equal(a, b) for b in x[0]) for a in y[0])
        assert untouched == 32 // 2**j


def twin_v2(torch, channels, depths, classes):
    """ShuffleNetV2 of torch's layers, with the state dict of torchvision."""
    tnn = torch.nn

    class Unit(tnn.Module):
        def __init__(self, c, k, stride):
            super().__init__()
            self.stride, h = stride, k // 2
            self.branch1 = tnn.Sequential()
            if stride == 2:
                side = [tnn.Conv2d(c, c, 3, 2, 1, groups=c, bias=False), tnn.BatchNorm2d(c)]
                side += [tnn.Conv2d(c, h, 1, bias=False), tnn.BatchNorm2d(h), tnn.ReLU()]
                self.branch1 = tnn.Sequential(*side)
            main = [tnn.Conv2d(c if stride == 2 else h, h, 1, bias=False), tnn.BatchNorm2d(h), tnn.ReLU()]
            main += [tnn.Conv2d(h, h, 3, stride, 1, groups=h, bias=False), tnn.BatchNorm2d(h)]
            main += [tnn.Conv2d(h, h, 1, bias=False), tnn.BatchNorm2d(h), tnn.ReLU()]
            self.branch2 = tnn.Sequential(*main)

        def forward(self, x):
            left, right = (x, x) if self.stride == 2 else x.split(x.shape[1] // 2, 1)
            y = torch.stack([self.branch1(left), self.branch2(right)], 2)  # the shuffle: one of each, in turn
            return y.flatten(1, 2)

    class Net(tnn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = tnn.Sequential(tnn.Conv2d(3, 24, 3, 2, 1, bias=False), tnn.BatchNorm2d(24), tnn.ReLU())
            self.maxpool = tnn.MaxPool2d(3, 2, 1)
            before = 24
            for stage, (k, depth) in enumerate(zip(channels, depths, strict=False), 2):
                units = [Unit(before, k, 2), *(Unit(k, k, 1) for _ in range(depth - 1))]
                setattr(self, f"stage{stage}", tnn.Sequential(*units))
                before = k
            last = channels[3]
            self.conv5 = tnn.Sequential(tnn.Conv2d(before, last, 1, bias=False), tnn.BatchNorm2d(last), tnn.ReLU())
            self.fc = tnn.Linear(last, classes)

        def forward(self, x):
            x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
            return self.fc(self.conv5(x).mean((2, 3)))

    return Net()


def test_logits_of_version_2_are_those_of_a_torch_twin():
    torch = pytest.importorskip("torch")
    options = {"channels": (8, 16, 24, 32), "depths": (2, 3, 1)}
    net = restless(models.create("shufflenet_v2_1.0x", **options, num_classes=5, generator=Generator(0))).eval()
    twin = twin_v2(torch, *options.values(), 5).double().eval()
    twin.load_state_dict({path: torch.from_numpy(np.array(v)) for path, v in net.state_dict().items()})
    x = image(2, 3, 48, 48)
    assert_close(net(x).numpy(), twin(torch.from_numpy(x)).detach().numpy(), 1e-12)
    single, small = net.float()(x.astype(np.float32)), twin.float()(torch.from_numpy(x).float())
    assert_close(single.numpy(), small.detach().numpy(), 1e-5)


@pytest.mark.parametrize("scale", ["0.5", "1.0", "1.5", "2.0"])
def test_names_and_shapes_of_version_2_are_torchvisions(scale):
    torch = pytest.importorskip("torch")
    published = {"0.5": (48, 96, 192, 1024), "1.0": (116, 232, 464, 1024), "1.5": (176, 352, 704, 1024)}
    with torch.device("meta"):
        twin = twin_v2(torch, published.get(scale, (244, 488, 976, 2048)), (4, 8, 4), 1000)
    ours = abstractly(f"torchvision/shufflenet_v2_x{scale.replace('.', '_')}").state_dict()
    theirs = {path: tuple(value.shape) for path, value in twin.state_dict().items()}
    assert {path: value.shape for path, value in ours.items()} == theirs and list(ours) == list(theirs)


# both


SMALL = {
    "shufflenet_v1_g3_1.0x": {"groups": 3, "width": 0.2, "stem": 12, "depths": (2, 2, 2)},
    "se_shufflenet_v1_g3": {"groups": 3, "width": 0.2, "stem": 12, "depths": (2, 2, 2), "reduction": 8},
    "shufflenet_v2_1.0x": {"channels": (8, 16, 24, 32), "depths": (2, 2, 2)},
}


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    net = models.create(name, **SMALL[name], num_classes=3, generator=Generator(0))
    x = image(4, 3, 64, 64, dtype=np.float32)
    ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    silent = [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent and all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())


@pytest.mark.parametrize("stride", [1, 2])
def test_gates_weigh_the_branch_alone(stride):
    """A gate that is open changes nothing, one that is shut leaves the shortcut."""
    unit = ShuffleUnit(24, 24 * stride, stride, generator=Generator(0)).double().eval()
    x = np.abs(image(2, 24, 4, 4))
    bare = unit(x).numpy()
    gate = squeeze_and_excite(unit).se.double()
    assert gate.fc1.in_channels == 24 and gate.fc1.out_channels == 1
    nn.init.zeros_(gate.fc2.weight)
    nn.init.constant_(gate.fc2.bias, 1e3)
    assert np.array_equal(unit(x).numpy(), bare)
    nn.init.constant_(gate.fc2.bias, -1e3)
    shut = unit(x).numpy()
    shortcut = x if stride == 1 else ops.avg_pool2d(x, 3, 2, 1).numpy()
    assert np.array_equal(shut[:, :24], shortcut) and not shut[:, 24:].any() and bare[:, 24:].any() == (stride == 2)


def test_what_gates_cost_shufflenet():
    branches = [216, 240, 240, 240, 240, *[480] * 7, 480, 960, 960, 960]  # first of a stage: what the input lacks
    both = sum(2 * c * (c // 16) for c in branches)
    more = np.subtract(models.counts("se_shufflenet_v1_g3"), models.counts("shufflenet_v1_g3_1.0x"))
    assert tuple(more) == (both + sum(c + c // 16 for c in branches), both)


def test_stochastic_depth_leaves_strided_units():
    net = models.create(
        "shufflenet_v1_g3_1.0x", **SMALL["shufflenet_v1_g3_1.0x"], num_classes=3, generator=Generator(0)
    )
    linear_decay(net, 0.0, Generator(1))
    net(image(2, 3, 64, 64, dtype=np.float32)).sum().backward()
    assert net.stage4[1].conv1.weight.grad is None and net.stage4[0].conv1.weight.grad is not None


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.create("shufflenet_v1_g3_1.0x", groups=5),
            r"ShuffleNetV1: groups=5, expected one of \(1, 2, 3",
        ),
        (
            lambda: models.create("shufflenet_v1_g8_1.0x", width=0.5, stem=12),
            "width=0.5, stem=12, groups=8 make a stage",
        ),
        (
            lambda: models.create("shufflenet_v1_g3_1.0x", width=0.01),
            "make a stage of 2 channels, expected a multiple of 12",
        ),
        (lambda: models.create("shufflenet_v1_g3_1.0x", width=-1.0), "ShuffleNetV1: width=-1.0 is out of range"),
        (lambda: models.create("shufflenet_v1_g3_1.0x", stem=0), "ShuffleNetV1: stem=0 is too small"),
        (lambda: models.create("shufflenet_v1_g3_1.0x", depths=(4, 8)), r"ShuffleNetV1: depths=\(4, 8\), expected"),
        (lambda: models.create("shufflenet_v2_1.0x", depths=(4, 0, 4)), r"ShuffleNetV2: depths=\(4, 0, 4\), expected"),
        (lambda: models.create("shufflenet_v2_1.0x", channels=(15, 16, 24, 32)), "ShuffleNetV2: channels=.*all even"),
        (lambda: models.create("se_shufflenet_v1_g3", reduction=300), "reduction=300 leaves nothing of 216 channels"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
