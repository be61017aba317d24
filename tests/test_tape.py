"""The tape: ownership of gradients, hooks, long graphs, memory and threads."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import DTypeError, GradientError
from tests.close import assert_close


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


# ---- the tape


def check_owns_grad(*leaves):
    for tensor in leaves:
        assert tensor.grad.data.base is None
        assert not any(np.shares_memory(tensor.grad.data, other.data) for other in leaves)
    grads = [tensor.grad.data for tensor in leaves]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(grads) for b in grads[:i])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, w: x + w, (1, 1)),
        (lambda x, w: (x + x) + w, (2, 1)),
        (lambda x, w: (x + w) + x, (2, 1)),
        (lambda x, w: x * x + 0 * w, ("2x", 0)),
        (lambda x, w: (x + w) + (x + w), (2, 2)),
        (lambda x, w: x.reshape(6).reshape(2, 3) - w, (1, -1)),
        (lambda x, w: ops.add(ops.cat([x, w])[:2], ops.cat([x, w])[2:]), (1, 1)),
    ],
)
def test_a_leafs_gradient_is_right_and_its_own(function, expected):
    x, w = leaf(2, 3), leaf(2, 3, seed=1)
    seed = np.arange(6.0).reshape(2, 3).copy()  # its own memory: views are never added into anyway
    kept = seed.copy()
    y = function(x, w)
    y.backward(seed)
    check_owns_grad(x, w)
    for tensor, factor in zip((x, w), expected, strict=True):
        assert_close(tensor.grad.numpy(), kept * (2 * x.data if factor == "2x" else factor))
    x.grad.data[...] = 7.0
    assert np.array_equal(seed, kept), "the seed was written"


def test_gradients_add_up_over_calls_and_zero_grad_forgets():
    x = leaf(3)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first and x.grad.tolist() == [5.0] * 3
    x.zero_grad()
    assert x.grad is None


def test_shared_subgraph_is_visited_once():
    x, visits = leaf(3), []
    y = x * 2
    y.register_hook(lambda grad: visits.append(grad.tolist()))
    ((y + y) * y).sum().backward()
    assert len(visits) == 1
    assert_close(visits[0], 4 * y.data)
    assert_close(x.grad.numpy(), 16 * x.data)


@pytest.mark.parametrize("newest", ["own", "upstream"])
def test_gradients_are_added_into_one_that_is_nobody_elses(newest):
    """As of a residual block: one branch passes on the upstream gradient itself, the other makes one of its own."""
    x, seed, places = leaf(3), np.ones(3), []

    def own(gy, needs):
        gx = gy * 2
        places.append(gx.__array_interface__["data"])
        return (gx,)

    vjps = {"own": own, "upstream": lambda gy, needs: (gy,)}
    older, newer = (minicnn.record(name, x.data * 1, (x,), vjps[name]) for name in sorted(vjps, key=newest.__eq__))
    (older + newer).backward(seed)
    assert x.grad.tolist() == [3] * 3 and seed.tolist() == [1] * 3
    assert x.grad.data.__array_interface__["data"] == places[0], "the sum lies elsewhere"


def test_several_outputs_of_which_one_is_used():
    x = leaf(4)
    _, right = ops.split(x, 2)
    right.backward(np.array([1.0, 2.0]))
    assert x.grad.tolist() == [0, 0, 1, 2]
    x.zero_grad()
    (whole,) = ops.split(x, 9)
    whole.backward(np.ones(4))
    assert x.grad.tolist() == [1] * 4 and x.grad.data.base is None


def test_an_unused_input_and_a_constant_get_no_gradient():
    x, unused, constant = leaf(2), leaf(2), Tensor(np.ones(2))
    (x * constant).sum().backward()
    assert unused.grad is None and constant.grad is None and x.grad is not None


def test_zero_dimensions_go_all_the_way():
    x = Tensor(3.0, requires_grad=True)
    y = x * x + x / 2 - 1
    assert y.shape == () and type(y.data) is np.ndarray
    y.backward()
    assert x.grad.item() == 6.5 and type(x.grad.data) is np.ndarray


def test_backward_needs_a_seed_of_its_shape_and_dtype():
    x = leaf(2, 3)
    with pytest.raises(GradientError, match=r"shape \(2, 3\) needs a seed of that shape; fix: .sum\(\)"):
        (x * 2).backward()
    with pytest.raises(GradientError, match=r"seed has shape \(3,\) and dtype float64, expected \(2, 3\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(GradientError, match="dtype float32, expected"):
        (x * 2).backward(np.ones((2, 3), np.float32))
    with pytest.raises(GradientError, match="has no history; fix: set requires_grad=True"):
        Tensor([1.0]).backward()


def test_second_backward_is_refused_and_named_unless_retained():
    x = leaf(2)
    y = ops.exp(x)
    y.sum().backward()
    with pytest.raises(GradientError, match=r"exp: backward ran through this operation before.*retain_graph=True"):
        y.sum().backward()
    z = ops.exp(x).sum()
    x.zero_grad()
    z.backward(retain_graph=True)
    z.backward()
    assert_close(x.grad.numpy(), 2 * np.exp(x.data))


def test_no_grad_records_nothing():
    x = leaf(2)
    with minicnn.no_grad():
        y = x * 2
        with minicnn.enable_grad():
            z = x * 2
    assert y.is_leaf and not y.requires_grad and z.requires_grad and (x * 2).requires_grad
    assert minicnn.is_grad_enabled()


def test_detach_shares_values_and_cuts_history():
    x = leaf(2)
    y = (x * 2).detach()
    assert y.is_leaf and not y.requires_grad
    assert np.shares_memory(x.detach().data, x.data)
    (x * y).sum().backward()
    assert_close(x.grad.numpy(), y.data)


def test_requires_grad_():
    x = Tensor([1.0])
    assert x.requires_grad_() is x and x.requires_grad and not x.requires_grad_(False).requires_grad
    with pytest.raises(DTypeError, match="needs a float dtype, got int64"):
        Tensor([1]).requires_grad_()
    with pytest.raises(DTypeError, match="requires_grad needs a float dtype"):
        Tensor([1], requires_grad=True)
    with pytest.raises(GradientError, match=r"fix: use \.detach"):
        (leaf(2) * 2).requires_grad_(False)


# ---- hooks and retained gradients


def test_hooks_see_and_replace_gradients():
    x, seen = leaf(2), []
    remove = x.register_hook(lambda grad: seen.append(grad.tolist()))
    x.register_hook(lambda grad: grad * 10)
    y = x * 3
    y.register_hook(lambda grad: grad * 2)
    y.sum().backward()
    assert seen == [[6.0, 6.0]] and x.grad.tolist() == [60.0, 60.0]
    remove()
    (x * 1).sum().backward()
    assert len(seen) == 1
    with pytest.raises(GradientError, match="will get no gradient"):
        Tensor([1.0]).register_hook(print)


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(2)
    y = x * 2
    y.retain_grad()
    z = (y * y).sum()
    z.backward(retain_graph=True)
    assert_close(y.grad.numpy(), 2 * y.data)
    z.backward()
    assert_close(y.grad.numpy(), 4 * y.data)


def test_retain_grad_twice_counts_once():
    x = leaf(2)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("of", [lambda x: x, ops.relu])
@pytest.mark.parametrize("made", [lambda grad: np.ones(7), lambda grad: grad.astype("float32")])
def test_a_hook_cannot_change_shape_or_dtype(of, made):
    x = leaf(2)
    y = of(x)
    y.register_hook(made)
    with pytest.raises(GradientError, match=r"register_hook: the hook returned shape .* gradient of shape \(2,\)"):
        y.sum().backward()


# ---- long graphs, memory, threads


@pytest.mark.parametrize(
    ("length", "step"),
    [
        (3_000, lambda y: y + 1),
        pytest.param(
            100_000,
            lambda y: minicnn.record("step", y.data, (y,), lambda gy, needs: (gy,)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["3000", "100000"],
)
def test_long_chains_do_not_recurse(length, step):
    x = Tensor(1.0, requires_grad=True)
    y = x
    gc.disable()  # it would walk the whole chain again and again
    try:
        for _ in range(length):
            y = step(y)
        y.backward(retain_graph=True)
        assert x.grad.item() == 1.0
        del y  # freeing the chain must not recurse either
    finally:
        gc.enable()


def test_backward_frees_the_graph_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(4)
        y = ops.exp(x)
        array = weakref.ref(y.data)
        z = (y * 2).sum()
        del y
        assert array() is not None, "exp saves its output"
        z.backward()
        assert array() is None, "backward keeps what it no longer needs"
        node = z.node
        assert node.vjp is None and node.edges == ()
    finally:
        gc.enable()


def test_a_failing_vjp_leaves_no_half_gradients():
    x, w = leaf(2), leaf(2)

    def broken(gy, needs):
        raise ValueError("broken")

    y = minicnn.record("scale", x.data * 2, (x,), broken)
    with pytest.raises(ValueError, match="broken"):
        (y + w).sum().backward()
    assert x.grad is None and w.grad is None


@pytest.mark.parametrize(
    ("vjp", "match"),
    [
        (lambda gy, needs: (gy, gy), "scale: its vjp returned 2 gradients for 1 inputs"),
        (lambda gy, needs: (None,), "scale: its vjp returned None for input 0"),
        (lambda gy, needs: (gy[:1],), r"scale: its vjp returned a gradient of shape \(1,\).*expected \(2,\)"),
        (lambda gy, needs: (gy.astype("f"),), "dtype float32 for input 0, expected"),
        (lambda gy, needs: gy, "scale: its vjp returned a ndarray, expected a tuple"),
        (lambda gy, needs: None, "scale: its vjp returned a NoneType, expected a tuple"),
        (lambda gy, needs: (Tensor(gy),), "scale: its vjp returned a Tensor for input 0, expected a raw array"),
        (lambda gy, needs: ([1.0, 1.0],), "scale: its vjp returned a list for input 0, expected a raw array"),
    ],
)
def test_a_vjp_that_breaks_its_contract_is_named(vjp, match):
    x = leaf(2)
    with pytest.raises(GradientError, match=match):
        minicnn.record("scale", x.data * 2, (x,), vjp).sum().backward()


def test_two_threads_call_kernels_at_once():
    x = np.random.default_rng(0).standard_normal((8, 3, 16, 16))
    w = np.random.default_rng(1).standard_normal((4, 3, 3, 3))
    results, errors = {}, []

    def work(number):
        try:
            for _ in range(5):
                a, b = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
                y = ops.relu(ops.conv2d(a, b, padding=1))
                (y * y).sum().backward()
                results.setdefault(number, []).append((y.numpy(), a.grad.numpy(), b.grad.numpy()))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    first = results[0][0]
    for run in results[0] + results[1]:
        assert all(np.array_equal(a, b) for a, b in zip(run, first, strict=True))


def test_modes_do_not_leak_into_other_threads():
    seen = []
    with minicnn.no_grad(), minicnn.abstract():
        thread = threading.Thread(target=lambda: seen.append((leaf(2) * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_threads_may_add_into_shared_parameters():
    weight = Tensor(np.zeros(20_000), requires_grad=True)

    def work():
        for _ in range(50):
            (weight * 1.0).backward(np.ones(20_000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(weight.grad.numpy(), np.full(20_000, 200.0))


# ---- leaves that are told of early


def test_a_leaf_is_final_once_when_nothing_more_can_come():
    first, shared, last, x = leaf(3), leaf(3, seed=1), leaf(3, seed=2), leaf(3, seed=3)
    told = []
    loss = (((x * first + shared) * x + shared) * last).sum()
    loss.backward(retain_graph=True)
    expected = [tensor.grad.numpy().copy() for tensor in (first, shared, last, x)]
    for tensor in (first, shared, last, x):
        tensor.grad = None
    loss.backward(final=lambda tensor: told.append((tensor, tensor.grad.numpy().copy())))
    assert [id(tensor) for tensor, _ in told] == [id(t) for t in (last, shared, first, x)] or [
        id(tensor) for tensor, _ in told
    ] == [id(t) for t in (last, shared, x, first)]
    for tensor, whole in zip((first, shared, last, x), expected, strict=True):
        (when_told,) = (grad for other, grad in told if other is tensor)
        assert np.array_equal(when_told, whole)
        assert np.array_equal(tensor.grad.numpy(), whole)


def test_a_leaf_is_told_of_before_the_walk_goes_on():
    early, late = leaf(3), leaf(3, seed=1)
    seen = []
    y = late * 2
    y.register_hook(lambda grad: seen.append("walk"))
    (y * early).sum().backward(final=lambda tensor: seen.append("early" if tensor is early else "late"))
    assert seen == ["early", "walk", "late"]
