"""Every layer equals its operation with the layer's own options, for real and by shapes."""

import inspect

import numpy as np
import pytest

import minicnn
from minicnn import nn, ops
from minicnn.errors import ArgumentError, ShapeError

IMAGE, ROWS = (2, 4, 9, 8), (3, 6)
BASES = {"Module", "Parameter", "HookHandle", "Sequential", "ModuleList", "ModuleDict", "init"}
CLASSES = [name for name in nn.__all__ if name not in BASES]

LABELS = np.array([1, 4, 0])
TARGET = np.linspace(0.1, 0.9, 18, dtype=np.float32).reshape(ROWS)
WEIGHT = np.linspace(0.5, 2, 6, dtype=np.float32)

# (name, layer, shape of x, the same by an operation); every option differs from its default and from its neighbours
CASES = [
    ("AdaptiveAvgPool2d", lambda: nn.AdaptiveAvgPool2d((3, 2)), IMAGE, lambda m, x: ops.adaptive_avg_pool2d(x, (3, 2))),
    (
        "AdaptiveMaxPool2d",
        lambda: nn.AdaptiveMaxPool2d((3, None), True),
        IMAGE,
        lambda m, x: ops.adaptive_max_pool2d(x, (3, None), True),
    ),
    ("AlphaDropout", lambda: nn.AlphaDropout(0.3).eval(), IMAGE, lambda m, x: x),
    (
        "AvgPool2d",
        lambda: nn.AvgPool2d(4, 3, 1, True, False, 5),
        IMAGE,
        lambda m, x: ops.avg_pool2d(x, 4, 3, 1, True, False, 5),
    ),
    (
        "BCELoss",
        lambda: nn.BCELoss(WEIGHT, "sum"),
        TARGET,
        lambda m, x: ops.binary_cross_entropy(x, TARGET, WEIGHT, reduction="sum"),
    ),
    (
        "BCEWithLogitsLoss",
        lambda: nn.BCEWithLogitsLoss(WEIGHT, "none", WEIGHT + 1),
        ROWS,
        lambda m, x: ops.binary_cross_entropy_with_logits(x, TARGET, WEIGHT, reduction="none", pos_weight=WEIGHT + 1),
    ),
    (
        "BatchNorm1d",
        lambda: nn.BatchNorm1d(6, 0.1).eval(),
        ROWS,
        lambda m, x: ops.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, eps=0.1),
    ),
    (
        "BatchNorm2d",
        lambda: nn.BatchNorm2d(4, 0.1, 0.3),
        IMAGE,
        lambda m, x: ops.batch_norm(x, None, None, m.weight, m.bias, True, eps=0.1),
    ),
    ("CELU", lambda: nn.CELU(0.7), ROWS, lambda m, x: ops.celu(x, 0.7)),
    ("ChannelShuffle", lambda: nn.ChannelShuffle(2), IMAGE, lambda m, x: ops.channel_shuffle(x, 2)),
    (
        "Conv2d",
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        IMAGE,
        lambda m, x: ops.conv2d(x, m.weight, m.bias, (2, 1), (1, 0), (1, 2), 2),
    ),
    (
        "ConvTranspose2d",
        lambda: nn.ConvTranspose2d(4, 6, 3, 3, 1, 2, 2, dilation=2),
        IMAGE,
        lambda m, x: ops.conv_transpose2d(x, m.weight, m.bias, 3, 1, 2, 2, 2),
    ),
    (
        "CrossEntropyLoss",
        lambda: nn.CrossEntropyLoss(WEIGHT, 4, "sum", 0.1),
        ROWS,
        lambda m, x: ops.cross_entropy(x, LABELS, WEIGHT, 4, "sum", 0.1),
    ),
    (
        "DropConnectLinear",
        lambda: nn.DropConnectLinear(6, 5).eval(),
        ROWS,
        lambda m, x: ops.linear(x, m.weight, m.bias),
    ),
    ("Dropout", lambda: nn.Dropout(0.3).eval(), ROWS, lambda m, x: x),
    ("Dropout2d", lambda: nn.Dropout2d(0.3).eval(), IMAGE, lambda m, x: x),
    ("ELU", lambda: nn.ELU(0.7), ROWS, lambda m, x: ops.elu(x, 0.7)),
    ("Flatten", lambda: nn.Flatten(1, 2), IMAGE, lambda m, x: ops.flatten(x, 1, 2)),
    (
        "Fold",
        lambda: nn.Fold((6, 5), 2, 1, 1, 3),
        (2, 8, 6),
        lambda m, x: ops.fold(x, (6, 5), 2, 1, 1, 3),
    ),
    ("GELU", lambda: nn.GELU("tanh"), ROWS, lambda m, x: ops.gelu(x, approximate="tanh")),
    ("GlobalAvgPool2d", lambda: nn.GlobalAvgPool2d(), IMAGE, lambda m, x: ops.global_avg_pool2d(x)),
    ("GlobalMaxPool2d", lambda: nn.GlobalMaxPool2d(), IMAGE, lambda m, x: ops.global_max_pool2d(x)),
    (
        "GroupNorm",
        lambda: nn.GroupNorm(2, 4, 0.1),
        IMAGE,
        lambda m, x: ops.group_norm(x, 2, m.weight, m.bias, 0.1),
    ),
    ("Hardsigmoid", lambda: nn.Hardsigmoid(), ROWS, lambda m, x: ops.hardsigmoid(x)),
    ("Hardswish", lambda: nn.Hardswish(), ROWS, lambda m, x: ops.hardswish(x)),
    ("Hardtanh", lambda: nn.Hardtanh(-0.3, 0.6), ROWS, lambda m, x: ops.hardtanh(x, -0.3, 0.6)),
    ("Identity", lambda: nn.Identity(3, name=2), ROWS, lambda m, x: x),
    (
        "InstanceNorm2d",
        lambda: nn.InstanceNorm2d(4, 0.1, affine=True),
        IMAGE,
        lambda m, x: ops.instance_norm(x, None, None, m.weight, m.bias, eps=0.1),
    ),
    (
        "L1Loss",
        lambda: nn.L1Loss("sum"),
        ROWS,
        lambda m, x: ops.l1_loss(x, TARGET, reduction="sum"),
    ),
    (
        "LayerNorm",
        lambda: nn.LayerNorm((9, 8), 0.1),
        IMAGE,
        lambda m, x: ops.layer_norm(x, (9, 8), m.weight, m.bias, 0.1),
    ),
    ("LeakyReLU", lambda: nn.LeakyReLU(0.2), ROWS, lambda m, x: ops.leaky_relu(x, 0.2)),
    ("Linear", lambda: nn.Linear(6, 5), ROWS, lambda m, x: ops.linear(x, m.weight, m.bias)),
    (
        "LocalResponseNorm",
        lambda: nn.LocalResponseNorm(3, 0.9, 0.6, 2.0, alpha_over_n=False),
        IMAGE,
        lambda m, x: ops.local_response_norm(x, 3, 0.9, 0.6, 2.0, alpha_over_n=False),
    ),
    ("LogSoftmax", lambda: nn.LogSoftmax(0), ROWS, lambda m, x: ops.log_softmax(x, 0)),
    ("MSELoss", lambda: nn.MSELoss("sum"), ROWS, lambda m, x: ops.mse_loss(x, TARGET, reduction="sum")),
    (
        "MaxPool2d",
        lambda: nn.MaxPool2d(3, 2, 1, 2, True, True),
        IMAGE,
        lambda m, x: ops.max_pool2d(x, 3, 2, 1, 2, ceil_mode=True, return_indices=True),
    ),
    (
        "MaxUnpool2d",
        lambda: nn.MaxUnpool2d(2, 3, 1),
        (1, 1, 2, 2),
        lambda m, x: ops.max_unpool2d(x, np.arange(4).reshape(1, 1, 2, 2), 2, 3, 1),
    ),
    (
        "MinPool2d",
        lambda: nn.MinPool2d(3, 2, 1, 2, False, True),
        IMAGE,
        lambda m, x: ops.min_pool2d(x, 3, 2, 1, 2, ceil_mode=True),
    ),
    ("Mish", lambda: nn.Mish(), ROWS, lambda m, x: ops.mish(x)),
    (
        "NLLLoss",
        lambda: nn.NLLLoss(WEIGHT, 4, "sum"),
        ROWS,
        lambda m, x: ops.nll_loss(x, LABELS, WEIGHT, 4, "sum"),
    ),
    ("PReLU", lambda: nn.PReLU(4, 0.1), IMAGE, lambda m, x: ops.leaky_relu(x, 0.1)),
    ("PixelShuffle", lambda: nn.PixelShuffle(2), IMAGE, lambda m, x: ops.pixel_shuffle(x, 2)),
    ("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), (2, 1, 4, 6), lambda m, x: ops.pixel_unshuffle(x, 2)),
    ("ReLU", lambda: nn.ReLU(), ROWS, lambda m, x: ops.relu(x)),
    ("ReLU6", lambda: nn.ReLU6(), ROWS, lambda m, x: ops.relu6(x)),
    ("SELU", lambda: nn.SELU(), ROWS, lambda m, x: ops.selu(x)),
    ("SiLU", lambda: nn.SiLU(), ROWS, lambda m, x: ops.silu(x)),
    ("Sigmoid", lambda: nn.Sigmoid(), ROWS, lambda m, x: ops.sigmoid(x)),
    (
        "SmoothL1Loss",
        lambda: nn.SmoothL1Loss("sum", 0.4),
        ROWS,
        lambda m, x: ops.smooth_l1_loss(x, TARGET, reduction="sum", beta=0.4),
    ),
    ("Softmax", lambda: nn.Softmax(0), ROWS, lambda m, x: ops.softmax(x, 0)),
    ("Softplus", lambda: nn.Softplus(2.0, 0.5), ROWS, lambda m, x: ops.softplus(x, 2.0, 0.5)),
    (
        "SpatialTransformer",
        lambda: nn.SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Linear(288, 6)), (5, 7), True),
        IMAGE,
        lambda m, x: ops.grid_sample(x, ops.affine_grid(m.theta(x), (2, 4, 5, 7), True), align_corners=True),
    ),
    ("StochasticDepth", lambda: nn.StochasticDepth(0.3, "row").eval(), IMAGE, lambda m, x: x),
    ("Tanh", lambda: nn.Tanh(), ROWS, lambda m, x: ops.tanh(x)),
    ("Unfold", lambda: nn.Unfold(3, 2, 1, 3), IMAGE, lambda m, x: ops.unfold(x, 3, 2, 1, 3)),
    (
        "Upsample",
        lambda: nn.Upsample(None, 1.7, "bilinear", False, True),
        IMAGE,
        lambda m, x: ops.interpolate(x, None, 1.7, "bilinear", False, True),
    ),
    ("ZeroPad2d", lambda: nn.ZeroPad2d((1, 2, 3, 0)), IMAGE, lambda m, x: ops.pad(x, (1, 2, 3, 0))),
]
EXTRA = {
    **dict.fromkeys(("BCELoss", "BCEWithLogitsLoss", "L1Loss", "MSELoss", "SmoothL1Loss"), (TARGET,)),
    **dict.fromkeys(("CrossEntropyLoss", "NLLLoss"), (LABELS,)),
    "MaxUnpool2d": (np.arange(4).reshape(1, 1, 2, 2),),
}


def test_every_layer_has_a_case():
    assert sorted(case[0] for case in CASES) == sorted(CLASSES)


@pytest.mark.parametrize(("name", "make", "x", "same"), CASES, ids=[case[0] for case in CASES])
def test_a_layer_is_its_operation(name, make, x, same):
    layer = make()
    assert type(layer) is getattr(nn, name)
    shape = x if isinstance(x, tuple) else x.shape
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32) if isinstance(x, tuple) else x * 0.9
    actual, expected = layer(minicnn.Tensor(x), *EXTRA.get(name, ())), same(layer, minicnn.Tensor(x))
    pairs = [(actual, expected)] if not isinstance(actual, tuple) else list(zip(actual, expected, strict=True))
    for got, wanted in pairs:
        assert np.array_equal(got.numpy(), wanted.numpy())
    with minicnn.abstract():
        outputs = make()(minicnn.ShapeArray(shape, np.float32), *EXTRA.get(name, ()))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert [(y.shape, y.dtype) for y in outputs] == [(y.shape, y.dtype) for y, _ in pairs]
    assert repr(layer).startswith(name + "(")
    for option in layer.printed:
        assert f"{option}={getattr(layer, option)!r}" in repr(layer)


def test_options_are_kept_in_the_order_of_pytorch():
    order = {
        nn.Conv2d: "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode generator",
        nn.ConvTranspose2d: "in_channels out_channels kernel_size stride padding output_padding groups bias dilation "
        "padding_mode generator",
        nn.MaxPool2d: "kernel_size stride padding dilation return_indices ceil_mode",
        nn.AvgPool2d: "kernel_size stride padding ceil_mode count_include_pad divisor_override",
        nn.BatchNorm2d: "num_features eps momentum affine track_running_stats",
        nn.LayerNorm: "normalized_shape eps elementwise_affine bias",
        nn.Upsample: "size scale_factor mode align_corners recompute_scale_factor",
        nn.Unfold: "kernel_size dilation padding stride",
        nn.Fold: "output_size kernel_size dilation padding stride",
    }
    for kind, names in order.items():
        assert " ".join(inspect.signature(kind).parameters) == names


@pytest.mark.parametrize(
    ("mistake", "error", "match"),
    [
        (lambda: nn.Linear(0, 3), ArgumentError, "Linear: in_features=0"),
        (lambda: nn.Conv2d(3, 2.5, 3), ArgumentError, "Conv2d: out_channels=2.5"),
        (lambda: nn.Conv2d(3, 4, 0), ArgumentError, "Conv2d: kernel_size=0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ShapeError, "groups=2 does not divide in_channels=3"),
        (
            lambda: nn.Conv2d(3, 4, 3, padding_mode="circular"),
            ArgumentError,
            "padding_mode='circular' is not supported",
        ),
        (lambda: nn.GroupNorm(3, 4), ShapeError, "num_groups=3 does not divide num_channels=4"),
        (lambda: nn.Dropout(1.5), ArgumentError, "Dropout: p=1.5"),
        (lambda: nn.StochasticDepth(0.5, "pixel"), ArgumentError, "mode='pixel'"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 4, 5, 5))), ShapeError, r"expected \(N, 3, H, W\)"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 5, 5))), ShapeError, r"expected \(N, 3\) or \(N, 3, L\)"),
        (lambda: nn.InstanceNorm2d(3)(np.ones((4, 5, 5))), ShapeError, r"expected \(N, 3, H, W\) or \(3, H, W\)"),
        (
            lambda: nn.ConvTranspose2d(1, 1, 3, 2)(np.ones((1, 1, 4, 4), np.float32), (11, 9)),
            ShapeError,
            r"output_size=\(11, 9\), expected between \(9, 9\) and \(10, 10\)",
        ),
    ],
)
def test_layer_mistakes(mistake, error, match):
    with pytest.raises(error, match=match):
        mistake()


def test_transposed_convolution_reaches_any_size_of_its_stride():
    layer = nn.ConvTranspose2d(1, 2, 3, 2)
    x = np.ones((1, 1, 4, 4), np.float32)
    assert layer(x, (10, 9)).shape == (1, 2, 10, 9) and layer(x).shape == (1, 2, 9, 9)
