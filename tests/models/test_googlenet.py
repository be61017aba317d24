"""GoogLeNet: Table 1, the two blocks of the lectures, auxiliary heads, torchvision's names and its input transform."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.models.googlenet import BasicConv2d, GoogLeNetOutputs, Inception, InceptionNaive, imagenet_to_tensorflow
from minicnn.random import Generator
from tests.models.catalog import rows

# module -> input channels, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
TABLE_1 = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def macs_of(net, shape):
    total = []
    with minicnn.abstract(), listening(lambda op, macs: total.append(macs)):
        output = net(minicnn.Tensor(minicnn.ShapeArray(shape, "float32")))
    return sum(total), output


def unit(name, before, after, kernel):
    statistics = ("weight", "bias", "running_mean", "running_var")
    return [
        (f"{name}.conv.weight", (after, before, kernel, kernel)),
        *((f"{name}.bn.{part}", (after,)) for part in statistics),
        (f"{name}.bn.num_batches_tracked", ()),
    ]


def torchvision_state(aux):
    """The names and shapes of torchvision's file, in its order."""
    state = [*unit("conv1", 3, 64, 7), *unit("conv2", 64, 64, 1), *unit("conv3", 64, 192, 3)]
    for name, (before, ch1, red3, ch3, red5, ch5, proj) in TABLE_1.items():
        path = f"inception{name}.branch"
        state += unit(f"{path}1", before, ch1, 1)
        state += unit(f"{path}2.0", before, red3, 1) + unit(f"{path}2.1", red3, ch3, 3)
        state += unit(f"{path}3.0", before, red5, 1) + unit(f"{path}3.1", red5, ch5, 3)
        state += unit(f"{path}4.1", before, proj, 1)
    for name, before in (("aux1", 512), ("aux2", 528)) if aux else ():
        state += unit(f"{name}.conv", before, 128, 1)
        state += [(f"{name}.fc1.weight", (1024, 2048)), (f"{name}.fc1.bias", (1024,))]
        state += [(f"{name}.fc2.weight", (1000, 1024)), (f"{name}.fc2.bias", (1000,))]
    return [*state, ("fc.weight", (1000, 1024)), ("fc.bias", (1000,))]


@pytest.mark.parametrize(("name", "aux"), [("googlenet_bn_tv", False), ("googlenet_bn_tv_aux", True)])
def test_weight_names_and_shapes_are_torchvisions(name, aux):
    with minicnn.abstract():
        net = models.create(name)
    assert [(path, value.shape) for path, value in net.state_dict().items()] == torchvision_state(aux)
    assert {bn.eps for bn in net.modules() if isinstance(bn, nn.BatchNorm2d)} == {1e-3}


def test_22_layers_and_the_widths_of_table_1():
    with minicnn.abstract():
        net = models.googlenet()
    modules = [module for module in net.children() if isinstance(module, Inception)]
    assert 3 + 2 * len(modules) + 1 == 22
    for module, (before, ch1, red3, ch3, red5, ch5, proj) in zip(modules, TABLE_1.values(), strict=True):
        weights = [conv.weight.shape for conv in module.modules() if isinstance(conv, nn.Conv2d)]
        small = [(ch1, before, 1, 1), (red3, before, 1, 1), (ch3, red3, 3, 3)]
        assert weights == [*small, (red5, before, 1, 1), (ch5, red5, 5, 5), (proj, before, 1, 1)]


def test_pools_round_up_and_normalisation_stands_where_figure_3_has_it():
    with minicnn.abstract():
        net = models.googlenet()
        outputs = net.eval().stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    assert [y.shape[2] for y in outputs.values()] == [112, 56, 28, 14, 7]
    order = [type(module).__name__ for module in net.children()][:7]
    assert order == [
        *("BasicConv2d", "MaxPool2d", "LocalResponseNorm", "BasicConv2d", "BasicConv2d", "LocalResponseNorm"),
        "MaxPool2d",
    ]


@pytest.mark.parametrize(
    ("name", "block", "channels"),
    [
        ("inception_naive_block", partial(InceptionNaive, 256, 128, 192, 96), 128 + 192 + 96 + 256),
        ("inception_dimred_block", partial(Inception, 256, 128, 64, 192, 64, 96, 64), 128 + 192 + 96 + 64),
    ],
)
def test_the_blocks_of_the_lecture(name, block, channels):
    """Without biases. The lectures print 854M operations and 358M: the second counts the 3x3 on 128 channels."""
    with minicnn.abstract():
        module = block(unit=partial(BasicConv2d, batch_norm=False, bias=False))
    macs, output = macs_of(module, (1, 256, 28, 28))
    assert output.shape == (1, channels, 28, 28)
    assert (sum(p.size for p in module.parameters()), macs) == (rows()[name].params, rows()[name].macs)
    if name == "inception_dimred_block":
        assert macs + 64 * 192 * 9 * 28 * 28 == 358_055_936


@pytest.mark.parametrize(
    ("name", "expected"), [("googlenet_aux", rows()["googlenet_aux"].macs), ("googlenet_bn_tv_aux", 1_506_748_416)]
)
def test_multiply_adds_of_training(name, expected):
    """Those of the heads come on top: each a 1x1 on 4x4 maps, 2048 x 1024 and 1024 x 1000."""
    with minicnn.abstract():
        net = models.create(name)
    macs, outputs = macs_of(net, (1, 3, 224, 224))
    assert macs == expected and [y.shape for y in outputs] == [(1, 1000)] * 3
    assert macs - models.counts(name).macs == (512 + 528) * 128 * 16 + 2 * (2048 * 1024 + 1024 * 1000)


def test_heads_speak_in_training_only_and_where_they_hang():
    net = models.googlenet_bn_tv_aux(num_classes=3, generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((2, 3, 40, 40)).astype(np.float32)
    outputs = net(x)
    assert isinstance(outputs, GoogLeNetOutputs) and outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    outputs.aux_logits1.sum().backward()
    assert net.inception4a.branch1.conv.weight.grad is not None and net.inception4b.branch1.conv.weight.grad is None
    assert net(x).aux_logits2.shape == (2, 3)
    assert net.eval()(x).shape == (2, 3)


def test_a_torchvision_file_with_heads_fills_a_net_without():
    with minicnn.abstract():
        values = models.googlenet_bn_tv_aux().state_dict()
        plain, full = models.googlenet_bn_tv(), models.googlenet_bn_tv_aux()
    assert set(plain.adapt_state(values)) == set(plain.state_dict())
    assert full.adapt_state(values) is values


def test_transform_input_turns_imagenets_normalisation_into_tensorflows():
    x = np.random.default_rng(0).random((2, 3, 4, 5))
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 1, 3, 1, 1)
    assert np.allclose(imagenet_to_tensorflow(minicnn.Tensor((x - mean) / std)).numpy(), 2 * x - 1, rtol=0, atol=1e-12)
    net = models.googlenet_bn_tv(num_classes=2, generator=Generator(0)).eval()
    image = np.random.default_rng(1).standard_normal((1, 3, 33, 33)).astype(np.float32)
    expected = net(imagenet_to_tensorflow(minicnn.Tensor(image))).numpy()
    net.transform_input = True
    assert np.array_equal(net(image).numpy(), expected) and np.abs(expected).max() > 0


def test_biases_start_at_a_fifth_and_weights_by_fan_in():
    net = models.googlenet(num_classes=5, generator=Generator(0))
    assert (net.inception3a.branch2[1].conv.bias.numpy() == np.float32(0.2)).all() and not net.fc.bias.numpy().any()
    weight = net.inception4e.branch2[1].conv.weight.numpy()
    bound = np.sqrt(3 / (160 * 9))
    assert 0.99 * bound < np.abs(weight).max() <= bound


def test_an_inception_module_by_torchs_functions():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    ours = Inception(6, 2, 3, 4, 3, 5, 2, unit=partial(BasicConv2d, batch_norm=False, generator=Generator(0))).double()
    state = {path: torch.from_numpy(np.array(value)) for path, value in ours.state_dict().items()}

    def conv(x, path, padding=0):
        return torch.relu(functional.conv2d(x, state[f"{path}.conv.weight"], state[f"{path}.conv.bias"], 1, padding))

    image = np.random.default_rng(0).standard_normal((2, 6, 7, 9))
    x = torch.from_numpy(image)
    expected = [
        conv(x, "branch1"),
        conv(conv(x, "branch2.0"), "branch2.1", 1),
        conv(conv(x, "branch3.0"), "branch3.1", 2),
        conv(functional.max_pool2d(x, 3, 1, 1), "branch4.1"),
    ]
    assert np.allclose(ours(minicnn.Tensor(image)).numpy(), torch.cat(expected, 1).numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn_tv_aux"])
def test_every_parameter_learns(name):
    net = models.create(name, num_classes=3, generator=Generator(0))
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    outputs = net(x)
    loss = sum(minicnn.ops.cross_entropy(y, np.array([0, 2])) for y in (outputs if "aux" in name else [outputs]))
    loss.backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    assert all(np.isfinite(g).all() for g in grads)
    silent = [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]
    assert not silent


def test_the_function_is_not_hidden_by_the_file_of_its_name():
    with minicnn.abstract():
        models.create("googlenet")
        assert models.googlenet().info.name == "googlenet"


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.googlenet(norm="none"), "norm='none' is unknown, expected one of"),
        (lambda: models.googlenet(kernel=7), "kernel=7, expected 5"),
        (lambda: models.googlenet_bn_tv(transform_input=True, in_channels=1), "in_channels=1, expected 3"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
