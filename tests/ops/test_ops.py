"""Every operation against its oracle, its derivative, its edges, its shapes and its promises.

One list of cases (``tests/ops/cases_*.py``), one set of questions asked of each. An operation that is public and has
no case fails ``test_every_public_op_has_its_companions``.
"""

import functools
import gc
import importlib
import inspect
import weakref
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, gradcheck, ops
from tests.close import assert_close
from tests.ops.case import A, Case, arrays_of, tensors_of
from tests.ops.drawn import asked_of

FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
CASES: list[Case] = [c for family in FAMILIES for c in importlib.import_module(f"tests.ops.{family}").CASES]
EDGES = [(case, name) for case in CASES for name in case.edges]
MISTAKES = [(case, mistake) for case in CASES for mistake in case.mistakes]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_edge = pytest.mark.parametrize(("case", "edge"), EDGES, ids=[f"{case.id}-{name}" for case, name in EDGES])
DRAWN = 12  # geometries of a case, of which each question is asked of the first few


def numbers(outputs):
    return [y.numpy() if isinstance(y, Tensor) else np.asarray(y) for y in outputs]


def check_against_oracle(case, geometry, seed, tolerance=None):
    arrays = arrays_of(geometry, seed)
    outputs = case.run(**tensors_of(geometry, arrays))
    expected = case.expected(**arrays)
    assert len(outputs) == len(expected)
    for y, reference in zip(outputs, expected, strict=True):
        assert_close(y.numpy(), reference, tolerance or case.tolerance)
        assert y.dtype == np.float64 or y.dtype.kind != "f"


@every_case
@asked_of(12, DRAWN)
def test_equals_oracle(case, geometry, seed):
    check_against_oracle(case, geometry, seed)


@every_edge
def test_edge_equals_oracle(case, edge):
    check_against_oracle(case, case.edges[edge], seed=1)


def check_gradient(case, geometry, seed):
    arrays = arrays_of(geometry, seed)
    tensors = tensors_of(geometry, arrays, requires_grad=True)

    def function(*_):
        return case.run(**tensors)

    function.__name__ = case.op
    # Another seed than the one that filled the arrays: the upstream gradient must not be a copy of the input.
    gradcheck(function, *leaves_of(tensors), seed=(seed + 1) % 2**31)


def leaves_of(tensors):
    values = [t for value in tensors.values() for t in (value if isinstance(value, list) else [value])]
    return [t for t in values if isinstance(t, Tensor) and t.requires_grad]


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=lambda case: case.id)
@asked_of(6, DRAWN)
def test_gradient(case, geometry, seed):
    check_gradient(case, geometry, seed)


@every_edge
def test_edge_gradient(case, edge):
    if case.gradient:
        check_gradient(case, case.edges[edge], seed=2)


@every_case
@asked_of(4, DRAWN)
def test_an_abstract_run_and_its_gradients_have_shape_and_dtype(case, geometry, seed):
    arrays = arrays_of(geometry, seed, np.float32)
    real = case.run(**tensors_of(geometry, arrays))
    with minicnn.abstract():
        tensors = tensors_of(geometry, arrays, requires_grad=case.gradient)
        shaped = case.run(**tensors)
    assert [(y.shape, y.dtype) for y in shaped] == [(y.shape, y.dtype) for y in real]
    assert all(type(y.data) is minicnn.ShapeArray for y in shaped)
    for y in shaped:
        if y.node is not None:
            y.backward(minicnn.ShapeArray(y.shape, y.dtype), retain_graph=True)
    for x in leaves_of(tensors):
        if x.grad is not None:
            assert type(x.grad.data) is minicnn.ShapeArray and (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)


@every_case
@asked_of(4, DRAWN)
def test_non_contiguous_inputs_repeats_and_untouched_inputs(case, geometry, seed):
    """Strided inputs give the same bits, a second run gives the same bits, and no input is written."""
    arrays = arrays_of(geometry, seed, np.float32)
    first = numbers(case.run(**tensors_of(geometry, arrays)))
    again = numbers(case.run(**tensors_of(geometry, arrays)))
    strided = {name: strided_copy(value) for name, value in arrays.items()}
    strided_result = numbers(case.run(**tensors_of(geometry, strided)))
    for a, b, c in zip(first, again, strided_result, strict=True):
        assert np.array_equal(a, b, equal_nan=True) and np.array_equal(a, c, equal_nan=True)
        assert a.dtype == np.float32 or a.dtype.kind != "f"
    for before, after in zip(arrays_of(geometry, seed, np.float32).values(), arrays.values(), strict=True):
        if isinstance(before, np.ndarray):
            assert np.array_equal(before, after)


def strided_copy(value):
    if isinstance(value, list):
        return [strided_copy(item) for item in value]
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1] + 1), value.dtype)
    wide[..., 1::2] = value
    return wide[..., 1::2]


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=lambda case: case.id)
@asked_of(3, DRAWN)
def test_strided_upstream_gradient_gives_the_same_gradients(case, geometry, seed):
    arrays = arrays_of(geometry, seed)
    found = []
    for order in (lambda u: u, strided_copy, lambda u: u.T.copy().T):
        tensors = tensors_of(geometry, arrays, requires_grad=True)
        rng = np.random.default_rng(seed)
        for y in case.run(**tensors):
            if y.node is not None:
                y.backward(order(rng.standard_normal(y.shape)), retain_graph=True)
        leaves = [t for value in tensors.values() for t in (value if isinstance(value, list) else [value])]
        found.append([t.grad.numpy() for t in leaves if isinstance(t, Tensor) and t.grad is not None])
    for plain, *others in zip(*found, strict=True):
        assert all(np.array_equal(plain, other, equal_nan=True) for other in others)


@pytest.mark.parametrize("case", [c for c in CASES if c.exact], ids=lambda case: case.id)
@asked_of(4, DRAWN)
def test_whole_numbers_are_exact_in_float32(case, geometry, seed):
    arrays = arrays_of(geometry, seed, integers=True)
    as_float64 = {k: v.astype(float) if getattr(v, "dtype", None) == np.float32 else v for k, v in arrays.items()}
    for y, expected in zip(case.run(**tensors_of(geometry, arrays)), case.expected(**as_float64), strict=True):
        assert np.array_equal(y.numpy(), np.asarray(expected, y.dtype)), "not bit-exact on whole numbers"


@pytest.mark.parametrize("case", [c for c in CASES if c.nonfinite], ids=lambda case: case.id)
@asked_of(6, DRAWN)
def test_nan_and_inf_stay_where_the_oracle_has_them(case, geometry, seed):
    arrays = arrays_of(geometry, seed)
    rng = np.random.default_rng(seed)
    for name, spec in geometry.items():
        if isinstance(spec, A) and spec.is_float and arrays[name].size:
            for value in (np.nan, np.inf, -np.inf):
                arrays[name].flat[rng.integers(arrays[name].size)] = value
            break  # the first float array only: its damage must stay local
    with np.errstate(all="ignore"):
        expected = case.expected(**arrays)
        outputs = case.run(**tensors_of(geometry, arrays))
    for y, reference in zip(outputs, expected, strict=True):
        assert_close(y.numpy(), reference, max(case.tolerance, 1e-9))


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=lambda case: case.id)
@asked_of(3, DRAWN)
def test_graph_is_freed_and_keeps_only_what_it_declares(case, geometry, seed):
    arrays = arrays_of(geometry, seed)
    tensors = tensors_of(geometry, arrays, requires_grad=True)
    gc.disable()
    try:
        outputs = case.run(**tensors)
        recorded = [y for y in outputs if y.node is not None]
        assert recorded, "no output was recorded"
        check_saved_bytes(case, arrays, outputs)
        dead = [weakref.ref(y) for y in outputs]
        del outputs, recorded
        assert all(reference() is None for reference in dead), "the graph is part of a reference cycle"
    finally:
        gc.enable()


def check_saved_bytes(case, arrays, outputs):
    held: dict[int, int] = {}
    nodes = [y.node for y in outputs if y.node is not None]
    seen = set()
    while nodes:  # an operation may be made of several recorded ones
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for value in closure_values(node.vjp):
            assert not isinstance(value, Tensor), f"the vjp of {node.name} closes over a Tensor"
            if isinstance(value, np.ndarray):
                base = value if value.base is None else value.base
                held[id(base)] = value.nbytes
        nodes += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
    named = {"y": sum(y.data.nbytes for y in outputs)}
    named |= {
        k: sum(i.nbytes for i in v) if isinstance(v, list) else getattr(v, "nbytes", 0) for k, v in arrays.items()
    }
    allowed = sum(named[name] for name in case.saves) + case.extra_bytes(arrays)
    assert sum(held.values()) <= allowed, f"backward keeps {sum(held.values())} bytes, declared {allowed}"


def closure_values(function):
    """What a vjp closes over, through partials and nested functions."""
    if isinstance(function, functools.partial):
        yield from function.args
        yield from function.keywords.values()
        function = function.func
    for cell in getattr(function, "__closure__", None) or ():
        value = cell.cell_contents
        if inspect.isfunction(value) or isinstance(value, functools.partial):
            yield from closure_values(value)
        elif isinstance(value, (tuple, list)):
            yield from value
        else:
            yield value


@pytest.mark.parametrize(("case", "mistake"), MISTAKES, ids=[f"{case.id}-{m.name}" for case, m in MISTAKES])
def test_mistake_is_explained(case, mistake):
    with pytest.raises(mistake.error, match=mistake.match) as caught:
        mistake.call()
    assert not isinstance(caught.value, (ZeroDivisionError, AssertionError))


def test_every_public_op_has_its_companions():
    """An operation is public only with an oracle and a derivative (its case) and an explained mistake."""
    public = {name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    with_case = {case.op for case in CASES}
    with_mistake = {case.op for case, _ in MISTAKES}
    assert public - with_case == set(), "public ops without a case"
    assert public - with_mistake == set(), "public ops without a tested mistake"
    assert with_case - public == set(), "cases of ops that are not public"
