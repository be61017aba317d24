"""Generators, and how random the masks are."""

import json
import threading

import numpy as np
import pytest

import minicnn
from minicnn import ops, random
from minicnn.errors import ArgumentError
from minicnn.kernels.random.hashing import mix64
from minicnn.random import Generator


def test_the_hash_is_splitmix64():
    """The published first outputs of SplitMix64 from state 1234567."""
    golden = 0x9E3779B97F4A7C15
    outputs = [mix64((1234567 + i * golden) % 2**64) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_state_survives_json_and_continues():
    generator = Generator(5)
    generator.next_seed()
    state = json.loads(json.dumps(generator.state()))
    later = [generator.next_seed() for _ in range(3)]
    other = Generator()
    other.set_state(state)
    assert [other.next_seed() for _ in range(3)] == later
    assert Generator(5).numpy().random() == Generator(5).numpy().random() != Generator(6).numpy().random()


def test_numbers_for_initialisers_have_the_asked_moments():
    generator = Generator(4)
    uniform, normal = generator.uniform(-1, 3, 20_000), generator.normal(5, 2, (100, 200))
    assert uniform.min() >= -1 and uniform.max() < 3 and abs(uniform.mean() - 1) < 0.05
    assert normal.shape == (100, 200) and abs(normal.mean() - 5) < 0.1 and abs(normal.std() - 2) < 0.1
    assert not np.array_equal(generator.normal(size=3), generator.normal(size=3))


def test_manual_seed_repeats_the_masks():
    x = np.ones((4, 50), np.float32)
    minicnn.manual_seed(3)
    first, second = (ops.dropout(x).numpy() for _ in range(2))
    minicnn.manual_seed(3)
    again = ops.dropout(x).numpy()
    assert np.array_equal(first, again) and not np.array_equal(first, second)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1"])
def test_wrong_seed_is_explained(seed):
    with pytest.raises(ArgumentError, match=r"manual_seed: seed=.* is not usable, expected an integer from 0"):
        minicnn.manual_seed(seed)


def test_wrong_state_is_explained():
    with pytest.raises(ArgumentError, match=r"set_state: got \{\}, expected a dict with 'seed' and 'drawn'"):
        Generator().set_state({})
    with pytest.raises(ArgumentError, match="sample_offset: first=-1"), random.sample_offset(-1):
        pass


def test_threads_never_draw_the_same_seed():
    generator, seeds = Generator(1), []

    def draw():
        seeds.extend([generator.next_seed() for _ in range(2000)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seeds)) == 8000 and generator.state()["drawn"] == 8000


def test_nothing_is_drawn_where_the_expectation_is_taken():
    x = minicnn.Tensor(np.ones((2, 3), np.float32))
    before = random.default_generator().state()
    assert ops.dropout(x, training=False) is x
    assert ops.dropout(x, p=0.0) is x
    assert ops.dropout2d(x, training=False) is x
    assert ops.stochastic_depth(x, 0.5, "row", training=False) is x
    with minicnn.abstract():
        ops.dropout(np.ones((2, 3)))
    ops.dropout(x, seed=1)
    assert random.default_generator().state() == before
    ops.dropout(x)
    assert random.default_generator().state()["drawn"] == before["drawn"] + 1


def test_seed_zero_is_a_seed():
    x = np.ones(200, np.float32)
    assert np.array_equal(ops.dropout(x, seed=0).numpy(), ops.dropout(x, seed=0).numpy())


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: ops.dropout(x, 0.4, seed=9),
        lambda x: ops.dropout2d(x, 0.4, seed=9),
        lambda x: ops.stochastic_depth(x, 0.4, "row", seed=9),
        lambda x: ops.stochastic_depth(x, 0.4, "batch", seed=9),
        lambda x: ops.alpha_dropout(x, 0.4, training=True, seed=9),
    ],
)
def test_a_split_batch_sees_the_masks_of_the_whole(layer):
    x = np.random.default_rng(0).standard_normal((20, 3, 2, 2)).astype(np.float32)
    whole = minicnn.Tensor(x, requires_grad=True)
    layer(whole).sum().backward() if hasattr(ops, "sum") else layer(whole).backward(np.ones_like(x))
    for first, last in ((0, 7), (7, 12), (12, 20)):
        part = minicnn.Tensor(x[first:last], requires_grad=True)
        with random.sample_offset(first):
            y = layer(part)
        y.backward(np.ones_like(part.numpy()))  # outside the block: the mask of the forward pass counts
        assert np.array_equal(y.numpy(), layer(whole).numpy()[first:last])
        assert np.array_equal(part.grad.numpy(), whole.grad.numpy()[first:last])


def kept(size, p, seed):
    return ops.dropout(np.ones(size, np.float32), p, seed=seed).numpy() != 0


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_the_share_of_kept_elements(p):
    """Within 5 standard deviations of 1 - p, for neighbouring and for far seeds."""
    size = 200_000
    for seed in (0, 1, 2, 2**32, 2**63, 2**64 - 1):
        assert abs(kept(size, p, seed).mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / size)


def test_masks_are_independent_of_neighbours_and_of_other_seeds():
    """Correlations of 200,000 decisions at many lags, and between seeds one bit apart, stay within 5 deviations."""
    size = 200_000
    base = kept(size, 0.5, 11) - 0.5
    bound = 5 * 0.25 / np.sqrt(size)
    for lag in (1, 2, 3, 4, 8, 16, 28, 32, 56, 64, 128, 256, 784, 1024, 4096):
        assert abs((base[lag:] * base[:-lag]).mean()) < bound * 1.02, lag
    for bit in range(64):
        other = kept(size, 0.5, 11 ^ (1 << bit)) - 0.5
        assert abs((base * other).mean()) < bound, bit


def test_every_bit_of_the_hash_is_fair():
    """Each of the 32 bits behind the threshold is 1 half the time, also given its neighbour bit."""
    size = 4000
    key = mix64(3)
    words = np.array([mix64((key + i * 0x9E3779B97F4A7C15) % 2**64) >> 32 for i in range(size)])
    bits = (words[:, None] >> np.arange(32)) & 1
    assert abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(size)
    centered = bits - 0.5
    correlation = centered.T @ centered / size - 0.25 * np.eye(32)
    assert abs(correlation).max() < 5 * 0.25 / np.sqrt(size)


def test_runs_have_the_lengths_of_independent_coins():
    """Chi-square of the 256 patterns of 8 neighbouring decisions against the uniform law."""
    decisions = kept(8 * 50_000, 0.5, 21).reshape(-1, 8)
    counts = np.bincount(decisions @ (1 << np.arange(8)), minlength=256)
    expected = len(decisions) / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(2).standard_normal(200_000).astype(np.float32)
    y = ops.alpha_dropout(x, 0.3, training=True, seed=5).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03


def test_dropped_is_zero_and_kept_is_scaled_exactly():
    x = np.array([np.nan, np.inf, -np.inf, 1.0] * 50, np.float32)
    assert np.array_equal(ops.dropout(x, 1.0, seed=1).numpy(), np.zeros_like(x))
    y = ops.dropout(x, 0.5, seed=1).numpy()
    mask = kept(200, 0.5, 1)
    assert np.array_equal(y[~mask], np.zeros((~mask).sum())) and np.array_equal(y[mask], 2 * x[mask], equal_nan=True)
