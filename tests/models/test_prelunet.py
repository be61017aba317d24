"""PReLU-nets: slopes that are learned, initial weights for them, the pyramid of maxima."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.gradcheck import gradcheck
from minicnn.models.prelunet import PReLUNet, SpatialPyramidPooling
from minicnn.random import Generator
from tests.close import assert_close
from tests.models.catalog import rows

SLOPES = {  # of convolutions, a channel each, and of two layers of 4096
    "prelunet_a": 96 + 5 * (256 + 512 + 512) + 2 * 4096,
    "prelunet_b": 96 + 6 * (256 + 512 + 512) + 2 * 4096,
    "prelunet_c": 96 + 6 * (384 + 768 + 896) + 2 * 4096,
}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def small(**options):
    settings = {"depth": 2, "widths": (4, 5, 6), "units": 7, "num_classes": 3, "generator": Generator(0)}
    return PReLUNet(**{**settings, **options})


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_parameters_too(name):
    with minicnn.abstract():
        net = models.create(name)
    slopes = [module.weight for module in net.modules() if isinstance(module, nn.PReLU)]
    assert sum(p.size for p in slopes) == SLOPES[name] and all(p.requires_grad for p in slopes)
    assert models.counts(name).params == rows()[name].params + SLOPES[name]
    assert SLOPES[name] / rows()[name].params < 1e-4


@pytest.mark.parametrize(("name", "layers"), [("prelunet_a", 19), ("prelunet_b", 22), ("prelunet_c", 22)])
def test_a_prelu_after_every_layer_but_the_last(name, layers):
    with minicnn.abstract():
        net = models.create(name)
        outputs = net.stage_outputs(Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    kinds = [type(module) for module in net.modules()]
    assert kinds.count(nn.Conv2d) + kinds.count(nn.Linear) == layers and kinds.count(nn.PReLU) == layers - 1
    assert [y.shape[2] for y in outputs.values()] == [112, 56, 28, 14]
    assert [stage.stride for stage in net.stages] == [2, 4, 8, 16]


def test_slopes_start_at_a_quarter_a_channel_each():
    net = small()
    for module in net.modules():
        if isinstance(module, nn.PReLU):
            assert np.array_equal(module.weight.numpy(), np.full(module.num_parameters, 0.25, np.float32))
    assert net.stage2.prelu1.weight.shape == (5,) and net.prelu2.weight.shape == (7,)


def test_a_channel_has_a_slope_of_its_own():
    prelu = nn.PReLU(3).double()
    prelu.load_state_dict({"weight": np.array([0.0, 0.5, -1.0])})
    values = noise(2, 3, 4, 4)
    x = Tensor(values, requires_grad=True)
    (prelu(x) * 1.0).sum().backward()
    slopes = np.array([0.0, 0.5, -1.0]).reshape(3, 1, 1)
    assert_close(prelu(values).numpy(), np.maximum(values, 0) + slopes * np.minimum(values, 0), 1e-15)
    assert_close(prelu.weight.grad.numpy(), np.minimum(values, 0).sum((0, 2, 3)), 1e-13)


def test_weights_start_with_the_deviation_for_their_slope():
    """sqrt(2 / ((1 + a^2) n)) with a = 1/4, n inputs; a ReLU's would be 3 % larger."""
    net = PReLUNet(depth=1, widths=(64, 64, 64), levels=(2, 1), units=512, num_classes=512, generator=Generator(0))
    for path in ("stage1.conv1", "stage2.conv1", "stage3.conv1", "fc1", "fc2", "fc3"):
        layer = net.get_submodule(path)
        std = np.sqrt(2 / ((1 + 0.25**2) * layer.weight.numpy()[0].size))
        assert abs(layer.weight.numpy().std() / std - 1) < 4 / np.sqrt(2 * layer.weight.size) < 0.016, path
        assert not layer.bias.numpy().any()


def test_that_deviation_keeps_the_signal_through_thirty_layers():
    """Mean squares before and after, with a = 1/4; weights for a linear layer lose half of it, and more, in each."""
    sizes = {}
    for slope in (0.25, 1.0):
        y, generator = noise(64, 256), Generator(0)
        before = np.mean(y**2)
        for _ in range(30):
            layer = nn.Linear(256, 256, bias=False, generator=generator).double()
            nn.init.kaiming_normal_(layer.weight, slope, generator=generator)
            y = nn.PReLU().double()(layer(y)).numpy()
        sizes[slope] = np.mean(y**2) / before
    assert 0.2 < sizes[0.25] < 5
    assert sizes[1.0] < 1e-6


def test_the_pyramid_takes_the_maximum_of_every_part():
    x = noise(2, 3, 14, 14)
    found = SpatialPyramidPooling((7, 2, 1))(x).numpy()
    parts = []
    for level in (7, 2, 1):
        side = 14 // level
        parts.append(x.reshape(2, 3, level, side, level, side).max((3, 5)).reshape(2, -1))
    assert np.array_equal(found, np.concatenate(parts, 1)) and found.shape == (2, 3 * (49 + 4 + 1))


def test_parts_of_a_map_that_does_not_divide_cover_it():
    """A third of 14 pixels: 0-4, 4-9 and 9-13, so that the last pixel is seen."""
    x = noise(1, 1, 14, 14)
    found = SpatialPyramidPooling((3,))(x).numpy().reshape(3, 3)
    edges = [(0, 5), (4, 10), (9, 14)]
    assert np.array_equal(found, [[x[0, 0, a:b, c:d].max() for c, d in edges] for a, b in edges])


def test_any_image_gives_the_same_number_of_features():
    net = small().eval()
    for height, width in ((64, 64), (80, 112)):
        assert net.spp(noise(1, 6, height // 16, width // 16)).shape == (1, 6 * 63)
        assert net(noise(1, 3, height, width).astype(np.float32)).shape == (1, 3)
    assert net.spp.levels == (7, 3, 2, 1) and net.fc1.in_features == 6 * 63


def test_gradients_of_the_pyramid_and_of_slopes():
    layers = nn.Sequential(nn.Conv2d(2, 3, 3, generator=Generator(0)), nn.PReLU(3), SpatialPyramidPooling((3, 2, 1)))
    assert gradcheck(layers.double(), Tensor(noise(2, 2, 7, 8), requires_grad=True))


def test_every_parameter_of_a_small_one_learns():
    net = small()
    ops.cross_entropy(net(noise(4, 3, 48, 48).astype(np.float32)), np.array([0, 1, 2, 0])).backward()
    assert not [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: PReLUNet(depth=0), "PReLUNet: depth=0"),
        (lambda: PReLUNet(widths=(256, 512)), r"PReLUNet: widths=\(256, 512\), expected the channels of three stages"),
        (lambda: PReLUNet(levels=()), r"SpatialPyramidPooling: levels=\(\), expected at least one grid"),
        (lambda: PReLUNet(levels=(7, 0)), "SpatialPyramidPooling: levels=0"),
        (lambda: models.prelunet_a(slope=0.1), "prelunet_a has no option 'slope'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
