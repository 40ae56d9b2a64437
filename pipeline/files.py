"""Files that survive a kill: atomic durable writes, room on the disk, one process per folder."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


def write_file(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that after a crash it is whole: the old file or the new one.

    Writes a temporary name beside it, syncs, renames, syncs the folder. Raises UserError when the
    disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as fault:
        raise explain_fault(fault, path.parent, len(content)) from fault


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain_fault(fault: OSError, folder: Path, needed: int) -> Exception:
    """Turn a full or forbidden disk into a UserError; give any other fault back as it is."""
    if fault.errno in _FULL:
        return UserError(
            f"{folder}: the disk is full: {needed:,} bytes are needed, {_free(folder):,} are free; "
            "make room and run the same command again, or choose another --out"
        )
    if fault.errno in _FORBIDDEN:
        return UserError(
            f"{folder}: cannot be written ({fault.strerror}): {needed:,} bytes are needed, "
            f"{_free(folder):,} are free; choose an --out that you may write to"
        )
    return fault


def require_space(folder: Path, needed: int) -> None:
    """Raise UserError unless the disk that holds (or will hold) `folder` has `needed` bytes."""
    if _free(folder) < needed:
        raise explain_fault(OSError(errno.ENOSPC, ""), folder, needed)


def _free(folder: Path) -> int:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the kernel frees it when the process ends, even by kill -9.

    Raises UserError naming process, host and start time when another one holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise explain_fault(fault, folder, 0) from fault
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}, {started}".encode())
        yield
        os.ftruncate(handle, 0)
    except BlockingIOError as fault:
        holder = os.pread(handle, 1000, 0).decode() or "another process"
        raise UserError(
            f"{folder}: in use by {holder}; wait until it ends or choose another --out"
        ) from fault
    finally:
        os.close(handle)  # frees the lock
