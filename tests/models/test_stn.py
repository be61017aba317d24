"""Spatial transformer networks: they start with the image as it is, and two transformers look at two places."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.models.stn import ParallelSTN, localisation
from minicnn.random import Generator
from tests.close import assert_close

IDENTITY = np.eye(2, 3, dtype=np.float32)


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tutorial():
    return models.stn_mnist_tutorial(generator=Generator(0)).eval()


def addition(**options):
    return models.stn_mnist_addition(generator=Generator(0), **options).eval()


def look_at(transformer, theta):
    """Every image is read at the same places."""
    last = list(transformer.localisation.modules())[-1]
    last.bias.copy_(np.ravel(theta).astype(np.float32))


def test_the_tutorials_net_starts_as_the_classifier_alone():
    net, x = tutorial(), image(2, 1, 28, 28)
    assert_close(net.transformer(x).numpy(), x, 1e-6)
    alone = net.pool1(net.conv1(minicnn.Tensor(x)))
    alone = net.pool2(net.conv2(net.relu(alone)))
    alone = net.fc2(net.relu(net.fc1(net.relu(alone).reshape(2, -1))))
    assert_close(net(x).numpy(), alone.numpy(), 1e-5)


def test_the_tutorials_net_is_pytorchs():
    """The same weights in torch's layers, as the tutorial writes them, with a localisation net that has moved."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    net, x = tutorial(), image(3, 1, 28, 28)
    nn.init.normal_(net.transformer.localisation.fc2.weight, 0.0, 0.05, Generator(1))
    state = {name: torch.from_numpy(np.array(value)) for name, value in net.state_dict().items()}
    conv = lambda name, y: functional.conv2d(y, state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    line = lambda name, y: functional.linear(y, state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    given, inner = torch.from_numpy(x), "transformer.localisation."
    seen = functional.relu(functional.max_pool2d(conv(inner + "conv1", given), 2))
    seen = functional.relu(functional.max_pool2d(conv(inner + "conv2", seen), 2)).reshape(-1, 90)
    theta = line(inner + "fc2", functional.relu(line(inner + "fc1", seen))).reshape(-1, 2, 3)
    assert float(theta.std(0).max()) > 0.01
    shown = functional.grid_sample(given, functional.affine_grid(theta, x.shape, False), align_corners=False)
    y = functional.relu(functional.max_pool2d(conv("conv1", shown), 2))
    y = functional.relu(functional.max_pool2d(conv("conv2", y), 2)).reshape(-1, 320)
    expected = line("fc2", functional.relu(line("fc1", y)))
    assert_close(net(x).numpy(), expected.numpy(), 1e-5)


def test_counts_of_the_parts():
    """5,520 of the tutorial's 27,360 parameters decide where to look."""
    with minicnn.abstract():
        net, pair = models.create("stn_mnist_tutorial"), models.create("stn_mnist_addition")
    size = lambda part: sum(p.size for p in part.parameters())  # noqa: E731
    assert size(net.transformer) == 8 * 49 + 8 + 10 * 8 * 25 + 10 + 32 * 90 + 32 + 6 * 32 + 6 == 5520
    assert size(net) == 27360
    assert [size(part) for part in pair.transformers] == [1020 + 10020 + 6420 + 126] * 2
    assert pair.conv1.in_channels == 4 and len(pair.transformers) == 2


def test_both_transformers_see_both_channels_and_show_them_side_by_side():
    """The first looks to the right, the second down; the four channels are the two of each, at its places."""
    net, x = addition(), image(2, 2, 42, 42)
    assert_close(net.transformers(x).numpy(), np.concatenate([x, x], 1), 5e-6)  # of 42 pixels in float32
    look_at(net.transformers[0], [[1, 0, 2 / 3], [0, 1, 0]])  # 14 of 42 pixels
    look_at(net.transformers[1], [[1, 0, 0], [0, 1, -1 / 3]])  # 7 pixels
    y = net.transformers(x).numpy()
    assert y.shape == (2, 4, 42, 42)
    assert_close(y[:, :2, :, :28], x[:, :, :, 14:], 1e-5)
    assert_close(y[:, 2:, 7:], x[:, :, :35], 1e-5)
    assert not y[:, :2, :, 28:].any() and not y[:, 2:, :7].any()


def test_transformers_are_independent():
    """Each has weights of its own, and moves with either digit: both channels reach each localisation net."""
    net, x = addition(), image(2, 2, 42, 42)
    for number, transformer in enumerate(net.transformers):
        nn.init.normal_(transformer.localisation.fc2.weight, 0.0, 0.1, Generator(number))
    first, second = (part.theta(minicnn.Tensor(x)).numpy() for part in net.transformers)
    assert np.abs(first - second).max() > 0.01
    for channel in (0, 1):
        other = x.copy()
        other[:, channel] = image(2, 42, 42, seed=5)
        for transformer, before in zip(net.transformers, (first, second), strict=True):
            assert np.abs(transformer.theta(minicnn.Tensor(other)).numpy() - before).max() > 1e-3


def test_each_digit_can_be_undone_by_a_transformer_of_its_own():
    """Two moved pictures, two matrices that know where: the classifier sees what it sees of unmoved ones."""
    net = addition()
    plain = np.zeros((1, 2, 42, 42), np.float32)
    plain[0, :, 14:28, 14:28] = image(2, 14, 14)
    moved = np.stack([np.roll(plain[0, 0], (7, 0), (0, 1)), np.roll(plain[0, 1], (0, -10), (0, 1))])[None]
    look_at(net.transformers[0], [[1, 0, 0], [0, 1, 2 * 7 / 42]])
    look_at(net.transformers[1], [[1, 0, -2 * 10 / 42], [0, 1, 0]])
    shown = net.transformers(moved).numpy()[0]
    assert_close(shown[0], plain[0, 0], 1e-5)  # the first digit as the first transformer shows it
    assert_close(shown[3], plain[0, 1], 1e-5)  # the second as the second does
    assert np.abs(shown[1] - plain[0, 1]).max() > 1 and np.abs(shown[2] - plain[0, 0]).max() > 1


def test_the_mean_pool_behind_the_transformers():
    net, x = addition(), image(1, 2, 42, 42)
    halves = np.concatenate([x, x], 1).reshape(1, 4, 21, 2, 21, 2).mean((3, 5))
    assert_close(net.stage_outputs(x)["half"].numpy(), halves, 1e-5)


def test_the_localisation_net_learns_only_once_its_last_layer_has_moved():
    """Weights 0 pass nothing back; the first step moves the last layer, the second all."""
    net, x = addition().train(), image(4, 2, 42, 42)
    optimizer = minicnn.optim.SGD(net.parameters(), lr=0.1)
    part = net.transformers[0].localisation
    for learns in (False, True):
        optimizer.zero_grad()
        ops.cross_entropy(net(x), np.array([0, 3, 9, 18])).backward()
        assert part.fc2.bias.grad.numpy().any() and part.fc2.weight.grad.numpy().any()
        assert part.conv1.weight.grad.numpy().any() == learns
        optimizer.step()
    silent = [path for path, p in net.named_parameters() if not p.grad.numpy().any()]
    assert not silent


def test_an_image_of_any_size_can_be_transformed():
    """The adaptive pools do nothing at the published sizes, and make others possible."""
    x = image(1, 2, 42, 42)
    net = localisation(2, Generator(0))
    seen = net.conv2(net.pool(net.relu1(net.conv1(net.half(minicnn.Tensor(x))))))
    assert seen.shape == (1, 20, 4, 4) and np.array_equal(net.fit(seen).numpy(), seen.numpy())
    transformer = nn.SpatialTransformer(net)
    for side in (30, 42, 97):
        assert_close(transformer(image(1, 2, side, side)).numpy(), image(1, 2, side, side), 1e-5)
    assert tutorial().transformer(image(2, 1, 40, 50)).shape == (2, 1, 40, 50)


def test_options():
    with minicnn.abstract():
        three = models.stn_mnist_addition(transformers=3)
    assert len(three.transformers) == 3 and three.conv1.in_channels == 6
    assert models.info("stn_mnist_addition").published.top1_error == 5.8
    one = ParallelSTN(transformers=1, num_classes=4, in_channels=3, generator=Generator(0)).eval()
    assert one(image(2, 3, 42, 42)).shape == (2, 4)


@pytest.mark.parametrize("name", ["stn_mnist_tutorial", "stn_mnist_addition"])
def test_every_weight_is_drawn_from_the_generator(name):
    one, twin = (models.create(name, generator=Generator(0)) for _ in range(2))
    assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(one.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("mistake", "error", "match"),
    [
        (lambda: models.stn_mnist_addition(transformers=0), ArgumentError, "ParallelSTN: transformers=0 is too small"),
        (
            lambda: models.stn_mnist_addition(transformers=1.5),
            ArgumentError,
            "ParallelSTN: transformers=1.5 is a float",
        ),
        (lambda: models.stn_mnist_addition(transformer=2), ArgumentError, "did you mean 'transformers'"),
        (lambda: addition()(image(1, 1, 42, 42)), ShapeError, r"transformers\.0\.localisation\.conv1: conv2d: "),
        (lambda: addition()(image(1, 2, 60, 60)), ShapeError, "^fc1: linear: "),
    ],
)
def test_mistakes(mistake, error, match):
    with minicnn.abstract(), pytest.raises(error, match=match):
        mistake()
