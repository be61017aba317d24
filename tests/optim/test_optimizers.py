"""Every optimiser against its oracle over 20 steps, with options that make every term matter."""

import copy
import json

import numpy as np
import pytest

from minicnn import Tensor, ops, optim
from minicnn.errors import ArgumentError, CheckpointError, DeviceError, DTypeError, GradientError, ShapeError
from tests.close import assert_close
from tests.optim import oracles

STEPS = 20
CASES = [
    (optim.SGD, oracles.sgd, {"lr": 0.1}),
    (optim.SGD, oracles.sgd, {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    (optim.SGD, oracles.sgd, {"lr": 0.1, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.3}),
    (optim.SGD, oracles.sgd, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3, "nesterov": True, "maximize": True}),
    (optim.SGD, oracles.sgd_caffe, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3, "form": "caffe"}),
    (optim.SGD, oracles.sgd_caffe, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "maximize": True, "form": "caffe"}),
    (optim.Adam, oracles.adam, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 0.1, "weight_decay": 0.3}),
    (optim.Adam, oracles.adam, {"lr": 0.1, "betas": (0.7, 0.5), "eps": 0.1, "amsgrad": True, "maximize": True}),
    (optim.AdamW, oracles.adamw, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 0.1, "weight_decay": 0.3}),
    (optim.AdamW, oracles.adamw, {"lr": 0.1, "betas": (0.7, 0.5), "amsgrad": True, "maximize": True}),
    (optim.RMSprop, oracles.rmsprop, {"lr": 0.1, "alpha": 0.6, "eps": 0.1, "weight_decay": 0.3}),
    (optim.RMSprop, oracles.rmsprop, {"lr": 0.1, "alpha": 0.6, "eps": 0.1, "momentum": 0.5, "centered": True}),
    (optim.RMSprop, oracles.rmsprop, {"lr": 0.1, "alpha": 0.6, "momentum": 0.5, "maximize": True}),
    (optim.Adagrad, oracles.adagrad, {"lr": 0.3, "lr_decay": 0.2, "weight_decay": 0.3, "eps": 0.1}),
    (optim.Adagrad, oracles.adagrad, {"lr": 0.3, "initial_accumulator_value": 0.7, "maximize": True}),
    (optim.Adadelta, oracles.adadelta, {"lr": 0.7, "rho": 0.6, "eps": 0.1, "weight_decay": 0.3}),
    (optim.Adadelta, oracles.adadelta, {"rho": 0.6, "eps": 0.1, "maximize": True}),
]
every_case = pytest.mark.parametrize(
    ("make", "oracle", "options"), CASES, ids=[f"{m.__name__}-{'-'.join(o)}" for m, _, o in CASES]
)


def gradients(shapes, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.standard_normal(shape) for shape in shapes] for _ in range(steps)]


def parameters(shapes, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True) for shape in shapes]


def take_steps(optimizer, tensors, grads, lrs=None):
    for step, grad in enumerate(grads):
        if lrs is not None:
            optimizer.lr = lrs[step]
        for tensor, g in zip(tensors, grad, strict=True):
            tensor.grad = Tensor(g.astype(tensor.dtype))
        optimizer.step()


SHAPES = ((3, 4), (5,), (), (0,))


@every_case
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_twenty_steps_equal_the_oracle(make, oracle, options, dtype):
    tensors, grads = parameters(SHAPES, dtype), gradients(SHAPES)
    expected = [tensor.numpy().astype(float) for tensor in tensors]
    arguments = {name: value for name, value in options.items() if name != "form"}
    for which, array in enumerate(expected):
        for index in np.ndindex(array.shape):
            slot = {}
            for t in range(1, STEPS + 1):
                g = np.float64(grads[t - 1][which][index].astype(dtype))
                array[index] = oracle(array[index], g, slot, t, **arguments)
    optimizer = make(tensors, **options)
    versions = [tensor.version[0] for tensor in tensors]
    take_steps(optimizer, tensors, grads)
    for tensor, reference, version in zip(tensors, expected, versions, strict=True):
        assert tensor.dtype == dtype
        assert_close(tensor.numpy(), reference, 1e-12 if dtype == np.float64 else 1e-5)
        assert tensor.version[0] == version + STEPS, "the write was not announced to the tape"


@every_case
def test_a_saved_optimizer_continues_bit_equal(make, oracle, options):
    grads = gradients(SHAPES)
    straight, first = parameters(SHAPES, np.float32), parameters(SHAPES, np.float32)
    take_steps(make(straight, **options), straight, grads)
    before = make(first, **options)
    take_steps(before, first, grads[:8])
    state, arrays = before.state_dict()
    state = json.loads(json.dumps(state))
    resumed = [Tensor(tensor.numpy().copy(), requires_grad=True) for tensor in first]
    after = make(resumed, lr=0.0)
    after.load_state_dict(state, {name: array.copy() for name, array in arrays.items()})
    assert after.param_groups[0]["lr"] == before.lr
    take_steps(after, resumed, grads[8:])
    for a, b in zip(resumed, straight, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_the_two_forms_of_momentum_part_when_the_rate_drops():
    grads = gradients(((4,),), 6)
    lrs = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    both = {}
    for form in ("torch", "caffe"):
        tensors, history = parameters(((4,),)), []
        optimizer = optim.SGD(tensors, 0.1, momentum=0.9, form=form)
        for lr, grad in zip(lrs, grads, strict=True):
            take_steps(optimizer, tensors, [grad], [lr])
            history.append(tensors[0].numpy().copy())
        both[form] = history
    for step in range(3):
        assert_close(both["torch"][step], both["caffe"][step], 1e-12)
    assert np.abs(both["torch"][3] - both["caffe"][3]).max() > 0.01


def test_groups_have_their_own_options_and_lr_sets_them_all():
    a, b = parameters(((3,), (3,)))
    start = a.numpy().copy(), b.numpy().copy()
    optimizer = optim.SGD([{"params": [a], "weight_decay": 0.5}, {"params": b, "lr": 0.2}], lr=0.1)
    take_steps(optimizer, [a, b], [[np.zeros(3), np.ones(3)]])
    assert_close(a.numpy(), start[0] * (1 - 0.1 * 0.5), 1e-12)
    assert_close(b.numpy(), start[1] - 0.2, 1e-12)
    optimizer.lr = 0.05
    assert optimizer.lr == 0.05 and [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


def test_parameters_without_gradients_stay_and_zero_grad_forgets():
    a, b = parameters(((3,), (3,)))
    start = b.numpy().copy()
    optimizer = optim.Adam([("a", a), ("b", b)], weight_decay=0.5)
    a.grad = Tensor(np.ones(3))
    optimizer.step()
    assert np.array_equal(b.numpy(), start)
    assert optimizer.state_dict()[0]["steps"] == [1, 0]
    optimizer.zero_grad()
    assert a.grad is None


def test_read_only_and_strided_parameters_are_moved():
    frozen = np.ones((2, 3))
    frozen.setflags(write=False)
    tensors = [Tensor(frozen, requires_grad=True), Tensor(np.ones((3, 2)).T, requires_grad=True)]
    take_steps(optim.SGD(tensors, 0.5), tensors, [[np.ones((2, 3))] * 2])
    assert all((tensor.numpy() == 0.5).all() for tensor in tensors)
    assert (frozen == 1).all()


def test_a_step_between_forward_and_backward_is_caught():
    (w,) = parameters(((3,),))
    loss = ops.cross_entropy(w, 1)
    w.grad = Tensor(np.ones(3))
    optim.SGD([w], 0.1).step()
    with pytest.raises(GradientError, match="written after the forward pass"):
        loss.backward()


def test_centred_rmsprop_of_equal_gradients_is_not_nan():
    w = Tensor(np.zeros(500, np.float32), requires_grad=True)
    gradient = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    optimizer = optim.RMSprop([w], alpha=0.9, centered=True)
    for _ in range(300):  # the variance shrinks until rounding decides its sign
        w.grad = Tensor(gradient.copy())
        optimizer.step()
    assert np.isfinite(w.data).all()


def test_a_copied_optimizer_moves_the_copied_parameters():
    w = Tensor(np.ones(2), requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    v, copied = copy.deepcopy((w, optimizer))
    v.grad = Tensor(np.ones(2))
    copied.step()
    assert v.tolist() == [0.0, 0.0] and w.tolist() == [1.0, 1.0]


def test_a_refused_group_leaves_nothing_behind():
    w, v = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([w])
    with pytest.raises(ArgumentError, match="a parameter is a str"):
        optimizer.add_param_group({"params": [v, "bias"]})
    optimizer.add_param_group({"params": [v]})
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


def test_slots_of_another_dtype_are_refused():
    (w,) = parameters(((3,),))
    optimizer = optim.Adam([w])
    take_steps(optimizer, [w], gradients(((3,),), 1))
    w.data = w.numpy().astype(np.float32)
    with pytest.raises(DeviceError, match=r"parameter 0 is float32 on cpu, but its mean is float64 on cpu; fix"):
        take_steps(optimizer, [w], gradients(((3,),), 1))


def leaf():
    return Tensor(np.ones(3, np.float32), requires_grad=True)


def with_grad(grad):
    w = leaf()
    w.grad = grad
    optim.SGD([w]).step()


def twice():
    w = leaf()
    return optim.SGD([("conv.weight", w), ("head.weight", w)])


MISTAKES = [
    (lambda: optim.SGD(5), ArgumentError, r"optim.SGD: params is a int, expected a list of tensors"),
    (lambda: optim.SGD([{"params": None}]), ArgumentError, r"optim.SGD: params is a NoneType, expected a list"),
    (lambda: optim.SGD([]), ArgumentError, r"optim.SGD: params is empty.*fix"),
    (lambda: optim.SGD(leaf()), ArgumentError, r"params is a Tensor, expected a list; fix"),
    (lambda: optim.SGD([np.ones(3)]), ArgumentError, r"a parameter is a ndarray, expected a Tensor"),
    (twice, ArgumentError, r"head.weight of shape \(3,\) is given twice \(also as conv.weight\)"),
    (lambda: optim.SGD([ops.relu(leaf())]), GradientError, r"was computed; only leaves"),
    (lambda: optim.SGD([Tensor([1, 2])]), DTypeError, r"has dtype int64, expected float32"),
    (
        lambda: optim.SGD([{"params": [leaf()], "decay": 1}]),
        ArgumentError,
        r"unknown option 'decay', expected one of lr",
    ),
    (lambda: optim.SGD([{"lr": 1}]), ArgumentError, r"expected a dict with 'params'"),
    (lambda: optim.SGD([leaf()], lr=-1), ArgumentError, r"lr=-1, expected a number at least 0"),
    (lambda: optim.SGD([leaf()], lr=float("nan")), ArgumentError, r"lr=nan, expected a number"),
    (lambda: optim.SGD([leaf()], nesterov=True), ArgumentError, r"nesterov=True needs momentum > 0"),
    (lambda: optim.SGD([leaf()], form="tf"), ArgumentError, r"form='tf' is unknown, expected 'torch' or 'caffe'"),
    (lambda: optim.SGD([leaf()], momentum=0.9, dampening=0.1, form="caffe"), ArgumentError, r"dampening=0.1 does not"),
    (lambda: optim.Adam([leaf()], betas=(0.9, 1.0)), ArgumentError, r"betas=\(0.9, 1.0\), expected a number from 0 to"),
    (lambda: optim.Adam([leaf()], betas=(0.9,)), ArgumentError, r"betas=\(0.9,\), expected two numbers"),
    (
        lambda: with_grad(Tensor(np.ones(4, np.float32))),
        ShapeError,
        r"gradient of .* has shape \(4,\), expected \(3,\)",
    ),
    (lambda: with_grad(Tensor(np.ones(3))), DTypeError, r"gradient of .* has dtype float64, expected float32"),
    (lambda: with_grad(np.ones(3)), GradientError, r"is a ndarray, expected a Tensor"),
]


@pytest.mark.parametrize(("call", "error", "match"), MISTAKES, ids=[match[:30] for _, _, match in MISTAKES])
def test_mistake_is_explained(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_state_that_does_not_fit_changes_nothing():
    (w,) = parameters(((3,),))
    optimizer = optim.SGD([w], 0.1, momentum=0.9)
    take_steps(optimizer, [w], gradients(((3,),), 2))
    state, arrays = optimizer.state_dict()
    kept = arrays["0/momentum"].copy()
    wrong = [
        ({**state, "optimizer": "Adam"}, arrays, "the state is of 'Adam'"),
        ({**state, "steps": [1, 2]}, arrays, "of another model"),
        (state, {"7/momentum": kept}, "for no parameter"),
        (state, {"0/momentum": np.ones(4)}, r"has shape \(4,\) and dtype float64, expected \(3,\)"),
        (state, {"²/momentum": kept}, "for no parameter"),
        (state, {}, "has no momentum of parameter 0, moved 2 times"),
        ({**state, "groups": [{"params": 1}]}, arrays, "has no option 'dampening'"),
        ({**state, "groups": [{**state["groups"][0], "nesterov": "yes"}]}, arrays, "option 'nesterov' is 'yes'"),
        ({**state, "groups": [{**state["groups"][0], "lr": -1.0}]}, arrays, "does not fit: .*lr=-1.0, expected"),
    ]
    for numbers, values, match in wrong:
        with pytest.raises(CheckpointError, match=match):
            optimizer.load_state_dict(numbers, values)
    assert np.array_equal(optimizer.state_dict()[1]["0/momentum"], kept) and optimizer.lr == 0.1
