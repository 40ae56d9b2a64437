"""Ctrl-C once: ask the engine nothing more and end with a valid, partial set. Twice: stop now.

Where no engine is being asked there is nothing to cut short but the work itself, so there the
first Ctrl-C stops at once. Either way the same command goes on later.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_stopping = threading.Event()
_loops: list[None] = []  # one for each loop that asks an engine; append and pop are atomic


@contextmanager
def minding_interrupts() -> Iterator[None]:
    """Handle SIGINT in this block as said above; in threads other than the main one as before."""
    _stopping.clear()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
        yield
        return
    # Polars' import would install a handler of its own, under which waits go on for ever.
    import polars  # noqa: F401

    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def asking() -> Iterator[None]:
    """Say that an engine is being asked in this block."""
    _loops.append(None)
    try:
        yield
    finally:
        _loops.pop()


def stopping() -> bool:
    """Return whether to ask nothing more."""
    return _stopping.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _stopping.is_set() or not _loops:
        signal.default_int_handler(number, frame)
    _stopping.set()
    sys.stderr.write(
        "\ntamis: asking nothing more; what is in flight is finished and the set is written; "
        "Ctrl-C again stops now\n"
    )
