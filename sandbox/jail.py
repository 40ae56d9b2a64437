"""The jail of one program: what a freshly cloned child gives up before it reads any code.

In this order: session, private /tmp, Landlock, rlimits, capabilities, descriptors, system calls.
`prepare` does once per slot what every child can inherit: the limits that are the same for all,
no_new_privs, and all of the system call filter that lets a slot still do its work.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from sandbox.namespaces import plan_box
from sandbox.seccomp import build_filters, plan_filter
from sandbox.syscalls import Step, call, step, take

_EXECUTE, _READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 0, 1 << 2, 1 << 3, 1 << 1
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_EXECUTABLE = 4  # the descriptor of what a process of the role "hosted" becomes
# In its own /tmp a program may do all but execute and make devices or use their ioctls.
_NOT_IN_BOX = 1 << 0 | 1 << 6 | 1 << 11 | 1 << 15
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_MB = 1 << 20
_FIXED = {
    resource.RLIMIT_STACK: 64 * _MB,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_SIGPENDING: 64,
}
_GROWTH = 256  # threads that a user may start elsewhere while a slot lives
_SET_DEATH_SIGNAL, _SET_DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38


@dataclass(frozen=True)
class Use:
    """How much one process may use; travels to the slot as a list of numbers in this order."""

    cpu_s: float
    memory_mb: int
    disk_mb: int
    files: int
    file_mb: int
    threads: int


@dataclass(frozen=True, eq=False)
class Jail:
    """What is the same for every program of a slot."""

    namespaces: bool
    filters: dict[str, bytes]  # by role, on top of the slot's own
    ruleset: bytes  # struct landlock_ruleset_attr; empty where the kernel has no Landlock
    rights: int  # every file right that the ruleset handles
    rules: tuple[bytes, ...]
    loaders: tuple[bytes, ...]  # rules that let the system's program loader be executed
    others: int  # threads that the kernel counts with the program's; 0 in a user namespace


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def prepare(shown: list[str], *, namespaces: bool) -> Jail:
    """Open what Landlock rules refer to and lock the slot; OSError if B has no Landlock."""
    abi = landlock_abi()
    if not abi and not namespaces:
        raise OSError("the kernel has no Landlock (5.13 or newer, in the 'lsm=' list)")
    rights = (1 << 13) - 1 | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    attributes = struct.pack("QQQ", rights, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules, loaders = [], []
    for path in [*shown, *_DEVICES, *_LOADERS]:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = _READ_FILE
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            allowed |= _READ_DIR
        elif path == "/dev/null":
            allowed |= _WRITE_FILE
        elif path in _LOADERS:
            loaders.append(struct.pack("=Qi", _EXECUTE | _READ_FILE, descriptor))
            continue
        rules.append(struct.pack("=Qi", allowed, descriptor))
    ruleset = attributes[:size] if abi else b""
    others = 0 if namespaces else _count_threads() + _GROWTH
    outer, inner = build_filters(namespaces=namespaces)
    take([*_plan_limits(_FIXED), step("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0), plan_filter(outer)])
    return Jail(namespaces, inner, ruleset, rights, tuple(rules), tuple(loaders), others)


def _count_threads() -> int:
    """Threads of this user on the whole machine, as RLIMIT_NPROC counts them."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/task"):
        try:
            if process.stat().st_uid == os.getuid():
                count += len(list(process.iterdir()))
        except OSError:
            continue  # it ended meanwhile
    return count


def plan_entry(jail: Jail, use: Use, descriptors: int, role: str) -> list[Step]:
    """The system calls that lock a process in for ever, with that many descriptors left open.

    The role "native" may execute sealed memory only (of which Landlock knows nothing), "hosted"
    its descriptor 4 and the loader, "build" whatever the system's directories hold.

    Planned before the clone, because every page that a child writes, it first has to copy.
    """
    steps = [step("prctl", _SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), step("setsid")]
    if jail.namespaces:
        steps += plan_box(disk_mb=use.disk_mb, files=use.files)
    if jail.ruleset:
        steps += _plan_files(jail, role)
    steps += _plan_limits(
        {
            resource.RLIMIT_AS: use.memory_mb * _MB,
            resource.RLIMIT_FSIZE: use.file_mb * _MB,
            resource.RLIMIT_CPU: math.ceil(use.cpu_s) + 1,  # a backstop to the supervisor's watch
            resource.RLIMIT_NOFILE: 64,
            resource.RLIMIT_NPROC: use.threads + jail.others,
        }
    )
    steps.append(step("capset", struct.pack("II", 0x20080522, 0), bytes(24)))
    steps.append(step("prctl", _SET_DUMPABLE, 0, 0, 0, 0))
    steps.append(step("close_range", descriptors, 0x7FFFFFFF, 0))
    steps.append(plan_filter(jail.filters[role]))
    return steps


def _plan_files(jail: Jail, role: str) -> list[Step]:
    """Landlock; made anew for each program, as a rule does not cover a /tmp mounted after it."""
    ruleset = ctypes.c_long()
    steps = [step("landlock_create_ruleset", jail.ruleset, len(jail.ruleset), 0, keep=ruleset)]
    rules: list[bytes | ctypes.Array[ctypes.c_char]] = list(jail.rules)
    if jail.namespaces:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", jail.rights & ~_NOT_IN_BOX, 0), 12)
        box = ctypes.c_int.from_buffer(rule, 8)
        at_cwd, flags = -100, os.O_PATH | os.O_CLOEXEC
        steps.append(step("openat", at_cwd, b"/tmp", flags, 0, keep=box))
        rules.append(rule)
    if role == "build":
        rules += [_executable(rule) for rule in jail.rules]
    if role == "hosted":
        rules += [*jail.loaders, struct.pack("=Qi", _EXECUTE | _READ_FILE, _EXECUTABLE)]
    steps += [step("landlock_add_rule", ruleset, 1, rule, 0) for rule in rules]
    return [*steps, step("landlock_restrict_self", ruleset, 0)]


def _executable(rule: bytes) -> bytes:
    """The rule with the right to execute what is in a directory, if it is one of a directory."""
    allowed, descriptor = struct.unpack("=Qi", rule)
    return struct.pack("=Qi", allowed | (_EXECUTE if allowed & _READ_DIR else 0), descriptor)


def _plan_limits(limits: dict[int, int]) -> list[Step]:
    steps = []
    for name, limit in limits.items():
        _, hard = resource.getrlimit(name)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        steps.append(step("prlimit64", 0, name, struct.pack("QQ", most, most), None))
    return steps
