"""ResNeXt: three equal forms of the block, Table 1, cardinality against width, torchvision's weight names."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import Bottleneck
from minicnn.models.resnext import FORMS, split
from minicnn.random import Generator
from tests.close import assert_close


def blocks(form, stride, groups=4):
    """A grouped bottleneck with batch norms that do something, and the same one in another form."""
    options = {"groups": groups, "base_width": 8}
    grouped = Bottleneck(24, 16, stride, **options, generator=Generator(0)).double()
    for number, (name, parameter) in enumerate(grouped.named_parameters()):
        if "bn" in name:
            nn.init.normal_(parameter, 1.0, 0.3, Generator(number + 1))
    other = FORMS[form](24, 16, stride, **options, generator=Generator(9)).double()
    assert other.load_state_dict(split(grouped.state_dict(), groups, form)) == ([], [])
    return grouped, other


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_the_forms_are_equal_in_outputs_gradients_and_running_statistics(form, stride):
    grouped, other = blocks(form, stride)
    image = np.random.default_rng(0).standard_normal((2, 24, 6, 6))
    results = []
    for block in (grouped, other):
        x = minicnn.Tensor(image, requires_grad=True)
        y = block(x)
        (y * np.random.default_rng(1).standard_normal(y.shape)).sum().backward()
        results.append((y.numpy(), x.grad.numpy()))
    (y, slope), (other_y, other_slope) = results
    assert y.shape == (2, 64, 6 // stride, 6 // stride) and np.abs(slope).max() > 0
    assert_close(other_y, y, 1e-12)
    assert_close(other_slope, slope, 1e-12)
    expected = split({name: p.grad.numpy() for name, p in grouped.named_parameters()}, 4, form)
    assert len(expected) == len(list(other.parameters()))
    for name, parameter in other.named_parameters():
        assert_close(parameter.grad.numpy(), expected[name], 1e-11, name)
    statistics = split(grouped.state_dict(), 4, form)
    for name, value in other.state_dict().items():
        assert_close(value, statistics[name], 1e-12, name)
    assert_close(other.eval()(image).numpy(), grouped.eval()(image).numpy(), 1e-12)


def test_paths_of_another_order_are_another_function():
    """The proof above would see paths that took each other's weights."""
    grouped, other = blocks("B", 1)
    image = np.random.default_rng(0).standard_normal((1, 24, 6, 6))
    state = split(grouped.state_dict(), 4, "B")
    state["paths.0.conv2.weight"], state["paths.1.conv2.weight"] = (
        state["paths.1.conv2.weight"],
        state["paths.0.conv2.weight"],
    )
    other.load_state_dict(state)
    assert np.abs(other(image).numpy() - grouped(image).numpy()).max() > 0.1


def test_the_paths_of_figure_1():
    """C (256 d + 3 3 d d + d 256) with C = 32 and d = 4 is about the 70k weights of a ResNet block."""
    with minicnn.abstract():
        split_block, resnet = FORMS["A"](256, 64, groups=32, base_width=4), Bottleneck(256, 64)
    weights = [sum(p.size for p in block.parameters() if p.ndim == 4) for block in (split_block, resnet)]
    assert weights == [32 * (256 * 4 + 9 * 4 * 4 + 4 * 256), 256 * 64 + 9 * 64 * 64 + 64 * 256] == [70_144, 69_632]
    assert [conv.weight.shape for conv in split_block.paths[31] if isinstance(conv, nn.Conv2d)] == [
        *((4, 256, 1, 1), (4, 4, 3, 3), (256, 4, 1, 1)),
    ]


def test_table_1():
    with minicnn.abstract():
        net = models.resnext50_32x4d()
    shapes = [(stage[0].conv1.weight.shape[0], stage[0].conv2.weight.shape[1:]) for stage in four_stages(net)]
    assert shapes == [(128, (4, 3, 3)), (256, (8, 3, 3)), (512, (16, 3, 3)), (1024, (32, 3, 3))]
    assert [len(stage) for stage in four_stages(net)] == [3, 4, 6, 3]
    assert [stage[0].conv2.stride for stage in four_stages(net)] == [1, 2, 2, 2]
    assert [(stage.stride, stage.channels) for stage in net.stages] == [
        *((2, 64), (4, 256), (8, 512), (16, 1024), (32, 2048)),
    ]


def four_stages(net):
    return net.layer1, net.layer2, net.layer3, net.layer4


def test_a_fractional_width_is_cut():
    """64 of 128 channels: 14d is 14, 28, 56 and 112 wide; d counts the whole channels a path."""
    with minicnn.abstract():
        net = models.resnext50_8x14d()
        narrow = Bottleneck(256, 80, groups=2, base_width=14)
    assert [stage[0].conv2.weight.shape[1] for stage in four_stages(net)] == [14, 28, 56, 112]
    assert narrow.conv2.weight.shape == (2 * 17, 17, 3, 3)  # 80 * 14 / 64 is 17.5


def test_cardinality_is_traded_for_width():
    """Table 2: the ResNeXt-50s of about equal size, with ever more and thinner paths."""
    settings = [(1, "resnet50"), (2, "resnext50_2x40d"), (4, "resnext50_4x24d"), (8, "resnext50_8x14d")]
    settings += [(32, "resnext50_32x4d")]
    base = models.counts("resnet50")
    for groups, name in settings:
        counted = models.counts(name)
        assert abs(counted.params / base.params - 1) < 0.03 and abs(counted.macs / base.macs - 1) < 0.05
        with minicnn.abstract():
            assert models.create(name).layer1[0].conv2.groups == groups


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnext101_64x4d", "resnext101_32x8d"])
def test_weight_names_and_shapes_are_torchvisions(name):
    """Those of a ResNet with a bottleneck of other widths."""
    groups, width = (int(word) for word in name.split("_")[1].removesuffix("d").split("x"))
    with minicnn.abstract():
        ours = models.create(name).state_dict()
        resnet = models.create("resnet50" if "50" in name else "resnet101").state_dict()
    assert list(ours) == list(resnet)
    changed = {path for path, value in ours.items() if value.shape != resnet[path].shape}
    inner = ("conv1.weight", "conv2.weight", "conv3.weight", *(f"bn{i}." for i in (1, 2)))
    assert all(path.startswith("layer") and path.split(".", 2)[2].startswith(inner) for path in changed)
    for stage, planes in enumerate((64, 128, 256, 512), 1):
        d = planes * width // 64
        assert ours[f"layer{stage}.1.conv2.weight"].shape == (d * groups, d, 3, 3)
        assert ours[f"layer{stage}.1.conv3.weight"].shape == (planes * 4, d * groups, 1, 1)
    assert models.info(name).torchvision == name


def test_every_parameter_learns_on_small_images():
    net = models.resnext29_8x64d_cifar10(depth=11, groups=2, base_width=4, num_classes=3, generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    silent = [name for name, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent and all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.resnext29_8x64d_cifar10(depth=21), r"ResNeXtCifar: depth=21, expected 9n \+ 2"),
        (lambda: models.resnext29_8x64d_cifar10(groups=0), "ResNeXtCifar: groups=0"),
        (lambda: models.resnext29_8x64d_cifar10(shortcut="D"), "ResNeXtCifar: shortcut='D' is unknown"),
        (lambda: FORMS["A"](64, 64, groups=0), "SplitTransformMerge: groups=0"),
        (lambda: split({}, 2, "C"), "form='C' is unknown, expected one of"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
