"""Raw system calls through ctypes, prepared ahead where a child has to be quick.

Loaded by the interpreter that runs the programs, which may be as old as Python 3.9.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
from typing import Any, NamedTuple

from sandbox.syscall_numbers import ALLOWED, OTHER, numbers


@functools.cache
def _libc() -> ctypes.PyDLL:
    # PyDLL keeps the interpreter lock, so that the child of clone() starts holding it.
    libc = ctypes.PyDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


@functools.cache
def _number(name: str) -> int:
    return {**numbers(ALLOWED), **numbers(OTHER)}[name]


class Step(NamedTuple):
    """A system call whose arguments are ready; `keep` receives its result."""

    name: str
    arguments: tuple[Any, ...]
    keep: Any = None
    alive: Any = None  # what an argument points into


def step(name: str, *arguments: Any, keep: Any = None) -> Step:
    """Prepare a system call; integers become C longs, ctypes objects and bytes stay."""
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return Step(name, (ctypes.c_long(_number(name)), *values), keep)


def take(steps: list[Step]) -> None:
    """Make prepared calls in order; raises OSError at the first that fails."""
    syscall = _libc().syscall
    for name, arguments, keep, _ in steps:
        result = syscall(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        if keep is not None:
            keep.value = result


def call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call; raises OSError that names it."""
    result = ctypes.c_long()
    take([step(name, *arguments, keep=result)])
    return result.value


def clone(flags: int) -> int:
    """Fork without Python's and libc's at-fork hooks (half the cost); returns 0 in the child."""
    return call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
