"""RoR: a ResNet with shortcuts around stages and around all of them, which can be taken off again."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.models.resnet import Residual
from minicnn.models.ror import LastBlock, Level
from minicnn.models.stochastic_depth import linear_decay
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def small(**options):
    """One with three blocks a stage, in float64."""
    return models.ror3_56_cifar10(**{"depth": 26, "generator": Generator(0), **options}).double()


def small_wide(**options):
    return models.ror3_wrn58_4_cifar10(**{"depth": 16, "widen": 2, "generator": Generator(0), **options}).double()


@pytest.mark.parametrize("training", [True, False])
def test_one_level_is_a_resnet(training):
    ours = small(levels=1, pools=False)
    theirs = models.resnet20_cifar10(depth=20, shortcut="B", generator=Generator(1)).double()
    short = {
        "body.body.layer1.0.body": "layer1",
        "body.body.layer2.0.body": "layer2",
        "body.body.layer3.body": "layer3",
    }
    state = ours.state_dict()
    for path, name in short.items():
        state = {key.replace(path, name): value for key, value in state.items()}
    assert theirs.load_state_dict(state) == ([], [])
    x = image(2, 3, 16, 16)
    assert np.array_equal(ours.train(training)(x).numpy(), theirs.train(training)(x).numpy())


def test_one_level_is_a_wide_resnet():
    ours = small_wide(levels=1)
    theirs = models.wrn28_10_cifar10(depth=16, widen=2, generator=Generator(1)).double()
    names = {"last.0.": "bn."} | {f"body.body.{i}.body.": f"layer{i + 1}." for i in range(3)}
    state = ours.state_dict()
    for path, name in names.items():
        state = {key.replace(path, name): value for key, value in state.items()}
    assert theirs.load_state_dict(state) == ([], [])
    assert np.array_equal(ours(image(2, 3, 16, 16)).numpy(), theirs(image(2, 3, 16, 16)).numpy())


@pytest.mark.parametrize("build", [small, small_wide])
@pytest.mark.parametrize("levels", [2, 3])
def test_shortcuts_of_zeros_are_none(build, levels):
    """What the levels add are their shortcuts, and nothing else."""
    net, bare = build(levels=levels), build(levels=1)
    shortcuts = [level.shortcut for level in net.modules() if isinstance(level, Level) and level.shortcut is not None]
    assert len(shortcuts) == {2: 1, 3: 4}[levels]
    assert bare.load_state_dict(net.state_dict(), strict=False)[0] == []
    x = image(2, 3, 16, 16)
    assert np.abs(net(x).numpy() - bare(x).numpy()).max() > 0.01
    for shortcut in shortcuts:
        for parameter in shortcut.parameters():
            nn.init.zeros_(parameter)
    assert_close(net(x).numpy(), bare(x).numpy(), 1e-14)


def test_the_root_adds_what_the_first_convolution_saw():
    net = small(levels=3).eval()
    seen = {}
    for path in ("relu", "body.body", "body"):
        net.get_submodule(path).register_forward_hook(lambda m, a, y, path=path: seen.update({path: y.numpy()}))
    net(image(2, 3, 32, 32))
    conv, bn = net.body.shortcut
    weight = conv.weight.numpy()[:, :, 0, 0] / np.sqrt(1 + bn.eps)
    root = np.einsum("kc,nchw->nkhw", weight, seen["relu"][:, :, ::4, ::4])
    assert root.shape == (2, 64, 8, 8)
    assert_close(seen["body"] - seen["body.body"], root, 1e-10)


def test_a_stage_against_pytorch():
    """Two blocks, a level around them, ReLU: the second block has none before the addition."""
    net = small(depth=20)
    stage = net.body.body.layer2
    state = {name: torch.from_numpy(value) for name, value in stage.state_dict().items()}

    def unit(x, conv, bn):
        y = functional.conv2d(x, state[f"{conv}.weight"], padding=state[f"{conv}.weight"].shape[2] // 2)
        return functional.batch_norm(y, None, None, state[f"{bn}.weight"], state[f"{bn}.bias"], training=True)

    x = y = torch.from_numpy(image(2, 16, 6, 6))
    for i in range(2):
        path = f"0.body.{i}"
        z = functional.relu(unit(y, f"{path}.conv1", f"{path}.bn1"))
        z = unit(z, f"{path}.conv2", f"{path}.bn2")
        y = z + (y if i else unit(y, f"{path}.downsample.0", f"{path}.downsample.1"))
        y = y if i else functional.relu(y)
    expected = functional.relu(y + unit(x, "0.shortcut.0", "0.shortcut.1"))
    assert_close(stage(image(2, 16, 6, 6)).numpy(), expected.numpy(), 1e-12)


def test_without_its_last_norm_a_block_is_the_identity():
    block = LastBlock(4, 4, generator=Generator(0))
    nn.init.zeros_(block.bn2.weight)
    x = image(2, 4, 5, 5).astype(np.float32)
    assert np.array_equal(block(x).numpy(), x)  # of either sign: no ReLU


@pytest.mark.parametrize("pools", [True, False])
def test_maps_halve_twice_by_pools_or_by_strides(pools):
    with minicnn.abstract():
        net = models.ror3_56_cifar10(pools=pools)
    strides = sorted(m.stride for m in net.modules() if isinstance(m, nn.Conv2d) and m.stride != 1)
    assert strides == ([4] if pools else [2, 2, 2, 2, 2, 2, 4])  # of a branch, a block's shortcut and a stage's
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(1, 16), (1, 16), (2, 32), (4, 64)]


def size(net):
    return sum(p.size for p in net.parameters())


def test_what_levels_cost():
    with minicnn.abstract():
        plain, root, all_three = (size(models.ror3_56_cifar10(levels=levels)) for levels in (1, 2, 3))
        wide = [size(models.ror3_wrn58_4_cifar10(levels=levels)) for levels in (1, 2, 3)]
    assert root - plain == 16 * 64 + 2 * 64
    assert all_three - root == 16 * 16 + 16 * 32 + 32 * 64 + 2 * (16 + 32 + 64)
    assert np.diff(wide).tolist() == [16 * 256, 16 * 64 + 64 * 128 + 128 * 256] and wide[0] == 13_599_450


def test_multiply_adds_without_level_shortcuts():
    """The reference counts those of the WRN-58-4 alone, but the parameters of all."""
    shortcuts = 64 * 16 * 256 + 1024 * 16 * 64 + 256 * 64 * 128 + 64 * 128 * 256
    assert models.counts("ror3_wrn58_4_cifar10").macs - shortcuts == rows()["ror3_wrn58_4_cifar10"].macs


def test_stochastic_depth_leaves_out_blocks_and_no_level():
    net = linear_decay(small(), 0.0, Generator(0))
    net(minicnn.Tensor(image(2, 3, 16, 16))).sum().backward()
    assert len([m for m in net.modules() if isinstance(m, Residual)]) == 9
    assert net.body.body.layer3.body[2].conv1.weight.grad is None
    assert all(level.shortcut[0].weight.grad is not None for level in net.modules() if isinstance(level, Level))


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("ror3_56_cifar10", {"levels": 0}, "RoRCifar: levels=0 is too small"),
        ("ror3_56_cifar10", {"levels": 4}, "RoRCifar: levels=4, expected 1 .*2 .*or 3"),
        ("ror3_56_cifar10", {"depth": 57}, r"RoRCifar: depth=57, expected 6n \+ 8 such as 56"),
        ("ror3_56_cifar10", {"depth": 8}, "RoRCifar: depth=8"),
        ("ror3_wrn58_4_cifar10", {"depth": 56}, r"RoRWideResNet: depth=56, expected 6n \+ 4 such as 40 or 58"),
        ("ror3_wrn58_4_cifar10", {"levels": 5}, "RoRWideResNet: levels=5"),
        ("ror3_wrn58_4_cifar10", {"widen": 0}, "RoRWideResNet: widen=0"),
    ],
)
def test_mistakes(name, options, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        models.create(name, **options)
