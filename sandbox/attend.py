"""Watching the processes of one run: frames, output, clocks and their end.

A run is judged by the CPU clocks of its processes. Wall time only ends what neither computes nor
waits for a processor: the time spent in the run queue does not count, so that a loaded machine
turns no honest program into a timeout.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sandbox.frames import has_too_many_parts, unpack
from sandbox.orders import ENDED, STARTED
from sandbox.programs import Limits
from sandbox.supervisor import Slot, SlotLost
from sandbox.wire import NotPlainData

_NS = 1_000_000_000
_LINGER_NS = _NS // 5  # for a process whose work is done to end by itself
_SURRENDER_NS = 20 * _NS  # for a killed process to be reported
_OVERLOAD = 10  # times the wall limit after which even a starved run ends


@dataclass
class Capture:
    """One output stream: what is kept of it and how much there was."""

    descriptor: int
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0

    def drain(self, event: int = 0) -> bool:
        """Read what is there, whatever the event; False once the stream has ended."""
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.size += len(data)
            self.kept += data[: self.limit - len(self.kept)]
            if len(data) < 65536:
                return True


@dataclass
class Process:
    """One jailed process of a run."""

    channel: socket.socket | None = None
    outgoing: bytes = b""
    captures: list[Capture] = field(default_factory=list)
    pid: int | None = None
    status: int | None = None  # of waitpid, once it ended
    cpu_ns: int = 0
    max_rss_kb: int = 0
    incoming: bytearray = field(default_factory=bytearray)

    def clock(self) -> int:
        """CPU nanoseconds so far, all threads."""
        if self.pid is not None and self.status is None:
            with contextlib.suppress(OSError):  # between its end and our hearing of it
                self.cpu_ns = time.clock_gettime_ns((~self.pid << 3) | 2)
        return self.cpu_ns

    def starved(self) -> int:
        """Nanoseconds its main thread has waited for a processor."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0


class Listener(Protocol):
    """Who takes the frames of a run."""

    def take(self, message: Any, watch: Watch) -> None:
        """One message; NotPlainData, LookupError, TypeError or ValueError mean nonsense."""

    def finished(self) -> bool:
        """Whether nothing more is expected from the processes."""


@dataclass
class Watch:
    """The run of one or two processes; the last one is what the run is for."""

    slot: Slot
    processes: list[Process]
    limits: Limits
    cpu_left_ns: int
    listener: Listener
    reason: str | None = None  # why we ended it: "timeout", "protocol", or None
    detail: str | None = None
    cpu_mark: int = 0
    wall_mark: int = 0
    started: int = 0
    _deadline: int | None = None  # once finished or killed
    _killed: bool = False

    def run(self) -> None:
        """Watch until every process has ended; raises SlotLost."""
        self.started = self.wall_mark = time.monotonic_ns()
        poller = select.poll()
        poller.register(self.slot.control, select.POLLIN)
        handlers = self._register(poller)
        while any(process.status is None for process in self.processes):
            for descriptor, event in poller.poll(self._patience()):
                if descriptor == self.slot.control.fileno():
                    self._hear()
                elif not handlers[descriptor](event):
                    poller.unregister(descriptor)
        for process in self.processes:
            self._receive(process)
            for capture in process.captures:
                capture.drain()

    def spent(self) -> int:
        """CPU nanoseconds of all processes."""
        return sum(process.clock() for process in self.processes)

    def mark(self) -> tuple[float, float]:
        """Close a test: its CPU and wall milliseconds; the next one starts now."""
        cpu, wall = self.spent(), time.monotonic_ns()
        used = (cpu - self.cpu_mark) / 1e6, (wall - self.wall_mark) / 1e6
        self.cpu_mark, self.wall_mark = cpu, wall
        return used

    def lasted_ns(self) -> int:
        """Wall nanoseconds since the start."""
        return time.monotonic_ns() - self.started

    def _register(self, poller: select.poll) -> dict[int, Callable[[int], bool]]:
        handlers: dict[int, Callable[[int], bool]] = {}
        for process in self.processes:
            for capture in process.captures:
                poller.register(capture.descriptor, select.POLLIN)
                handlers[capture.descriptor] = capture.drain
            if process.channel is None:
                continue
            self._send(process)
            events = select.POLLIN | (select.POLLOUT if process.outgoing else 0)
            number = process.channel.fileno()
            poller.register(number, events)

            def talk(event: int, process: Process = process, number: int = number) -> bool:
                if event & select.POLLOUT and self._send(process):
                    poller.modify(number, select.POLLIN)
                return self._receive(process) if event & ~select.POLLOUT else True

            handlers[number] = talk
        return handlers

    def _send(self, process: Process) -> bool:
        """Write what fits; True once all is written and the process knows there is no more."""
        channel = process.channel
        if channel is None:
            return True
        try:
            sent = channel.send(process.outgoing) if process.outgoing else 0
        except BlockingIOError:
            return False
        except OSError:  # it is gone; its end will be reported
            sent = len(process.outgoing)
        process.outgoing = process.outgoing[sent:]
        if not process.outgoing:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_WR)
        return not process.outgoing

    def _receive(self, process: Process) -> bool:
        """Read and take complete frames; False once there will be no more."""
        channel, alive = process.channel, True
        while channel is not None and self.reason is None:
            try:
                data = channel.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            alive = bool(data)
            process.incoming += data
            try:
                self._take_frames(process.incoming)
            except (NotPlainData, LookupError, TypeError, ValueError):
                self._end("protocol")
            if len(data) < 1 << 18:  # that was all, or the end
                break
        return alive

    def _take_frames(self, buffer: bytearray) -> None:
        while len(buffer) >= 4:
            (length,) = struct.unpack_from(">I", buffer)
            if length > self.limits.result_bytes + 64:
                raise NotPlainData(f"a frame of {length} bytes")
            if len(buffer) < 4 + length:
                return
            body = bytes(buffer[4 : 4 + length])
            if has_too_many_parts(body):
                raise NotPlainData("a frame of too many parts")
            message = unpack(body)
            del buffer[: 4 + length]
            self.listener.take(message, self)
            if self.listener.finished() and self._deadline is None:
                self._deadline = time.monotonic_ns() + _LINGER_NS

    def _hear(self) -> None:
        message = self.slot.hear()
        if len(message) == STARTED.size:
            next(p for p in self.processes if p.pid is None).pid = STARTED.unpack(message)[1]
        else:
            _, pid, status, cpu_ns, max_rss_kb = ENDED.unpack(message)
            process = next(p for p in self.processes if p.pid == pid)
            process.status, process.cpu_ns, process.max_rss_kb = status, cpu_ns, max_rss_kb
            if process is self.processes[-1]:  # without the tester, its program has no purpose
                self._kill()

    def _kill(self) -> None:
        for process in self.processes:
            if process.pid is not None and process.status is None:
                self.slot.kill(process.pid)
        self._killed = True
        self._deadline = time.monotonic_ns() + _SURRENDER_NS

    def _end(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self._kill()

    def _patience(self) -> float:
        """Milliseconds until a clock has to be looked at again; ends the run that is over time."""
        now = time.monotonic_ns()
        if self._deadline is not None:
            if now >= self._deadline:
                if self._killed:
                    raise SlotLost("a killed process did not end")
                self._kill()
            return max(1, (self._deadline - now) / 1e6)
        cpu = self.spent()
        test_room = int(self.limits.test_cpu_s * _NS) - (cpu - self.cpu_mark)
        room = min(test_room, self.cpu_left_ns - cpu)
        wall = now - self.wall_mark
        wall_limit = int(self.limits.wall_s * _NS)
        wall_room = wall_limit - wall
        if wall_room <= 0 and wall < _OVERLOAD * wall_limit:
            wall_room += sum(process.starved() for process in self.processes)
        if room <= 0 or wall_room <= 0:
            self.detail = "CPU time" if room <= 0 else "wall time"
            self._end("timeout")
            return 1000
        return max(1, min(room, wall_room) / 1e6)
