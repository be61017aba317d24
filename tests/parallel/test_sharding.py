"""The ranks' parts of every batch are, side by side, the batch of one rank."""

import numpy as np
import pytest

from minicnn import data
from minicnn.data.augment import Affine, MixUp
from minicnn.data.dataset import Subset
from minicnn.errors import ArgumentError
from minicnn.parallel import ShardedLoader, own_part
from minicnn.parallel.communicator import Communicator


class Rank(Communicator):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def digits(count):
    return Subset(data.load("digits", "train"), np.arange(count))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("mix", [None, MixUp(0.2)])
def test_parts_side_by_side_are_the_whole_batch(size, mix):
    options = {"shuffle": True, "seed": 4, "augment": Affine(degrees=10), "mix": mix}
    whole = data.DataLoader(digits(25), 8, **options)  # the last batch has a single image
    parts = [ShardedLoader.of(whole, Rank(rank, size)) for rank in range(size)]
    for epoch in (0, 1):
        for loader in (whole, *parts):
            loader.set_epoch(epoch)
        for position, (batch, *shares) in enumerate(zip(whole, *parts, strict=True)):
            assert sum(len(images) for images, _ in shares) == parts[0].whole(position) == len(batch[0])
            for k in range(2):
                assert np.array_equal(np.concatenate([share[k] for share in shares]), batch[k])
                assert all(share[k].dtype == batch[k].dtype for share in shares)


def test_parts_cover_everything_once_and_evenly():
    for count in range(12):
        for size in (1, 2, 5):
            parts = [own_part(count, Rank(rank, size)) for rank in range(size)]
            assert [i for part in parts for i in range(count)[part]] == list(range(count))
            sizes = [part.stop - part.start for part in parts]
            assert max(sizes) - min(sizes) <= 1


def test_a_batch_smaller_than_the_ranks_is_refused():
    with pytest.raises(ArgumentError, match="too small for 3 ranks"):
        ShardedLoader.of(data.DataLoader(digits(8), 2), Rank(0, 3))
