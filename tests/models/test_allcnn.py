"""All-CNN: what the four forms share and where they differ, layer by layer and number by number."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from minicnn.errors import ArgumentError
from minicnn.models.allcnn import BASES, FORMS, AllCNN, Conv, Pool, cifar_stages
from minicnn.random import Generator
from tests.close import assert_close

NAMES = {"model": "model_{}", "strided": "strided_cnn_{}", "convpool": "convpool_cnn_{}", "all": "all_cnn_{}"}
CASES = [(base, form) for base in BASES for form in FORMS]


def named(base, form):
    return NAMES[form].format(base.lower())


def abstractly(name):
    with minicnn.abstract():
        return models.create(name)


def convolutions(net):
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def layers_of(net):
    return [(conv.kernel_size[0], conv.out_channels, conv.stride) for conv in convolutions(net)]


def narrow(base, form, generator):
    """The net with a twelfth of the channels, in float64."""

    def thin(part):
        return part._replace(width=part.width // 12) if isinstance(part, Conv) else part

    stages = tuple(tuple(map(thin, stage)) for stage in cifar_stages(base, form))
    return AllCNN(stages=stages, num_classes=3, generator=generator).double().eval()


def pooled(maps):
    """3x3 maxima with stride 2 that round up, in plain NumPy."""
    n, c, h, w = maps.shape
    out = np.empty((n, c, h // 2, w // 2))
    for i in range(h // 2):
        for j in range(w // 2):
            out[:, :, i, j] = maps[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3))
    return out


@pytest.mark.parametrize(("base", "form"), CASES)
def test_what_stands_before_the_pool_and_in_its_place(base, form):
    found = [
        (conv.kernel_size[0], conv.out_channels, conv.stride) for conv in convolutions(abstractly(named(base, form)))
    ]
    expected = []
    for width in (96, 192):
        kernels = {"A": [5], "B": [5, 1], "C": [3, 3]}[base]
        strides = [1] * len(kernels)
        if form == "strided":
            strides[-1] = 2
        if form in ("convpool", "all"):
            kernels, strides = [*kernels, 3], [*strides, 2 if form == "all" else 1]
        expected += [(kernel, width, stride) for kernel, stride in zip(kernels, strides, strict=True)]
    assert found == [*expected, (3, 192, 1), (1, 192, 1), (1, 10, 1)]


@pytest.mark.parametrize(("base", "form"), CASES)
def test_pools_sizes_and_dropout(base, form):
    net = abstractly(named(base, form))
    pools = [module for module in net.modules() if isinstance(module, nn.MaxPool2d)]
    assert len(pools) == (2 if form in ("model", "convpool") else 0)
    assert all((pool.kernel_size, pool.stride, pool.ceil_mode) == (3, 2, True) for pool in pools)
    assert [net.features.get_submodule(f"drop{i}").p for i in (1, 2, 3)] == [0.2, 0.5, 0.5]
    assert [(stage.stride, stage.channels) for stage in net.stages] == [(2, 96), (4, 192), (4, 10)]
    with minicnn.abstract():
        outputs = net.stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 32, 32), "float32")))
    assert [y.shape[2:] for y in outputs.values()] == [(16, 16), (8, 8), (6, 6)]


@pytest.mark.parametrize("base", BASES)
def test_strided_is_the_model_with_the_stride_of_its_pool_in_the_convolution(base):
    """Same weights: it computes every second pixel of what the model pools."""
    model, strided = narrow(base, "model", Generator(0)), narrow(base, "strided", Generator(1))
    assert strided.load_state_dict(model.state_dict()) == ([], [])
    image = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    unpooled = nn.Sequential(*[m for m in model.features.stage1 if not isinstance(m, nn.MaxPool2d)])(image).numpy()
    assert_close(strided.features.stage1(image).numpy(), unpooled[:, :, ::2, ::2], 1e-13)
    assert_close(model.features.stage1(image).numpy(), pooled(unpooled), 1e-13)


@pytest.mark.parametrize("base", BASES)
def test_all_cnn_and_convpool_have_the_same_weights_and_differ_in_the_pool_alone(base):
    convpool, every = narrow(base, "convpool", Generator(0)), narrow(base, "all", Generator(1))
    assert every.load_state_dict(convpool.state_dict()) == ([], [])
    image = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    unpooled = nn.Sequential(*[m for m in convpool.features.stage1 if not isinstance(m, nn.MaxPool2d)])(image).numpy()
    assert_close(every.features.stage1(image).numpy(), unpooled[:, :, ::2, ::2], 1e-13)
    assert_close(convpool.features.stage1(image).numpy(), pooled(unpooled), 1e-13)
    counts = [models.counts(named(base, form)) for form in FORMS]
    assert counts[0].params == counts[1].params < counts[2].params == counts[3].params
    assert counts[1].macs < counts[0].macs < counts[2].macs and counts[3].macs < counts[2].macs


def test_the_mean_of_a_map_is_the_logit_and_is_never_negative():
    net = narrow("C", "all", Generator(0))
    image = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    maps = net.features(image).numpy()
    assert maps.shape == (2, 3, 2, 2) and maps.min() == 0
    assert_close(net(image).numpy(), maps.mean((2, 3)), 1e-14)


def test_weights_start_as_he_says_and_biases_at_zero():
    net = models.model_a(generator=Generator(0))
    for conv in convolutions(net):
        std = np.sqrt(2 / conv.weight.numpy()[0].size)
        assert abs(conv.weight.numpy().std() / std - 1) < 4 / np.sqrt(2 * conv.weight.size)
        assert not conv.bias.numpy().any()


def test_the_twelve_convolutions_of_table_6():
    net = abstractly("all_cnn_b_imagenet")
    assert layers_of(net) == [
        *((11, 96, 4), (1, 96, 1), (3, 96, 2), (5, 256, 1), (1, 256, 1), (3, 256, 2)),
        *((3, 384, 1), (1, 384, 1), (3, 384, 2), (3, 1024, 1), (1, 1024, 1), (1, 1000, 1)),
    ]
    with minicnn.abstract():
        outputs = net.stage_outputs(minicnn.Tensor(minicnn.ShapeArray((1, 3, 224, 224), "float32")))
    assert [y.shape[2] for y in outputs.values()] == [26, 12, 6, 6]
    assert not [module for module in net.modules() if isinstance(module, nn.MaxPool2d | nn.Linear)]
    assert [net.features.get_submodule(f"drop{i}").p for i in (1, 2, 3, 4)] == [0, 0, 0, 0.5]


def test_every_parameter_of_a_small_one_learns():
    net = narrow("B", "all", Generator(0)).train()
    ops.cross_entropy(net(np.random.default_rng(0).standard_normal((4, 3, 24, 24))), np.array([0, 1, 2, 0])).backward()
    assert not [path for path, p in net.named_parameters() if not np.abs(p.grad.numpy()).max() > 0]


@pytest.mark.parametrize(
    ("mistake", "match"),
    [
        (lambda: cifar_stages("D", "all"), "cifar_stages: base='D', form='all' is unknown, expected one of"),
        (lambda: cifar_stages("A", "pooled"), r"form='pooled' is unknown, expected .* 'strided'"),
        (lambda: AllCNN(stages=()), r"AllCNN: stages=\(\), expected stages that end in a width of 0"),
        (lambda: AllCNN(stages=((Conv(8, 3), Pool()),)), "AllCNN: stages=.*, expected stages that end in a width of 0"),
        (lambda: AllCNN(stages=((), (Conv(0, 1),))), "AllCNN: stages=.*, expected stages that end in a width of 0"),
        (lambda: AllCNN(dropouts=(0.5,)), r"AllCNN: dropouts=\(0.5,\), expected one for each of 3 stages"),
        (lambda: models.all_cnn_c(pool="max"), "all_cnn_c has no option 'pool'"),
    ],
)
def test_mistakes(mistake, match):
    with minicnn.abstract(), pytest.raises(ArgumentError, match=match):
        mistake()
