"""Our networks against torchvision's of the same weights: names, shapes, logits, gradients, statistics.

The weights are made by the rule of ``tests/golden/rule.py``; what torchvision's networks do with them was measured by
``tests/golden/write.py``. Gradients and buffers are compared by norms and by products with a direction, group by group.
"""

import json
from functools import cache
from importlib import import_module

import numpy as np
import pytest

import minicnn
from minicnn import models, nn, ops
from tests.close import assert_close
from tests.golden import rule

CALLS = rule.networks()
FAST = ("squeezenet1_1", "resnet18", "densenet121", "MobileNetV2(width_mult=0.35)", "mobilenet_v3_small", "mnasnet0_5")
COMPUTED = [pytest.param(call, marks=() if call in FAST else pytest.mark.slow) for call in CALLS]


@cache
def golden(call):
    path = rule.path_of(call)
    assert path.exists(), f"torchvision's {call} was not measured: run `python -m tests.golden.write '{call}'`"
    return json.loads(path.read_text(encoding="utf-8"))


def filled(call):
    """Our network with the weights of the rule in float64, with nothing left out while training."""
    with minicnn.abstract():  # a hundred million numbers need not be drawn to be replaced
        net = models.create(CALLS[call])
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        tensor.data = rule.value(name, tensor.shape)
    for module in net.modules():
        if isinstance(module, nn.Dropout | nn.StochasticDepth):
            module.p = 0.0
    return net


def logits_of(net, x):
    with minicnn.no_grad():
        return net.eval()(minicnn.Tensor(x)).numpy()


def assert_measured(arrays, expected, tol, what):
    norm, product = rule.measure(arrays)
    assert abs(norm - expected[0]) <= tol * expected[0], f"{what}: norm {norm}, torchvision's {expected[0]}"
    assert abs(product - expected[1]) <= tol * expected[0], f"{what}: product {product}, torchvision's {expected[1]}"


def assert_groups_measured(arrays, expected, what, tol):
    groups = rule.groups(list(arrays))
    assert set(groups) == {key for key, found in expected["groups"].items() if what in found}
    for key, names in groups.items():
        measured = expected["groups"][key][what]
        assert_measured({name: arrays[name] for name in names}, measured, tol, f"{what} of {key}")


def test_every_network_that_torchvision_has_is_measured_once():
    """A row that has a call and is not measured is the network of one that is, with another picture."""
    rows = {row.info.name: row for family in models.INDEX for row in import_module(f"minicnn.models.{family}").TABLE}
    assert len(set(CALLS.values())) == len(CALLS)
    measured = [rows[name] for name in CALLS.values()]
    for row in rows.values():
        same = [other for other in measured if (other.build, other.options) == (row.build, row.options)]
        if row.info.torchvision and row not in measured:
            assert [other.info.input_shape != row.info.input_shape for other in same] == [True], row.info.name
        assert len(same) <= 1 or not row.info.torchvision
    assert "MobileNetV2(width_mult=0.5)" in CALLS and "MobileNetV2(width_mult=1.0)" not in CALLS


def test_calls_are_parsed_not_run():
    assert rule.parsed("mobilenet_v2") == ("mobilenet_v2", {})
    assert rule.parsed("MobileNetV2(width_mult=1.4, dropout=0)") == ("MobileNetV2", {"width_mult": 1.4, "dropout": 0})
    for call in ("os.system('true')", "f(1)", "f(x)(y=2)", "f(x=open('file'))", "f(**{'x': 1})", "1 + 1"):
        with pytest.raises(ValueError):
            rule.parsed(call)


@pytest.mark.parametrize("call", CALLS)
def test_names_and_shapes_are_torchvisions(call):
    with minicnn.abstract():
        shapes = {name: array.shape for name, array in models.create(CALLS[call]).state_dict().items()}
    ours = {key: rule.signature({name: shapes[name] for name in names}) for key, names in rule.groups(shapes).items()}
    theirs = {key: found["state"] for key, found in golden(call)["groups"].items()}
    assert ours == theirs and list(ours) == list(theirs)


@pytest.mark.parametrize("call", COMPUTED)
def test_logits_and_a_training_step_are_torchvisions(call):
    expected, net, x = golden(call), filled(call), rule.input_of(call)
    logits = logits_of(net, x)
    assert_close(logits[:, ::125], np.array(expected["logits"]), 1e-10, "logits")
    assert_measured({"logits": logits}, expected["all_logits"], 1e-10, "all logits")
    step(net, x, expected)
    for name, buffer in net.named_buffers():
        buffer.data = rule.value(name, buffer.shape)
    single = logits_of(net.float(), x.astype(np.float32))
    assert_close(single[:, ::125], np.array(expected["logits"]), 2e-5, "logits in float32")


def step(net, array, expected):
    """Forward and backward while training; what they leave is torchvision's."""
    x = minicnn.Tensor(array, requires_grad=True)
    results = rule.outputs(net.train()(x))
    factors = rule.weights_of_loss([y.shape for y in results])
    losses = [ops.sum(y * minicnn.Tensor(factor)) for y, factor in zip(results, factors, strict=True)]
    sum(losses[1:], losses[0]).backward()
    for y, measured in zip(results, expected["training_logits"], strict=True):
        assert_measured({"logits": y.numpy()}, measured, 1e-10, "logits while training")
    assert_measured({"input": x.grad.numpy()}, expected["input_gradient"], 1e-8, "gradient of the input")
    assert_groups_measured({name: p.grad.numpy() for name, p in net.named_parameters()}, expected, "gradient", 1e-8)
    buffers = {name: np.asarray(buffer.numpy(), np.float64) for name, buffer in net.named_buffers()}
    assert_groups_measured(buffers, expected, "buffers", 1e-10)
    net.zero_grad()


def test_a_pool_that_rounds_down_is_seen():
    net, x = filled("squeezenet1_1"), rule.input_of("squeezenet1_1")
    net.features[2].ceil_mode = False  # 32x49 pixels
    with pytest.raises(AssertionError, match=r"all logits: norm .*, torchvision's"):
        assert_measured({"logits": logits_of(net, x)}, golden("squeezenet1_1")["all_logits"], 1e-10, "all logits")


def test_two_numbers_that_changed_places_are_seen():
    array = rule.uniform("any", (3, 4))
    measured = rule.measure({"w": array})
    assert_measured({"w": array}, measured, 0.0, "gradient")
    array[[0, 1], 2] = array[[1, 0], 2]
    with pytest.raises(AssertionError, match="gradient: product"):
        assert_measured({"w": array}, measured, 1e-8, "gradient")


def test_weights_of_the_rule_are_the_same_everywhere():
    """MurmurHash3's finaliser of 0x9E3779B9 * position + CRC-32 of the name."""
    bits = [[1380818482, 292560336], [180180901, 1961939539]]  # computed with Python's integers
    assert rule.uniform("conv1.weight", (2, 2)).tolist() == [[v * 2.0**-31 - 1 for v in row] for row in bits]
    many = rule.uniform("fc.weight", (100, 1000))
    assert abs(many.mean()) < 0.01 and abs(many.var() - 1 / 3) < 0.01
    assert rule.value("bn.running_var", (9,)).min() > 0.7 and rule.value("bn.num_batches_tracked", ()).dtype == np.int64
