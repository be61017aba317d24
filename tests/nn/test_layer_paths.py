"""A mistake deep inside a model is reported with the path of the layer that met it."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, ops
from minicnn.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    IndexRangeError,
    MinicnnError,
    ShapeError,
)


class Residual(nn.Module):
    """What the mistake is planted into: two layers and whatever ``inner`` is."""

    def __init__(self, inner):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.inner = inner

    def forward(self, x):
        return self.inner(ops.relu(self.conv1(x)))


class Net(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(nn.ReLU(), Residual(inner))

    def forward(self, x):
        return self.layer1(self.stem(x))


class Classify(nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, x):
        return ops.cross_entropy(ops.global_avg_pool2d(x).reshape(len(self.labels), 4), self.labels)


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


IMAGES = np.zeros((2, 3, 6, 6), np.float32)
INNER = "layer1.1.inner"
MISTAKES = [
    (lambda: nn.Conv2d(5, 4, 3), ShapeError, f"{INNER}: conv2d: "),
    (lambda: nn.Conv2d(4, 4, 9), ShapeError, f"{INNER}: conv2d: "),
    (lambda: nn.Conv2d(4, 4, 3, padding=-1), ArgumentError, f"{INNER}: conv2d: padding"),
    (lambda: nn.Conv2d(4, 4, 3, stride=0), ArgumentError, f"{INNER}: conv2d: stride"),
    (lambda: nn.Conv2d(4, 4, 3).double(), DTypeError, f"{INNER}: conv2d: weight has dtype float64"),
    (lambda: nn.ConvTranspose2d(6, 4, 3), ShapeError, f"{INNER}: conv_transpose2d: "),
    (lambda: nn.Linear(5, 2), ShapeError, f"{INNER}: linear: "),
    (lambda: nn.BatchNorm2d(5), ShapeError, f"{INNER}: batch_norm: x has shape"),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.GroupNorm(3, 3)), ShapeError, f"{INNER}.1: group_norm: "),
    (lambda: nn.Sequential(nn.Flatten(), nn.MaxPool2d(2)), ShapeError, f"{INNER}.1: max_pool2d: "),
    (lambda: nn.MaxPool2d(2, padding=2), ShapeError, f"{INNER}: max_pool2d: padding"),
    (lambda: nn.PixelShuffle(3), ShapeError, f"{INNER}: pixel_shuffle: "),
    (lambda: nn.ChannelShuffle(3), ShapeError, f"{INNER}: channel_shuffle: "),
    (lambda: nn.Softmax(), ArgumentError, f"{INNER}: softmax: dim is missing"),
    (lambda: nn.LayerNorm(7), ShapeError, f"{INNER}: layer_norm: "),
    (lambda: Classify(np.array([1, 4])), IndexRangeError, rf"{INNER}: cross_entropy: target\[1\] is 4"),
    (lambda: nn.ModuleList([nn.ReLU()]), ArgumentError, f"{INNER}: ModuleList: has no forward"),
    (lambda: Call(lambda x: minicnn.Tensor([1.0]).backward()), GradientError, f"{INNER}: backward: "),
]


@pytest.mark.parametrize("abstract", [False, True], ids=["real", "abstract"])
@pytest.mark.parametrize(("inner", "error", "match"), MISTAKES, ids=[str(i) for i in range(len(MISTAKES))])
def test_the_path_comes_first(inner, error, match, abstract):
    if abstract and error is IndexRangeError:  # labels have no values there
        return
    if abstract and "backward" in match:
        return
    net = Net(inner())
    with pytest.raises(error, match="^" + match) as caught:
        if abstract:
            with minicnn.abstract():
                net(IMAGES)
        else:
            net(IMAGES)
    assert caught.value.layer and str(caught.value).startswith(caught.value.layer + ": ")


def test_integer_images_name_the_first_layer():
    with pytest.raises(DTypeError, match=r"^stem: conv2d: x has dtype uint8.*divided by 255"):
        Net(nn.ReLU())(np.zeros((2, 3, 6, 6), np.uint8))


def test_after_an_error_the_path_is_empty_again():
    with pytest.raises(MinicnnError):
        Net(nn.Linear(5, 2))(IMAGES)
    with pytest.raises(ShapeError, match=r"^conv2d: "):
        ops.conv2d(IMAGES, np.zeros((4, 2, 3, 3), np.float32))


def test_a_weight_written_between_forward_and_backward_is_named():
    net = Net(nn.Conv2d(4, 2, 3, bias=False))
    loss = net(IMAGES).sum()
    net.layer1[1].inner.weight.data = net.layer1[1].inner.weight.numpy() + 1
    with pytest.raises(GradientError, match=rf"^{INNER}: conv2d: weight of shape \(2, 4, 3, 3\) was written"):
        loss.backward()


def test_a_second_backward_names_the_layer():
    net = Net(nn.ReLU())
    y = net(IMAGES)
    seed = np.ones(y.shape, np.float32)
    y.backward(seed)
    with pytest.raises(GradientError, match=f"^{INNER}: relu: backward ran through this operation before"):
        y.backward(seed)


def test_a_foreign_exception_gets_a_note():
    with pytest.raises(ZeroDivisionError) as caught:
        Net(Call(lambda x: 1 // 0))(IMAGES)
    assert caught.value.__notes__ == [f"in layer {INNER}: Call.forward"]
