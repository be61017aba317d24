"""Which images of a batch are a rank's own: together the ranks see what one rank alone would see."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minicnn.data import DataLoader
from minicnn.errors import ArgumentError
from minicnn.parallel.communicator import Communicator


def own_part(count: int, ranks: Communicator) -> slice:
    """The neighbouring items of ``count`` that belong to this rank; parts differ by at most one item."""
    return slice(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


class ShardedLoader(DataLoader):
    """A `DataLoader` that reads this rank's part of every batch.

    ``batch_size``, order and augmentation are those of the whole batch, so that any number of ranks sees the same
    images. Of a last batch with fewer images than ranks some get none: (0, C, H, W). A ``mix`` mixes over the whole
    batch, which every rank then reads.
    """

    ranks: Communicator

    @classmethod
    def of(cls, loader: DataLoader, ranks: Communicator) -> Self:
        """The same loader, for this rank. **Raises** ArgumentError where a whole batch has fewer images than ranks."""
        if loader.batch_size < ranks.size:
            raise ArgumentError(
                f"train: batch_size={loader.batch_size} is too small for {ranks.size} ranks, expected at least an "
                "image each; fix: a larger --batch-size or fewer --ranks"
            )
        names = ("dataset", "batch_size", "shuffle", "seed", "drop_last", "workers", "augment", "prefetch", "mix")
        options: dict[str, Any] = {name: getattr(loader, name) for name in names}
        sharded = cls(**options)
        sharded.ranks = ranks
        return sharded

    def load(self, indices: NDArray[np.int64], epoch: int) -> Any:
        own = own_part(len(indices), self.ranks)
        if self.mix is None and own.start < own.stop:
            return super().load(indices[own], epoch)
        images, targets = super().load(indices if self.mix is not None else indices[:1], epoch)
        if self.mix is None:
            return images[:0], targets[:0]
        return np.ascontiguousarray(images[own]), np.ascontiguousarray(targets[own])

    def whole(self, position: int) -> int:
        """The images of batch ``position`` on all ranks together."""
        return min(self.batch_size, len(self.dataset) - position * self.batch_size)
