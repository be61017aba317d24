"""Maps and gradients, on nets small enough to be differentiated by hand."""

import numpy as np
import pytest

from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError, ShapeError
from minicnn.instruments.maps import (
    answer,
    cam,
    feature_maps,
    first_filters,
    grad_cam,
    pixel_gradient,
    quadrilaterals,
    saliency,
    strongest_units,
)
from tests.close import assert_close


@pytest.fixture
def net():
    return nn.Sequential(
        conv=nn.Conv2d(2, 4, 3), relu=nn.ReLU(), mean=nn.GlobalAvgPool2d(), flat=nn.Flatten(), fc=nn.Linear(4, 3)
    ).double()


def test_cam_by_hand_and_grad_cam_is_its_positive_part(net, random):
    x, classes = random.standard_normal((2, 2, 6, 7)), np.array([2, 0])
    maps = np.stack([feature_maps(net, image, ["relu"])["relu"] for image in x])
    found = cam(net, x, classes)
    weights = net.fc.weight.numpy()
    assert_close(found, np.einsum("nc,nchw->nhw", weights[classes], maps), 1e-12)
    # the mean over all places of the logit's gradient by A[c] is w[c] / (H W)
    assert_close(grad_cam(net, x, classes, "relu") * 20, np.maximum(found, 0), 1e-12)
    scores = found.mean((1, 2)) + net.fc.bias.numpy()[classes]
    assert_close(scores, net(Tensor(x)).numpy()[[0, 1], classes], 1e-12)
    assert np.array_equal(answer(net, x), net(Tensor(x)).numpy().argmax(1))


def test_three_rules_for_a_relu_by_hand(random):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x, k = random.standard_normal((1, 1, 2, 2)), 1
    (a, b), (c, d), (e, _) = ([net[i].weight.numpy(), net[i].bias.numpy()] for i in (1, 3, 5))
    first = a @ x.ravel() + b
    second = c @ np.maximum(first, 0) + d
    for rule in ("gradient", "guided", "deconvnet"):
        back = e[k]
        for before, matrix in ((second, c), (first, a)):
            back = back * ((rule == "deconvnet") | (before > 0)) * ((rule == "gradient") | (back > 0))
            back = back @ matrix
        assert_close(pixel_gradient(net, x, [k], rule), back.reshape(x.shape), 1e-12, what=rule)
    assert_close(saliency(net, x, [k]), np.abs(pixel_gradient(net, x, [k]))[:, 0], 1e-15)


def test_guided_through_a_relu6_stops_at_6_too(random):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 40), nn.ReLU6(), nn.Linear(40, 3)).double()
    x, k = 40 * random.standard_normal((1, 1, 2, 2)), 1
    first, back = net[1].weight.numpy() @ x.ravel() + net[1].bias.numpy(), net[3].weight.numpy()[k]
    passes = (first > 0) & (first < 6) & (back > 0)
    assert (first > 6).any()
    assert_close(pixel_gradient(net, x, [k], "guided").ravel(), (back * passes) @ net[1].weight.numpy(), 1e-12)
    assert_close(pixel_gradient(net, x, [k], "deconvnet").ravel(), (back * (back > 0)) @ net[1].weight.numpy(), 1e-12)


def test_what_a_strong_unit_saw_by_hand(random):
    """Two convolutions and a max pool: one value goes back through the weights, and to where the maximum was."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 5, 1), nn.ReLU()).double()
    image = random.standard_normal((2, 10, 10))
    first = np.maximum(feature_maps(net, image, ["0"])["0"], 0)  # (3, 8, 8)
    maps = feature_maps(net, image, ["4"])["4"]  # (5, 4, 4)
    units = strongest_units(net, image, "4", 2)
    assert [unit.value for unit in units] == sorted(maps.max((1, 2)), reverse=True)[:2]
    for unit in units:
        y, x = unit.place
        assert unit.value == maps[unit.channel].max() == maps[unit.channel, y, x] > 0
        back, expected = np.maximum(unit.value * net[3].weight.numpy()[unit.channel, :, 0, 0], 0), np.zeros((2, 10, 10))
        for c in range(3):
            window = first[c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            dy, dx = np.unravel_index(window.argmax(), (2, 2))
            row, column = 2 * y + dy, 2 * x + dx
            expected[:, row : row + 3, column : column + 3] += back[c] * net[0].weight.numpy()[c]
        assert_close(unit.pixels, expected, 1e-12)
    with pytest.raises(ShapeError, match="fc3 does not put out"):
        strongest_units(models.create("lenet5"), random.standard_normal((1, 32, 32)).astype(np.float32), "fc3")


def test_networks_of_the_catalog(random):
    net = models.create("resnet20_cifar10")
    x = random.standard_normal((1, 3, 32, 32)).astype(np.float32)
    k = answer(net, x)
    assert_close(grad_cam(net, x, k) * 64, np.maximum(cam(net, x, k), 0), 1e-4)
    for rule in ("guided", "deconvnet"):
        assert pixel_gradient(net, x, k, rule).shape == x.shape
    assert first_filters(net).shape == (16, 3, 3, 3)
    assert net.training and all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_what_is_refused(net, random):
    x = random.standard_normal((1, 2, 6, 6))
    with pytest.raises(ArgumentError, match="names no stages"):
        grad_cam(net, x, [0])
    with pytest.raises(ArgumentError, match="fix: grad_cam"):
        cam(models.create("lenet5"), random.standard_normal((1, 1, 32, 32)).astype(np.float32), [0])
    with pytest.raises(ArgumentError, match="expected one of gradient"):
        pixel_gradient(net, x, [0], "guide")
    with pytest.raises(ArgumentError, match=r"has no nn\.ReLU"):
        pixel_gradient(nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double(), x, [0], "guided")


def test_the_corners_that_a_transformer_reads(random):
    net = models.create("stn_mnist_tutorial")
    x = random.standard_normal((2, 1, 28, 28)).astype(np.float32)
    rim = [[-0.5, -0.5], [27.5, -0.5], [27.5, 27.5], [-0.5, 27.5]]
    assert_close(quadrilaterals(net, x)["transformer"], [rim, rim], 1e-6)
    # half as wide, moved right by a quarter of the image: the columns 14 to 28, of the rows all
    net.transformer.localisation.fc2.bias.copy_(np.array([0.5, 0, 0.5, 0, 1, 0], np.float32))
    moved = [[13.5, -0.5], [27.5, -0.5], [27.5, 27.5], [13.5, 27.5]]
    assert_close(quadrilaterals(net, x)["transformer"][1], moved, 1e-6)
    # its first column is the middle of the first half pixel there: 13.75
    assert_close(net.transformer(Tensor(x)).numpy()[..., 0], 0.25 * x[..., 13] + 0.75 * x[..., 14], 1e-5)
