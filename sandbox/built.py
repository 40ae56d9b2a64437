"""Programs that are not Python, ready to be started, and the sealed memory they travel in."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE


@dataclass(frozen=True)
class Built:
    """A program that is not Python: what its process becomes, and with which arguments.

    role "native": `binary` is a static executable; "hosted": `path` is the interpreter's, and it
    finds `source` on descriptor 5. more_mb: address space beyond the program's own limit.
    """

    role: Literal["native", "hosted"]
    arguments: tuple[str, ...]
    binary: bytes = b""
    path: str = ""
    source: str = ""
    more_mb: int = 0


def seal(stack: contextlib.ExitStack, content: bytes) -> int:
    """Memory that nobody can change any more."""
    descriptor = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def pass_built(stack: contextlib.ExitStack, built: Built | None) -> list[int]:
    """Open what a process becomes, and its source, as the descriptors 4 and 5."""
    if built is None:
        return []
    if built.role == "native":
        return [seal(stack, built.binary)]
    executable = os.open(built.path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, executable)
    return [executable, seal(stack, built.source.encode("utf-8", "surrogatepass"))]


@contextlib.contextmanager
def scratch_memory() -> Iterator[int]:
    """Memory for a jailed process to write to."""
    descriptor = os.memfd_create("scratch", os.MFD_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
