"""summary: rows and totals by shapes alone, failures with the rows before them, and a model left as it was."""

import csv
import io
import json
import tracemalloc

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.summary import SummaryError
from tests.models.catalog import OTHER_MACS, OTHER_PARAMS, rows


def test_rows_of_lenet():
    result = minicnn.summary(models.lenet5, (4, 1, 32, 32))
    rows = {row.path: row for row in result.rows}
    conv2 = rows["conv2"]
    assert conv2[:5] == ("conv2", "Conv2d", (4, 16, 10, 10), 2416, 4 * 240_000)
    assert conv2.flops == 2 * conv2.macs and conv2.weight_bytes == 4 * 2416
    assert conv2.forward_bytes == 4 * 4 * 16 * 100 and conv2.training_bytes == 4 * 4 * 6 * 14 * 14
    assert conv2.field == ((14, 14), (2, 2), (7.0, 7.0))
    assert rows["fc3"].output_shape == (4, 10) and result.rows[0].path == "conv1"
    assert result.macs == 4 * 416_520 and result.params == result.trainable == 61_706
    assert result.flops == 2 * result.macs and result.weight_bytes == 4 * 61_706


def test_it_shows_itself_once_and_prints_nothing(capsys):
    result = minicnn.summary(models.lenet5, (4, 1, 32, 32))
    assert capsys.readouterr() == ("", "") and repr(result) == str(result)
    lines = str(result).splitlines()
    assert lines[0] == "lenet5, input 4x1x32x32" and "14 every 2" in lines[5]
    assert lines[-1].split()[:4] == ["total", "61,706", "1,666,080", "3,332,160"]
    page = result._repr_html_()
    assert page.count("<tr>") == len(result.rows) + 2 and "<td>61,706" not in page and "<th>61,706</th>" in page


def test_as_plain_data():
    result = minicnn.summary(models.lenet5, (4, 1, 32, 32))
    told = json.loads(json.dumps(result.to_dict()))
    assert told["rows"][1]["kind"] == "ReLU" and told["flops"] == 2 * told["macs"] and "2 a MAC" in told["conventions"]
    lines = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [line["path"] for line in lines] == [row.path for row in result.rows]
    assert lines[3]["output_shape"] == "4x16x10x10" and lines[3]["field_size_h"] == "14"
    assert sum(int(line["training_bytes"]) for line in lines) == result.training_bytes


def test_stages_add_up():
    result = minicnn.summary(models.resnet18, (3, 64, 64))
    assert [stage.name for stage in result.stages] == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    for name in ("params", "macs", "flops", "weight_bytes", "forward_bytes", "training_bytes"):
        assert sum(getattr(stage, name) for stage in result.stages) == getattr(result, name), name
    assert result.stages[-1].params == 512_000 + 1000
    made = nn.Sequential(a=nn.Sequential(nn.ReLU(), nn.ReLU()), b=nn.ReLU())
    assert [(stage.name, stage.layers) for stage in minicnn.summary(made, (2, 3)).stages] == [("a", 2), ("b", 1)]


def test_one_image_may_leave_out_the_batch():
    assert (
        minicnn.summary(models.lenet5, (1, 32, 32)).to_dict()
        == minicnn.summary(models.lenet5, (1, 1, 32, 32)).to_dict()
    )


def test_a_large_model_holds_no_weights_and_draws_nothing():
    state = minicnn.random.default_generator().state()
    tracemalloc.start()
    try:
        assert minicnn.summary(models.resnet152, (1, 3, 224, 224)).params == 60_192_808
        assert tracemalloc.get_traced_memory()[1] < 30e6  # its weights are 241 MB
    finally:
        tracemalloc.stop()
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
    assert [row[:1] + row[3:5] for row in result.rows] == [("twice", 324, 648), ("twice", 0, 648), ("", 23, 648)]
    assert result.macs == 1944 and result.params == 347 and result.trainable == 342
    # kept: the image, and what the two linear layers take; not the weights
    assert result.training_bytes == 4 * (50 + 36 + 36)


def test_every_formula_by_hand():
    """Groups, biases, floors and ceilings, transposed convolutions: a count that forgets one of them differs."""
    net = nn.Sequential(
        conv=nn.Conv2d(4, 6, 3, stride=2, groups=2),
        ceiling=nn.MaxPool2d(3, 2, ceil_mode=True),
        up=nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2),
        floor=nn.AvgPool2d(2),
        flat=nn.Flatten(),
        fc=nn.Linear(16, 3),
    )
    found = {row.path: (row.output_shape, row.params, row.macs) for row in minicnn.summary(net, (2, 4, 9, 9)).rows}
    assert found == {
        # every output reads 3x3 pixels of the 2 channels of its group
        "conv": ((2, 6, 4, 4), 6 * 2 * 9 + 6, 2 * 6 * 4 * 4 * 2 * 9),
        # 3 of 4 pixels, and the second window, which hangs over the edge
        "ceiling": ((2, 6, 2, 2), 0, 0),
        # every input is written to 3x3 pixels of the 2 channels of its group
        "up": ((2, 4, 5, 5), 6 * 2 * 9 + 4, 2 * 6 * 2 * 2 * 2 * 9),
        "floor": ((2, 4, 2, 2), 0, 0),
        "flat": ((2, 16), 0, 0),
        "fc": ((2, 3), 16 * 3 + 3, 2 * 16 * 3),
    }
    assert minicnn.summary(net, (2, 4, 9, 9)).params == 114 + 112 + 51


class Part(nn.Module):
    def forward(self, x):
        return ops.relu(x)[:, :1]


def test_a_view_keeps_the_whole_array():
    rows = minicnn.summary(nn.Sequential(Part(), nn.Flatten()), (2, 3, 4, 4)).rows
    assert [row.forward_bytes for row in rows] == [4 * 2 * 3 * 16, 0]


def test_a_model_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    net[1].eval()
    before = {name: (value, value.copy()) for name, value in net.state_dict().items()}
    versions = [p.version[0] for p in net.parameters()]
    minicnn.summary(net, (4, 1, 5, 5))
    assert all(np.array_equal(net.state_dict()[name], copy) for name, (_, copy) in before.items())
    assert [p.version[0] for p in net.parameters()] == versions
    assert net.training and not net[1].training and net[2].training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert net(np.ones((4, 1, 5, 5), np.float32)).shape == (4, 2, 3, 3)


def test_a_failure_keeps_the_rows_and_names_the_layer():
    with pytest.raises(SummaryError, match=r"lenet5 fails on input 1x1x28x28 after 7 layers: fc1: linear: ") as caught:
        minicnn.summary(models.lenet5, (1, 1, 28, 28))
    assert [row.path for row in caught.value.summary.rows][-2:] == ["pool2", "flatten"]
    assert caught.value.path == "fc1" and caught.value.summary.rows[0].field.size == (5, 5)
    shown = str(caught.value).splitlines()
    assert shown[2].split()[:3] == ["conv1", "Conv2d", "1x6x24x24"] and "flatten  Flatten    1x256" in shown[-1]


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


def test_a_foreign_exception_names_the_layer_too():
    with pytest.raises(SummaryError, match=r"1 layer: KeyError: 'lost' \(in layer b: Broken.forward\)") as caught:
        minicnn.summary(nn.Sequential(a=nn.Identity(), b=Broken()), (1, 3))
    assert caught.value.path == "b"


def test_what_cannot_train_has_no_training_memory():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert minicnn.summary(net, (1, 3, 3)).training_bytes is None
    # the image and what the convolution puts out, and two float64 a channel
    assert minicnn.summary(net, (2, 1, 3, 3)).training_bytes == 4 * (18 + 4) + 2 * 8 * 2


class Wide(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)

    def forward(self, x):
        return self.conv(x)


class Narrow(Wide):
    def __init__(self):
        super().__init__(2)


def test_a_class_is_built():
    result = minicnn.summary(Narrow, (1, 5, 5))
    assert (result.model, result.params) == ("Narrow", 20)
    with pytest.raises(ArgumentError, match=r"Wide cannot be built .*'width'.*fix: .* lambda: Wide\(\.\.\.\)"):
        minicnn.summary(Wide, (1, 5, 5))
    assert minicnn.summary(lambda: Wide(3), (1, 5, 5)).params == 30


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (3, "model is a int, expected a Module, or a class or function that builds one"),
        ("resnet18", "model is a str, .* such as minicnn.models.resnet18"),
        (lambda: 3, "model is a function of a int, expected one of a Module"),
    ],
)
def test_not_a_model(model, message):
    with pytest.raises(ArgumentError, match=message):
        minicnn.summary(model, (1, 3))


def test_outputs_may_be_several():
    result = minicnn.summary(nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (1, 3, 4, 4))
    assert result.rows[0].output_shape == [(1, 3, 2, 2), (1, 3, 2, 2)]
    assert "1x3x2x2, 1x3x2x2" in str(result)


@pytest.mark.parametrize("shape", [5, "3x32", (3, -32, 32), (3, 1.5, 2)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ArgumentError, match="summary: input_shape="):
        minicnn.summary(nn.Conv2d(3, 4, 3), shape)


def test_an_image_is_not_its_shape():
    with pytest.raises(ArgumentError, match=r"input_shape is a ndarray, .*; fix: its shape") as caught:
        minicnn.summary(nn.Conv2d(3, 4, 3), np.zeros((1, 3, 8, 8)))
    assert len(str(caught.value)) < 200


def test_forward_memory_of_vgg16():
    """13 convolutions and ReLUs, 5 pools and one from 7x7 to 7x7, 3 linear layers, 2 ReLUs; dropout makes nothing."""
    result = minicnn.summary(models.vgg16, (3, 224, 224))
    planes = {224: 64 * 2, 112: 128 * 2, 56: 256 * 3, 28: 512 * 3, 14: 512 * 3}
    convolutions = sum(side * side * channels for side, channels in planes.items())
    pools = sum((side // 2) ** 2 * channels for side, channels in zip(planes, (64, 128, 256, 512, 512), strict=True))
    made = {kind: sum(row.forward_bytes for row in result.rows if row.kind == kind) for kind in ("Conv2d", "MaxPool2d")}
    assert made == {"Conv2d": 4 * convolutions, "MaxPool2d": 4 * pools}
    assert result.forward_bytes == 4 * (2 * convolutions + pools + 7 * 7 * 512 + 4 * 4096 + 1000)
    assert not any(row.forward_bytes for row in result.rows if row.kind in ("Flatten", "Dropout"))


@pytest.mark.slow
def test_every_model_adds_up():
    """The rows' sums are the model's, and those are the reference's; every layer before the head has its field."""
    for name in models.names():
        result = minicnn.summary(getattr(models, name.replace(".", "_")), models.info(name).input_shape)
        reference = rows()[name]
        assert sum(row.macs for row in result.rows) == result.macs
        assert result.macs == reference.macs or reference.macs is None or name in OTHER_MACS, name
        assert result.trainable == reference.params or reference.params is None or name in OTHER_PARAMS, name
        if not name.endswith("_aux"):  # whose heads run in training only
            assert sum(row.params for row in result.rows) == result.params, name
            assert sum(row.training_bytes or 0 for row in result.rows) == (result.training_bytes or 0), name
        assert all(row.field for row in result.rows) or name.startswith("prelunet"), name  # uneven bins have no window
