"""Mixup and CutMix a pair at a time, their labels by hand, and through the loader to the loss."""

import numpy as np
import pytest
from scipy import special

import minicnn
from minicnn import data, ops
from minicnn.data import augment as A
from minicnn.errors import DataError

CLASSES = 5


def batch(n: int, h: int = 12, w: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Image ``i`` is full of the number ``i + 1``."""
    images = np.ones((n, 2, h, w), np.float32) * np.arange(1, n + 1, dtype=np.float32)[:, None, None, None]
    return images, A.one_hot(np.arange(n) % CLASSES, CLASSES)


def test_one_hot() -> None:
    assert A.one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("mix", [A.MixUp(0.4), A.CutMix(1.0), A.OneOf(A.MixUp(1.0), A.CutMix(0.5))], ids=repr)
def test_labels_stay_probabilities_and_inputs_stay_as_they_are(mix: A.Mix) -> None:
    images, targets = batch(32)
    before = images.copy(), targets.copy()
    mixed, soft = mix(images, targets, A.generators(0, 0, range(32)))
    assert mixed.dtype == soft.dtype == np.float32 and mixed.shape == images.shape and soft.shape == targets.shape
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert (soft >= 0).all() and not np.array_equal(soft, targets)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(targets, before[1])
    again = mix(images, targets, A.generators(0, 0, range(32)))
    np.testing.assert_array_equal(again[0], mixed)
    assert mix(images[:0], targets[:0], [])[0].shape == (0, 2, 12, 10)


def test_mixup_blends_a_pair_and_its_labels_alike() -> None:
    images, targets = batch(40)
    mix = A.MixUp(1.0)
    partner, kept = mix.draw(A.generators(1, 0, range(40)))
    mixed, soft = mix(images, targets, A.generators(1, 0, range(40)))
    assert sorted(partner.tolist()) == list(range(40)) and len(set(kept.tolist())) == 40
    for i, (j, k) in enumerate(zip(partner.tolist(), kept.tolist(), strict=True)):
        np.testing.assert_allclose(mixed[i], k * (i + 1) + (1 - k) * (j + 1), rtol=1e-5)
        label = np.zeros(CLASSES)
        label[i % CLASSES] += k
        label[j % CLASSES] += 1 - k
        np.testing.assert_allclose(soft[i], label, atol=1e-6)


def test_cutmix_pastes_a_box_and_labels_by_its_area() -> None:
    images, targets = batch(80)
    mix = A.CutMix(1.0)
    partner, kept = mix.draw(A.generators(1, 0, range(80)))
    mixed, soft = mix(images, targets, A.generators(1, 0, range(80)))
    boxes = 0
    for i, (j, k) in enumerate(zip(partner.tolist(), kept.tolist(), strict=True)):
        if i == j:
            continue
        pasted = mixed[i, 0] == j + 1
        assert (pasted | (mixed[i, 0] == i + 1)).all() and np.array_equal(mixed[i, 0], mixed[i, 1])
        rows, columns = pasted.any(axis=1).sum(), pasted.any(axis=0).sum()
        assert pasted.sum() == rows * columns  # one rectangle
        side = np.sqrt(1 - k)  # of both sides; less where the edge cuts it
        assert rows <= 12 * side + 1 and columns <= 10 * side + 1
        label = np.zeros(CLASSES)
        label[i % CLASSES] += 1 - pasted.mean()
        label[j % CLASSES] += pasted.mean()
        np.testing.assert_allclose(soft[i], label, atol=1e-6)
        boxes += bool(pasted.any())
    assert boxes > 50


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_what_is_kept_has_a_beta_distribution(alpha: float) -> None:
    _, kept = A.MixUp(alpha).draw(A.generators(0, 0, range(2000)))
    below = np.arange(2001) / 2000  # Kolmogorov's test; scipy.stats would take each process a second to import
    expected = special.betainc(alpha, alpha, np.sort(kept))
    distance = max(np.max(below[1:] - expected), np.max(expected - below[:-1]))
    assert distance * np.sqrt(2000) < 1.628, "as far apart as one sample in a hundred is"
    _, some = A.MixUp(alpha, p=0.25).draw(A.generators(0, 0, range(2000)))
    assert abs(np.mean(some < 1) - 0.25) < 0.03


def test_boxes_lie_anywhere() -> None:
    images, targets = batch(2)
    hit = np.zeros((12, 10))
    for epoch in range(800):
        mixed, _ = A.CutMix()(images, targets, A.generators(0, epoch, range(2)))
        hit += mixed[0, 0] == 2
    # Cut off at the edge, a box covers the corners less often than the middle, but no side more than the other.
    assert 0.15 * hit.max() < hit.min() < 0.6 * hit.max()
    for turned in (hit[::-1], hit[:, ::-1]):
        assert np.abs(hit - turned).max() < 0.25 * hit.max()
        assert abs(hit[:3].sum() / hit[-3:].sum() - 1) < 0.15 and abs(hit[:, :3].sum() / hit[:, -3:].sum() - 1) < 0.15


def test_partners_are_a_random_permutation() -> None:
    counts = np.zeros((4, 4))
    for epoch in range(800):
        partner, _ = A.MixUp().draw(A.generators(0, epoch, range(4)))
        counts[np.arange(4), partner] += 1
    assert counts.min() > 150 and counts.max() < 250


def test_one_of_takes_each_as_often() -> None:
    images, targets = batch(3)
    mix = A.OneOf(A.MixUp(1.0), lambda images, targets, rngs: (images, targets))
    plain = sum(np.array_equal(mix(images, targets, A.generators(0, e, range(3)))[0], images) for e in range(300))
    assert 115 < plain < 185


def test_the_loader_mixes_alike_with_any_count_of_workers_and_the_loss_takes_it() -> None:
    def run(workers: int) -> list[tuple[np.ndarray, np.ndarray]]:
        train = data.Subset(data.digits("train"), range(100))
        augment, mix = A.RandomCrop(1), A.OneOf(A.MixUp(1.0), A.CutMix())
        loader = data.DataLoader(train, 16, shuffle=True, workers=workers, augment=augment, mix=mix, seed=3)
        return [batch for _ in range(2) for batch in loader]

    alone, together = run(0), run(3)
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
    _, targets = alone[0]
    assert targets.shape == (16, 10) and targets.dtype == np.float32 and targets.flags.c_contiguous
    logits = np.random.default_rng(0).normal(size=(16, 10)).astype(np.float32)
    loss = ops.cross_entropy(minicnn.Tensor(logits), minicnn.Tensor(targets)).item()
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert abs(loss - -(targets * log_p).sum(axis=1).mean()) < 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: A.MixUp(0), "MixUp: alpha must be positive, got 0"),
        (lambda: A.CutMix(1, p=7), "CutMix: p must be a probability"),
        (lambda: A.OneOf(), "expected one mix or more"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()  # type: ignore[operator]
