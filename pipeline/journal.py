"""An append-only log of records in which each finished unit of work is safe at once.

One line a record: 16 hex digits (xxh3-64 of what follows the space), a space, JSON, a newline.
JSON writes a newline inside a string as two characters, so a line is always one record. A batch is
one write: after SIGKILL only the tail can be torn, and `open` cuts the file at the first record
that is not whole. After a power cut up to a second of records may be missing.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import xxhash

from pipeline.files import explain_fault, sync_folder

_log = logging.getLogger(__name__)
_SYNC_EVERY_S = 1.0


class Journal:
    """A log of JSON records at `path`, open for appending; one writer at a time."""

    def __init__(self, path: Path, handle: int, end: int) -> None:
        self.path = path
        self._handle = handle
        self._end = end  # bytes of whole records
        self._synced_at = time.monotonic()

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create the log; verify each record and cut the file at the first bad one."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            _lock(handle, path)
            sync_folder(path.parent)
        except OSError as fault:
            raise explain_fault(fault, path.parent, 0) from fault
        end, size = _whole_bytes(path), path.stat().st_size
        if end < size:
            _log.warning("%s: cut a torn tail of %d bytes after byte %d", path, size - end, end)
            os.ftruncate(handle, end)
            os.fsync(handle)
        return cls(path, handle, end)

    @property
    def records(self) -> Iterator[dict[str, Any]]:
        """Read the records in order from disk, up to those appended when the iteration starts."""
        end = self._end
        with self.path.open("rb", buffering=1 << 20) as file:
            for line in file:
                if end <= 0:
                    return
                end -= len(line)
                yield orjson.loads(line[17:])

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write `records` in one piece. NaN becomes null, lone surrogates become U+FFFD.

        Raises UserError if the disk is full; the log then ends where it did before.
        """
        batch = b"".join(map(_line, records))
        try:
            written = os.write(self._handle, batch)
            while written < len(batch):  # a disk that fills up takes a part first
                written += os.write(self._handle, batch[written:])
        except OSError as fault:
            os.ftruncate(self._handle, self._end)
            raise explain_fault(fault, self.path.parent, len(batch)) from fault
        self._end += len(batch)
        if time.monotonic() - self._synced_at > _SYNC_EVERY_S:
            self._sync()

    def close(self) -> None:
        """Make everything durable and let go of the file; safe to call twice."""
        if self._handle >= 0:
            self._sync()
            os.close(self._handle)
            self._handle = -1

    def _sync(self) -> None:
        os.fsync(self._handle)
        self._synced_at = time.monotonic()


def _lock(handle: int, path: Path) -> None:
    """Refuse a second writer: a worker that was given up for dead may still be at work."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BlockingIOError(f"{path}: another process still writes here") from None


def remove(path: Path) -> None:
    """Delete the log at `path`, durably; nothing happens if there is none."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


def _whole_bytes(path: Path) -> int:
    end = 0
    digest = xxhash.xxh3_64_hexdigest
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            if line[-1:] != b"\n" or line[:17] != b"%s " % digest(line[17:-1]).encode():
                break
            end += len(line)
    return end


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        text = orjson.dumps(record)
    except TypeError:  # lone surrogates, or a Mapping that is not a dict
        text = orjson.dumps(_mended(record))
    return b"%s %s\n" % (xxhash.xxh3_64_hexdigest(text).encode(), text)


def _mended(value: Any) -> Any:
    """Copy a JSON value with text that UTF-8 can hold: pairs of surrogates join, lone ones go."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item) for item in value]
    return value
