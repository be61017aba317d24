"""DARTS: the authors' cells, dilated convolutions, symmetric padding, where it reduces, the auxiliary head."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, nn
from minicnn.errors import ArgumentError
from minicnn.models import darts
from minicnn.models.nas_cells import Cell, CellOutputs
from minicnn.models.nas_operations import FactorizedReduction, Operations, SameConv2d
from minicnn.random import Generator
from tests.close import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional


def test_the_cells_are_those_of_the_second_order_search():
    """Written as the authors' genotypes.py has them: an operation and its input, two a state."""
    words = {"sep_conv_3x3": "sep_3x3", "dil_conv_3x3": "dil_3x3", "max_pool_3x3": "max_3x3", "skip_connect": "skip"}
    normal = "sep_conv_3x3 0 sep_conv_3x3 1 sep_conv_3x3 0 sep_conv_3x3 1 sep_conv_3x3 1 skip_connect 0 "
    normal += "skip_connect 0 dil_conv_3x3 2"
    reduction = "max_pool_3x3 0 max_pool_3x3 1 skip_connect 2 max_pool_3x3 1 max_pool_3x3 0 skip_connect 2 "
    reduction += "skip_connect 2 max_pool_3x3 1"
    for text, genotype in ((normal, darts.NORMAL), (reduction, darts.REDUCTION)):
        tokens = text.split()
        edges = [(words[o], int(i)) for o, i in zip(tokens[::2], tokens[1::2], strict=True)]
        assert [edge for pair in genotype.pairs for edge in pair] == edges
        assert genotype.concat == (2, 3, 4, 5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_dilated_convolution_has_holes_and_comes_once(stride):
    module = Operations(same=False, generator=Generator(0))("dil_3x3", 3, 4, stride).double().eval()
    state = {name: torch.from_numpy(np.array(value)) for name, value in module.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    depthwise, pointwise = (state[f"separable.{name}_conv2d.weight"] for name in ("depthwise", "pointwise"))
    y = F.conv2d(F.relu(torch.from_numpy(x)), depthwise, stride=stride, padding=2, dilation=2, groups=3)
    expected = F.conv2d(y, pointwise) / np.sqrt(1 + 1e-5)
    assert_close(module(x).numpy(), expected.numpy(), 1e-12)
    assert len(list(module.parameters())) == 4


def test_padding_is_pytorchs():
    """On even sizes the two rules make other functions of the same weights."""
    torchs, tensorflows = (Operations(same=same, generator=Generator(0))("sep_3x3", 2, 2, 2) for same in (False, True))
    tensorflows.load_state_dict(torchs.state_dict())
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 8)).astype(np.float32)
    a, b = torchs.eval()(x).numpy(), tensorflows.eval()(x).numpy()
    assert a.shape == b.shape == (1, 2, 4, 4) and np.abs(a - b).max() > 0.1
    with minicnn.abstract():
        assert not any(isinstance(module, SameConv2d) for module in models.darts_imagenet().modules())


def test_where_it_reduces_and_how_wide_it_is():
    with minicnn.abstract():
        net = models.darts_imagenet()
        widths = [getattr(net, name).out_channels // 4 for name in net.cell_names]
        strides = [getattr(net, name).stride for name in net.cell_names]
        halved = [isinstance(getattr(net, name).conv_prev_1x1, FactorizedReduction) for name in net.cell_names]
    assert widths == [48] * 4 + [96] * 5 + [192] * 5
    assert [i for i, stride in enumerate(strides) if stride == 2] == [4, 9]
    assert [i for i, factorized in enumerate(halved) if factorized] == [0, 5, 10]  # whose older input is twice as large
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(4, 48), (8, 192), (16, 384), (32, 768)]


def test_all_cells_drop_alike_and_more_towards_the_end():
    with minicnn.abstract():
        net = models.darts_imagenet(channels=4, layers=6, drop_path=0.2)
    cells = [module for module in net.modules() if isinstance(module, Cell)]
    assert {cell.drop_path.p for cell in cells} == {0.0}
    net.set_progress(0.25)
    assert len(cells) == 6 and {round(cell.drop_path.p, 12) for cell in cells} == {0.05}


def test_the_auxiliary_head_reads_the_second_reduction():
    with minicnn.abstract():
        net = models.darts_imagenet(aux=True)
        x = Tensor(minicnn.ShapeArray((2, 3, 224, 224), "float32"))
        outputs = net.train()(x)
        assert isinstance(outputs, CellOutputs) and [y.shape for y in outputs] == [(2, 1000)] * 2
        assert net.eval()(x).shape == (2, 1000)
    assert net.watched == "cell_9" and net.aux.features[2].in_channels == 768
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.aux.features) == 1  # the second was forgotten


def test_every_parameter_learns():
    net = models.darts_imagenet(channels=4, layers=3, num_classes=3, generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype(np.float32)
    minicnn.ops.cross_entropy(net(x), np.array([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    assert not [name for name, p in net.named_parameters() if not p.grad.numpy().any()]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.darts_imagenet(channels=5), "DARTS: channels=5 is odd"),
        (lambda: models.darts_imagenet(layers=2), "DARTS: layers=2 is too small, expected at least 3"),
        (lambda: models.darts_imagenet(drop_path=-1), "DARTS: drop_path=-1 is out of range"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
