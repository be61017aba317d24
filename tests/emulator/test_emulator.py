"""The emulator itself: threads, barriers, warps, memory and formats do what a GPU's do, and mistakes are refused."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.emulator import EmulatorError, emulated_gpu, emulator_options
from tests.emulator.raw_module import RawModule

PROBES = Path(__file__).with_name("probes.cu").read_text(encoding="utf-8")
NAMES = """
    reversed<true> reversed<false> scan divergent_barrier barrier_against_warp lane_outside_its_mask early_exit shuffles
    partial_masks votes atomics untouched_shared coordinates from_float<half> from_float<bfloat16> to_float<half>
    to_float<bfloat16> filled<float> filled<half> filled<double> one_address<true> one_address<false> unguarded_sum
    every_kind deep
"""
ORDERS = (0, 1, 2, 7)  # of the threads: ascending, descending, shuffled


@pytest.fixture(scope="module")
def probe():
    module = RawModule(code=PROBES, name_expressions=tuple(NAMES.split()))
    return {name: module.get_function(name) for name in NAMES.split()}


@pytest.fixture
def cp():
    with emulated_gpu() as module:
        yield module


@pytest.fixture(params=ORDERS)
def any_order(request):
    with emulator_options(request.param):
        yield


def i32(value):
    return np.int32(value)


# ---- barriers


def test_a_barrier_orders_shared_memory(probe, cp, any_order):
    x = np.arange(192, dtype=np.float32)
    y = cp.empty(192, np.float32)
    probe["reversed<true>"]((3,), (64,), (cp.asarray(x), y))
    assert np.array_equal(y.get(), x.reshape(3, 64)[:, ::-1].ravel())


def test_a_missing_barrier_is_an_error(probe, cp, any_order):
    x, y = cp.asarray(np.arange(64, dtype=np.float32)), cp.empty(64, np.float32)
    with pytest.raises(EmulatorError, match="argument 1 depends on which thread goes first: a missing barrier"):
        probe["reversed<false>"]((1,), (64,), (x, y))


@pytest.mark.parametrize("threads", [1, 31, 64, 255, 256])
def test_barriers_in_a_loop(probe, cp, any_order, threads):
    x = np.random.default_rng(threads).integers(-9, 9, threads).astype(np.int32)
    y = cp.asarray(x)
    probe["scan"]((1,), (threads,), (y,))
    assert np.array_equal(y.get(), np.cumsum(x))


def test_a_divergent_barrier_is_an_error_with_both_lines(probe, cp, any_order):
    with pytest.raises(
        EmulatorError, match=r"divergent_barrier: divergent __syncthreads\(\): threads wait at .*:\d+ and at"
    ):
        probe["divergent_barrier"]((1,), (64,), (cp.zeros(64, np.int32),))


@pytest.mark.parametrize("kernel", ["barrier_against_warp", "lane_outside_its_mask"])
def test_a_deadlock_is_an_error(probe, cp, any_order, kernel):
    with pytest.raises(EmulatorError, match=f"{kernel}: deadlock: not every thread reaches the same"):
        probe[kernel]((1,), (32,), (cp.zeros(32, np.int32),))


def test_after_an_error_the_next_launch_starts_afresh(probe, cp):
    with pytest.raises(EmulatorError):
        probe["barrier_against_warp"]((1,), (32,), (cp.zeros(32, np.int32),))
    test_barriers_in_a_loop(probe, cp, None, 64)


@pytest.mark.parametrize("last", [0, 15, 31, 40, 63])
def test_threads_that_have_returned_hold_nobody_up(probe, cp, any_order, last):
    x = cp.zeros(64, np.int32)
    probe["early_exit"]((1,), (64,), (x, i32(last)))
    found = x.get()
    inner = [t for t in range(last) if t % 32 != 31]  # whose neighbour is there
    assert np.array_equal(found[inner], 1001 + np.array(inner, int))
    assert not found[last + 1 :].any()


# ---- warps


@pytest.mark.parametrize("width", [8, 16, 32])
def test_shuffles(probe, cp, any_order, width):
    y = cp.empty(5 * 64, np.int32)
    probe["shuffles"]((1,), (64,), (y, i32(width)))
    down, up, xor, one, two_words = y.get().reshape(5, 64)
    t = np.arange(64)
    inside = t % width
    assert np.array_equal(down, np.where(inside + 3 < width, t + 3, t))
    assert np.array_equal(up, np.where(inside >= 3, t - 3, t))
    assert np.array_equal(xor, t ^ 5)
    assert np.array_equal(one, t - inside + 2)
    assert np.array_equal(two_words, 4 * (t // 32 * 32 + 31 - t % 32) + 1)


def test_partial_masks_meet_by_themselves(probe, cp, any_order):
    y = cp.empty(32, np.int32)
    probe["partial_masks"]((1,), (32,), (y,))
    t = np.arange(32)
    assert np.array_equal(y.get(), np.where(t % 2, t ^ 2, 100 + (t ^ 4)))


def test_votes(probe, cp, any_order):
    y = cp.empty(3 * 64, np.uint32)
    probe["votes"]((1,), (64,), (y,))
    ballot, some, every = y.get().reshape(3, 2, 32)
    bits = [sum(1 << lane for lane in range(32) if (32 * warp + lane) % 3 == 0) for warp in range(2)]
    assert np.array_equal(ballot, np.repeat(np.array(bits, np.uint32)[:, None], 32, 1))
    assert some[0].all() and not some[1].any()
    assert every[0].all() and not every[1].any()


def test_atomics(probe, cp, any_order):
    y, f = cp.zeros(5, np.int32), cp.zeros(1, np.float32)
    probe["atomics"]((3,), (64,), (y, f))
    total, largest, smallest, taken, winner = y.get()
    assert (total, largest, smallest) == (191 * 192 // 2, 191, -191)
    assert taken == winner + 1
    assert f.get()[0] == 96


# ---- memory


def test_shared_memory_starts_with_garbage_in_every_block(probe, cp):
    y = cp.empty(5, np.int32)
    probe["untouched_shared"]((5,), (1,), (y, i32(7)), shared_mem=28)
    assert y.get().tolist() == [7 + 4 + 1] * 5


def test_shared_memory_that_cannot_be_read_is_refused(cp):
    two = "__global__ void f(float* y) { __shared__ float a[2], b[2]; y[0] = a[0] + b[0]; }"
    with pytest.raises(EmulatorError, match="one array a statement"):
        RawModule(code=two, name_expressions=("f",)).get_function("f")


def test_new_memory_is_nan(cp):
    for dtype in ("float16", "float32", "float64", ml_dtypes.bfloat16):
        assert np.isnan(cp.empty(3, dtype).get().astype(float)).all()


def test_blocks_and_grids_of_three_dimensions(probe, cp, any_order):
    grid, block = (2, 3, 2), (4, 2, 3)
    y = cp.empty(12 * 24, np.int32)
    probe["coordinates"](grid, block, (y,))
    bz, by, bx, tz, ty, tx = np.indices((*grid[::-1], *block[::-1]))
    expected = tx + 10 * ty + 100 * tz + 1000 * (bx + 10 * by + 100 * bz)
    assert np.array_equal(y.get(), expected.ravel())


@pytest.mark.parametrize("kind", ["float", "half", "double"])
@pytest.mark.parametrize(("first", "last", "side"), [(-1, 5, "before"), (0, 6, "after")])
def test_guard_bytes_notice_a_write_outside(probe, cp, kind, first, last, side):
    y = cp.zeros(5, {"float": "float32", "half": "float16", "double": "float64"}[kind])
    with pytest.raises(EmulatorError, match=rf"filled<{kind}>: wrote {side} an array of shape \(5,\)"):
        probe[f"filled<{kind}>"]((1,), (32,), (y, i32(first), i32(last), i32(3)))


def test_a_write_inside_is_no_error(probe, cp):
    y = cp.zeros((2, 5), np.float32)
    probe["filled<float>"]((3,), (2,), (y, i32(0), i32(10), i32(3)))
    assert (y.get() == 3).all()


@pytest.mark.parametrize("kernel", ["one_address<true>", "one_address<false>", "unguarded_sum"])
def test_two_writers_of_one_address_are_an_error(probe, cp, kernel):
    arguments = ((4,), (32,), (cp.zeros(1 + 128, np.float32),))
    probe[kernel](*arguments)  # one block after another all is well
    with emulator_options(write_sets=True), pytest.raises(EmulatorError, match="blocks 0 and 1 both write argument 0"):
        probe[kernel](*arguments)


def test_writers_of_their_own_addresses_pass(probe, cp):
    y = cp.zeros(1000, np.float32)
    with emulator_options(write_sets=True):
        probe["filled<float>"]((4,), (32,), (y, i32(0), i32(1000), i32(3)))
    assert (y.get() == 3).all()


# ---- half and bfloat16

FORMATS = [("half", np.dtype(np.float16)), ("bfloat16", np.dtype(ml_dtypes.bfloat16))]
every_format = pytest.mark.parametrize(("kind", "dtype"), FORMATS, ids=["half", "bfloat16"])


def same_numbers(a, b):
    """Bit for bit, but any NaN is a NaN."""
    nan = np.isnan(a.astype(np.float32))
    bits = f"u{a.itemsize}"
    return np.array_equal(nan, np.isnan(b.astype(np.float32))) and np.array_equal(
        a.view(bits)[~nan], b.view(bits)[~nan]
    )


@every_format
def test_all_bit_patterns_survive_the_way_through_float(probe, cp, kind, dtype):
    patterns = np.arange(65536, dtype=np.uint16).view(dtype)
    wide, back = cp.empty(65536, np.float32), cp.empty(65536, dtype)
    probe[f"to_float<{kind}>"]((1,), (256,), (cp.asarray(patterns), i32(65536), wide))
    probe[f"from_float<{kind}>"]((1,), (256,), (wide, i32(65536), back))
    assert same_numbers(wide.get(), patterns.astype(np.float32))
    assert same_numbers(back.get(), patterns)


@every_format
def test_rounding_is_to_nearest_ties_to_even(probe, cp, kind, dtype):
    patterns = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float32)
    ordered = np.unique(patterns[np.isfinite(patterns)]).astype(np.float64)
    ties = ((ordered[1:] + ordered[:-1]) / 2).astype(np.float32)  # exact, and every boundary there is
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore", invalid="ignore"):
        some = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
        special = np.float32(
            [0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.996, 65520, 65536, 3.3895314e38, 3.4e38, 1e-45]
        )
        x = np.concatenate(
            [ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, -np.float32(np.inf)), some, special]
        )
        x = np.ascontiguousarray(x, np.float32)
        y = cp.empty(x.size, dtype)
        probe[f"from_float<{kind}>"]((1,), (256,), (cp.asarray(x), i32(x.size), y))
        assert same_numbers(y.get(), x.astype(dtype))


# ---- arguments


def good_arguments(cp):
    x = cp.asarray(np.arange(8, dtype=np.float32))
    return [x, cp.empty(8, np.float32), np.int32(8), np.int64(1), np.float64(2.0), np.bool_(True)]


def test_every_kind_of_argument_arrives(probe, cp):
    arguments = good_arguments(cp)
    probe["every_kind"]((1,), (32,), tuple(arguments))
    assert np.array_equal(arguments[1].get(), -2.0 * np.arange(8))


WRONG = {
    "int32 for a long long": (3, np.int32(1), "argument 3 is i4, the parameter is i8"),
    "int64 for an int": (2, np.int64(8), "argument 2 is i8, the parameter is i4"),
    "uint32 for an int": (2, np.uint32(8), "argument 2 is u4, the parameter is i4"),
    "float for a double": (4, np.float32(2), "argument 4 is f4, the parameter is f8"),
    "int for a double": (4, np.int64(2), "argument 4 is i8, the parameter is f8"),
    "int8 for a bool": (5, np.int8(1), "argument 5 is i1, the parameter is b1"),
    "a Python int": (2, 8, "argument 2 is a int: only arrays and NumPy scalars have one type"),
    "a Python float": (4, 2.0, "argument 4 is a float: only"),
    "a Python bool": (5, True, "argument 5 is a bool: only"),
    "None for a number": (2, None, "argument 2 is a NoneType"),
    "a NumPy array": (0, np.zeros(8, np.float32), "argument 0 is a ndarray: only"),
    "a scalar for a pointer": (0, np.float32(1), "argument 0 is f4, the parameter is pf4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused(probe, cp, name):
    position, value, message = WRONG[name]
    arguments = good_arguments(cp)
    arguments[position] = value
    with pytest.raises(EmulatorError, match=f"every_kind: {message}"):
        probe["every_kind"]((1,), (32,), tuple(arguments))


@pytest.mark.parametrize("dtype", ["float64", "int32", "float16", ml_dtypes.bfloat16])
def test_a_pointer_of_another_type_is_refused(probe, cp, dtype):
    arguments = good_arguments(cp)
    arguments[0] = cp.zeros(8, dtype)
    with pytest.raises(EmulatorError, match=r"argument 0 is an array of \w+, the parameter is pf4"):
        probe["every_kind"]((1,), (32,), tuple(arguments))


def test_an_array_for_a_number_a_strided_array_and_a_wrong_count_are_refused(probe, cp):
    arguments = good_arguments(cp)
    run = probe["every_kind"]
    with pytest.raises(EmulatorError, match="argument 2 is an array of i4, the parameter is i4"):
        run((1,), (32,), (*arguments[:2], cp.zeros(1, np.int32), *arguments[3:]))
    with pytest.raises(EmulatorError, match="argument 0 is not C-contiguous"):
        run((1,), (32,), (cp.zeros((8, 2), np.float32)[:, 0], *arguments[1:]))
    for wrong in (arguments[:-1], [*arguments, np.int32(0)]):
        with pytest.raises(EmulatorError, match=f"{len(wrong)} arguments for 6 parameters"):
            run((1,), (32,), tuple(wrong))


def test_null_is_a_pointer(probe, cp):
    arguments = good_arguments(cp)
    probe["every_kind"]((1,), (32,), (None, None, np.int32(0), *arguments[3:]))  # n = 0: nothing is read


# ---- limits and compiler


@pytest.mark.parametrize("grid", [(0,), (2**31,), (1, 65536), (1, 1, 65536)])
def test_a_grid_that_cuda_refuses(probe, cp, grid):
    with pytest.raises(EmulatorError, match="CUDA refuses a grid"):
        probe["filled<float>"](grid, (32,), (cp.zeros(1, np.float32), i32(0), i32(1), i32(3)))


@pytest.mark.parametrize("block", [(1025,), (64, 32), (0,)])
def test_a_block_that_cuda_refuses(probe, cp, block):
    with pytest.raises(EmulatorError, match="a block must have 1 to 1024 threads"):
        probe["filled<float>"]((1,), block, (cp.zeros(1, np.float32), i32(0), i32(1), i32(3)))


def test_more_than_48_kib_of_shared_memory_must_be_asked_for(cp):
    # a module of its own: the attribute is one of the function
    kernel = RawModule(code=PROBES, name_expressions=tuple(NAMES.split())).get_function("untouched_shared")
    y = cp.empty(1, np.int32)
    with pytest.raises(EmulatorError, match="set max_dynamic_shared_size_bytes"):
        kernel((1,), (1,), (y, i32(0)), shared_mem=50_000)
    kernel.max_dynamic_shared_size_bytes = 50_000
    kernel((1,), (1,), (y, i32(12_500)), shared_mem=50_000)
    assert y.get()[0] == 12_500 + 4 + 1
    kernel.max_dynamic_shared_size_bytes = 300_000
    with pytest.raises(EmulatorError, match="more dynamic shared memory than any GPU has"):
        kernel((1,), (1,), (y, i32(0)), shared_mem=300_000)


def test_a_stack_that_is_too_small_is_an_error(probe, cp):
    with pytest.raises(EmulatorError, match="do not fit into the emulator's stack"):
        probe["deep"]((1,), (1,), (cp.zeros(1, np.int32), i32((1 << 16) + 64)))


def test_the_compilers_message_is_shown(cp):
    code = '#line 7 "pool/cuda.cu"\n__global__ void broken(float* y) { y[0] = undeclared_name; }'
    with pytest.raises(EmulatorError, match=r"pool/cuda\.cu:7.*undeclared_name") as caught:
        RawModule(code=code, name_expressions=("broken",)).get_function("broken")
    assert "broken" in str(caught.value)


def test_a_kernel_that_was_not_asked_for_is_unknown(probe, cp):
    with pytest.raises(ValueError, match="not in"):
        RawModule(code=PROBES, name_expressions=tuple(NAMES.split())).get_function("reversed<3>")
