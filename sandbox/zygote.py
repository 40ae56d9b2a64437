"""The slot: a warm interpreter that clones one jailed child per process it is asked for.

It never sees code, tests or answers: they travel through descriptors that the supervisor passes
along and only the child reads, so a child finds nothing of other programs in inherited memory.

Requests, one datagram each (`orders`): spawn, with the child's descriptors 0, 1, 2, ... attached,
and kill. Replies: ready or unfit once, then started, ended and broken.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import importlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from sandbox import guest
from sandbox.jail import Jail, Use, plan_entry, prepare
from sandbox.namespaces import NEW_MOUNT, NEW_PID, become_nobody, enter_namespaces
from sandbox.orders import ENDED, ROLES, SPAWN, STARTED
from sandbox.syscalls import Step, call, clone, take

_HUGE, _MADV_COLLAPSE = 1 << 21, 25
_RESERVED = 8  # descriptors below are /dev/null here, so that passed ones never overlap a child's
_ROOM = socket.CMSG_SPACE(4 * _RESERVED)
PRELOAD = """math re collections itertools functools heapq typing json string random datetime
hashlib copy bisect operator statistics fractions decimal dataclasses enum abc io textwrap
contextlib array queue time cmath struct threading types inspect traceback""".split()


def _shown() -> list[str]:
    """The directories a program may read: the system's libraries and the interpreter's own."""
    candidates = ("/usr", "/lib", "/lib64", sys.base_prefix, sys.base_exec_prefix)
    places = {str(Path(p).resolve()) for p in candidates if Path(p).is_dir()}
    return sorted(p for p in places if not any(p.startswith(f"{q}/") for q in places))


def _settle(tier: str) -> Jail:
    """Move this process to where its programs will live."""
    shown = _shown()
    if tier == "A":
        enter_namespaces(shown)
    else:
        become_nobody()
    jail = prepare(shown, namespaces=tier == "A")
    call("prctl", 4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: children may not look into this process
    os.chdir("/tmp" if tier == "A" else "/")
    return jail


def _find_heap() -> list[tuple[int, int]]:
    """Where this process keeps its objects, in whole huge pages: address and bytes of each."""
    found = []
    with contextlib.suppress(OSError):  # no /proc: nothing found
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, _, _, _, *name = line.split()
            if rights.startswith("rw") and name in ([], ["[heap]"]):
                start, end = (int(word, 16) for word in span.split("-"))
                start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
                if start < end:
                    found.append((start, end - start))
    return found


def _collapse(heap: list[tuple[int, int]]) -> None:
    """Make huge pages of it, which are cheaper to clone, where the kernel can (6.1 or newer)."""
    for start, size in heap:
        with contextlib.suppress(OSError):
            call("madvise", start, size, _MADV_COLLAPSE)


def _occupy() -> None:
    """Fill the numbers that children use, before anything of ours can land there."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in set(range(_RESERVED)) - {2, null}:
        os.dup2(null, descriptor)


@functools.lru_cache(maxsize=16)
def _entry(jail: Jail, order: bytes, descriptors: int) -> tuple[str, list[Step]]:
    _, role, *use = SPAWN.unpack(order)
    return ROLES[role], plan_entry(jail, Use(*use), descriptors, ROLES[role])


def _spawn(control: socket.socket, jail: Jail, order: bytes, passed: list[int]) -> tuple[int, int]:
    """Clone a child into the jail; returns its pid and a descriptor that tells of its end."""
    role, steps = _entry(jail, order, len(passed))
    pid = clone(NEW_PID | NEW_MOUNT if jail.namespaces else 0)
    if pid == 0:
        try:
            for descriptor, source in enumerate(passed):
                os.dup2(source, descriptor)
            take(steps)
        except BaseException as error:
            with contextlib.suppress(BaseException):
                control.send(b"b" + str(error).encode()[:1000])
            os._exit(1)
        guest.run(role)
    control.send(STARTED.pack(b"s", pid))
    return pid, os.pidfd_open(pid)


def _self_test(jail: Jail) -> None:
    """Put one child of our own into the jail and have it try the walls; OSError if one is open."""
    reading, writing = os.pipe()
    steps = plan_entry(jail, Use(5, 1024, 1, 16, 1, 64), 1, "calls")
    pid = clone(NEW_PID | NEW_MOUNT if jail.namespaces else 0)
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.dup2(writing, 0)
            guest.try_walls(steps, namespaces=jail.namespaces)
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 1000).decode(errors="replace")
    os.close(reading)
    os.waitpid(pid, 0)
    if answer != "closed":
        raise OSError(f"the jail's self-test says: {answer or 'nothing'}")


def serve(control: socket.socket, jail: Jail) -> NoReturn:
    """Spawn, kill and report until the supervisor hangs up; then end with every child."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    children: dict[int, tuple[int, list[int]]] = {}  # pidfd -> pid, what was passed to it
    while True:
        for descriptor, _ in poller.poll():
            if descriptor != control.fileno():
                poller.unregister(descriptor)
                _report(control, descriptor, *children.pop(descriptor))
                continue
            body, more, _, _ = control.recvmsg(256, _ROOM)
            passed = memoryview(more[0][2]).cast("i").tolist() if more else []
            if not body:
                os._exit(0)  # children die with us (PR_SET_PDEATHSIG)
            if len(body) == SPAWN.size:
                pid, ending = _spawn(control, jail, body, passed)
                children[ending] = pid, passed
                poller.register(ending, select.POLLIN)
                continue
            _, doomed = STARTED.unpack(body)
            if doomed in (pid for pid, _ in children.values()):
                os.kill(doomed, signal.SIGKILL)


def _report(control: socket.socket, ending: int, pid: int, passed: list[int]) -> None:
    """Tell of a child's end; its pipes close after that, so that one event says it all."""
    os.close(ending)
    _, status, used = os.wait4(pid, 0)
    cpu_ns = int((used.ru_utime + used.ru_stime) * 1e9)
    control.send(ENDED.pack(b"e", pid, status, cpu_ns, used.ru_maxrss))
    for number in passed:
        os.close(number)


def main(control_descriptor: int, tier: str) -> NoReturn:
    """Become a slot of the given tier, or say why that is not possible here."""
    control = socket.socket(fileno=fcntl.fcntl(control_descriptor, fcntl.F_DUPFD_CLOEXEC, 64))
    _occupy()
    sys.argv = [""]
    try:
        for name in PRELOAD:
            importlib.import_module(name)
        heap = _find_heap()
        jail = _settle(tier)
        _self_test(jail)
    except (OSError, ImportError) as error:
        control.send(b"u" + str(error).encode()[:1000])
        os._exit(1)
    os.dup2(0, 2)  # until here, the supervisor could read why we failed
    guest.furnish()
    guest.rehearse()
    gc.collect()
    gc.freeze()
    _collapse(heap)
    control.send(b"r")
    serve(control, jail)
