"""What ranks say to each other: sums of arrays, arrays side by side, and Python values.

A job is a number of processes, its ranks, that all run the same program. Every call below is made by all ranks in the
same order: a rank waits in it for the others. `Communicator` itself is the job of a single rank, which waits for none.
"""

from typing import Any, Protocol

from minicnn.kernels.arrays import Array


class Pending(Protocol):
    """A sum under way."""

    def advance(self) -> None:
        """Give it a moment of this thread, without waiting."""

    def wait(self) -> None:
        """Wait until the sum is in its array."""


class Done:
    """What is done already."""

    def advance(self) -> None: ...

    def wait(self) -> None: ...


class Communicator:
    """One rank, alone; the others of this package override what follows from ``start_sum`` on."""

    rank = 0
    size = 1

    def sum(self, array: Array) -> None:
        """Replace ``array`` by its sum over the ranks: the same bits on all of them."""
        self.start_sum(array).wait()

    def start_sum(self, array: Array) -> Pending:
        """Begin ``sum``; until ``wait`` has returned nobody touches ``array``, which is contiguous."""
        return Done()

    def gather(self, array: Array) -> Array:
        """The arrays of all ranks, of one shape and dtype, side by side: (*shape,) -> (size, *shape)."""
        return array.reshape(1, *array.shape)

    def share(self, value: Any) -> Any:
        """Rank 0's ``value``, on every rank."""
        return value

    def collect(self, value: Any) -> list[Any]:
        """The ``value`` of every rank, in their order, on every rank."""
        return [value]

    def barrier(self) -> None:
        """Return once every rank has come here."""
        self.collect(None)


ALONE = Communicator()
