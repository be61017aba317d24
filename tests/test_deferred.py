"""Deferred results: done together where nobody looks between, the same to everybody who does."""

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, checkpoint, models, nn, ops
from minicnn.deferred import Deferred, is_pending
from minicnn.errors import GradientError
from minicnn.kernels import fused as K
from minicnn.ops import activation
from minicnn.random import Generator
from tests.close import assert_close
from tests.emulator import emulated_gpu


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def history(y):
    """The names of the operations behind ``y``, newest first."""
    nodes = {y.node}
    for _ in range(100):
        nodes |= {edge[0] for node in nodes for edge in node.edges if isinstance(edge, tuple)}
    return [node.name for node in sorted(nodes, key=lambda node: -node.sequence)]


class Call(nn.Module):
    """A forward pass given as a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def run(function, *args):
    return Call(function)(*args)


def block():
    """Convolution, norm, shortcut, ReLU."""
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU())
    return Residual(net[:2], net[2])


class Residual(nn.Module):
    def __init__(self, body, relu):
        super().__init__()
        self.body, self.relu = body, relu

    def forward(self, x):
        return self.relu(self.body(x) + x)


# ---- what is done together


def test_a_norm_a_sum_and_a_relu_are_one_operation():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), block(), nn.BatchNorm2d(3), nn.ReLU6())
    names = history(net(Tensor(drawn(2, 3, 4, 4))))
    assert names == ["batch_norm_relu6", "batch_norm_add_relu", "conv2d", "batch_norm_relu", "conv2d"]


@pytest.mark.parametrize(
    "name",
    ["resnet20_cifar10", pytest.param("densenet40_k12_cifar10", marks=pytest.mark.slow), "mobilenet_v1_0.25_128"],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_same_results_as_one_by_one(name, training):
    """Hooks that keep every output make every step be done by itself."""
    side, found, kept = (32 if "mobile" in name else 8), [], []

    def keep(module, args, output):
        kept.append(output)

    for hooked in (False, True):
        net = models.create(name, generator=Generator(0), **({"dropout": 0.0} if "mobile" in name else {})).double()
        net.train(training)
        for module in net.modules() if hooked else ():
            module.register_forward_hook(keep)
        x = Tensor(drawn(4, 3, side, side).astype(float), requires_grad=True)
        y = net(x)
        assert any("batch_norm_" in name for name in history(y)) != hooked
        (y * y).sum().backward()
        found.append([y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in net.parameters()), *state(net)])
    for together, apart in zip(*found, strict=True):
        assert_close(together, apart, 1e-9)


def state(net):
    return [buffer.numpy() for buffer in net.buffers()]


def test_what_somebody_holds_is_made_by_itself():
    def held(x):
        y = ops.batch_norm(x, None, None, training=True)
        return ops.relu(y).exp()

    def shown(x):
        y = ops.batch_norm(x, None, None, training=True)
        return ops.relu(y).exp() + y.sum()

    x = Tensor(drawn(4, 3), requires_grad=True)
    assert history(run(held, x)) == ["exp", "relu", "batch_norm"]
    assert history(run(shown, x)) == ["add", "sum", "exp", "relu", "batch_norm"]


def test_what_is_replaced_is_what_follows():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: 2 * output)
    assert history(net(Tensor(drawn(2, 3, 2, 2)))) == ["relu", "mul", "batch_norm"]


def test_outside_of_a_forward_pass_nothing_waits():
    x = Tensor(drawn(4, 3), requires_grad=True)
    for y in (x + x, ops.relu(x), ops.relu6(x), ops.batch_norm(x, None, None, training=True), nn.ReLU()(x)):
        assert not is_pending(y)
    results = run(lambda x: {"all": [ops.relu(x), (ops.relu6(x),)]}, x)["all"]
    assert not is_pending(results[0]) and not is_pending(results[1][0])
    with minicnn.abstract():
        assert type(run(lambda x: ops.relu(x).data, x)) is minicnn.ShapeArray


def test_long_sums_need_no_deep_stack():
    x = Tensor(drawn(4).astype(float), requires_grad=True)

    def long(x):
        left = right = x
        for _ in range(3000):
            left, right = left + x, x + right
        return ops.relu(left + right)

    assert_close(run(long, x).numpy(), np.maximum(6002 * x.numpy(), 0), 1e-10)


# ---- whose memory is written over


def overwrites(monkeypatch, function, *args):
    """Whether the last bounded pass wrote over the array it read."""
    seen = []

    def watched(x, other, low, high, out=None):
        seen.append(out is not None and (out is x or out is other))
        return bounded_forward(x, other, low, high, out)

    bounded_forward = K.bounded_forward
    with monkeypatch.context() as patch:
        patch.setattr(K, "bounded_forward", watched)
        before = [x.numpy().copy() for x in args]
        run(function, *args)
        for x, values in zip(args, before, strict=True):
            assert np.array_equal(x.numpy(), values)
    return seen[-1]


KEEPING = []
X = Tensor(drawn(3, 4), requires_grad=True)
ALONE = {
    "a product": lambda x: ops.relu(2 * x),
    "both of a sum": lambda x: ops.relu(2 * x + 3 * x),
    "the other of a sum": lambda x: x + 2 * x,
    "one of a sum": lambda x: 2 * x + x,
}
HELD = {
    "an argument": lambda x: ops.relu(x),
    "twice": lambda x: (lambda y: y + y)(x),
    "in a variable": lambda x: (lambda y: (ops.relu(y), y))(2 * x),
    "in a list": lambda x: (lambda y: (KEEPING.append(y), ops.relu(y))[1])(2 * x),
    "its array": lambda x: (lambda y: (KEEPING.append(y.data), ops.relu(y))[1])(2 * x),
    "a view of its array": lambda x: (lambda y: (KEEPING.append(y.data[1:]), ops.relu(y))[1])(2 * x),
    "without its history": lambda x: (lambda y: (KEEPING.append(y.detach()), ops.relu(y))[1])(2 * x),
    "a view": lambda x: ops.relu((2 * x)[:, ::2]),
    "a row of a view": lambda x: ops.relu((2 * x)[1]),
    "what its own backward reads": lambda x: ops.relu(x.exp()),
    "what another backward reads": lambda x: (lambda y: (KEEPING.append(y * y), ops.relu(y))[1])(2 * x),
}


@pytest.mark.parametrize("case", ALONE)
def test_memory_that_nobody_reads_again_is_written_over(monkeypatch, case):
    assert overwrites(monkeypatch, ALONE[case], X)


@pytest.mark.parametrize("case", HELD)
def test_memory_that_somebody_may_read_is_not(monkeypatch, case):
    assert not overwrites(monkeypatch, HELD[case], X)
    KEEPING.clear()


def test_an_array_of_the_caller_is_not_written_over():
    array = drawn(3, 4)
    kept = array.copy()
    run(lambda: ops.relu(Tensor(array)))
    run(lambda: ops.relu(Tensor(np.frombuffer(array.data, np.float32))))
    assert np.array_equal(array, kept)


def test_a_norm_keeps_its_input_for_backward_and_only_then():
    x = Tensor(drawn(4, 3), requires_grad=True)

    def norm(x, keep):
        y = 2 * x
        if keep is not None:
            keep.append(y.data)
        return ops.relu(ops.batch_norm(y, np.zeros(3, "f"), np.ones(3, "f")))

    expected = run(norm, x, []).numpy()
    with minicnn.no_grad():
        assert np.array_equal(run(norm, x, None).numpy(), expected)
    run(norm, x, None).sum().backward()
    assert_close(x.grad.numpy(), np.where(x.numpy() > 0, 2 / np.sqrt(1 + 1e-5), 0), 1e-6)


ACTIVATIONS = {"silu": (ops.silu, activation.SILU), "hardswish": (ops.hardswish, activation.HARDSWISH)}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("before", ["product", "norm"])
def test_an_activation_is_written_over_its_input_where_nobody_reads_that(monkeypatch, name, free, learning, before):
    function, step = ACTIVATIONS[name]
    forward, seen = step.forward, []

    def watched(x, out=None):
        seen.append(out is x)
        return forward(x, out)

    def model(x):
        y = x * 2
        y = ops.batch_norm(y, np.zeros(3, "f"), np.ones(3, "f"), eps=3.0) if before == "norm" else y
        KEEPING.append(None if free else y.data)
        return function(y)

    monkeypatch.setattr(step, "forward", watched)
    x = Tensor(drawn(4, 3), requires_grad=learning)
    found = run(model, x)
    expected = function(Tensor(x.numpy() if before == "norm" else 2 * x.numpy()))
    assert_close(found.numpy(), expected.numpy(), 1e-6)
    assert seen[0] == (free and not learning)
    assert free or not np.array_equal(KEEPING.pop(), found.numpy())
    KEEPING.clear()
    if learning:
        found.sum().backward()
        twin = Tensor(x.numpy(), requires_grad=True)
        function(twin if before == "norm" else 2 * twin).sum().backward()
        assert_close(x.grad.numpy(), twin.grad.numpy(), 1e-6)


# ---- an ordinary tensor to everybody else


def seen(look):
    """What ``look`` finds in a deferred tensor, and in the same one made at once."""
    x = Tensor(drawn(3, 4), requires_grad=True)

    def forward(x):
        y = ops.relu(2 * x)
        assert isinstance(y, Deferred) and is_pending(y)
        return look(y)

    return run(forward, x), look(ops.relu(2 * x))


LOOKS = {
    "shape": lambda y: (y.shape, y.ndim, y.size, len(y), y.dtype, y.device),
    "repr": repr,
    "values": lambda y: y.tolist(),
    "array": lambda y: np.asarray(y).tolist(),
    "requires_grad": lambda y: (y.requires_grad, y.is_leaf, y.node.name, y.output, y.version),
    "deepcopy": lambda y: copy.deepcopy(y.detach()).tolist(),
    "pickle": lambda y: pickle.loads(pickle.dumps(y.detach())).tolist(),
    "iteration": lambda y: [row.tolist() for row in y],
    "no attribute": lambda y: (hasattr(y, "color"), hasattr(y, "shape")),
    "grad": lambda y: y.grad,
}


@pytest.mark.parametrize("look", LOOKS)
def test_looks_like_a_tensor(look):
    deferred, at_once = seen(LOOKS[look])
    assert deferred == at_once


def test_a_copy_is_of_what_was_made():
    with minicnn.no_grad():
        y, again = run(lambda x: (lambda y: (y, copy.deepcopy(y)))(ops.relu(2 * x)), Tensor(drawn(3)))
    assert np.array_equal(y.numpy(), again.numpy()) and not np.shares_memory(y.numpy(), again.numpy())


def test_its_gradient_can_be_watched():
    x, found = Tensor(drawn(3), requires_grad=True), []

    def forward(x):
        y = ops.relu(2 * x)
        y.retain_grad()
        y.register_hook(lambda grad: found.append(grad.numpy().copy()))
        return (3 * y).sum(), y

    total, y = run(forward, x)
    total.backward()
    assert np.array_equal(y.grad.numpy(), np.full(3, 3, "f")) and np.array_equal(found[0], y.grad.numpy())


def test_the_mode_of_the_call_counts():
    x = Tensor(drawn(3), requires_grad=True)

    def without(x):
        with minicnn.no_grad():
            y = ops.relu(2 * x)
        return y

    def within(x):
        with minicnn.enable_grad():
            y = ops.relu(2 * x)
        return y

    assert not run(without, x).requires_grad
    with minicnn.no_grad():
        assert run(within, x).requires_grad


def test_a_norm_is_of_its_weights_when_it_was_called():
    weight, x = Tensor(np.ones(3, "f"), requires_grad=True), drawn(4, 3)

    def forward(x):
        y = ops.batch_norm(x, None, None, weight, training=True)
        weight.copy_(np.full(3, 5, "f"))
        return y

    assert_close(run(forward, Tensor(x)).numpy(), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), 1e-5)


def test_what_is_written_between_is_an_error_with_the_path():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            y = 2 * x
            result = self.relu(y)
            y.data[...] = 0
            y.bump()
            return result

    with pytest.raises(GradientError, match=r"relu: a tensor of shape \(3,\) was written after.*fix:"):
        Writing()(Tensor(drawn(3)))


def test_inside_a_checkpoint():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), block())
    grads = []
    for function in (net, lambda x: Call(lambda x: checkpoint(net, ops.relu(2 * x)))(x)):
        x = Tensor(drawn(2, 3, 4, 4), requires_grad=True)
        net.zero_grad()
        function(ops.relu(2 * x) if function is net else x).sum().backward()
        grads.append([x.grad.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for plain, checkpointed in zip(*grads, strict=True):
        assert_close(checkpointed, plain, 1e-5)


def test_an_error_of_backward_names_the_layer():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    y = net(Tensor(drawn(2, 3, 2, 2)))
    y.sum().backward()
    with pytest.raises(GradientError, match=r"1: batch_norm_relu: backward ran through this operation before"):
        y.sum().backward()


def test_on_the_gpu():
    x = drawn(2, 3, 4, 4)
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), block())
    expected = net(Tensor(x)).numpy()
    with emulated_gpu():
        y = net.to("gpu")(Tensor(x, device="gpu"))
        assert history(y) == ["batch_norm_add_relu", "conv2d", "batch_norm_relu", "conv2d"]
        y.sum().backward()
        assert_close(y.numpy(), expected, 1e-5)
        with minicnn.no_grad():
            assert_close(net(Tensor(x, device="gpu")).numpy(), expected, 1e-5)
