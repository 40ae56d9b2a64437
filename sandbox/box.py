"""The sandbox as its users hold it: a pool of slots that judges programs, in input order."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from sandbox.outcomes import Outcome, TestResult
from sandbox.programs import Limits, Program
from sandbox.supervisor import SandboxUnavailable, Slot, SlotLost, default_python, refuse

if TYPE_CHECKING:
    from sandbox.cache import Cache
    from sandbox.remote import Connection

_LOG = logging.getLogger(__name__)
_WINDOW = 8  # programs in flight or waiting for their turn, per worker
_ATTEMPTS = 3  # of a program whose slot failed
_RECYCLE = 5000  # programs after which a slot is replaced
_TIERS = ("A", "A-", "B")


class Sandbox:
    """Runs untrusted programs on `workers` warm slots; safe to use from several threads.

    tier: "A", "A-" or "B" (supervisor.py); None takes the best that this machine gives. If it
    cannot be had, SandboxUnavailable says why and what to do; nothing weaker is used.
    twice: run each program again and flag it "flaky" if the verdicts differ (then the one that is
    not "correct" stands). python: the interpreter that programs run under. cache: a folder where
    verdicts are kept and found again (cache.py). url, token: run everything on the server there
    instead (remote.py says what crosses); `workers` is then how many programs it is sent at a time.
    """

    def __init__(
        self,
        workers: int = 2,
        limits: Limits | None = None,
        tier: Literal["A", "A-", "B"] | None = None,
        *,
        twice: bool = False,
        python: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        url: str | None = None,
        token: str | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a sandbox needs at least 1 worker, not {workers}")
        self.limits = limits or Limits()
        self._workers = workers
        self._wanted = tier
        self._twice = twice
        self._python = python or default_python()
        self._tier: str | None = None
        self._address = None if url is None else (url, token)
        self._cache = None if cache is None else _open_cache(cache)
        self.machine = ""  # all that a verdict depends on besides the program, once open
        self._idle: deque[Slot | Connection] = deque()
        self._busy: dict[Slot | Connection, _Call] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def tier(self) -> str:
        """The tier in use; finds out if that is not known yet."""
        return self.open()

    def open(self) -> str:
        """Start the first slot; raises SandboxUnavailable if the tier cannot be had."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this sandbox is closed")
            if self._tier is None:
                slot = self._best_slot()
                self._tier = slot.tier
                self.machine = self._describe(slot)
                self._idle.append(slot)
                self._pool = ThreadPoolExecutor(self._workers, "sandbox")
            return self._tier

    def close(self) -> None:
        """End every slot and whatever runs in them; runs in progress end early."""
        with self._lock:
            self._closed = True
            for slot, call in self._busy.items():
                call.cancelled = True
                slot.abort()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()
        if self._cache is not None:
            self._cache.close()

    def run(self, programs: Iterable[Program]) -> Iterator[Outcome]:
        """Outcomes in input order; `programs` may be endless, as few are read ahead.

        Closing the iterator ends what it still has running.
        """
        call = _Call()
        waiting: deque[Future[Outcome]] = deque()
        try:
            for program in programs:
                waiting.append(self._submit(program, call))
                if len(waiting) >= _WINDOW * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self._cancel(call, waiting)

    async def stream(self, programs: Iterable[Program]) -> AsyncIterator[Outcome]:
        """The same for asyncio."""
        import asyncio

        call = _Call()
        waiting: deque[Future[Outcome]] = deque()
        try:
            for program in programs:
                waiting.append(self._submit(program, call))
                if len(waiting) >= _WINDOW * self._workers:
                    yield await asyncio.wrap_future(waiting.popleft())
            while waiting:
                yield await asyncio.wrap_future(waiting.popleft())
        finally:
            self._cancel(call, waiting)

    def _submit(self, program: Program, call: _Call) -> Future[Outcome]:
        self.open()
        if self._pool is None:
            raise RuntimeError("this sandbox is closed")
        return self._pool.submit(self._judge, program, call)

    def _cancel(self, call: _Call, waiting: deque[Future[Outcome]]) -> None:
        for future in waiting:
            future.cancel()
        with self._lock:
            call.cancelled = True
            for slot, user in self._busy.items():
                if user is call:
                    slot.abort()

    def _judge(self, program: Program, call: _Call) -> Outcome:
        """One program, if its outcome is not known yet."""
        if self._cache is None:
            return self._judge_anew(program, call)
        from sandbox.cache import make_key

        key = make_key(program, self.limits, self.machine)
        outcome = self._cache.find(key, program.id)
        if outcome is None:
            outcome = self._judge_anew(program, call)
            self._cache.keep(key, outcome)
        return outcome

    def _judge_anew(self, program: Program, call: _Call) -> Outcome:
        """One program, twice if asked for."""
        first = self._attempt(program, call)
        if not self._twice or first.verdict == "infra":
            return first
        second = self._attempt(program, call)
        if second.verdict == first.verdict:
            return first
        kept = second if first.verdict == "correct" else first
        return replace(kept, flags=(*kept.flags, "flaky"))

    def _attempt(self, program: Program, call: _Call) -> Outcome:
        """Judge on a slot; trouble of the slot is tried again on a fresh one, then is infra."""
        from sandbox.judge import judge  # not before it is used: it is half of what we import

        reason = "cancelled"
        for attempt in range(1, _ATTEMPTS + 1):
            if call.cancelled or self._closed:
                break
            try:
                slot = self._take(call)
            except SlotLost as error:
                reason = str(error)
                continue
            try:
                if isinstance(slot, Slot):
                    outcome = judge(program, slot, self.limits)
                else:
                    outcome = slot.judge(program, self.limits)
            except SlotLost as error:
                reason = str(error)
                self._give_back(slot, working=False)
                if not call.cancelled:
                    _LOG.warning("program %s: %s (attempt %d)", program.id, reason, attempt)
                continue
            except BaseException:
                self._give_back(slot, working=False)
                raise
            self._give_back(slot, working=True)
            return replace(outcome, attempts=attempt) if attempt > 1 else outcome
        tests = tuple(TestResult("infra", exception=reason) for _ in program.tests)
        tier = self._tier or "none"
        return Outcome(
            program.id, "infra", "isolated", tier, tests, exception=reason, attempts=attempt
        )

    def _take(self, call: _Call) -> Slot | Connection:
        with self._lock:
            slot = self._idle.pop() if self._idle else None
        if slot is None:
            remote = self._address is not None
            slot = self._dial() if remote else Slot(self._python, self.tier)
        with self._lock:
            self._busy[slot] = call
            if call.cancelled or self._closed:
                slot.abort()
        return slot

    def _give_back(self, slot: Slot | Connection, *, working: bool) -> None:
        slot.programs += 1
        with self._lock:
            self._busy.pop(slot, None)
            keep = working and slot.programs < _RECYCLE and not self._closed
            if keep:
                self._idle.append(slot)
        if not keep:
            slot.close()

    def _dial(self) -> Connection:
        if self._address is None:
            raise RuntimeError("this sandbox has no server")
        from sandbox.remote import Connection

        return Connection(*self._address)

    def _describe(self, slot: Slot | Connection) -> str:
        """All that a verdict depends on besides the program, for the cache."""
        if isinstance(slot, Slot):
            from sandbox.cache import describe_python

            return f"{slot.tier} {describe_python(self._python)} twice={self._twice}"
        return f"{slot.machine} twice={self._twice}"

    def _best_slot(self) -> Slot | Connection:
        reasons: dict[str, str] = {}
        if self._address is not None:
            return self._reach(self._address[0])
        for tier in _TIERS if self._wanted is None else (self._wanted,):
            try:
                return Slot(self._python, tier)
            except SlotLost as error:
                reasons[tier] = str(error)
        raise refuse(self._wanted, reasons)

    def _reach(self, url: str) -> Connection:
        """The server, if it is there and as strong as was asked for."""
        try:
            line = self._dial()
        except SlotLost as error:
            raise SandboxUnavailable(f"no sandbox at {url}: {error}") from None
        strongest = _TIERS[: _TIERS.index(self._wanted) + 1] if self._wanted else _TIERS
        if line.tier not in strongest:
            line.close()
            raise SandboxUnavailable(f"{url} gives tier {line.tier}, not {self._wanted}")
        return line

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _open_cache(folder: str | os.PathLike[str]) -> Cache:
    from sandbox.cache import Cache

    return Cache(folder)


class _Call:
    """One use of `run`: what is cancelled together."""

    cancelled = False
