"""Instruments of single layers: fields, matrices, separable kernels, shifts."""

import numpy as np
import pytest

from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.instruments.banded import connections, conv_matrix, taps
from minicnn.instruments.receptive import effective_field
from minicnn.instruments.separable import separate
from minicnn.instruments.shifts import equivariance, invariance, shift_study
from tests.close import assert_close


def test_the_lectures_arrows():
    assert connections(taps((1, 1, 1, 3), (1, 5), padding=(0, 1))) == (25, 13, 3)


@pytest.mark.parametrize(
    ("shape", "size", "geometry"),
    [
        ((3, 2, 3, 2), (5, 6), {}),
        ((4, 1, 3, 3), (7, 5), {"stride": 2, "padding": (1, 0), "groups": 2}),
        ((2, 2, 2, 3), (6, 7), {"dilation": (2, 1), "padding": 2, "stride": (1, 3)}),
    ],
)
def test_the_matrix_is_the_convolution(random, shape, size, geometry):
    weight = random.standard_normal(shape)
    x = random.standard_normal((1, shape[1] * geometry.get("groups", 1), *size))
    expected = ops.conv2d(Tensor(x), Tensor(weight), **geometry).numpy().ravel()
    assert_close(conv_matrix(weight, size, **geometry) @ x.ravel(), expected, 1e-13)


def test_matrices_that_cannot_be():
    with pytest.raises(ArgumentError, match="smaller image"):
        taps((64, 64, 3, 3), (224, 224), padding=1)
    with pytest.raises(ShapeError, match="more padding"):
        taps((1, 1, 7, 7), 5)
    with pytest.raises(ArgumentError, match="groups=2"):
        taps((3, 1, 1, 1), 2, groups=2)


def test_sobel_is_a_column_times_a_row_and_a_laplacian_is_not():
    sobel = separate([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    assert sobel.rank == 1 and sobel.error(1) < 1e-12
    assert_close(np.outer(sobel.columns[0], sobel.rows[0]), [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1e-12)
    # u u^T - 4 v v^T with u = (1, 0, 1) + ..: eigenvalues of [[0,1,0],[1,-4,1],[0,1,0]] are -2 +- sqrt(6) and 0
    laplacian = separate([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    assert laplacian.rank == 2
    assert_close(laplacian.sizes[:2], [2 + 6**0.5, 6**0.5 - 2], 1e-12)
    assert_close(laplacian.error(1), (6**0.5 - 2) / 20**0.5, 1e-12)
    assert separate(np.zeros((2, 3))).rank == 0


def test_a_stack_of_mean_filters_sees_a_binomial():
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3))).double()
    for layer in net:
        layer.weight.copy_(np.outer([1, 2, 1], [1, 2, 1])[None, None] / 16)
    found = effective_field(net, (1, 15, 15), "2", draws=3)
    row = np.zeros(15)
    row[4:11] = [1, 6, 15, 20, 15, 6, 1]
    assert found.unit == (7, 7) and found.box == (4, 11, 4, 11)
    assert_close(found.weights / found.weights.max(), np.outer(row, row) / 400, 1e-12)
    assert found.side == np.count_nonzero(np.outer(row, row) > 0.0455 * 400) ** 0.5


def test_nothing_outside_the_theoretical_field():
    net = models.create("resnet20_cifar10")
    assert net.training and all(p.requires_grad for p in net.parameters())
    found = effective_field(net, (3, 32, 32), "layer1.0", draws=2)
    top, bottom, left, right = found.box
    assert (bottom - top, right - left) == (7, 7)
    outside = found.weights.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any() and (found.weights[top:bottom, left:right] > 0).all()
    assert net.training and all(p.requires_grad and p.grad is None for p in net.parameters())
    with pytest.raises(ShapeError, match="fc puts out"):
        effective_field(net, (3, 32, 32), "fc", draws=1)


def test_shifts(random):
    scene = random.standard_normal((1, 2, 18, 18))
    conv = nn.Conv2d(2, 3, 3).double()
    assert equivariance(conv, scene, 2).anywhere < 1e-13
    padded = nn.Conv2d(2, 3, 3, padding=1).double()
    found = equivariance(padded, scene, 2, edge=1)
    assert found.anywhere > 0.05 and found.inside < 1e-13
    strided = nn.Conv2d(2, 3, 3, stride=2).double()
    assert equivariance(strided, scene, 2, stride=2).anywhere < 1e-13
    assert equivariance(strided, scene, 1, stride=2).anywhere > 0.05
    assert equivariance(nn.MaxPool2d(2), scene, 2, stride=2).anywhere == 0
    with pytest.raises(ShapeError, match="less shift"):
        equivariance(conv, scene, 9)


def test_the_mean_over_a_ring_of_equal_tiles_does_not_notice_a_shift(random):
    scene = np.tile(random.standard_normal((1, 1, 4, 4)), (1, 1, 4, 4))
    mean = nn.Sequential(nn.AvgPool2d(12), nn.Flatten())
    assert max(invariance(mean, scene, [1, 4])) < 1e-13
    one = nn.Sequential(nn.Flatten())
    assert invariance(one, scene, [1, 4])[0] > 0.05 and invariance(one, scene, [4])[0] == 0


def test_the_stages_of_a_network_shift_by_their_strides(random):
    net = models.create("resnet20_cifar10")
    scene = random.standard_normal((1, 3, 104, 104)).astype(np.float32)
    found = shift_study(net, scene, [1, 2, 4, 8])
    assert list(found.stages) == ["stem", "stage1", "stage2", "stage3"]
    assert max(each.inside for each in found.stages["stem"]) < 1e-5, "away from the edge a convolution shifts"
    assert min(each.anywhere for each in found.stages["stem"]) > 0.05, "but zeros stand beside the edge"
    odd, even = found.stages["stage2"][0].inside, found.stages["stage2"][1].inside
    assert odd > 0.05 and even < 1e-5, "half a stride is nothing that an output can shift by"
    assert found.answer == pytest.approx(invariance(net, scene, [1, 2, 4, 8]))
    logits = net.eval()(Tensor(np.ascontiguousarray(scene[..., 1:97, 1:97]))).numpy()
    assert len(found.classes) == 4 and found.classes[0] == logits.argmax()


def test_a_stage_that_is_shifted_out_of_sight_is_left_out(random):
    scene = random.standard_normal((1, 3, 48, 48)).astype(np.float32)  # stage 3 of 24 pixels is 6x6
    assert list(shift_study(models.create("resnet20_cifar10"), scene, [24]).stages) == []
