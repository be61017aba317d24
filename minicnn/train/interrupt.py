"""Ctrl-C during training: the first one asks for a stop between two steps, the second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """Training was stopped by Ctrl-C after saving ``last``."""


class StopRequest:
    """Whether somebody pressed Ctrl-C; ``announce`` is called when they do."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self.asked = False
        self.announce = announce

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal: an exception inside a compiled kernel or a half-made step would lose the step."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.announce()


@contextmanager
def stop_on_ctrl_c(announce: Callable[[], None]) -> Iterator[StopRequest]:
    """Inside, Ctrl-C sets ``asked``; only the main thread can listen, others never see it set."""
    request = StopRequest(announce)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGINT, request.on_signal)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)
