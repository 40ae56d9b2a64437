"""One run: the processes that a mode needs, watched to their end and counted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.attend import Capture, Listener, Process, Watch
from sandbox.built import Built, pass_built, seal
from sandbox.frames import pack
from sandbox.outcomes import Status
from sandbox.programs import Limits, Program
from sandbox.supervisor import Slot, SlotLost

_LOAD_S = 30.0  # for a jailed process to take the code it is given


@dataclass
class Tally:
    """What a program has used and printed so far, over all its processes."""

    slot: Slot
    program: Program
    limits: Limits
    cpu_ns: int = 0
    wall_ns: int = 0
    max_rss_kb: int = 0
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    cut: bool = False
    built: Built | None = None  # how to start a program that is not Python
    exit_status: int | None = None  # of a program run without tests; negative: a signal
    flags: list[str] = field(default_factory=list)

    def opening(self, role: str, **more: Any) -> tuple[str, bytes, str]:
        """The role and first message of the program's process, and the word that says "unfit".

        A program that is not Python is told nothing but its questions, a frame each: the rest is
        read before it exists.
        """
        if self.built is None:
            return role, load_job(self.program, self.limits, **more), ""
        word = os.urandom(8).hex()
        job = {"arguments": self.built.arguments, "answers": role == "calls", "word": word}
        questions = [pack(q) for test in more.get("questions", ()) for q in test]
        return self.built.role, pack(job) + b"".join(questions), word

    def cpu_left_ns(self) -> int:
        """What remains of the program's CPU limit."""
        return int(self.limits.cpu_s * 1e9) - self.cpu_ns

    def add(self, watch: Watch, captures: list[Capture]) -> None:
        """Count a finished run and keep what it printed."""
        self.cpu_ns += watch.spent()
        self.wall_ns += watch.lasted_ns()
        self.max_rss_kb = max(self.max_rss_kb, *(p.max_rss_kb for p in watch.processes))
        for capture, kept in zip(captures, (self.stdout, self.stderr), strict=True):
            room = self.limits.output_bytes - len(kept)
            self.cut |= capture.size > room
            kept += capture.kept[:room]


@dataclass(frozen=True)
class Run:
    """What a run needs: a role, its message, and who listens to the frames that come back.

    For the role "tester", `job` is the message of the program's own process.
    """

    role: str
    message: bytes
    listener: Listener
    stdin: str | None = None
    job: bytes = b""
    stdout_limit: int = 0  # 0: as the program's limits say
    more: tuple[int, ...] = ()  # descriptors passed as 4, 5, ...


def run(tally: Tally, plan: Run) -> tuple[Watch, list[Capture]]:
    """Start, watch, count; raises SlotLost. Captures are of the program's stdout and stderr."""
    limits = tally.limits
    with contextlib.ExitStack() as stack:
        reading, writing = _pipes(stack)
        captures = [Capture(reading[0], plan.stdout_limit or limits.output_bytes)]
        captures.append(Capture(reading[1], limits.output_bytes))
        standard = [_input(stack, plan.stdin), *writing]
        ours, theirs = _pair(stack)
        ours.setblocking(False)
        main = Process(ours, plan.message)
        if plan.role == "tester":
            link = _start_program(tally, plan.job, standard, stack)
            null = _input(stack, None)
            tally.slot.spawn("tester", limits, [null, null, null, theirs.fileno(), link.fileno()])
            link.close()
            processes = [Process(captures=captures), main]
        else:
            main.captures = captures
            more = [*plan.more, *pass_built(stack, tally.built)]
            allowed = limits
            if tally.built is not None:
                allowed = replace(limits, memory_mb=limits.memory_mb + tally.built.more_mb)
            tally.slot.spawn(plan.role, allowed, [*standard, theirs.fileno(), *more])
            processes = [main]
        theirs.close()
        watch = Watch(tally.slot, processes, limits, tally.cpu_left_ns(), plan.listener)
        watch.run()
    tally.add(watch, captures)
    return watch, captures


def _start_program(
    tally: Tally, job: bytes, standard: list[int], stack: contextlib.ExitStack
) -> socket.socket:
    """The program's process of a split run; returns the tester's end of the line to it."""
    link, theirs = _pair(stack)
    tally.slot.spawn("calls", tally.limits, [*standard, theirs.fileno()])
    theirs.close()
    link.settimeout(_LOAD_S)
    try:
        link.sendall(job)
    except OSError as error:
        raise SlotLost(f"the program's process took no code: {error}") from None
    link.setblocking(True)
    return link


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        stack.enter_context(end)
    return pair


def _pipes(stack: contextlib.ExitStack) -> tuple[list[int], list[int]]:
    """Two pipes: our reading ends, which never block, and the program's writing ends."""
    pairs = [os.pipe(), os.pipe()]
    for end in (end for pair in pairs for end in pair):
        stack.callback(os.close, end)
    for reading, _ in pairs:
        os.set_blocking(reading, False)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _input(stack: contextlib.ExitStack, text: str | None) -> int:
    """A descriptor to read from: nothing, or the text in sealed memory."""
    if text is not None:
        return seal(stack, text.encode("utf-8", "surrogateescape"))
    descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def load_job(program: Program, limits: Limits, **more: Any) -> bytes:
    """The first message of a process that loads the program."""
    return pack({"code": program.code, "result_bytes": limits.result_bytes, **more})


def how_it_ended(process: Process, limits: Limits) -> tuple[Status, str]:
    """The status of a test whose process ended before answering, though we did not end it."""
    status = process.status or 0
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return "error", f"the process exited with status {code} before it answered"
    number = os.WTERMSIG(status)
    if number in (signal.SIGXCPU, signal.SIGKILL) and process.cpu_ns >= limits.cpu_s * 1e9:
        return "timeout", "CPU time"
    if number == signal.SIGKILL:
        return "oom", "killed by the kernel"
    return "killed", signal.Signals(number).name
