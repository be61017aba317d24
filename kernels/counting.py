"""Multiply-adds, counted where they happen: a gate reports them, whoever listens adds them up."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar

from minicnn.context import bound

Listener = Callable[[str, int], None]

_listener: ContextVar[Listener | None] = ContextVar("minicnn_mac_listener", default=None)


def count_macs(op: str, macs: int) -> None:
    """Report that ``op`` is about to do ``macs`` multiply-adds (a MAC is one multiplication and one addition)."""
    listener = _listener.get()
    if listener is not None:
        listener(op, macs)


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Send every reported count inside the block to ``listener(op, macs)``; also from functional calls."""
    return bound(_listener, listener)
