"""EffNet: the block against NumPy, what it saves, that it reads every column, and the baseline beside it."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.effnet import BaselineBlock, EffNetBlock
from minicnn.random import Generator
from tests.close import assert_close


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def restless(block):
    """In float64 and eval mode, with batch norms that do something."""
    state = block.double().eval().state_dict()
    for number, (path, value) in enumerate(state.items()):
        if value.ndim == 1:
            state[path] = np.abs(image(*value.shape, seed=number)) + 0.3
    block.load_state_dict(state)
    return block


class Oracle:
    """A block's layers one after the other on a NumPy array; takes the parameters from its state dict, in order."""

    def __init__(self, block, x):
        self.values = [v for path, v in block.state_dict().items() if not path.endswith("tracked")]
        self.x = x

    def next(self):
        return self.values.pop(0)

    def pointwise(self):
        self.x = np.einsum("oi,nihw->nohw", self.next()[:, :, 0, 0], self.x)

    def depthwise(self, axis):
        """Three taps along an axis, zeros outside."""
        taps = self.next().reshape(-1, 3)
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded, size = np.pad(self.x, padding), self.x.shape[axis]
        shifted = [np.take(padded, range(tap, tap + size), axis) for tap in range(3)]
        self.x = sum(taps[:, tap].reshape(1, -1, 1, 1) * shifted[tap] for tap in range(3))

    def two_columns(self):
        kernel = self.next()[:, :, 0, :]
        n, c, h, w = self.x.shape
        self.x = np.einsum("oik,nihwk->nohw", kernel, self.x.reshape(n, c, h, w // 2, 2))

    def full(self):
        kernel, (_, _, h, w) = self.next(), self.x.shape
        padded = np.pad(self.x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        self.x = sum(
            np.einsum("oi,nihw->nohw", kernel[:, :, i, j], padded[:, :, i : i + h, j : j + w])
            for i in range(3)
            for j in range(3)
        )

    def activate(self):
        """LeakyReLU, then batch norm."""
        scale, shift, mean, variance = (self.next().reshape(1, -1, 1, 1) for _ in range(4))
        x = np.where(self.x > 0, self.x, 0.3 * self.x)
        self.x = (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    def largest(self, rows, columns):
        n, c, h, w = self.x.shape
        self.x = self.x.reshape(n, c, h // rows, rows, w // columns, columns).max((3, 5))


def test_the_block_is_1x1_1x3_pool_3x1_and_two_columns_in_one():
    block, x = restless(EffNetBlock(3, 6, 8, generator=Generator(0))), image(2, 3, 8, 6)
    oracle = Oracle(block, x)
    oracle.pointwise(), oracle.activate()
    oracle.depthwise(3), oracle.activate(), oracle.largest(2, 1)
    oracle.depthwise(2), oracle.activate()
    oracle.two_columns(), oracle.activate()
    assert not oracle.values and oracle.x.shape == (2, 8, 4, 3)
    assert_close(block(x).numpy(), oracle.x, 1e-12)


def test_the_baseline_is_3x3_and_pool():
    block, x = restless(BaselineBlock(3, 5, 8, generator=Generator(0))), image(2, 3, 6, 4)
    oracle = Oracle(block, x)
    oracle.full(), oracle.activate(), oracle.largest(2, 2)
    assert not oracle.values
    assert_close(block(x).numpy(), oracle.x, 1e-12)


@pytest.mark.parametrize("kind", [EffNetBlock, BaselineBlock])
def test_gradients(kind):
    block = kind(2, 3, 4, generator=Generator(3)).double()
    assert minicnn.gradcheck(block, minicnn.Tensor(image(2, 2, 4, 4), requires_grad=True))


def test_the_split_depthwise_layer_costs_half_of_a_3x3():
    """3 taps on the whole map and 3 on half of it, where a 3x3 has 9 on the whole; the engine counts."""
    with minicnn.abstract():
        block, whole = EffNetBlock(16, 16, 16), nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    parts = [module for module in block if isinstance(module, nn.Conv2d | nn.MaxPool2d)][1:4]
    counted = []
    for layers in (parts, [whole]):
        macs = []
        with minicnn.abstract(), listening(lambda op, count, macs=macs: macs.append(count)):
            x = minicnn.Tensor(ShapeArray((1, 16, 12, 20), "float32"))
            for layer in layers:
                x = layer(x)
        counted.append(sum(macs))
    assert counted == [3 * 16 * 12 * 20 * 3 // 2, 9 * 16 * 12 * 20] and 2 * counted[0] == counted[1]


def test_every_column_is_read():
    """A 2x1 kernel with stride (1, 2), as found in one code, would read every other one."""
    block = EffNetBlock(3, 6, 8, generator=Generator(0)).double().eval()
    x = minicnn.Tensor(image(1, 3, 8, 8), requires_grad=True)
    (block(x) * image(1, 8, 4, 4, seed=1)).sum().backward()
    assert (np.abs(x.grad.numpy()).sum((0, 1, 2)) > 0).all()
    last = block[10]
    assert (last.kernel_size, last.stride) == ((1, 2), (1, 2)) and last.weight.shape == (8, 6, 1, 2)


def test_one_axis_is_halved_at_a_time():
    with minicnn.abstract():
        x, shapes = minicnn.Tensor(ShapeArray((1, 3, 32, 32), "float32")), []
        for layer in EffNetBlock(3, 32, 64):
            x = layer(x)
            shapes.append(x.shape[1:])
    assert list(dict.fromkeys(shapes)) == [(32, 32, 32), (32, 16, 32), (64, 16, 16)]


@pytest.mark.parametrize("name", ["effnet_cifar10", "effnet_baseline_cifar10"])
def test_both_networks_have_the_same_maps(name):
    with minicnn.abstract():
        net = models.create(name)
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(2, 64), (4, 128), (8, 256)]
    assert net.fc.weight.shape == (10, 4 * 4 * 256)
    assert {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))


def test_what_it_saves():
    net, baseline = (models.counts(name) for name in ("effnet_cifar10", "effnet_baseline_cifar10"))
    assert 7.0 < baseline.macs / net.macs < 7.1 and 2.7 < baseline.params / net.params < 2.8


def test_weights_are_glorots():
    net = models.effnet_cifar10(generator=Generator(0))
    kernel = net.block3[10].weight.numpy()  # (256, 128, 1, 2)
    bound = np.sqrt(6 / (2 * 128 + 2 * 256))
    assert 0.99 * bound < np.abs(kernel).max() <= bound and abs(kernel.std() / bound * np.sqrt(3) - 1) < 0.01
    assert not net.fc.bias.numpy().any()


def test_another_image_size():
    net = models.effnet_cifar10(image_size=(16, 8), num_classes=3, generator=Generator(0))
    assert net(image(2, 3, 16, 8).astype(np.float32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (
            lambda: models.effnet_cifar10(channels=(32, 64)),
            r"EffNet: channels=\(32, 64\), expected those inside block 1",
        ),
        (
            lambda: models.effnet_cifar10(image_size=(32, 30)),
            r"EffNet: image_size=\(32, 30\), expected \(height, width\)",
        ),
        (lambda: models.effnet_cifar10(image_size=(0, 32)), "EffNet: image_size=0 is too small, expected at least 8"),
        (lambda: models.effnet_cifar10(channels=(0, 64, 128, 256)), "out_channels=0 is too small"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
