"""LeNet: the figures of section II of the 1998 paper, its partial table, its subsampling and its distances."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.models.lenet import C3_TABLE, RBF, PartialConv, Subsampling
from minicnn.random import Generator


def image(*shape, dtype=np.float64):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def test_parameters_and_connections_of_every_layer():
    """Section II-B prints both: a connection is a product, or a bias added to a unit."""
    with minicnn.abstract():
        net = models.lenet5_1998()
    printed = {"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164}
    units = {"c1": 784, "s2": 196, "c3": 100, "s4": 25, "c5": 1, "f6": 1}
    trained = {name: sum(p.size for p in layer.parameters()) for name, layer in net.named_children()}
    assert trained == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "flatten": 0,
        "f6": 10_164,
        "output": 0,
    }
    # a subsampling unit has five connections, four of which share a coefficient
    connections = {name: trained[name] * units[name] * (2.5 if name[0] == "s" else 1) for name in printed}
    assert connections == printed
    assert sum(printed.values()) + net.output.centres.size == 340_908
    assert models.counts("lenet5_1998") == (60_000, 326_520)


def test_the_table_of_c3():
    assert [len(maps) for maps in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert all(sum(number in maps for maps in C3_TABLE) == 10 for number in range(6))
    assert all((maps[i + 1] - maps[i]) % 6 == 1 for maps in C3_TABLE[:12] for i in range(len(maps) - 1))
    assert len({frozenset(maps) for maps in C3_TABLE}) == 16


def test_c3_is_a_convolution_with_36_kernels_missing():
    layer, x = PartialConv(Generator(0)).double(), image(2, 6, 14, 14)
    weight, bias = np.zeros((16, 6, 5, 5)), np.concatenate([conv.bias.numpy() for conv in layer.children()])
    kernels = [kernel for conv in layer.children() for kernel in conv.weight.numpy()]
    for map_, (seen, kernel) in enumerate(zip(C3_TABLE, kernels, strict=True)):
        weight[map_, list(seen)] = kernel
    expected = minicnn.ops.conv2d(x, weight, bias).numpy()
    assert np.allclose(layer(minicnn.Tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


def test_subsampling_adds_four_pixels_and_squashes():
    layer, x = Subsampling(3).double(), image(2, 3, 4, 6)
    layer.weight.copy_(np.array([0.5, -1, 2]))
    layer.bias.copy_(np.array([0.1, 0, -0.2]))
    total = x.reshape(2, 3, 2, 2, 3, 2).sum((3, 5))
    expected = total * np.array([0.5, -1, 2]).reshape(3, 1, 1) + np.array([0.1, 0, -0.2]).reshape(3, 1, 1)
    expected = 1.7159 * np.tanh(2 / 3 * expected)
    assert np.allclose(layer(minicnn.Tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


def test_the_output_is_minus_the_squared_distance_to_the_bitmaps():
    layer, x = RBF(10, None).double(), image(4, 84)
    centres = layer.centres.numpy()
    expected = -((x[:, None] - centres) ** 2).sum(2)
    assert np.allclose(layer(minicnn.Tensor(x)).numpy(), expected, rtol=0, atol=1e-10)
    assert not list(layer.parameters()) and "centres" in layer.state_dict()
    assert np.array_equal(layer(minicnn.Tensor(centres)).numpy().argmax(1), np.arange(10))


def test_the_bitmaps_are_ten_different_digits():
    centres = RBF(10, None).centres.numpy()
    assert centres.shape == (10, 84) and set(np.unique(centres)) == {-1, 1}
    different = [(centres[i] != centres[j]).sum() for i in range(10) for j in range(i)]
    assert min(different) >= 6
    assert (centres[7].reshape(12, 7)[0] == 1).all()  # a seven has a bar, and its foot stands on the left
    assert np.flatnonzero(centres[7].reshape(12, 7)[-1] == 1).max() < 3


def test_other_numbers_of_classes_have_random_centres():
    first, again, other = (RBF(26, Generator(seed)).centres.numpy() for seed in (1, 1, 2))
    assert first.shape == (26, 84) and set(np.unique(first)) == {-1, 1}
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_weights_start_within_2_4_over_the_inputs():
    net = models.lenet5_1998(generator=Generator(0))
    inputs = {"c1": 25, "s2": 4, "c3.see3": 75, "c3.see4": 100, "c3.see6": 150, "c5": 400, "f6": 120}
    for path, number in inputs.items():
        largest = np.abs(net.get_submodule(path).weight.numpy()).max()
        assert 0.5 * 2.4 / number < largest <= 2.4 / number


def test_the_kernels_that_are_there_and_the_outputs_of_the_modern_form():
    """Its sixteen full kernels and its linear output are the 1,706 parameters that the old form has not."""
    modern, old = models.counts("lenet5").params, models.counts("lenet5_1998").params
    assert modern - old == 36 * 25 + (84 * 10 + 10) - (12 + 32)


def test_caffe_starts_within_the_root_of_three_over_fan_in():
    weight = models.lenet_caffe(generator=Generator(0)).ip1.weight.numpy()
    assert 0.99 * math.sqrt(3 / 800) < np.abs(weight).max() <= math.sqrt(3 / 800)


@pytest.mark.parametrize("name", ["lenet5_1998", "lenet5", "lenet_caffe"])
def test_every_parameter_learns(name):
    net = models.create(name, generator=Generator(0))
    x = image(2, *models.info(name).input_shape, dtype=np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([1, 7])).backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in grads)


def test_mistakes():
    with minicnn.abstract(), pytest.raises(ArgumentError, match="num_classes=0 is too small"):
        models.lenet5_1998(num_classes=0)
