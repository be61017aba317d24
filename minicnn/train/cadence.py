"""How often a run is saved within an epoch: every so many steps, or seconds."""

import re
import time

from minicnn.errors import ArgumentError

# A save of a large network takes seconds: it may take this share of the time, whatever was asked in seconds.
LARGEST_SHARE = 0.05


class Cadence:
    """``"100"`` is a hundred steps, ``"60s"`` sixty seconds, ``"0"`` never within an epoch (its end is always saved).

    **Raises** ArgumentError for any other text.
    """

    def __init__(self, every: str) -> None:
        found = re.fullmatch(r"(\d{1,9})(s?)", every, re.ASCII)
        if found is None:
            raise ArgumentError(
                f"train: checkpoint_every={every!r}, expected a number of steps such as 100, of seconds such as 60s, "
                "or 0: at the ends of epochs only"
            )
        number = int(found[1])
        self.steps, self.seconds = (0, number) if found[2] else (number, 0)
        self._since, self._wait, self._count = time.monotonic(), float(self.seconds), 0

    def due(self) -> bool:
        """Count a step; whether a save is due after it."""
        self._count += 1
        if self.seconds:
            return time.monotonic() - self._since >= self._wait
        return self.steps > 0 and self._count >= self.steps

    def saved(self, seconds: float) -> None:
        """Begin again: a save has just taken ``seconds``."""
        self._since, self._count = time.monotonic(), 0
        self._wait = max(float(self.seconds), seconds / LARGEST_SHARE)
