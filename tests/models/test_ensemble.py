"""Ensembles answer with the mean of their members; views are the crops and sizes they say they are."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.models import Crops, Ensemble, Scales, average_weights
from minicnn.random import Generator

RNG = np.random.default_rng(3)


def small(seed, classes=5):
    generator = Generator(seed)
    layers = (nn.Conv2d(2, 4, 3, padding=1, generator=generator), nn.BatchNorm2d(4), nn.ReLU(), nn.GlobalAvgPool2d())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, classes, generator=generator))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape and np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.fixture
def images():
    return RNG.standard_normal((3, 2, 9, 12)).astype(np.float32)


def test_probabilities_are_the_weighted_mean(images):
    members, weights = [small(seed) for seed in range(3)], np.array([1.0, 2.0, 5.0])
    net = Ensemble(members, weights).eval()
    expected = sum(w * softmax(m(images).numpy()) for m, w in zip(members, weights / 8, strict=True))
    close(np.exp(net(images).numpy()), expected)
    close(ops.softmax(net(images), 1).numpy(), expected)
    assert "shares=[0.125, 0.25, 0.625]" in repr(net)


def test_logits_are_the_weighted_mean(images):
    members = [small(seed).eval() for seed in range(2)]
    got = Ensemble(members, (3, 1), combine="logits").eval()(images).numpy()
    close(got, 0.75 * members[0](images).numpy() + 0.25 * members[1](images).numpy())


def test_one_member_and_one_view_is_the_member(images):
    member = small(0).eval()
    close(np.exp(Ensemble([member]).eval()(images).numpy()), softmax(member(images).numpy()))


def test_ten_crops():
    x = np.arange(2 * 1 * 5 * 6, dtype=np.float32).reshape(2, 1, 5, 6)
    crops = [crop.numpy() for crop in Crops(3)(Tensor(x))]
    places = [(0, 0), (0, 3), (2, 0), (2, 3), (1, 2)]
    expected = [x[:, :, t : t + 3, s : s + 3] for t, s in places]
    assert len(crops) == 10
    for crop, want in zip(crops, [*expected, *(e[:, :, :, ::-1] for e in expected)], strict=True):
        assert np.array_equal(crop, want)
    assert np.array_equal(Crops(3, 1)(Tensor(x))[0].numpy(), expected[4])
    assert [crop.shape for crop in Crops(3, 5)(Tensor(x))] == [(2, 1, 3, 3)] * 5


def test_crops_of_a_constant_image_change_nothing():
    x = np.full((2, 2, 8, 8), 0.7, np.float32)
    member = small(1).eval()
    net = Ensemble([member], views=Crops(8)).eval()
    close(np.exp(net(x).numpy()), softmax(member(x).numpy()))


def test_scales_resize_the_shorter_side(images):
    views = Scales((9, 18), Crops(9, 5))(Tensor(images))
    assert [view.shape for view in views] == [(3, 2, 9, 9)] * 10
    whole = Scales((9, 18, 6))(Tensor(images))
    assert [view.shape[2:] for view in whole] == [(9, 12), (18, 24), (6, 8)]
    assert np.array_equal(whole[0].numpy(), images)
    close(whole[1].numpy(), ops.interpolate(images, (18, 24), mode="bilinear").numpy(), 0)


def test_a_view_for_each_member(images):
    """Fusion: members that need their own sizes."""
    first, second = small(0).eval(), small(1).eval()
    net = Ensemble([first, second], views=[Scales((18,)), Crops(9, 1)]).eval()
    large = ops.interpolate(images, (18, 24), mode="bilinear")
    expected = (softmax(first(large).numpy()) + softmax(second(images[:, :, :, 2:11]).numpy())) / 2
    close(np.exp(net(images).numpy()), expected)


def test_members_of_the_catalog_learn_and_save_as_one():
    with minicnn.abstract():
        members = [models.create("resnet20"), models.create("lenet5", in_channels=3)]
        net = Ensemble(members)
        assert net(Tensor(minicnn.ShapeArray((4, 3, 32, 32), "float32"))).shape == (4, 10)
    assert {name.split(".")[1] for name in net.state_dict()} == {"0", "1"}


def test_gradients_reach_every_member(images):
    net = Ensemble([small(0), small(1)], (1, 3), Crops(6, 5))
    ops.cross_entropy(net(images), np.array([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_average_weights():
    one, two = small(0), small(1)
    one[1].num_batches_tracked.data[...] = 7
    mean = average_weights([one, two.state_dict()], (1, 3))
    for name, array in mean.items():
        a, b = (np.asarray(net.state_dict()[name], np.float64) for net in (one, two))
        close(array, a if name.endswith("tracked") else (0.25 * a + 0.75 * b).astype(np.float32), 1e-6)
        assert array.dtype == one.state_dict()[name].dtype
    small(2).load_state_dict(mean)
    same = average_weights([one, one, one])
    assert all(np.array_equal(same[name], one.state_dict()[name]) for name in same)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ensemble([]), "Ensemble: there are no networks"),
        (lambda: Ensemble([small(0)], (1, 2)), r"weights=\[1.0, 2.0\], expected 1 positive numbers"),
        (lambda: Ensemble([small(0)], (-1,)), "positive"),
        (lambda: Ensemble([small(0)], (float("nan"),)), "positive"),
        (lambda: Ensemble([small(0)], views=[Crops(3), Crops(4)]), "2 views for 1 members"),
        (lambda: Ensemble([small(0)], combine="votes"), r"combine='votes' is unknown"),
        (lambda: Crops(3, 4), r"count=4, expected 1 \(centre\), 5"),
        (lambda: Crops(0), "Crops: size=0"),
        (lambda: Scales(()), "sizes is empty"),
        (lambda: average_weights([small(0), small(0, 6)]), r"network 1 differs from the first in '5.weight'"),
        (lambda: average_weights([small(0), nn.Linear(2, 2)]), "network 1 differs from the first in '0.bias'"),
    ],
)
def test_mistakes(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_mistakes_of_a_call(images):
    with pytest.raises(ShapeError, match=r"members have \[5, 6\] classes"):
        Ensemble([small(0), small(0, 6)])(images)
    with pytest.raises(ShapeError, match=r"images of 9x12 have no crop of 10; fix: Scales"):
        Ensemble([small(0)], views=Crops(10))(images)
    with minicnn.abstract():
        net = Ensemble([models.create("googlenet_aux")])
        x = Tensor(minicnn.ShapeArray((2, 3, 224, 224), "float32"))
        with pytest.raises(ArgumentError, match=r"GoogLeNet gives 3 outputs.*fix: ensemble.eval"):
            net(x)
        assert net.eval()(x).shape == (2, 1000)
