"""Order, resume, back-pressure and shutdown of the DataLoader."""

import threading
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

import minicnn.data as data
from minicnn.data import augment as A
from minicnn.data.augment import Generators, Images
from minicnn.data.dataset import Labels
from minicnn.errors import DataError

COUNT = 23


class Counting(data.Dataset):
    """Sample ``i`` is an image full of ``i``; counts the batches read and may fail at one sample."""

    def __init__(self, count: int = COUNT, fail_at: int = -1, slow: float = 0.0) -> None:
        super().__init__("counting", [str(k) for k in range(count)], (1, 2, 2))
        self.count, self.fail_at, self.slow = count, fail_at, slow
        self.reads = 0
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Labels:
        return np.arange(self.count)

    def batch(self, indices: np.ndarray) -> tuple[Images, Labels]:
        with self.lock:
            self.reads += 1
        time.sleep(self.slow * float(indices[0] % 3))
        if self.fail_at in indices:
            raise OSError("the disk is gone")
        return np.ones((len(indices), 1, 2, 2), np.float32) * indices[:, None, None, None], indices.copy()


def read(loader: data.DataLoader) -> list[tuple[Images, Labels]]:
    return list(loader)


def same(first: list[tuple[Images, Labels]], second: list[tuple[Images, Labels]]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def loader_threads() -> int:
    return sum(thread.name.startswith("minicnn-loader") for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    yield
    assert loader_threads() == 0


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_cover_the_dataset_in_order(drop_last: bool, sizes: list[int], workers: int) -> None:
    loader = data.DataLoader(Counting(), 5, drop_last=drop_last, workers=workers)
    batches = read(loader)
    assert [len(labels) for _, labels in batches] == sizes and len(loader) == len(sizes)
    assert np.concatenate([labels for _, labels in batches]).tolist() == list(range(sum(sizes)))
    for images, labels in batches:
        assert images.flags.c_contiguous and images.dtype == np.float32
        assert labels.flags.c_contiguous and labels.dtype == np.int64
        np.testing.assert_array_equal(images[:, 0, 1, 1], labels)


def test_any_worker_count_gives_the_same_augmented_batches() -> None:
    def run(workers: int, prefetch: int = 2, seed: int = 3) -> list[tuple[Images, Labels]]:
        loader = data.DataLoader(
            data.digits("val"),
            50,
            shuffle=True,
            workers=workers,
            augment=A.digits_augment(),
            prefetch=prefetch,
            seed=seed,
        )
        return [batch for _ in range(2) for batch in loader]

    alone = run(0)
    assert len(alone) == 16
    assert same(alone, run(1)) and same(alone, run(4, prefetch=3))
    assert not same(alone, run(0, seed=4))
    assert not same(alone[:8], alone[8:])  # the second epoch is another order, with other changes


def test_order_is_a_permutation_and_a_batch_split_does_not_change_a_sample() -> None:
    def by_sample(batch_size: int) -> dict[int, bytes]:
        loader = data.DataLoader(Counting(), batch_size, shuffle=True, augment=A.Noise(1.0))
        return {int(k): image.tobytes() for images, labels in loader for image, k in zip(images, labels, strict=True)}

    assert sorted(by_sample(4)) == list(range(COUNT)) and by_sample(4) == by_sample(23)
    order = data.DataLoader(Counting(), 4, shuffle=True).order(0)
    assert sorted(order.tolist()) == list(range(COUNT)) and order.tolist() != list(range(COUNT))


def test_epoch_advances_only_when_finished() -> None:
    loader = data.DataLoader(Counting(), 5, shuffle=True)
    for _ in loader:
        break
    assert loader.epoch == 0
    first = read(loader)
    assert loader.epoch == 1
    second = read(loader)
    loader.set_epoch(0)
    assert same(read(loader), first) and not same(first, second)
    running = iter(loader)
    next(running)
    loader.set_epoch(7)  # a choice made on the way is kept
    list(running)
    assert loader.epoch == 7
    loader.set_epoch(1)
    early, late = iter(loader), iter(loader)
    assert same(list(early), list(late)) and loader.epoch == 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_resume_goes_on_exactly(workers: int, stop: int) -> None:
    def make() -> data.DataLoader:
        loader = data.DataLoader(Counting(), 5, shuffle=True, seed=9, workers=workers, augment=A.Noise(1.0))
        loader.set_epoch(2)
        return loader

    whole = make()
    expected = read(whole) + read(whole)
    with iter(make()) as broken:
        seen = [next(broken) for _ in range(stop)]
        state = broken.state()
        assert state == {"epoch": 2, "position": stop} and len(broken) == 5 - stop
    resumed = make()
    resumed.set_epoch(state["epoch"])
    seen += list(resumed.iterate(state["position"]))
    assert same(seen + read(resumed), expected)


def test_workers_never_run_far_ahead() -> None:
    dataset = Counting(100)
    with iter(data.DataLoader(dataset, 1, workers=2, prefetch=3)) as batches:
        next(batches)
        deadline = time.monotonic() + 5
        while dataset.reads < 7 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert dataset.reads == 7  # the one handed out and 2 x 3 ahead
        assert loader_threads() == 2


def test_slow_batches_arrive_in_order() -> None:
    labels = [int(k[0]) for _, k in data.DataLoader(Counting(30, slow=0.002), 1, workers=4)]
    assert labels == list(range(30))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_error_names_its_sample_and_stops_the_threads(workers: int, batch_size: int) -> None:
    got = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        for _, labels in data.DataLoader(Counting(fail_at=6), batch_size, workers=workers):
            got += labels.tolist()
    assert got == list(range(6 // batch_size * batch_size))
    assert caught.value.__notes__ == ["DataLoader: while reading sample 6 of dataset 'counting'"]
    assert loader_threads() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_error_in_augment_names_the_samples(workers: int) -> None:
    def broken(images: Images, rngs: Generators) -> Images:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError) as caught:
        read(data.DataLoader(Counting(), 3, workers=workers, augment=broken))
    assert caught.value.__notes__ == ["DataLoader: while augmenting samples [0, 1, 2] in epoch 0"]
    with pytest.raises(DataError, match=r"augment returned shape \(3, 1, 2, 1\), expected \(3, 1, 2, 2\)"):
        read(data.DataLoader(Counting(), 3, workers=workers, augment=lambda images, rngs: images[..., :1]))


def test_leaving_early_stops_the_threads() -> None:
    loader = data.DataLoader(Counting(1000), 1, workers=3)
    for _ in loader:
        break
    with pytest.raises(RuntimeError, match="consumer"), iter(loader) as batches:
        next(batches)
        raise RuntimeError("consumer")
    assert list(batches) == []  # a closed iterator is empty
    batches.close()
    abandoned = iter(loader)
    next(abandoned)
    del abandoned
    deadline = time.monotonic() + 5
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.001)


def test_two_threads_share_a_loader() -> None:
    loader = data.DataLoader(Counting(60), 4, shuffle=True, workers=2, augment=A.Noise(1.0))
    expected = read(data.DataLoader(Counting(60), 4, shuffle=True, augment=A.Noise(1.0)))
    iterators = [iter(loader) for _ in range(3)]
    results: list[list[tuple[Images, Labels]]] = [[] for _ in iterators]
    threads = [threading.Thread(target=results[i].extend, args=(iterators[i],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert all(same(result, expected) for result in results) and loader.epoch == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.DataLoader(cast(data.Dataset, "digits")), r"dataset is a str, expected a Dataset; fix: .*load\("),
        (lambda: data.load(cast(str, None)), "data.load: name is a NoneType, expected one of cifar10, .*, or a path"),
        (lambda: data.DataLoader(Counting(), 0), "batch_size must be an integer of at least 1, got 0"),
        (lambda: data.DataLoader(Counting(), cast(int, 2.5)), "batch_size must be an integer of at least 1, got 2.5"),
        (lambda: data.DataLoader(Counting(), workers=-1), "workers must be an integer of at least 0, got -1"),
        (lambda: data.DataLoader(Counting(), prefetch=0), "prefetch must be an integer of at least 1, got 0"),
        (lambda: data.DataLoader(Counting(), seed=-5), "seed must be an integer of at least 0, got -5"),
        (lambda: data.DataLoader(Counting()).set_epoch(-1), "epoch must be an integer of at least 0, got -1"),
        (lambda: data.DataLoader(Counting(0)), "dataset 'counting' is empty"),
        (lambda: data.DataLoader(Counting(), 24, drop_last=True), "drop_last=True leaves no batch.*holds 23 samples"),
        (lambda: data.DataLoader(Counting(), 5).iterate(6), r"start_batch must be 0 to 5 .*, got 6"),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
