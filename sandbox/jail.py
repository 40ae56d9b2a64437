"""The jail of one program: what a freshly cloned child gives up before it reads any code.

In this order: session, private /tmp, no_new_privs, Landlock, rlimits, capabilities, descriptors,
system calls. `prepare` does once per slot what every child can inherit.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import stat
import struct
from dataclasses import dataclass, field

from sandbox.namespaces import mount_box
from sandbox.seccomp import build_filter, install_filter
from sandbox.syscalls import call

_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
# In its own /tmp a program may do all but execute and make devices or use their ioctls.
_NOT_IN_BOX = 1 << 0 | 1 << 6 | 1 << 11 | 1 << 15
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
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


@dataclass(frozen=True)
class Jail:
    """What is the same for every program of a slot."""

    namespaces: bool
    filter: bytes
    ruleset: bytes  # struct landlock_ruleset_attr; empty where the kernel has no Landlock
    rights: int  # every file right that the ruleset handles
    rules: list[bytes] = field(default_factory=list)


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def prepare(shown: list[str], *, namespaces: bool) -> Jail:
    """Build the filter and open what Landlock rules refer to; OSError if Landlock is missing for B."""
    abi = landlock_abi()
    if not abi and not namespaces:
        raise OSError("the kernel has no Landlock (5.13 or newer, in the 'lsm=' list)")
    rights = (1 << 13) - 1 | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    attributes = struct.pack("QQQ", rights, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = []
    for path in [*shown, "/lib", "/lib64", *_DEVICES]:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = _READ_FILE
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            allowed |= _READ_DIR
        elif path == "/dev/null":
            allowed |= _WRITE_FILE
        rules.append(struct.pack("=Qi", allowed, descriptor))
    ruleset = attributes[:size] if abi else b""
    return Jail(namespaces, build_filter(namespaces=namespaces), ruleset, rights, rules)


def enter(jail: Jail, use: Use, descriptors: int) -> None:
    """Lock this process in for ever, with descriptors 0 to descriptors - 1 and nothing else."""
    call("prctl", _SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    if jail.namespaces:
        mount_box(disk_mb=use.disk_mb, files=use.files)
    call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    if jail.ruleset:
        _restrict_files(jail)
    _set_limits(jail, use)
    call("capset", struct.pack("II", 0x20080522, 0), bytes(24))
    call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)
    call("close_range", descriptors, 0x7FFFFFFF, 0)
    install_filter(jail.filter)


def _restrict_files(jail: Jail) -> None:
    """Landlock; made anew for each program, as a rule does not cover a /tmp mounted after it."""
    ruleset = call("landlock_create_ruleset", jail.ruleset, len(jail.ruleset), 0)
    rules = jail.rules
    if jail.namespaces:
        box = os.open("/tmp", os.O_PATH | os.O_CLOEXEC)
        rules = [*rules, struct.pack("=Qi", jail.rights & ~_NOT_IN_BOX, box)]
    for rule in rules:
        call("landlock_add_rule", ruleset, 1, rule, 0)
    call("landlock_restrict_self", ruleset, 0)


def _set_limits(jail: Jail, use: Use) -> None:
    mb = 1 << 20
    cpu = math.ceil(use.cpu_s) + 1  # a backstop: the supervisor watches the clock
    limits = {
        resource.RLIMIT_AS: use.memory_mb * mb,
        resource.RLIMIT_FSIZE: use.file_mb * mb,
        resource.RLIMIT_STACK: 64 * mb,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if jail.namespaces:  # elsewhere the user's other processes would be counted too
        limits[resource.RLIMIT_NPROC] = use.threads
    for name, limit in limits.items():
        _, hard = resource.getrlimit(name)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(name, (most, most))
