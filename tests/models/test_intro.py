"""The first slides' three nets, which are layers rather than models of the catalog: what is connected to what."""

import numpy as np

import minicnn
from minicnn import nn
from minicnn.kernels.counting import listening
from minicnn.random import Generator
from tests.models.catalog import rows


def macs_of(net, x):
    total = []
    with listening(lambda op, macs: total.append(macs)):
        net(minicnn.Tensor(x))
    return sum(total)


def test_five_units_that_see_five_numbers_have_25_arrows():
    net = nn.Linear(5, 5, bias=False, generator=Generator(0))
    reference = rows()["mlp_5x5_dense"]
    assert net.weight.size == reference.params == 25
    assert macs_of(net, np.ones((1, 5), np.float32)) == reference.macs == 25


def test_a_convolution_of_width_three_has_13_arrows_and_3_weights():
    """As a matrix it is banded: two of the 15 products fall on the padding."""
    net = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False, generator=Generator(0))
    reference = rows()["conv1d_k3_5"]
    matrix = net(minicnn.Tensor(np.eye(5, dtype=np.float32).reshape(5, 1, 1, 5))).numpy().reshape(5, 5).T
    assert np.count_nonzero(matrix) == reference.macs == 13 == 3 * 5 - 2
    assert len(np.unique(matrix[matrix != 0])) == net.weight.size == reference.params == 3
    rows_, columns = np.nonzero(matrix)
    assert np.abs(rows_ - columns).max() == 1
    x = np.arange(5, dtype=np.float32)
    assert np.allclose(matrix @ x, net(minicnn.Tensor(x.reshape(1, 1, 1, 5))).numpy().ravel())
    assert macs_of(net, x.reshape(1, 1, 1, 5)) == 15  # the layer itself counts the padding, as everybody does


def test_the_keras_summary_of_two_dense_layers():
    net = nn.Sequential(nn.Linear(1, 2, generator=Generator(0)), nn.Linear(2, 1, generator=Generator(0)))
    reference = rows()["keras_toy_dense2_dense1"]
    assert [sum(p.size for p in layer.parameters()) for layer in net] == [4, 3]
    assert sum(p.size for p in net.parameters()) == reference.params == 7
    assert macs_of(net, np.ones((1, 1), np.float32)) == reference.macs == 4
