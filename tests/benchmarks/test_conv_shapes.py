"""The convolutions of the networks: their totals are the published ones, and each distinct one is counted right."""

import conv_shapes
import pytest
from conv_shapes import NETWORKS, Conv, Trace, distinct

import minicnn
from minicnn import models
from minicnn.kernels.counting import listening
from minicnn.ops.geometry import window2d

# Multiply-adds of the whole network as counted elsewhere (torchvision 0.28.0; AlexNet and MobileNetV1: the authors'
# Caffe prototxt), those of its fully connected layers, the number of convolutions and of distinct ones.
PUBLISHED = {
    "alexnet": (724_406_816, 9216 * 4096 + 4096 * 4096 + 4096 * 1000, 5, 5),
    "vgg16": (15_470_264_320, 25088 * 4096 + 4096 * 4096 + 4096 * 1000, 13, 9),
    "resnet34": (3_663_761_408, 512 * 1000, 36, 11),
    "resnet50": (4_089_184_256, 2048 * 1000, 53, 23),
    "resnext50": (4_230_479_872, 2048 * 1000, 53, 24),
    "mobilenet_v1": (568_740_352, 1024 * 1000, 27, 19),
    "mobilenet_v2": (300_774_272, 1280 * 1000, 52, 30),
    "efficientnet_b0": (385_814_752, 1280 * 1000, 81, 46),
    "densenet121": (2_834_161_664, 1024 * 1000, 120, 66),
}


def test_every_network_has_a_published_total():
    assert set(PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_are_the_published_ones(name):
    total, connected, count, different = PUBLISHED[name]
    convs = NETWORKS[name]().convs
    assert sum(conv.macs for conv in convs) + connected == total
    assert len(convs) == count and len(set(convs)) == different


@pytest.mark.parametrize("name", sorted(set(NETWORKS) & set(models.names())))
def test_convolutions_are_those_of_our_own_model(name):
    """The multiset of multiply-adds, counted while the model runs on shapes alone."""
    counted = []
    with minicnn.abstract(), listening(lambda op, macs: counted.append(macs) if op == "conv2d" else None):
        models.create(name)(minicnn.creation.zeros((1, *models.info(name).input_shape)))
    assert sorted(counted) == sorted(conv.macs for conv in NETWORKS[name]().convs)


def test_some_of_our_models_are_compared():
    assert {"resnet34", "resnet50"} <= set(NETWORKS) & set(models.names())


def test_each_distinct_convolution_is_counted_per_network(monkeypatch):
    def twice():
        image = Trace(8, 4)
        for _ in range(2):
            image.conv(4, 3)
        return image

    def once():
        image = Trace(8, 4)
        image.conv(4, 3)
        image.conv(6, 1, 2)
        return image

    monkeypatch.setattr(conv_shapes, "NETWORKS", {"twice": twice, "once": once})
    same = Conv(4, 8, 4, 3, 1, 1)
    assert distinct(["twice", "once"]) == {same: {"twice": 2, "once": 1}, Conv(4, 8, 6, 1, 2): {"once": 1}}
    assert distinct(["once"])[same] == {"once": 1}


@pytest.mark.parametrize("conv", [Conv(3, 227, 96, 11, 4), Conv(8, 14, 8, 5, 2, 2, 8), Conv(4, 9, 6, 1, 2)], ids=str)
def test_shapes_are_those_that_the_operation_works_out(conv):
    kernel = (conv.kernel, conv.kernel)
    assert conv.window == window2d("conv2d", (conv.size, conv.size), kernel, conv.stride, conv.padding, 1)
    assert conv.y_shape(2) == (2, conv.filters, *conv.window.out)
    assert conv.weight_shape == (conv.filters, conv.channels // conv.groups, *kernel)


def test_every_kind_is_among_the_networks():
    assert {conv.kind for conv in distinct(NETWORKS)} == {
        "pointwise",
        "depthwise",
        "grouped",
        "3x3",
        "strided or large",
    }
