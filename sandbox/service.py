"""What the requests to one server share: the pool, the room in its queue, the counters."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.box import Sandbox
from sandbox.outcomes import Outcome
from sandbox.programs import Program

_PULSE_S = 10.0  # silence after which a client hears that we are still there


@dataclass
class Service:
    """One open sandbox with its queue; used by every connection's thread."""

    box: Sandbox
    machine: str
    token: str | None
    room: int  # programs that may be in the queue
    waiting: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    cpu_ms: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, programs: int) -> bool:
        """Take room in the queue; False if it is full."""
        with self.lock:
            fits = self.waiting == 0 or self.waiting + programs <= self.room
            self.waiting += programs if fits else 0
            self.counts["refused"] += not fits
            return fits

    def leave(self, programs: int) -> None:
        """Give the room back."""
        with self.lock:
            self.waiting -= programs

    def judge(self, programs: list[Program]) -> Iterator[Outcome | None]:
        """Outcomes in order; None now and then while there is nothing to say."""
        results: queue.Queue[Any] = queue.Queue(maxsize=8)
        over = threading.Event()

        def pump() -> None:
            outcomes = self.box.run(programs)
            try:
                for outcome in outcomes:
                    results.put(outcome)
                    if over.is_set():
                        break
            except BaseException as error:
                results.put(error)
            finally:
                outcomes.close()  # type: ignore[attr-defined]  # a generator: ends what still runs

        threading.Thread(target=pump, daemon=True).start()
        try:
            for _ in programs:
                while (outcome := self._next(results)) is None:
                    yield None
                self._count(outcome)
                yield outcome
        finally:
            over.set()
            while not results.empty():  # so that the pump is not stuck
                results.get_nowait()

    @staticmethod
    def _next(results: queue.Queue[Any]) -> Outcome | None:
        try:
            outcome = results.get(timeout=_PULSE_S)
        except queue.Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    def _count(self, outcome: Outcome) -> None:
        answered = any(test.answer is not None for test in outcome.tests)
        word = "answered" if answered else outcome.verdict  # the client judges what was answered
        with self.lock:
            self.counts[f"verdict:{word}"] += 1
            self.cpu_ms += outcome.cpu_ms

    def metrics(self) -> str:
        """The counters as Prometheus reads them."""
        with self.lock:
            verdicts = sorted(key for key in self.counts if key.startswith("verdict:"))
            lines = ["# TYPE sandbox_programs_total counter"]
            for key in verdicts:
                word = key.partition(":")[2]
                lines.append(f'sandbox_programs_total{{verdict="{word}"}} {self.counts[key]}')
            lines += ["# TYPE sandbox_refused_total counter"]
            lines += [f"sandbox_refused_total {self.counts['refused']}"]
            lines += ["# TYPE sandbox_cpu_seconds_total counter"]
            lines += [f"sandbox_cpu_seconds_total {self.cpu_ms / 1000:.3f}"]
            lines += ["# TYPE sandbox_queue_programs gauge"]
            lines += [f"sandbox_queue_programs {self.waiting}"]
        return "\n".join(lines) + "\n"
