"""A checkpointed step leaves the same bits behind as a plain one, and holds less memory."""

import gc
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, checkpoint, ops, random
from minicnn.errors import ArgumentError, GradientError


class Net:
    """linear, batch norm, relu, dropout, linear: leaves, buffers and random draws in one block."""

    def __init__(self):
        rng = np.random.default_rng(0)

        def leaf(*shape):
            return Tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True)

        self.first, self.gamma, self.beta, self.second = leaf(6, 5), leaf(6), leaf(6), leaf(4, 6)
        self.mean, self.var = Tensor(np.zeros(6, np.float32)), Tensor(np.ones(6, np.float32))
        self.inner = lambda fn, *inputs: fn(*inputs)

    def half(self, x):
        y = ops.batch_norm(ops.linear(x, self.first), self.mean, self.var, self.gamma, self.beta, training=True)
        return ops.dropout(ops.relu(y), 0.3)

    def block(self, x):
        return ops.linear(ops.dropout(self.inner(self.half, x), 0.2), self.second)

    def bits(self):
        arrays = [p.grad.numpy() for p in (self.first, self.gamma, self.beta, self.second)]
        return [a.tobytes() for a in (*arrays, self.mean.numpy(), self.var.numpy())]


def step(run, inner=None, image_grad=True):
    """One forward and backward pass through ``run(block, x)`` twice in a row; everything it leaves behind."""
    minicnn.manual_seed(7)
    net = Net()
    net.inner = inner or net.inner
    x = Tensor(np.random.default_rng(1).standard_normal((8, 5)).astype(np.float32), requires_grad=image_grad)
    y = run(net.block, x)
    z = run(lambda t: ops.dropout(ops.relu(t), 0.5), y)
    z.backward(np.random.default_rng(2).standard_normal(z.shape).astype(np.float32))
    image = x.grad.numpy().tobytes() if image_grad else b""
    return z.numpy().tobytes(), image, net.bits(), random.default_generator().state()


def plain(fn, *inputs):
    return fn(*inputs)


@pytest.mark.parametrize("image_grad", [True, False])
def test_a_step_is_the_same_bit_for_bit(image_grad):
    """Outputs, gradients, running statistics and generator; also when only the weights need gradients."""
    assert step(checkpoint, image_grad=image_grad) == step(plain, image_grad=image_grad)


def test_nested_checkpoints_are_the_same_bit_for_bit():
    assert step(checkpoint, inner=checkpoint) == step(plain)
    assert step(plain, inner=checkpoint) == step(plain)


def test_a_generator_of_the_block_s_own_is_replayed_too():
    def run(wrap):
        generator = random.Generator(3)
        x = Tensor(np.ones((4, 50), np.float32), requires_grad=True)
        wrap(lambda t: ops.dropout(t, 0.5, seed=generator.next_seed()), x).backward(np.ones((4, 50), np.float32))
        return x.grad.numpy().tobytes(), generator.state()

    assert run(checkpoint) == run(plain)


def test_the_samples_count_as_in_the_first_run():
    def run(wrap):
        x = Tensor(np.ones((4, 50), np.float32), requires_grad=True)
        with random.sample_offset(12):
            y = wrap(lambda t: ops.relu(ops.dropout(t, 0.5, seed=5)), x)
        y.backward(np.ones((4, 50), np.float32))
        return y.numpy().tobytes(), x.grad.numpy().tobytes()

    assert run(checkpoint) == run(plain)


def test_several_outputs_and_an_unused_one():
    rng = np.random.default_rng(3)
    x, w = Tensor(rng.standard_normal((3, 4)), requires_grad=True), Tensor(rng.standard_normal((4, 4)), True)

    def two(x):
        y = ops.linear(x, w)
        return ops.relu(y), y, x

    gradients = []
    for wrap in (plain, checkpoint):
        x.zero_grad(), w.zero_grad()
        outputs = wrap(two, x)
        assert isinstance(outputs, tuple) and len(outputs) == 3
        ops.linear(outputs[0], w).backward(np.ones((3, 4)))
        gradients.append((x.grad.numpy().tobytes(), w.grad.numpy().tobytes()))
    assert gradients[0] == gradients[1]


def test_retain_graph_and_gradcheck():
    rng = np.random.default_rng(4)
    x, w = Tensor(rng.standard_normal((3, 4)), requires_grad=True), Tensor(rng.standard_normal((4, 4)), True)
    assert minicnn.gradcheck(lambda x, w: checkpoint(lambda x, w: ops.relu(ops.linear(x, w)), x, w), x, w)
    y = checkpoint(ops.linear, x, w)
    y.backward(np.ones((3, 4)), retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward(np.ones((3, 4)))
    assert np.array_equal(x.grad.numpy(), 2 * once)


def test_upstream_gradients_are_not_written():
    x, seed = Tensor(np.ones(3), requires_grad=True), np.ones(3)
    a, b = checkpoint(lambda t: (t, ops.relu(t)), x)
    both = minicnn.record("both", a.data + b.data, (a, b), lambda gy, needs: (gy, gy))
    both.backward(seed)
    assert np.array_equal(seed, np.ones(3)) and np.array_equal(x.grad.numpy(), 2 * np.ones(3))


def test_activations_are_freed_after_the_first_run():
    inside = []

    def block(x):
        y = ops.relu(x)
        inside.append(weakref.ref(y.data))
        return ops.relu(y)

    gc.disable()
    try:
        y = checkpoint(block, Tensor(np.ones((2, 3)), requires_grad=True))
        assert inside[0]() is None
        y.backward(np.ones((2, 3)))
        assert len(inside) == 2 and inside[1]() is None
        node = weakref.ref(y)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_without_gradients_the_block_runs_once():
    runs = []

    def block(x):
        runs.append(1)
        return ops.relu(x)

    with minicnn.no_grad():
        assert checkpoint(block, Tensor(np.ones(3), requires_grad=True)).node is None
    assert checkpoint(block, Tensor(np.ones(3))).node is None
    with minicnn.abstract():
        assert checkpoint(block, Tensor(np.ones(3))).shape == (3,)
    assert len(runs) == 3


def leaf():
    return Tensor(np.ones((2, 2)), requires_grad=True)


def test_a_tensor_from_outside_is_refused():
    outside = ops.relu(leaf())
    with pytest.raises(GradientError, match=r"checkpoint: the block uses the result of relu, computed outside.*fix"):
        checkpoint(lambda t: ops.linear(t, outside), leaf())


def test_a_written_leaf_is_refused():
    w = leaf()
    y = checkpoint(lambda t: ops.linear(t, w), leaf())
    w.copy_(np.zeros((2, 2)))
    with pytest.raises(GradientError, match=r"checkpoint: an input or leaf of shape \(2, 2\) was written.*fix"):
        y.backward(np.ones((2, 2)))


def changing(first, second):
    """A block that does ``first`` in its first run and ``second`` when recomputed."""
    runs = iter((first, second))
    return lambda t: next(runs)(t)


@pytest.mark.parametrize(
    ("second", "match"),
    [
        (lambda t: ops.dropout(ops.dropout(t)), r"drew more random seeds when it was recomputed"),
        (lambda t: t, r"drew 1 random seeds fewer when it was recomputed"),
        (lambda t: ops.dropout(ops.linear(t, leaf())), r"used a leaf when it was recomputed"),
        (lambda t: (ops.dropout(t), t), r"returned shapes \[?\(\(2, 2\), \(2, 2\)\) when recomputed"),
    ],
)
def test_a_block_that_changes_is_explained(second, match):
    y = checkpoint(changing(ops.dropout, second), leaf())
    with pytest.raises(GradientError, match=match):
        y.backward(np.ones((2, 2)))


def test_a_block_that_returns_no_tensor_is_explained():
    with pytest.raises(ArgumentError, match=r"checkpoint: the block returned a ndarray, expected a tensor"):
        checkpoint(lambda t: t.numpy(), leaf())
