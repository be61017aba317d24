"""BN-Inception to Inception-ResNet: names of torchvision and timm, who pads, who counts padding, who adds to what."""

import re
from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.errors import ArgumentError
from minicnn.kernels.counting import listening
from minicnn.models.bn_inception import Reduction
from minicnn.models.googlenet import BasicConv2d
from minicnn.models.inception_resnet import module_bc
from minicnn.models.inception_v3 import AuxiliaryHead, InceptionC, InceptionE, InceptionOutputs
from minicnn.models.inception_v4 import InceptionA as A4
from minicnn.models.inception_v4 import InceptionB as B4
from minicnn.models.inception_v4 import InceptionC as C4
from minicnn.models.inception_v4 import ReductionB as ReductionB4
from minicnn.random import Generator

UNIT = partial(BasicConv2d, generator=Generator(0))


def abstract_images(n, size):
    return minicnn.Tensor(minicnn.ShapeArray((n, 3, size, size), "float32"))


def image(channels, size, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((2, channels, size, size)).astype(dtype)


# Inception-v3, unit by unit: name, channels in and out, kernel height and width


def five(c, pool):
    double = [("branch3x3dbl_1", c, 64, 1, 1), ("branch3x3dbl_2", 64, 96, 3, 3), ("branch3x3dbl_3", 96, 96, 3, 3)]
    single = [("branch1x1", c, 64, 1, 1), ("branch5x5_1", c, 48, 1, 1), ("branch5x5_2", 48, 64, 5, 5)]
    return [*single, *double, ("branch_pool", c, pool, 1, 1)]


def seven(c, w):
    once = [("branch7x7_1", c, w, 1, 1), ("branch7x7_2", w, w, 1, 7), ("branch7x7_3", w, 192, 7, 1)]
    kernels = [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    widths = [c, w, w, w, w, 192]
    twice = [(f"branch7x7dbl_{i + 1}", widths[i], widths[i + 1], *k) for i, k in enumerate(kernels)]
    return [("branch1x1", c, 192, 1, 1), *once, *twice, ("branch_pool", c, 192, 1, 1)]


def split(c):
    once = [("branch3x3_1", c, 384, 1, 1), ("branch3x3_2a", 384, 384, 1, 3), ("branch3x3_2b", 384, 384, 3, 1)]
    twice = [("branch3x3dbl_1", c, 448, 1, 1), ("branch3x3dbl_2", 448, 384, 3, 3)]
    twice += [("branch3x3dbl_3a", 384, 384, 1, 3), ("branch3x3dbl_3b", 384, 384, 3, 1)]
    return [("branch1x1", c, 320, 1, 1), *once, *twice, ("branch_pool", c, 192, 1, 1)]


V3 = {
    "Mixed_5b": five(192, 32),
    "Mixed_5c": five(256, 64),
    "Mixed_5d": five(288, 64),
    "Mixed_6a": [("branch3x3", 288, 384, 3, 3), *five(288, 0)[3:5], ("branch3x3dbl_3", 96, 96, 3, 3)],
    "Mixed_6b": seven(768, 128),
    "Mixed_6c": seven(768, 160),
    "Mixed_6d": seven(768, 160),
    "Mixed_6e": seven(768, 192),
    "AuxLogits": [("conv0", 768, 128, 1, 1), ("conv1", 128, 768, 5, 5)],
    "Mixed_7a": [
        *(("branch3x3_1", 768, 192, 1, 1), ("branch3x3_2", 192, 320, 3, 3), ("branch7x7x3_1", 768, 192, 1, 1)),
        *(("branch7x7x3_2", 192, 192, 1, 7), ("branch7x7x3_3", 192, 192, 7, 1), ("branch7x7x3_4", 192, 192, 3, 3)),
    ],
    "Mixed_7b": split(1280),
    "Mixed_7c": split(2048),
}


def torchvision_state(aux):
    """The names and shapes of torchvision's file, in its order."""
    stem = [("1a_3x3", 3, 32, 3), ("2a_3x3", 32, 32, 3), ("2b_3x3", 32, 64, 3), ("3b_1x1", 64, 80, 1)]
    units = [(f"Conv2d_{name}", c, k, size, size) for name, c, k, size in [*stem, ("4a_3x3", 80, 192, 3)]]
    state = []
    for path, c, k, height, width in [
        *units,
        *((f"{m}.{n}", *rest) for m, rows in V3.items() if aux or m != "AuxLogits" for n, *rest in rows),
    ]:
        state += [(f"{path}.conv.weight", (k, c, height, width))]
        state += [(f"{path}.bn.{part}", (k,)) for part in ("weight", "bias", "running_mean", "running_var")]
        state += [(f"{path}.bn.num_batches_tracked", ())]
        if path == "AuxLogits.conv1":
            state += [("AuxLogits.fc.weight", (1000, 768)), ("AuxLogits.fc.bias", (1000,))]
    return [*state, ("fc.weight", (1000, 2048)), ("fc.bias", (1000,))]


@pytest.mark.parametrize(("name", "aux"), [("inception_v3", False), ("inception_v3_aux", True)])
def test_weight_names_and_shapes_are_torchvisions(name, aux):
    with minicnn.abstract():
        state = models.create(name).state_dict()
    assert [(path, value.shape) for path, value in state.items()] == torchvision_state(aux)


@pytest.mark.parametrize(
    ("name", "sizes", "eps", "counts_padding"),
    [
        ("bn_inception", [112, 56, 28, 14, 7], 1e-5, True),
        ("inception_v3", [147, 71, 35, 17, 8], 1e-3, True),
        ("inception_v4", [147, 73, 35, 17, 8], 1e-3, False),
        ("inception_resnet_v1", [147, 71, 35, 17, 8], 1e-3, None),
        ("inception_resnet_v2", [147, 71, 35, 17, 8], 1e-3, False),
    ],
)
def test_maps_eps_and_what_means_are_of(name, sizes, eps, counts_padding):
    with minicnn.abstract():
        net = models.create(name).eval()
        outputs = net.stage_outputs(abstract_images(1, models.info(name).input_shape[1]))
    assert [y.shape[2] for y in outputs.values()] == sizes
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {eps}
    pools = {module.count_include_pad for module in net.modules() if isinstance(module, nn.AvgPool2d)}
    assert pools == (set() if counts_padding is None else {counts_padding})


def test_the_head_of_v3_speaks_in_training_only():
    with minicnn.abstract():
        net = models.inception_v3_aux(num_classes=7)
        macs = []
        with listening(lambda op, count: macs.append(count)):
            outputs = net(abstract_images(2, 299))
        assert isinstance(outputs, InceptionOutputs) and outputs.aux_logits.shape == (2, 7)
        assert net.eval()(abstract_images(2, 299)).shape == (2, 7)
        state = net.state_dict()
        assert net.adapt_state(state) is state
        plain = models.inception_v3(num_classes=7)
    head = 768 * 128 * 25 + 128 * 25 * 768 + 768 * 7
    assert sum(macs) == 2 * (models.counts("inception_v3").macs - 2048 * 993 + head)
    assert head + 768 * 993 == 5_683_200  # with 1000 classes
    assert set(plain.adapt_state(state)) == set(plain.state_dict())


def test_weights_of_v3_start_with_slims_deviations():
    net = models.inception_v3_aux(generator=Generator(0))
    layers = {"Conv2d_4a_3x3.conv": 0.1, "fc": 0.1, "AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}
    for path, deviation in layers.items():
        assert net.get_submodule(path).weight.numpy().std() == pytest.approx(deviation, rel=0.02), path


def torch_unit(torch, module, path, x):
    """A unit by torch's functions, padded so that maps keep their size."""
    state = {k: torch.from_numpy(np.array(v)) for k, v in module.state_dict().items() if k.startswith(path + ".")}
    weight, norm = state[f"{path}.conv.weight"], [f"{path}.bn.{part}" for part in ("weight", "bias")]
    y = torch.nn.functional.conv2d(x, weight, None, 1, (weight.shape[2] // 2, weight.shape[3] // 2))
    mean, var = state[f"{path}.bn.running_mean"], state[f"{path}.bn.running_var"]
    y = torch.nn.functional.batch_norm(y, mean, var, *(state[name] for name in norm), False, 0.0, 1e-3)
    return torch.relu(y)


@pytest.mark.parametrize("kind", ["C", "E"])
def test_modules_of_v3_by_torchs_functions(kind):
    torch = pytest.importorskip("torch")
    module = (InceptionC(8, 4, unit=UNIT) if kind == "C" else InceptionE(8, unit=UNIT)).double().eval()

    def run(x, *paths):
        for path in paths:
            x = torch_unit(torch, module, path, x)
        return x

    x = torch.from_numpy(image(8, 4))
    mean = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    if kind == "C":
        middle = [
            run(x, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            run(x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
        ]
    else:
        once, twice = run(x, "branch3x3_1"), run(x, "branch3x3dbl_1", "branch3x3dbl_2")
        middle = [run(once, f"branch3x3_2{part}") for part in "ab"]
        middle += [run(twice, f"branch3x3dbl_3{part}") for part in "ab"]
    expected = torch.cat([run(x, "branch1x1"), *middle, run(mean, "branch_pool")], 1).numpy()
    assert np.allclose(module(minicnn.Tensor(image(8, 4))).numpy(), expected, rtol=0, atol=1e-12)


WITH_POOL_BRANCH = ("3a", "3b", "4a", "4b", "4c", "4d", "5a", "5b")


def test_bn_inception_has_no_biases_and_takes_maxima_in_5b():
    with minicnn.abstract():
        net = models.bn_inception()
    assert all(module.bias is None for module in net.modules() if isinstance(module, nn.Conv2d))
    pools = {name: type(getattr(net, f"inception{name}").branch4[0]).__name__ for name in WITH_POOL_BRANCH}
    assert pools.pop("5b") == "MaxPool2d" and set(pools.values()) == {"AvgPool2d"}
    assert not hasattr(net.inception3c, "branch4") and not hasattr(net.inception4e, "branch4")


def test_a_reduction_passes_the_maxima_of_its_input_through():
    x = image(4, 8)
    y = Reduction(4, 2, 3, 2, 5, unit=UNIT).double()(minicnn.Tensor(x)).numpy()
    windows = [slice(start, start + 3) for start in (0, 2, 4, 6)]  # the last one is cut: pools round up
    maxima = np.array([[x[:, :, rows, columns].max((2, 3)) for columns in windows] for rows in windows])
    assert y.shape == (2, 3 + 5 + 4, 4, 4) and np.array_equal(y[:, 8:], np.moveaxis(maxima, (0, 1), (2, 3)))


def test_scales_of_residual_modules():
    with minicnn.abstract():
        small, large = models.inception_resnet_v1(), models.inception_resnet_v2()
    for net, depths in ((small, (5, 10, 5)), (large, (10, 20, 9))):
        scales = [[module.scale for module in getattr(net, name)] for name in ("repeat", "repeat_1", "repeat_2")]
        assert scales == [[scale] * depth for scale, depth in zip((0.17, 0.1, 0.2), depths, strict=True)]
        assert net.block8.scale == 1.0 and isinstance(net.block8.relu, nn.Identity)
        assert net.block8.conv2d.bias is not None


@pytest.mark.parametrize("relu", [True, False])
def test_a_residual_module_adds_the_scaled_projection_of_its_branches(relu):
    module = module_bc(6, ((2,), (2, 3, 4)), UNIT, Generator(1), length=3, scale=0.2, relu=relu).double().eval()
    nn.init.uniform_(module.conv2d.bias, -1, 1, Generator(2))
    x = minicnn.Tensor(image(6, 4))
    weight, bias = (p.numpy() for p in (module.conv2d.weight, module.conv2d.bias))
    projected = np.einsum("kc,nchw->nkhw", weight[:, :, 0, 0], module.branches(x).numpy()) + bias[:, None, None]
    expected = x.numpy() + 0.2 * projected
    assert (expected < 0).any()
    assert np.allclose(module(x).numpy(), np.maximum(expected, 0) if relu else expected, rtol=0, atol=1e-12)


def test_state_dicts_of_timm_load():
    with minicnn.abstract():
        pure, residual = models.inception_v4(), models.inception_resnet_v2()
    theirs = {re.sub(r"(branch[12])\.(\d)\.([ab])\.", r"\1_\2\3.", name) for name in pure.state_dict()}
    theirs = {re.sub(r"(features\.(?:19|20|21)\.branch[12])\.(\d)\.", r"\1_\2.", name) for name in theirs}
    assert {"features.21.branch2_3b.conv.weight", "features.19.branch1_0.bn.bias", "last_linear.bias"} <= theirs
    assert set(pure.adapt_state(dict.fromkeys(theirs, 0))) == set(pure.state_dict())
    theirs = {name.replace(".branches.", ".") for name in residual.state_dict()}
    expected = {"repeat_1.19.branch1.2.bn.weight", "block8.branch0.conv.weight", "block8.conv2d.bias", "classif.bias"}
    assert expected | {"mixed_5b.branch3.1.conv.weight", "repeat.9.branch2.2.conv.weight"} <= theirs
    assert set(residual.adapt_state(dict.fromkeys(theirs, 0))) == set(residual.state_dict())
    own = residual.state_dict()
    assert set(residual.adapt_state(own)) == set(own)


def check_that_everything_learns(module, output):
    (output * output).mean().backward()
    grads = {path: parameter.grad.numpy() for path, parameter in module.named_parameters()}
    assert all(np.isfinite(grad).all() for grad in grads.values())
    assert not [path for path, grad in grads.items() if not np.abs(grad).max() > 0]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("bn_inception", 64),
        pytest.param("inception_v3", 80, marks=pytest.mark.slow),
        pytest.param("inception_resnet_v1", 80, marks=pytest.mark.slow),
    ],
)
def test_every_parameter_learns(name, size):
    net = models.create(name, num_classes=3, generator=Generator(0))
    check_that_everything_learns(net, net(image(3, size, np.float32)))


def test_every_parameter_of_the_head_learns():
    head = AuxiliaryHead(6, 3, unit=UNIT, generator=Generator(0))
    check_that_everything_learns(head, head(image(6, 17, np.float32)))


@pytest.mark.parametrize(
    ("build", "channels", "size", "shape"),
    [
        (A4, 384, 3, (2, 384, 3, 3)),
        (B4, 1024, 2, (2, 1024, 2, 2)),
        (C4, 1536, 2, (2, 1536, 2, 2)),
        (ReductionB4, 1024, 5, (2, 1536, 2, 2)),
    ],
)
def test_every_parameter_of_a_module_of_v4_learns(build, channels, size, shape):
    module = build(UNIT)
    output = module(image(channels, size, np.float32))
    assert output.shape == shape
    check_that_everything_learns(module, output)


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: models.inception_resnet_v2(version="v3"), "version='v3' is unknown, expected one of"),
        (lambda: models.inception_v3(transform_input=True, in_channels=4), "in_channels=4, expected 3"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
