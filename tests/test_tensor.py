"""The tensor itself: values in and out, operators, dtypes, devices, ties, counting, new tensors, abstract mode."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, DeviceError, DTypeError, IndexRangeError, ShapeError
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
    with pytest.raises(DTypeError, match="add: x has dtype float16, in which only a GPU computes"):
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


# ---- shapes without values


def test_abstract_tensors_have_no_values():
    with minicnn.abstract():
        x = Tensor(np.ones((2, 3)), requires_grad=True)
        y = (x * 2).sum()
    assert x.device == "abstract"
    for call in (x.numpy, y.item, lambda: bool(y), lambda: np.asarray(x)):
        with pytest.raises(DeviceError, match=r"has no values; run outside minicnn.abstract\(\)"):
            call()
    y.backward()
    assert type(x.grad.data) is minicnn.ShapeArray and x.grad.shape == (2, 3)


def test_a_mask_keeps_its_values_in_abstract_mode():
    mask = np.array([True, False, True])
    with minicnn.abstract():
        assert Tensor(np.ones((3, 2)))[mask].shape == (2, 2)
        with pytest.raises(ShapeError, match=r"mask without values.*fix: give the mask as a NumPy array"):
            Tensor(np.ones(3))[Tensor(mask)]


# ---- new tensors


@pytest.mark.parametrize("make", [minicnn.zeros, minicnn.ones, minicnn.rand, minicnn.randn])
def test_new_tensors_have_the_shape_asked_for(make):
    assert make(2, 3).shape == make((2, 3)).shape == (2, 3) and make(2).dtype == np.float32
    assert make().shape == () and make(0, 2).shape == (0, 2)
    assert make(2, dtype=np.float64, requires_grad=True).requires_grad
    with minicnn.abstract():
        assert type(make(10**6, 10**6).data) is minicnn.ShapeArray
    with pytest.raises(ArgumentError, match=r"size \(2, -1\) has -1, expected whole numbers"):
        make(2, -1)


def test_new_tensors_have_the_values_asked_for():
    assert minicnn.full((2,), 7.5).tolist() == [7.5, 7.5] and minicnn.zeros(2).tolist() == [0.0, 0.0]
    assert minicnn.arange(3).tolist() == [0, 1, 2] and minicnn.arange(3).dtype == np.int64
    assert minicnn.arange(1, 2, 0.5).tolist() == [1.0, 1.5] and minicnn.arange(1, 2, 0.5).dtype == np.float32
    with pytest.raises(ArgumentError, match="arange: step=0 never reaches the end"):
        minicnn.arange(0, 1, 0)


def test_random_tensors_repeat_with_their_generator():
    first, second = (minicnn.randn(1000, generator=minicnn.Generator(3)).numpy() for _ in range(2))
    assert np.array_equal(first, second) and abs(first.mean()) < 0.2 and abs(first.std() - 1) < 0.2
    uniform = minicnn.rand(1000, generator=minicnn.Generator(3)).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.1


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Tensor([[1, 2], [3]]), ShapeError, "Tensor: data is a list whose rows differ in length"),
        (lambda: Tensor(["a"], dtype="float32"), DTypeError, "Tensor: data cannot become an array of float32"),
        (lambda: Tensor([1.0], dtype="foo"), DTypeError, "Tensor: dtype='foo' is unknown"),
        (lambda: Tensor([1.0]).astype(None), DTypeError, "astype: dtype=None is unknown"),
        (lambda: Tensor([1.0], device=5), DeviceError, "device 5 is unknown"),
        (lambda: ops.relu(None), ArgumentError, "relu: x is None, expected a tensor"),
        (lambda: ops.linear(Tensor([1.0]), None), ArgumentError, "linear: weight is None"),
        (lambda: ops.index_select(Tensor([1.0]), 0, 7), IndexRangeError, r"index\[\] is 7, expected 0 to 0"),
        (lambda: Tensor([1.0])[[[0], [0, 0]]], ShapeError, "getitem: index is a list whose rows differ"),
        (
            lambda: ops.pad(Tensor([1]), (1, 1), value=0.5),
            ArgumentError,
            "pad: value=0.5 does not fit in x of dtype int",
        ),
        (
            lambda: setattr(Tensor([1.0], requires_grad=True), "data", [1]),
            DTypeError,
            r"Tensor.data: requires_grad needs a float dtype, got int64",
        ),
    ],
)
def test_mistakes_of_making_tensors_are_explained(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_expand_takes_numbers_or_a_shape():
    x = Tensor([1.0])
    assert x.expand(2, 3).shape == x.expand((2, 3)).shape == (2, 3)
