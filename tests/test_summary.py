"""summary: rows and totals by shapes alone, failures with the rows before them, and a model left as it was."""

import json
import time

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.summary import SummaryError


def test_rows_of_lenet():
    result = minicnn.summary(models.lenet5, (4, 1, 32, 32))
    rows = {row.path: row for row in result.rows}
    assert rows["conv2"] == ("conv2", "Conv2d", (4, 16, 10, 10), 2416, 4 * 240_000)
    assert rows["fc3"].output_shape == (4, 10) and result.rows[0].path == "conv1"
    assert result.macs == 4 * 416_520 and result.params == result.trainable == 61_706
    assert str(result).splitlines()[0] == "lenet5, input 4x1x32x32"
    assert str(result).splitlines()[-1].split() == ["total", "61,706", "1,666,080"]
    assert json.loads(json.dumps(result.to_dict()))["rows"][1]["kind"] == "ReLU"


def test_one_image_may_leave_out_the_batch():
    assert (
        minicnn.summary(models.lenet5, (1, 32, 32)).to_dict()
        == minicnn.summary(models.lenet5, (1, 1, 32, 32)).to_dict()
    )


def test_a_large_model_takes_no_time_and_draws_nothing():
    state = minicnn.random.default_generator().state()
    started = time.perf_counter()
    assert minicnn.summary(models.resnet152, (1, 3, 224, 224)).params == 60_192_808
    assert time.perf_counter() - started < 1
    assert minicnn.random.default_generator().state() == state


class Functional(nn.Module):
    """Uses one linear layer twice and twice a convolution that no layer owns."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(np.ones((2, 1, 3, 3), np.float32))
        self.twice = nn.Linear(18, 18, bias=False)
        self.frozen = nn.Parameter(np.zeros(5, np.float32), requires_grad=False)

    def forward(self, x):
        y = ops.conv2d(x, self.kernel) + ops.conv2d(x, self.kernel)
        return self.twice(self.twice(y.reshape(-1, 18)))


def test_functional_calls_and_shared_layers_count():
    net = Functional()
    net.twice.eval()
    result = minicnn.summary(net, (2, 1, 5, 5))
    assert [row[:1] + row[3:] for row in result.rows] == [("twice", 324, 648), ("twice", 0, 648), ("", 23, 648)]
    assert result.macs == 1944 and result.params == 347 and result.trainable == 342
    assert net.training and not net.twice.training
    assert not net._forward_hooks and not net.twice._forward_hooks


def test_a_failure_keeps_the_rows_and_names_the_layer():
    with pytest.raises(SummaryError, match=r"lenet5 fails on input 1x1x28x28 after 7 layers: fc1: linear: ") as caught:
        minicnn.summary(models.lenet5, (1, 1, 28, 28))
    assert [row.path for row in caught.value.summary.rows][-2:] == ["pool2", "flatten"]
    assert "flatten  Flatten    1x256" in str(caught.value)


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


def test_a_foreign_exception_names_the_layer_too():
    with pytest.raises(SummaryError, match=r"'lost' \(in layer b: Broken.forward\)"):
        minicnn.summary(nn.Sequential(a=nn.Identity(), b=Broken()), (1, 3))


def test_not_a_model():
    with pytest.raises(ArgumentError, match="model is a int"):
        minicnn.summary(3, (1, 3))


def test_outputs_may_be_several():
    result = minicnn.summary(nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (1, 3, 4, 4))
    assert result.rows[0].output_shape == [(1, 3, 2, 2), (1, 3, 2, 2)]
    assert "1x3x2x2, 1x3x2x2" in str(result)


@pytest.mark.parametrize("shape", [5, "3x32", (3, -32, 32), (3, 1.5, 2)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ArgumentError, match="summary: input_shape="):
        minicnn.summary(nn.Conv2d(3, 4, 3), shape)
