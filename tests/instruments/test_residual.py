"""Instruments of residual networks, on nets whose blocks are matrices and on nets of the catalog."""

import itertools
import math

import numpy as np
import pytest

from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.instruments.layers import estimation_errors, gradient_norms
from minicnn.instruments.paths import gradient_by_length, path_gradient, path_lengths
from minicnn.instruments.playground import displayed, filtered, gradient_magnitude
from minicnn.instruments.residual import (
    changing_shape,
    deletions,
    lesions,
    rank_correlation,
    shuffle_study,
    shuffled,
    without,
)
from minicnn.models.resnet import Residual
from tests.close import assert_close


class Matrix(Residual):
    """``x + W x``."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.shortcut = nn.Identity()

    def forward(self, x):
        return self.add(lambda x: ops.linear(x, self.weight), x, x)


@pytest.fixture
def matrices(random):
    return [random.standard_normal((3, 3)) for _ in range(3)]


@pytest.fixture
def net(matrices):
    return nn.Sequential(*map(Matrix, matrices))


def test_a_net_without_a_block(net, matrices, random):
    x, one = random.standard_normal((2, 3)), np.eye(3)
    a, _, c = (one + w for w in matrices)
    with without(net, "1"):
        assert_close(net(Tensor(x)).numpy(), x @ a.T @ c.T, 1e-13)
    found = lesions(net, lambda model: float(np.asarray(model(Tensor(x))).sum()))
    assert list(found.without) == ["0", "1", "2"]
    assert_close(found.without["1"], (x @ a.T @ c.T).sum(), 1e-13)
    assert_close(found.whole, (x @ a.T @ (one + matrices[1]).T @ c.T).sum(), 1e-13)
    with pytest.raises(ArgumentError, match="no residual block at '7', expected one of 0, 1, 2"), without(net, "7"):
        pass
    with pytest.raises(ArgumentError, match="no residual blocks"):
        lesions(nn.Sequential(nn.ReLU()), lambda model: 0.0)


def test_blocks_that_change_places(net, matrices, random):
    x, before = random.standard_normal((2, 3)), list(net)
    factors = [np.eye(3) + w for w in matrices]
    with shuffled(net, 1, seed=3) as ((first, second),):
        order = [0, 1, 2]
        order[int(first)], order[int(second)] = order[int(second)], order[int(first)]
        expected = x
        for i in order:
            expected = expected @ factors[i].T
        assert_close(net(Tensor(x)).numpy(), expected, 1e-13)
    assert all(a is b for a, b in zip(net, before, strict=True))
    found = shuffle_study(net, lambda model: float(model[0] is before[0]), [0, 1], draws=5)
    assert found[:5] == [(0, 1.0, 1.0)] * 5
    assert {(tau, score) for swaps, tau, score in found[5:]} <= {(1 / 3, 0.0), (1 / 3, 1.0), (-1.0, 0.0)}
    assert len(set(found[5:])) > 1 and all(a is b for a, b in zip(net, before, strict=True))


def test_how_much_of_an_order_is_left():
    assert rank_correlation(range(4)) == 1 and rank_correlation([3, 2, 1, 0]) == -1
    assert rank_correlation([1, 0, 2, 3]) == pytest.approx((5 - 1) / 6)
    assert rank_correlation([0]) == 0


def test_several_blocks_out_at_once(net, matrices, random):
    x, one = random.standard_normal((2, 3)), np.eye(3)

    def score(model):
        return float(np.asarray(model(Tensor(x))).sum())

    found = deletions(net, score, [0, 2, 3], draws=6)
    factors = [one + w for w in matrices]
    assert_close(found[0], [(x @ factors[0].T @ factors[1].T @ factors[2].T).sum()] * 6, 1e-12)
    left = [(x @ f.T).sum() for f in factors]  # one block stays
    assert all(np.isclose(value, left).any() for value in found[2]) and len(set(found[2])) > 1
    assert_close(found[3], [x.sum()] * 6, 1e-12)
    with pytest.raises(ArgumentError, match="from 0 to 3 blocks"):
        deletions(net, score, [4])


def test_blocks_that_change_the_shape():
    assert changing_shape(models.create("resnet20_cifar10")) == ["layer2.0", "layer3.0"]
    assert changing_shape(models.create("resnet18")) == ["layer2.0", "layer3.0", "layer4.0"]
    assert changing_shape(models.create("preresnet18"))[-1] == "layer4.0"


def test_every_path_by_itself_and_all_together(net, matrices, random):
    x, labels = random.standard_normal((2, 3)), np.array([0, 2])
    y = x @ np.linalg.multi_dot([(np.eye(3) + w).T for w in matrices])
    shares = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    upstream = shares - np.eye(3)[labels]
    total = np.zeros_like(x)
    for through in itertools.chain.from_iterable(itertools.combinations("012", k) for k in range(4)):
        expected = upstream
        for i in sorted(through, reverse=True):
            expected = expected @ matrices[int(i)]
        found = path_gradient(net, x, labels, through)
        assert_close(found, expected, 1e-12, what=str(through))
        total += found
    whole = upstream
    for w in reversed(matrices):
        whole = whole @ (np.eye(3) + w)
    assert_close(total, whole, 1e-12)
    norms = gradient_by_length(net, x, labels, [0, 3], draws=2)
    assert_close(norms[0], np.linalg.norm(upstream), 1e-12)
    with pytest.raises(ArgumentError, match="from 0 to 3 blocks"):
        gradient_by_length(net, x, labels, [4])


def test_lengths_of_paths():
    assert path_lengths(3) == [1, 3, 3, 1]
    assert sum(path_lengths(54)) == 2**54 and np.argmax(path_lengths(54)) == 27


def test_on_a_net_of_the_catalog(random):
    net = models.create("resnet20_cifar10")
    images, labels = random.standard_normal((2, 3, 32, 32)).astype(np.float32), np.array([1, 2])
    net(Tensor(images))
    before = net.state_dict()
    norms = gradient_norms(net, images, labels)
    assert len(norms) == 20 and all(math.isfinite(norm) and norm > 0 for norm in norms.values())
    errors = estimation_errors(net, images)
    assert list(errors) == ["layer1", "layer2", "layer3"] and [len(rows) for rows in errors.values()] == [3, 3, 3]
    assert errors["layer2"][-1][1:] == (0, 0) and errors["layer2"][0].deviation > 0
    with shuffled(net, 4):
        assert net(Tensor(images)).shape == (2, 10)
    gradient_by_length(net, images, labels, [2], draws=1)
    after = net.state_dict()
    changed = [name for name in before if "layer" not in name and not np.array_equal(before[name], after[name])]
    assert all("running" in name or "tracked" in name for name in changed)  # of the call amid the shuffle
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters()) and net.training


def test_gradient_norms_by_hand(random):
    net = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(2, 3)).double()
    x, labels = random.standard_normal((4, 2, 1, 1)), np.array([0, 1, 2, 2])
    before = net.state_dict()
    norms = gradient_norms(net, x, labels)
    z = x[..., 0, 0] - x[..., 0, 0].mean(0)
    z /= np.sqrt((z**2).mean(0) + net[0].eps)
    y = z @ net[2].weight.numpy().T + net[2].bias.numpy()
    upstream = (np.exp(y) / np.exp(y).sum(1, keepdims=True) - np.eye(3)[labels]) / 4
    assert list(norms) == ["2.weight"]
    assert_close(norms["2.weight"], np.linalg.norm(upstream.T @ z), 1e-12)
    after = net.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in net.parameters())


def test_estimates_by_hand(random):
    net = nn.Sequential(nn.Sequential(Matrix(np.eye(3)), Matrix(np.eye(3))))
    x = random.standard_normal((4, 3))
    first, last = estimation_errors(net, x)["0"]
    assert last[1:] == (0, 0)
    assert_close([first.mean, first.deviation], [(2 * x - 4 * x).mean() / (4 * x).std(), 0.5], 1e-12)


def test_kernels_on_pictures(random):
    picture = random.random((3, 6, 7))
    assert_close(filtered(picture, "identity"), picture, 1e-15)
    wide = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    smooth, ahead = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert_close(filtered(picture, ahead), smooth[..., 2:] - smooth[..., :-2], 1e-13)
    flat = np.full((1, 4, 4), 0.25)
    assert np.abs(gradient_magnitude(flat)).max() < 1e-15
    assert_close(displayed(filtered(flat, "laplacian"), "laplacian"), np.full((1, 4, 4), 0.5), 1e-12)
    for name in ("box blur", "gaussian blur", "sharpen", "unsharp mask", "emboss"):
        assert_close(filtered(flat, name), flat, 1e-12, what=name)
    with pytest.raises(ArgumentError, match="no kernel is called 'blurr'"):
        filtered(flat, "blurr")
