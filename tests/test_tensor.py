"""The tensor itself: values in and out, the tape, hooks, writes, dtypes, devices, long graphs and threads."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, DeviceError, DTypeError, GradientError, ShapeError
from minicnn.kernels.counting import listening
from tests.close import assert_close


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


# ---- values in and out


def test_what_becomes_of_data():
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor([1.5, 2]).dtype == np.float32
    assert Tensor(2.5).dtype == np.float32 and Tensor(2.5).shape == ()
    assert Tensor(np.ones(2)).dtype == np.float64
    assert Tensor([True]).dtype == bool
    assert Tensor([1, 2], dtype=np.float64).dtype == np.float64
    with pytest.raises(DTypeError, match="complex"):
        Tensor(np.ones(2, complex))


def test_values_out():
    x = Tensor([[1.0, 2.0]])
    assert x[0, 1].item() == 2.0 and isinstance(x[0, 1].item(), float)
    assert x.tolist() == [[1.0, 2.0]] and x.size == 2 and x.ndim == 2 and len(x) == 1
    assert np.asarray(x) is x.data and x.numpy() is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    assert float(Tensor(1.5)) == 1.5 and int(Tensor(3)) == 3 and bool(Tensor([0.0])) is False
    with pytest.raises(ShapeError, match=r"Tensor.item: shape \(1, 2\) has 2 elements"):
        x.item()
    with pytest.raises(ShapeError, match=r"2 elements, expected exactly 1"):
        bool(x == x)
    with pytest.raises(ShapeError, match=r"len\(\) of a 0-d tensor; fix: use .item"):
        len(Tensor(1.0))


def test_repr_tells_shape_dtype_device_and_op():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "Tensor([1. 2.], shape=(2,), dtype=float32, device=cpu, requires_grad=True)"
    assert repr(x * 2).endswith("shape=(2,), dtype=float32, device=cpu, op=mul)")
    assert len(repr(Tensor(np.zeros((100, 100))))) < 500
    with minicnn.abstract():
        assert repr(Tensor(np.zeros((3, 4)))) == "Tensor(shape=(3, 4), dtype=float64, device=abstract)"


def test_iteration_goes_over_the_first_dimension():
    x = leaf(3, 2)
    assert [row.shape for row in x] == [(2,)] * 3
    with pytest.raises(ShapeError, match="0-d"):
        iter(Tensor(1.0))


# ---- operators


@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5), np.int64(2), [1.0, 2.0], np.array([1.5, 2.5], np.float32)])
def test_operators_both_ways_keep_float32(number):
    x = Tensor(np.array([[1.0, 2.0]], np.float32), requires_grad=True)
    plain = np.asarray(number, np.float32)
    for ours, expected in (
        (x + number, x.data + plain),
        (number + x, x.data + plain),
        (x - number, x.data - plain),
        (number - x, plain - x.data),
        (x * number, x.data * plain),
        (number * x, x.data * plain),
        (x / number, x.data / plain),
        (number / x, plain / x.data),
        (x**number, x.data**plain),
        (number**x, plain**x.data),
    ):
        assert type(ours) is Tensor and ours.dtype == np.float32
        assert_close(ours.numpy(), expected, 1e-6)
    assert (x > number).dtype == bool and (number > x).numpy().tolist() == (plain > x.data).tolist()


def test_matmul_both_ways():
    x, m = leaf(2, 3), np.arange(6.0).reshape(3, 2)
    assert_close((x @ m).numpy(), x.data @ m)
    assert_close((m @ x).numpy(), m @ x.data)


def test_equality_is_elementwise_and_tensors_are_hashable():
    x = Tensor([1.0, 2.0])
    assert (x == Tensor([1.0, 3.0])).tolist() == [True, False]
    assert (x != 1).tolist() == [False, True]
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert len({x: 1, Tensor([1.0, 2.0]): 2}) == 2


def test_integers_stay_integers_and_meet_floats_on_their_terms():
    i, f = Tensor([1, 2]), Tensor([0.5, 1.5])
    assert (i + i).dtype == np.int64 and (i * 3 - 1).dtype == np.int64 and (i**2).dtype == np.int64
    assert (-i).dtype == np.int64 and abs(i).dtype == np.int64 and i.sum().dtype == np.int64
    assert (i / i).dtype == np.float32 and (i / 2).tolist() == [0.5, 1.0]
    assert (i * 0.5).dtype == np.float32 and (i + f).dtype == np.float32 and i.mean().dtype == np.float32
    assert (i * Tensor(np.ones(2))).dtype == np.float64
    assert (Tensor(np.array([250], np.uint8)) + 5).dtype == np.uint8
    assert not (i + i).requires_grad
    with pytest.raises(ArgumentError, match="other=300 does not fit in uint8; fix"):
        Tensor(np.array([1], np.uint8)) + 300
    with pytest.raises(DTypeError, match=r"sub: x is a bool tensor.*fix: x.astype"):
        (i == i) - (i == i)
    assert (i == i).sum().item() == 2 and (i == 1).mean().item() == 0.5


def test_floats_are_never_mixed():
    with pytest.raises(
        DTypeError, match=r"mul: other has dtype float64, but x has float32.*fix: other.astype\('float32'\)"
    ):
        Tensor([1.0]) * np.ones(1)
    with pytest.raises(DTypeError, match=r"tensors\[1\] has dtype float64, but tensors\[0\] has float32"):
        ops.cat([Tensor([1.0]), Tensor(np.ones(1))])
    with pytest.raises(DTypeError, match="add: x has dtype float16, expected float32 or float64"):
        Tensor(np.ones(2, np.float16)) + 1


def test_nothing_warns_where_numpy_would():
    x = leaf(2)
    (ops.log(x - x) / 0 + ops.sqrt(-ops.abs(x)) + (x - x) / (x - x)).sum().backward()
    assert ops.mean(np.ones((0,))).numpy() != ops.mean(np.ones((0,))).numpy()
    assert ops.logsumexp(np.ones((2, 0)), 1).tolist() == [-np.inf] * 2
    assert np.isnan(ops.var(np.ones(1)).item())


def test_conversions_pass_gradients_between_floats():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x.double() * np.array([3.0, 4.0])).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [3.0, 4.0]
    assert x.float() is x and not x.astype("int64").requires_grad and x.to("cpu") is x
    copy = x.clone()
    copy.data[0] = 9.0
    assert x.tolist() == [1.0, 2.0]


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
        (lambda x, w: x * x + 0 * w, ("2x", 0)),
        (lambda x, w: (x + w) + (x + w), (2, 2)),
        (lambda x, w: x.reshape(6).reshape(2, 3) - w, (1, -1)),
        (lambda x, w: ops.add(ops.cat([x, w])[:2], ops.cat([x, w])[2:]), (1, 1)),
    ],
)
def test_a_leafs_gradient_is_right_and_its_own(function, expected):
    x, w = leaf(2, 3), leaf(2, 3, seed=1)
    seed = np.arange(6.0).reshape(2, 3)
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


# ---- writes


def test_a_write_between_forward_and_backward_is_noticed():
    x = leaf(2)
    y = (x * x).sum()
    x.copy_([5.0, 6.0])
    with pytest.raises(GradientError, match=r"mul: input 0 of shape \(2,\) was written after the forward pass"):
        y.backward()
    assert x.grad is None, "a refused backward left a gradient behind"


def test_a_write_of_something_not_saved_is_fine():
    x, w = leaf(2), leaf(2, seed=1)
    y = (x + w).sum()
    x.copy_([5.0, 6.0])
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[0],
        lambda x: x.reshape(6),
        lambda x: x.T,
        lambda x: x.detach(),
        lambda x: x.split(1)[1],
        lambda x: x.T[1:],
    ],
)
def test_a_write_is_noticed_through_a_view(view):
    x, w = leaf(2, 3), Tensor(2.0, requires_grad=True, dtype=np.float64)
    y = (view(x) * w).sum()
    x.copy_(np.zeros((2, 3)))
    with pytest.raises(GradientError, match="was written after the forward pass"):
        y.backward()


def test_writing_rules():
    x = leaf(2)
    assert x.copy_(x.detach() * 2) is x
    with pytest.raises(ShapeError, match=r"copy_: values have shape \(3,\), expected \(2,\)"):
        x.copy_([1.0, 2.0, 3.0])
    with pytest.raises(GradientError, match="copy_: this tensor was computed"):
        (x * 2).copy_([1.0, 2.0])
    with pytest.raises(ArgumentError, match="not written by index; fix"):
        x[0] = 1.0
    with pytest.raises(ShapeError, match=r"cannot assign shape \(3,\)"):
        x.data = np.ones(3)


# ---- devices


def test_devices_are_checked_by_name():
    x = Tensor([1.0])
    assert x.device == "cpu" and x.to("cpu").device == "cpu"
    for name in ("tpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(DeviceError, match="is unknown; expected 'cpu'"):
            x.to(name)


# ---- ties


def test_ties_share_the_gradient():
    x = Tensor([1.0, 3.0, 3.0], requires_grad=True)
    ops.max(x).backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5]
    x.zero_grad()
    values, indices = ops.max(x, 0)
    values.backward()
    assert indices.item() == 1 and indices.dtype == np.int64 and x.grad.tolist() == [0.0, 1.0, 0.0]
    x.zero_grad()
    ops.maximum(x, 3.0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5]


def test_prod_of_zeros_has_the_right_gradient():
    x = Tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]], requires_grad=True)
    ops.prod(x, 1).sum().backward()
    assert x.grad.tolist() == [[0.0, 6.0, 0.0], [0.0, 0.0, 0.0]]


def test_std_of_equal_numbers_has_no_infinite_gradient():
    x = Tensor([2.0, 2.0], requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0.0, 0.0]


# ---- counting


def test_matmul_reports_its_multiply_adds():
    counted = []
    with listening(lambda op, macs: counted.append((op, macs))), minicnn.abstract():
        Tensor(np.ones((5, 2, 3))) @ Tensor(np.ones((3, 4)))
    assert counted == [("matmul", 5 * 2 * 3 * 4)]


# ---- long graphs, memory, threads


@pytest.mark.parametrize(
    ("length", "step"),
    [
        (3_000, lambda y: y + 1),
        (100_000, lambda y: minicnn.record("step", y.data, (y,), lambda gy, needs: (gy,))),
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


# ---- shapes without values


def test_abstract_tensors_have_no_values():
    with minicnn.abstract():
        x = Tensor(np.ones((2, 3)), requires_grad=True)
        y = (x * 2).sum()
    assert x.device == "abstract"
    for call in (x.numpy, y.item, lambda: bool(y), lambda: np.asarray(x)):
        with pytest.raises(DeviceError, match=r"has no values; run outside minicnn.abstract\(\)"):
            call()
    with pytest.raises(GradientError, match="abstract tensors have no values"):
        y.backward()


def test_a_mask_keeps_its_values_in_abstract_mode():
    mask = np.array([True, False, True])
    with minicnn.abstract():
        assert Tensor(np.ones((3, 2)))[mask].shape == (2, 2)
        with pytest.raises(ShapeError, match=r"mask without values.*fix: give the mask as a NumPy array"):
            Tensor(np.ones(3))[Tensor(mask)]
