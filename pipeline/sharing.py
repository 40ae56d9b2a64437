"""Limits that all runs of a user on one machine have in common.

Who takes part in a limit holds a lock on a file of its own in the user's runtime directory; the
number of locked files is the number of sharers, and each may use an equal part. The kernel frees
the lock of a process that ends, even by SIGKILL, and the next sharer to count removes the file. So
no slot is ever lost, none is passed from process to process, and nobody starves. While a sharer
joins, the limit is exceeded until the others' work in flight is finished.
"""

import asyncio
import fcntl
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, finalize

from pipeline.errors import UserError

_COUNT_EVERY_S = 1.0


class Slots(asyncio.Semaphore):
    """The slots that this process has of `limit`; `name` says of what, empty: shared with nobody.

    A process has limit / sharers of them, at least one.
    """

    def __init__(self, limit: int, name: str = "") -> None:
        super().__init__(limit)
        self._limit, self._withheld = limit, 0
        self._folder = _place(name) if name else None
        self._share, self._counted_at = limit, -_COUNT_EVERY_S
        if self._folder:
            finalize(self, os.close, _join(self._folder))

    @property
    def share(self) -> int:
        """How many slots this process may hold now; counted anew every second."""
        now = time.monotonic()
        if self._folder and now - self._counted_at >= _COUNT_EVERY_S:
            self._counted_at = now
            self._share = max(1, self._limit // _count(self._folder))
        return self._share

    async def acquire(self) -> bool:  # type: ignore[override]
        """Take a slot; keep those back that belong to others now."""
        await super().acquire()
        while self._withheld < self._limit - self.share:
            self._withheld += 1
            await super().acquire()
        return True

    def release(self) -> None:
        """Free a slot, and those that belong to others no more."""
        super().release()
        while self._withheld > self._limit - self.share:
            self._withheld -= 1
            super().release()


_slots: WeakKeyDictionary[Any, Slots] = WeakKeyDictionary()


def slots_of(owner: Any, limit: int, name: str = "") -> Slots:
    """Return the one `Slots` of an owner (an engine, an event loop) in this process."""
    if owner not in _slots:
        _slots[owner] = Slots(limit, name)
    return _slots[owner]


def _place(name: str) -> Path:
    """Return the folder of a limit; UserError if the runtime directory is not ours alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    root = Path(runtime or tempfile.gettempdir()) / ("tamis" if runtime else f"tamis-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise UserError(f"{root}: is somebody else's; set XDG_RUNTIME_DIR to a folder of yours")
    folder = root / re.sub(r"[^A-Za-z0-9.-]+", "_", name)
    folder.mkdir(exist_ok=True)
    return folder


def _join(folder: Path) -> int:
    """Lock a new file in `folder`; the sharer takes part as long as this descriptor is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():
            return handle
        os.close(handle)  # somebody counted between the two lines and took it for a dead one's


def _count(folder: Path) -> int:
    """Count the sharers; remove the files of those that are gone."""
    alive = 0
    for file in folder.iterdir():
        try:
            handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)
        except BlockingIOError:
            alive += 1
        finally:
            os.close(handle)
    return max(alive, 1)
