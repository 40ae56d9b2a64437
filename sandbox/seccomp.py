"""The system call filter: an allowlist in classic BPF; everything else fails with EPERM.

Foreign ABIs (i386, x32, 32-bit ARM) kill the process. Calls whose harm is in their arguments are
allowed for the harmless arguments only. ioctl and fcntl commands are compared as 32 bits, as the
kernel reads them (CVE-2019-10063).
"""

from __future__ import annotations

import ctypes
import platform
import struct

from sandbox.orders import ROLES
from sandbox.syscall_numbers import ALLOWED, OTHER, numbers
from sandbox.syscalls import Step, step

_ALLOW, _EPERM, _ENOSYS, _ENOTTY, _KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50019, 0x80000000
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _RETURN, _GOTO, _EQUAL, _AT_LEAST, _ANY_BIT, _AND = 0x20, 0x06, 0x05, 0x15, 0x35, 0x45, 0x54
_SET_SECCOMP, _MODE_FILTER = 22, 2
# What roles that are not Python may do besides: become one binary, or run a compiler.
_MORE: dict[str, tuple[str, ...]] = {
    "native": ("execveat",),
    "hosted": ("execveat",),
    "build": ("execve", "execveat", "fork", "vfork", "waitid"),
}
_END = 480  # above every number in the tables
# Without a PID namespace signals would reach other processes; without a private /tmp these would
# change files that Landlock does not protect (it knows no chmod and no utime).
_SIGNALS = ("kill", "tkill", "tgkill")
_CHANGES = ("chmod", "fchmod", "fchmodat", "utime", "utimes", "utimensat", "truncate", "ftruncate")
# What a slot does to jail its programs and to end them; a program's own filter takes it back.
_SLOT = (
    *("clone", "prctl", "prlimit64", "kill", "mount", "setsid", "capset", "recvmsg", "pidfd_open"),
    *("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"),
)


def _ins(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


def _ret(action: int) -> list[bytes]:
    return [_ins(_RETURN, 0, 0, action)]


def _load_argument(index: int) -> bytes:
    return _ins(_LOAD, 0, 0, 16 + 8 * index)  # the low 32 bits


def _one_of(index: int, values: tuple[int, ...], otherwise: int = _EPERM) -> list[bytes]:
    """Allow the call if an argument is one of the values."""
    tests = [_ins(_EQUAL, len(values) - i, 0, v) for i, v in enumerate(values)]
    return [_load_argument(index), *tests, *_ret(otherwise), *_ret(_ALLOW)]


def _any_child() -> list[bytes]:
    """Clone for processes as well as threads, without namespaces."""
    return [_load_argument(0), _ins(_ANY_BIT, 1, 0, 0x7E020000), *_ret(_ALLOW), *_ret(_EPERM)]


def _restricted() -> dict[str, list[bytes]]:
    """The calls that are judged by their arguments, each as a block that always returns."""
    namespaces, thread = 0x7E020000, 0x10000
    return {
        "clone": [  # threads only, no namespaces
            _load_argument(0),
            _ins(_ANY_BIT, 2, 0, namespaces),
            _ins(_ANY_BIT, 0, 1, thread),
            *_ret(_ALLOW),
            *_ret(_EPERM),
        ],
        "clone3": _ret(_ENOSYS),  # its flags are behind a pointer; libc falls back to clone
        # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
        "ioctl": _one_of(1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451), _ENOTTY),
        # DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC GETPIPE_SZ: no locks, leases, owners, seals
        "fcntl": _one_of(1, (0, 1, 2, 3, 4, 1030, 1032)),
        # PR_SET_NAME PR_GET_NAME PR_SET_VMA PR_CAPBSET_READ PR_GET_DUMPABLE
        "prctl": _one_of(0, (15, 16, 0x53564D41, 23, 3)),
        "prlimit64": _one_of(0, (0,)),  # only itself
        "socketpair": [  # AF_UNIX stream only: a datagram socket could be sent to any address
            _load_argument(0),
            _ins(_EQUAL, 0, 4, 1),
            _load_argument(1),
            _ins(_AND, 0, 0, 0xFF),
            _ins(_EQUAL, 0, 1, 1),
            *_ret(_ALLOW),
            *_ret(_EPERM),
        ],
        "sendto": [  # on connected sockets: no address
            _load_argument(4),
            _ins(_EQUAL, 0, 3, 0),
            _ins(_LOAD, 0, 0, 16 + 8 * 4 + 4),
            _ins(_EQUAL, 0, 1, 0),
            *_ret(_ALLOW),
            *_ret(_EPERM),
        ],
    }


def _tree(ranges: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search over call numbers; each range starts at its number."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = _tree(ranges[:middle]), _tree(ranges[middle:])
    start = ranges[middle][0]
    if len(low) < 256:
        return [_ins(_AT_LEAST, len(low), 0, start), *low, *high]
    return [_ins(_AT_LEAST, 0, 1, start), _ins(_GOTO, 0, 0, len(low)), *low, *high]


def build_filters(*, namespaces: bool) -> tuple[bytes, dict[str, bytes]]:
    """The slot's filter, and by role the one that a program has on top of it.

    The slot's allows what programs of any role may do and the few calls that put them into the
    jail; the second takes back those that the role may not do. The kernel obeys the stricter of
    the two, so that together they are the role's whole policy, and the one that has to be compiled
    for each program is short. "native" and "hosted" may also execute, "build" may also have
    processes (Landlock says which files); every other role is Python and may neither. Without
    namespaces there are also no signals and no change of file metadata.
    """
    allowed, other = numbers(ALLOWED), numbers(OTHER)
    lent = (*_SLOT, *_MORE["build"])
    slot = {nr: _ret(_ALLOW) for name, nr in {**allowed, **other}.items() if name in lent}
    if not namespaces:
        allowed = {n: nr for n, nr in allowed.items() if n not in _SIGNALS + _CHANGES}
    policy = {number: _ret(_ALLOW) for number in allowed.values()}
    policy |= {other[name]: block for name, block in _restricted().items()}
    programs = {}
    for role in ROLES:
        own = policy | {other[n]: _ret(_ALLOW) for n in _MORE.get(role, ()) if n in other}
        if role == "build":
            own[other["clone"]] = _any_child()
        taken_back = {number: own.get(number, _ret(_EPERM)) for number in slot}
        programs[role] = _assemble(taken_back, _ALLOW)
    return _assemble(policy | slot, _EPERM), programs


def _assemble(blocks: dict[int, list[bytes]], otherwise: int) -> bytes:
    """The program that runs a call's block, or takes the other action for calls without one."""
    ranges: list[tuple[int, list[bytes]]] = []
    for number in range(_END):
        block = blocks.get(number, _ret(otherwise))
        if not ranges or ranges[-1][1] != block:
            ranges.append((number, block))
    machine = platform.machine()
    head = [_ins(_LOAD, 0, 0, 4), _ins(_EQUAL, 1, 0, _AUDIT_ARCH[machine]), *_ret(_KILL)]
    head.append(_ins(_LOAD, 0, 0, 0))
    if machine == "x86_64":
        head += [_ins(_AT_LEAST, 0, 1, 0x40000000), *_ret(_KILL)]  # x32
    return b"".join(head + _tree(ranges))


def plan_filter(program: bytes) -> Step:
    """The call that puts a thread under the filter for ever (needs no_new_privs)."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    install = step("prctl", _SET_SECCOMP, _MODE_FILTER, header, 0, 0)
    return install._replace(alive=buffer)
