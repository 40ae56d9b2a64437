"""How messages cross the wall: four bytes of length, then JSON. Runs on both sides."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from sandbox.wire import NotPlainData

_MAX_PARTS = 1 << 19  # lists and objects: a million of them take seconds to read
_DECODE = json.JSONDecoder().raw_decode  # json.loads without its search for white space
_ENCODE = json.JSONEncoder().encode


def pack(message: Any) -> bytes:
    """A message as a frame."""
    return frame(_ENCODE(message).encode())


def frame(body: bytes) -> bytes:
    """A frame around JSON."""
    return struct.pack(">I", len(body)) + body


def has_too_many_parts(body: bytes) -> bool:
    """Whether a frame holds more lists and objects than a program may make us read."""
    return body.count(b"[") + body.count(b"{") > _MAX_PARTS


def unpack(body: bytes) -> Any:
    """The message in a frame's body; raises NotPlainData for anything but sane JSON."""
    try:
        text = body.decode()
        message, end = _DECODE(text)
    except (ValueError, RecursionError):
        raise NotPlainData("unreadable frame") from None
    if end != len(text):
        raise NotPlainData("more than one message in a frame")
    return message


def read_message(descriptor: int) -> Any:
    """Read one frame from a blocking descriptor; raises EOFError at its end."""
    (length,) = struct.unpack(">I", _read_exactly(descriptor, 4))
    return unpack(_read_exactly(descriptor, length))


def _read_exactly(descriptor: int, length: int) -> bytes:
    data = os.read(descriptor, min(length, 1 << 20))
    while len(data) < length:
        part = os.read(descriptor, min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return data


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
