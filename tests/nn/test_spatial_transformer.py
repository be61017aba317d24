"""The spatial transformer against a bilinear oracle: identity, shift, rotation, zoom, attention, borders, gradients."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.random import Generator
from tests.close import assert_close

TURN = math.radians(30)
SHIFT = [[1, 0, 0.5], [0, 1, -0.25]]
ROTATION = [[math.cos(TURN), -math.sin(TURN), 0], [math.sin(TURN), math.cos(TURN), 0]]
ZOOM = [[0.5, 0, 0], [0, 0.75, 0]]
ATTENTION = [[0.6, 0, 0.2], [0, 0.6, -0.3]]  # one scale and a place, the paper's (s, tx, ty)
SHEAR = [[1.1, 0.4, -0.1], [0.2, 0.9, 0.3]]


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def transformer(features, *, seed=0, **options):
    """A transformer whose localisation is one Linear."""
    localisation = nn.Sequential(nn.Flatten(), nn.Linear(features, 6, generator=Generator(seed)))
    return nn.SpatialTransformer(localisation, **options).double()


def looking(theta, features, **options):
    """A transformer that reads every image at the same places."""
    layer = transformer(features, **options)
    layer.localisation[1].bias.copy_(np.ravel(theta).astype(float))
    return layer


def sampled(image, theta, size, align_corners):
    """One plane read pixel by pixel: the definition."""
    height, width = image.shape
    result = np.zeros(size)
    for i, j in np.ndindex(*size):
        if align_corners:
            target = [-1 + 2 * j / (size[1] - 1), -1 + 2 * i / (size[0] - 1), 1]
            x, y = ((place + 1) / 2 for place in np.array(theta) @ target)
            column, row = x * (width - 1), y * (height - 1)
        else:
            target = [-1 + (2 * j + 1) / size[1], -1 + (2 * i + 1) / size[0], 1]
            x, y = ((place + 1) / 2 for place in np.array(theta) @ target)
            column, row = x * width - 0.5, y * height - 0.5
        for r, c in np.ndindex(height, width):
            result[i, j] += image[r, c] * max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c))
    return result


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 9, 9), (2, 1, 6, 11)])
def test_it_starts_as_the_identity(shape, align_corners):
    x = images(*shape).astype(np.float32)
    layer = nn.SpatialTransformer(
        nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape[1:]), 8), nn.ReLU(), nn.Linear(8, 6)),
        align_corners=align_corners,
    )
    last = layer.localisation[3]
    assert not last.weight.numpy().any() and last.bias.numpy().tolist() == [1, 0, 0, 0, 1, 0]
    assert layer.localisation[1].weight.numpy().any()
    assert_close(layer(x).numpy(), x, 1e-6)
    assert_close(layer.theta(minicnn.Tensor(x)).numpy(), np.tile(np.eye(2, 3, dtype=np.float32), (len(x), 1, 1)), 0)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "theta", [SHIFT, ROTATION, ZOOM, ATTENTION, SHEAR], ids=["shift", "rotation", "zoom", "attention", "shear"]
)
@pytest.mark.parametrize("size", [None, (4, 9)])
def test_theta_is_where_the_input_is_read(theta, align_corners, size):
    x = images(2, 2, 7, 5)
    y = looking(theta, 70, size=size, align_corners=align_corners)(x).numpy()
    expected = [[sampled(plane, theta, size or (7, 5), align_corners) for plane in image] for image in x]
    assert_close(y, np.array(expected), 1e-12)


def test_a_shift_moves_what_is_read_not_the_picture():
    """theta goes from the target to the source: with +1/2 of 8 pixels, each place shows what lay two to its right."""
    x = images(1, 1, 8, 8)
    y = looking([[1, 0, 0.5], [0, 1, 0]], 64)(x).numpy()
    assert_close(y[..., :-2], x[..., 2:], 1e-12)
    assert not y[..., -2:].any()  # beyond the border there is nothing


def test_every_image_has_its_own_places():
    x = images(3, 1, 6, 6)
    layer = transformer(36)
    nn.init.normal_(layer.localisation[1].weight, 0.0, 0.05, Generator(3))
    theta = layer.theta(minicnn.Tensor(x)).numpy()
    assert theta.shape == (3, 2, 3) and np.ptp(theta, 0).min() > 0.01
    expected = [[sampled(x[n, 0], theta[n], (6, 6), False)] for n in range(3)]
    assert_close(layer(x).numpy(), np.array(expected), 1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
def test_gradients_reach_the_image_and_the_localisation(align_corners):
    layer = nn.SpatialTransformer(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, generator=Generator(0)),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(48, 4, generator=Generator(1)),
            nn.Tanh(),
            nn.Linear(4, 6, generator=Generator(2)),
        ),
        size=(5, 3),
        align_corners=align_corners,
    ).double()
    nn.init.normal_(layer.localisation[5].weight, 0.0, 0.2, Generator(5))
    layer.localisation[5].bias.copy_(np.array([0.7, 0.1, 0.05, -0.2, 0.8, 0.1]))
    x = minicnn.Tensor(images(2, 2, 6, 6), requires_grad=True)
    minicnn.gradcheck(layer, x)
    layer(x).sum().backward()
    assert all(p.grad.numpy().any() for p in (*layer.parameters(), x))


def test_gradient_of_theta():
    theta = minicnn.Tensor(np.array([SHIFT, SHEAR]) + 0.013, requires_grad=True)
    x = minicnn.Tensor(images(2, 2, 5, 6), requires_grad=True)
    minicnn.gradcheck(lambda theta, x: ops.grid_sample(x, ops.affine_grid(theta, (2, 2, 4, 4))), theta, x)


def test_it_learns_to_follow_a_moving_square():
    """Trained by what it shows alone, with no word about places: the square comes to the middle."""
    rng, picture = np.random.default_rng(0), np.zeros((24, 1, 12, 12))
    for image, (row, column) in zip(picture, rng.integers(1, 8, (24, 2)), strict=True):
        image[0, row : row + 4, column : column + 4] = 1
    blur = ops.avg_pool2d(minicnn.Tensor(picture), 3, 1, 1).numpy()
    wanted = np.zeros((12, 12))
    wanted[4:8, 4:8] = 1
    layer = transformer(144)
    optimizer = minicnn.optim.Adam(layer.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss = ops.mse_loss(layer(blur), np.broadcast_to(wanted, picture.shape))
        loss.backward()
        optimizer.step()
    theta = layer.theta(minicnn.Tensor(blur)).numpy()
    centres = np.array([np.argwhere(image[0]).mean(0) for image in picture])  # (24, 2): row, column
    places = (2 * centres + 1) / 12 - 1
    assert np.corrcoef(theta[:, 0, 2], places[:, 1])[0, 1] > 0.97
    assert np.corrcoef(theta[:, 1, 2], places[:, 0])[0, 1] > 0.97


def test_it_is_printed_counted_and_saved():
    layer = transformer(36, size=3)
    assert (
        "SpatialTransformer(" in repr(layer) and "size=(3, 3)" in repr(layer) and "align_corners=False" in repr(layer)
    )
    assert list(layer.state_dict()) == ["localisation.1.weight", "localisation.1.bias"]
    with minicnn.abstract():
        y = nn.SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Linear(36, 6)), (3, 5))(
            minicnn.ShapeArray((4, 1, 6, 6), np.float32)
        )
    assert y.shape == (4, 1, 3, 5)


@pytest.mark.parametrize(
    ("mistake", "error", "match"),
    [
        (
            lambda: nn.SpatialTransformer(nn.Conv2d(1, 6, 3)),
            ArgumentError,
            "SpatialTransformer: the last layer .*Conv2d",
        ),
        (
            lambda: nn.SpatialTransformer(nn.Sequential(nn.Linear(4, 6), nn.Tanh())),
            ArgumentError,
            r"the last layer of localisation is Tanh.*fix: end it with nn.Linear\(features, 6\)",
        ),
        (
            lambda: nn.SpatialTransformer(nn.Linear(4, 3)),
            ArgumentError,
            "out_features=3.*expected a Linear with a bias",
        ),
        (lambda: nn.SpatialTransformer(nn.Linear(4, 6, bias=False)), ArgumentError, "expected a Linear with a bias"),
        (lambda: nn.SpatialTransformer(nn.Linear(4, 6), (3, 4, 5)), ArgumentError, r"size=\(3, 4, 5\) has 3 numbers"),
        (lambda: nn.SpatialTransformer(nn.Linear(4, 6), 0), ArgumentError, "size=0 is too small"),
        (lambda: nn.SpatialTransformer(nn.Sequential()), ArgumentError, "the last layer of localisation is Sequential"),
    ],
)
def test_mistakes(mistake, error, match):
    with pytest.raises(error, match=match):
        mistake()


def test_mistakes_name_the_layer():
    x = np.zeros((2, 1, 4, 4), np.float32)
    net = nn.Sequential(stem=nn.ReLU(), look=nn.SpatialTransformer(nn.Linear(4, 6)))
    with pytest.raises(
        ShapeError, match=r"^look: SpatialTransformer: localisation gave shape \(2, 1, 4, 6\), expected \(2, 6\)"
    ):
        net(x)
    net = nn.Sequential(look=nn.SpatialTransformer(nn.Sequential(flat=nn.Flatten(), out=nn.Linear(9, 6))))
    with pytest.raises(ShapeError, match=r"^look\.localisation\.out: linear: "):
        net(x)
