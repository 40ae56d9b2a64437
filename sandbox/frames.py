"""How messages cross the wall: four bytes of length, then JSON. Runs on both sides."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

from sandbox.wire import NotPlainData


def pack(message: Any) -> bytes:
    """A message as a frame."""
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


def unpack(body: bytes) -> Any:
    """The message in a frame's body; raises NotPlainData for anything but sane JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NotPlainData("unreadable frame") from None


def read_message(descriptor: int) -> Any:
    """Read one frame from a blocking descriptor; raises EOFError at its end."""
    (length,) = struct.unpack(">I", _read_exactly(descriptor, 4))
    return unpack(_read_exactly(descriptor, length))


def _read_exactly(descriptor: int, length: int) -> bytes:
    parts = list(_parts(descriptor, length))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parts(descriptor: int, length: int) -> Iterator[bytes]:
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            raise EOFError
        length -= len(part)
        yield part


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
