"""The arena: reuse, lifetime through views, bounds, threads, finalisers, and what the tape makes of it."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import Tensor, ops
from minicnn.kernels import arena as module
from minicnn.kernels.arena import ALIGNMENT, GRAIN, PERIOD, SMALLEST, Arena
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
    assert address(y) == where and arena.held == arena.used == MIB


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
        assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned and address(x) % ALIGNMENT == 0
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


@settings(max_examples=30)
@given(size=st.integers(SMALLEST, 4 * MIB), more=st.integers(0, 4 * MIB))
def test_a_block_serves_what_is_at_most_an_eighth_smaller(size, more):
    arena = Arena()
    kept, freed = make(arena, 64 * MIB, size + more)  # the first is so large that nothing has to go
    del freed
    before = arena.held
    (x,) = make(arena, size)
    rounded, offered = (-(-n // GRAIN) * GRAIN for n in (size, size + more))
    fits = offered <= rounded + rounded // 8
    assert arena.held == before + (0 if fits else rounded) and x.size + kept.size == size + 64 * MIB


def test_the_exact_size_comes_first_and_the_youngest_of_it(arena):
    larger, first, second = make(arena, MIB + GRAIN, MIB, MIB)
    where = [address(x) for x in (larger, first, second)]
    del larger, first
    make(arena, SMALLEST)  # sorts them in
    del second
    found = [address(x) for x in make(arena, MIB, MIB, MIB)]
    assert found == [where[2], where[1], where[0]]


def test_small_arrays_are_numpys(arena):
    assert make(arena, SMALLEST - 1)[0].base is None and arena.held == 0
    assert make(arena, 0)[0].size == 0


def test_what_is_held_is_bounded_by_what_was_used(arena):
    """A free block goes, the one idle longest, when an array of another size would make it too much."""
    peak = 0
    for size in (MIB, 3 * MIB, 9 * MIB, 2 * MIB, 5 * MIB):
        arrays = make(arena, *[size] * 4)
        peak = max(peak, 4 * size)
        del arrays
        assert arena.held <= peak + peak // 8
    kept = make(arena, *[9 * MIB] * 4)
    assert arena.used == sum(x.size for x in kept) == 36 * MIB and arena.held <= 36 * MIB * 9 // 8


def test_the_oldest_goes_first(arena):
    big, *arrays = make(arena, 16 * MIB, MIB, 2 * MIB)
    where = [address(x) for x in arrays]
    while arrays:
        del arrays[0]
        make(arena, SMALLEST)
    (other,) = make(arena, 2 * MIB + MIB // 2)  # 21.5 MiB would be held, 21.4 may be
    assert arena.held == 16 * MIB + 2 * MIB + 2 * MIB + MIB // 2 + SMALLEST, "the megabyte went"
    assert address(make(arena, 2 * MIB)[0]) == where[1] and other.size + big.size == 18 * MIB + MIB // 2


def test_an_old_peak_is_forgotten(arena):
    make(arena, 64 * MIB)
    for _ in range(2 * PERIOD):
        make(arena, MIB)
    assert arena.held <= MIB * 9 // 8
    make(arena, *[MIB] * 4)
    for _ in range(PERIOD // 2):
        make(arena, MIB)
    assert arena.held == 4 * MIB, "a peak of late counts"


def test_clear_gives_back_what_is_free(arena):
    kept, freed = make(arena, MIB, 32 * MIB)
    del freed
    arena.clear()
    assert arena.held == arena.used == MIB == kept.size


def test_when_there_is_no_memory_free_blocks_go_first(arena, monkeypatch):
    make(arena, 16 * MIB)
    real, tries = module.Block, []

    def scarce(size, dtype):
        tries.append(arena.held)
        if arena.held:
            raise MemoryError
        return real(size, dtype)

    monkeypatch.setattr(module, "Block", scarce)
    (x,) = make(arena, MIB)
    assert x.size == arena.held == MIB and tries == [16 * MIB, 0]


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
    make(arena, SMALLEST)
    make(arena, SMALLEST)
    assert arena.used <= SMALLEST + GRAIN, "every block came back"


def test_a_finaliser_amid_the_arena_makes_an_array_and_nothing_hangs(arena, monkeypatch):
    made = []
    sort_in = arena._sort_in

    def amid():
        sort_in()
        if not made:
            made.append(None)
            made.extend(make(arena, MIB))  # as a finaliser would, which the collector runs here

    monkeypatch.setattr(arena, "_sort_in", amid)
    (x,) = make(arena, MIB)
    assert made[1].base is None and x.base is not None


def test_arrays_of_a_cycle_come_back(arena):
    cycle = [make(arena, MIB)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    make(arena, MIB)
    assert arena.held == MIB


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
