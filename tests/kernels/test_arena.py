"""The arena: reuse, lifetime through views, bounds, threads, finalisers, and what the tape makes of it."""

import gc
import mmap
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import Tensor, ops
from minicnn.kernels import arena as module
from minicnn.kernels.arena import GRAIN, PERIOD, SMALLEST, Arena
from minicnn.kernels.arrays import allocate

BYTE = np.dtype(np.uint8)
MIB = 1 << 20


@pytest.fixture
def arena(monkeypatch):
    """An arena of its own, which ``allocate`` uses too."""
    made = Arena()
    monkeypatch.setattr(module, "arena", made)
    return made


def address(array):
    return array.__array_interface__["data"][0]


def make(arena, *sizes):
    return [arena.empty((size,), BYTE) for size in sizes]


def test_freed_memory_is_used_again(arena):
    (x,) = make(arena, MIB)
    where = address(x)
    del x
    (y,) = make(arena, MIB)
    assert address(y) == where and arena.used == y.size == MIB


def test_two_arrays_never_share_a_block(arena):
    arrays = make(arena, *[MIB] * 5)
    del arrays[1], arrays[2]
    arrays += make(arena, *[MIB] * 3)
    for number, array in enumerate(arrays):
        array.fill(number)
    assert all((array == number).all() for number, array in enumerate(arrays))


@pytest.mark.parametrize("shape", [(3, 5, 70, 80), (1 << 17,), (256, 1, 512)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_an_array_is_ordinary_and_aligned(arena, shape, dtype):
    for _ in range(2):  # of fresh memory, then of reused
        x = arena.empty(shape, np.dtype(dtype))
        assert type(x) is np.ndarray and x.shape == shape and x.dtype == dtype
        assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned and address(x) % GRAIN == 0
        del x


VIEWS = {
    "slice": lambda x: x[7:9],
    "transpose of a reshape": lambda x: x.reshape(4, -1).T,
    "memoryview": memoryview,
    "another dtype": lambda x: x.view(np.int32),
    "broadcast": lambda x: np.broadcast_to(x[:1], (3, 3)),
    "a view of the lease": lambda x: x.base[3:],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_keeps_its_memory(arena, view):
    (x,) = make(arena, MIB)
    where, seen = address(x), view(x)
    del x
    (other,) = make(arena, MIB)
    assert address(other) != where
    del seen
    (y,) = make(arena, MIB)
    assert address(y) == where


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(SMALLEST, 40 * SMALLEST), min_size=1, max_size=40), data=st.data())
def test_any_order_of_life_and_death_leaves_one_hole_a_region(sizes, data):
    """Arrays are filled with their numbers and found so at their ends; at last all memory is whole again."""
    arena = Arena()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REGION", 64 * SMALLEST)
        living = {}
        for number, size in enumerate(sizes):
            (living[number],) = make(arena, size)
            living[number].fill(number)
            while living and data.draw(st.booleans()):
                gone = data.draw(st.sampled_from(sorted(living)))
                assert (living.pop(gone) == gone).all()
            arena._collect()
            assert arena.used == sum(-(-array.size // GRAIN) * GRAIN for array in living.values())
            assert arena.held == arena.used + sum(size for size, _ in arena._holes)
        living.clear()
    arena._collect()
    assert sorted(arena._holes) == sorted((region.nbytes, begin) for begin, region in arena._regions.items())
    assert arena._size_at == {place: size for size, place in arena._holes}
    assert arena._hole_before == {place + size: place for size, place in arena._holes} and arena.used == 0


def test_the_smallest_hole_that_fits_is_taken_at_its_low_end(arena):
    arrays = make(arena, 2 * MIB, GRAIN * 32, MIB, GRAIN * 32, 3 * MIB, GRAIN * 32)
    where = address(arrays[2])
    arrays[0] = arrays[2] = arrays[4] = None
    first, second = make(arena, MIB // 2, MIB // 2)
    assert (address(first), address(second)) == (where, where + MIB // 2)


def test_holes_side_by_side_become_one(arena):
    arrays = make(arena, MIB, MIB, MIB, MIB)
    where = address(arrays[0])
    for number in (0, 2, 1):
        arrays[number] = None
    assert address(make(arena, 3 * MIB)[0]) == where


def test_regions_never_become_one(arena, monkeypatch):
    """Not even where the system maps one right after the other."""
    monkeypatch.setattr(module, "REGION", MIB)
    arrays = make(arena, MIB, MIB)
    assert arena.held == 2 * MIB
    arrays.clear()
    make(arena, SMALLEST)
    assert arena._holes and max(arena._holes)[0] <= MIB


def test_small_arrays_are_numpys(arena):
    assert make(arena, SMALLEST - 1)[0].base is None and arena.held == 0
    assert make(arena, 0)[0].size == 0


def test_a_repeated_step_needs_no_more_than_the_first(arena, monkeypatch):
    """Up a ladder of sizes and down again, as a training step: the memory is full to a few per cent."""
    monkeypatch.setattr(module, "REGION", GRAIN)
    sizes = [(30 - layer // 3) * 25 * GRAIN for layer in range(60)]

    def step():
        activations, gradient = [], None
        for size in sizes:
            activations += make(arena, size, size)
        while activations:
            gradient, last = make(arena, activations[-1].size)[0], gradient
            activations.pop()
            del last

    step()
    held = arena.held
    step()
    assert arena.held == held


def test_an_old_peak_is_forgotten(arena):
    make(arena, 3 * module.REGION)
    for _ in range(3 * PERIOD):
        make(arena, MIB)
    assert arena.held == module.REGION
    make(arena, 3 * module.REGION)
    for _ in range(PERIOD):
        make(arena, MIB)
    assert arena.held >= 3 * module.REGION, "a peak of late counts"


def test_clear_gives_back_what_is_free(arena):
    kept, freed = make(arena, MIB, MIB)
    freed.fill(7)
    kept.fill(8)
    other = address(freed)
    del freed
    arena.clear()
    (again,) = make(arena, MIB)
    assert address(again) == other and (kept == 8).all()
    if hasattr(mmap, "MADV_DONTNEED") and sys.platform == "linux":
        assert not again.any(), "fresh pages are zero"
    del kept, again
    arena.clear()
    assert arena.held == arena.used == 0 and not arena._holes and not arena._size_at and not arena._hole_before


def test_without_room_for_a_large_region_a_small_one_is_mapped(arena, monkeypatch):
    sizes = []

    def scarce(size, huge, real=module._mapped):
        sizes.append(size)
        if size > 2 * MIB:
            raise OSError(12, "Cannot allocate memory")
        return real(size, huge)

    monkeypatch.setattr(module, "_mapped", scarce)
    (x,) = make(arena, 2 * MIB)
    assert sizes == [module.REGION, 2 * MIB] and x.base is not None and arena.held == 2 * MIB
    (y,) = make(arena, 3 * MIB)
    assert y.base is None and arena.held == 2 * MIB, "NumPy's own"


def test_too_large_an_array_raises_numpys_error(arena):
    with pytest.raises(MemoryError, match="Unable to allocate"):
        make(arena, 1 << 60)


# ---- threads, finalisers, processes


def test_leases_die_in_other_threads(arena):
    failures = []

    def work(number):
        for turn in range(150):
            arrays = make(arena, *[SMALLEST + GRAIN * (turn % 5)] * 3)
            for array in arrays:
                array.fill(number)
            failures.extend(number for array in arrays if not (array == number).all())

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert not failures
    arena._collect()
    assert arena.used == 0 and len(arena._holes) == len(arena._regions), "everything came back"


def test_a_finaliser_amid_the_arena_makes_an_array_and_nothing_hangs(arena, monkeypatch):
    made = []
    collect = arena._collect

    def amid():
        collect()
        if not made:
            made.append(None)
            made.extend(make(arena, MIB))  # as a finaliser would, which the collector runs here

    monkeypatch.setattr(arena, "_collect", amid)
    (x,) = make(arena, MIB)
    assert made[1].base is None and x.base is not None


def test_arrays_of_a_cycle_come_back(arena):
    cycle = [make(arena, MIB)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    (x,) = make(arena, MIB)
    assert arena.used == x.size


def test_the_end_of_a_process_is_quiet_and_the_switch_works():
    program = (
        "import numpy as np; from minicnn.kernels.arrays import allocate; "
        "kept = allocate(np.ones(1), (1 << 20,)); print(kept.base is None)"
    )
    for value, expected in (("on", "False"), ("off", "True")):
        environment = {**module.os.environ, "MINICNN_ARENA": value}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", env=environment
        )
        assert (done.stdout.strip(), done.stderr, done.returncode) == (expected, "", 0)


# ---- who uses it


@pytest.mark.parametrize("fill", [None, 0, 2.5])
def test_allocate(arena, fill):
    x = np.zeros(1, np.float32)
    y = allocate(x, (64, 1024))
    y.fill(np.nan)
    where = address(y)
    del y
    y = allocate(x, (64, 1024), fill=fill)
    assert address(y) == where and (fill is None or (y == fill).all())


def test_own_memory_is_what_tracemalloc_sees(arena):
    make(arena, MIB)
    with module.own_memory():
        x = allocate(np.zeros(1, np.uint8), (MIB,))
    assert x.base is None and allocate(x, (MIB,)).base is not None


def test_the_tape_adds_into_an_array_of_the_arena_in_place(arena):
    """Two uses of one tensor: the second gradient is added into the first, which nobody else sees."""
    x = Tensor(np.ones((4, 64, 64, 8), np.float32), requires_grad=True)
    y = ops.relu(x)
    (ops.relu(y) + ops.relu(y) + ops.relu(y)).backward(np.ones(x.shape, np.float32))
    assert (x.grad.numpy() == 3).all() and x.grad.data.base is not None
