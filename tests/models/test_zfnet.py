"""ZFNet: the sizes of Figure 3, and what the lectures' table leaves out."""

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.random import Generator
from tests.models.catalog import rows
from tests.models.test_alexnet import order


def test_the_maps_of_figure_3():
    with minicnn.abstract():
        layers = order(models.zfnet(), 224)
    sizes = {name: shape[1] for name, shape in layers if len(shape) == 3}
    assert [sizes[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")] == [110, 55, 26, 13, 13, 6]
    assert [name for name, _ in layers][:8] == ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]


def test_a_first_convolution_that_keeps_every_pixel_explains_the_literal_slide():
    """With stride 1 in conv2 the last maps are 13x13, and the first hidden layer has 354M weights."""
    reference = rows()["zfnet_literal_slide"].params
    assert models.counts("zfnet_512_1024_512").params + (13 * 13 - 6 * 6) * 512 * 4096 == reference


def test_every_parameter_learns():
    net = models.zfnet(maps=(8, 8, 8), hidden=8, num_classes=3, dropout=0.0, generator=Generator(0))
    net.double()  # deviations of 0.01 leave little of a gradient
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)) * 50
    minicnn.ops.cross_entropy(net(minicnn.Tensor(x)), np.array([1])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_weights_start_with_deviation_001_and_biases_at_0():
    net = models.zfnet(hidden=8, generator=Generator(0))
    assert [net.conv3.weight.numpy().std(), net.fc6.weight.numpy().std()] == pytest.approx([0.01, 0.01], rel=0.02)
    assert not any(layer.bias.numpy().any() for layer in net.children() if hasattr(layer, "bias"))


def test_mistakes():
    with minicnn.abstract(), pytest.raises(ArgumentError, match=r"maps=\(384, 384\), expected the channels of layers"):
        models.zfnet(maps=(384, 384))
