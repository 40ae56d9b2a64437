"""How a run is doing: a line a second in progress.jsonl for the report, and one on the terminal.

Clock times live here and nowhere else, so that data and manifests stay free of them. A resumed run
goes on adding to the same file: `seconds` counts working time, not the pauses between. Workers of a
cluster keep their counts in RUN/progress/, a file each, and the process that runs the flow adds
them to its own; what a killed worker had counted stays counted.
"""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

_EVERY_S = 1.0
_QUIET_EVERY_S = 30.0  # where nobody watches: one plain line now and then
_counters = ("prompts", "finished", "covered", "rollouts", "tokens", "prompt_tokens", "correct")
_of_step = ("prompts", "finished", "covered")  # begin anew with each step; the others go on


class Progress:
    """Counts of one run folder, added to by every shard that is sampled in this process."""

    def __init__(self, run: Path, *, leads: bool) -> None:
        self.session = _session(run)
        self.counts = dict.fromkeys(_counters, 0)
        self._run = run
        self._leads = leads  # runs the flow; else it works for the process that does
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._step = ""
        self._settled = False
        self._before = _last_line(run)
        self._line: dict[str, int] = {}
        self._start = self._shared = self._shown = time.monotonic()

    def add(self, **counts: int) -> None:
        """Add to the counters: prompts, finished, covered, rollouts, tokens, correct ..."""
        with self._lock:
            for name, count in counts.items():
                self.counts[name] += count
            if not self._leads and time.monotonic() - self._shared >= _EVERY_S:
                self._share()

    def begin(self, prompts: int, step: Path) -> None:
        """Say what is sampled now; prompts of shards committed before are finished already."""
        with self._lock:
            self._begin(prompts, step.name)

    def settle(self, **exact: int) -> None:
        """Replace counters by what the step's rows say, now that it is finished."""
        with self._lock:
            self.counts |= exact
            self._settled = True

    def follow(self) -> None:
        """Write a line a second until `finish`, while there is something new to say."""
        while not self._over.wait(_EVERY_S):
            with self._lock:
                self._write()

    def share(self) -> None:
        """Let the process that leads know all that this one has counted."""
        with self._lock:
            if not self._leads:
                self._share()

    def finish(self) -> None:
        """Write the last line, once."""
        with self._lock:
            if not self._over.is_set():
                self._over.set()
                self._write()
                shutil.rmtree(self._run / "progress", ignore_errors=True)
                if self._line and sys.stderr.isatty():
                    sys.stderr.write("\n")

    def _begin(self, prompts: int, step: str) -> None:
        if step == self._step:
            return
        self._step, self._settled = step, False
        records = (self._run / step).glob("commits/*.json") if self._leads else ()
        done = sum(_prompts_in(record) for record in records)
        self.counts |= {"prompts": prompts, "finished": done, "covered": 0}

    def _share(self) -> None:
        self._shared = time.monotonic()
        file = self._run / "progress" / f"{socket.gethostname()}-{os.getpid()}.json"
        file.parent.mkdir(exist_ok=True)
        partial = file.with_suffix(".tmp")
        partial.write_bytes(orjson.dumps({"step": self._step, **self.counts}))
        partial.replace(file)

    def _write(self) -> None:
        shares = _read_shares(self._run)
        if shares:
            self._begin(shares[-1]["prompts"], shares[-1]["step"])
        total = self._total(shares)
        if not self._step or total == self._line:
            return
        now = time.monotonic()
        self._line = total
        seconds = round(now - self._start + self._before["seconds"], 2)
        with (self._run / "progress.jsonl").open("ab") as file:
            file.write(orjson.dumps({"seconds": seconds, **total}) + b"\n")
        self._show(total, now)

    def _total(self, shares: Sequence[dict[str, Any]]) -> dict[str, int]:
        total = self.counts.copy()
        for share in shares:
            now = share["step"] == self._step and not self._settled
            for name in _counters:
                if name not in _of_step or (now and name != "prompts"):
                    total[name] += share[name]
        # What a worker that died had counted is counted again by the next one.
        for name in ("finished", "covered"):
            total[name] = min(total[name], total["prompts"])
        # Generated in this session plus earlier ones: what was reused is not counted twice.
        for name in ("rollouts", "tokens", "prompt_tokens"):
            total[name] += self._before[name]
        return total

    def _show(self, line: dict[str, int], now: float) -> None:
        watched = sys.stderr.isatty()
        if not watched and now - self._shown < _QUIET_EVERY_S:
            return
        self._shown = now
        elapsed = max(now - self._start, 1e-9)
        rate = (line["tokens"] - self._before["tokens"]) / elapsed
        done, of = line["finished"], max(line["prompts"], 1)
        left = f", about {_clock(elapsed * (of - done) / done)} left" if done else ""
        text = (
            f"{done}/{of} prompts, {line['covered'] / of:.0%} covered, "
            f"{line['rollouts']} rollouts, {rate:,.0f} tokens/s{left}"
        )
        sys.stderr.write(f"\r\x1b[K{text}" if watched else f"{text}\n")
        sys.stderr.flush()


_open: dict[Path, Progress] = {}
_open_lock = threading.Lock()


@contextmanager
def leading(run: Path) -> Iterator[None]:
    """Write the progress of a run, its workers' too, while this process runs its flow."""
    shutil.rmtree(run / "progress", ignore_errors=True)  # a killed session's
    progress = Progress(run, leads=True)
    with _open_lock:
        _open[run] = progress
    threading.Thread(target=progress.follow, name="progress", daemon=True).start()
    try:
        yield
    finally:
        finish(run)
        with _open_lock:
            _open.pop(run, None)


def track(run: Path) -> Progress:
    """Return the one `Progress` that this process has of a run folder and its present session."""
    with _open_lock:
        found = _open.get(run)
        if found is None or found.session != _session(run):
            found = _open[run] = Progress(run, leads=False)
        return found


def opened(run: Path) -> Progress | None:
    """Return the `Progress` of a run folder if this process has one."""
    with _open_lock:
        return _open.get(run)


def finish(run: Path) -> None:
    """End a run's progress, if it had any."""
    if (progress := opened(run)) is not None:
        progress.finish()


def read_progress(run: Path) -> list[dict[str, Any]]:
    """Read a run's progress lines; a torn last one is left out."""
    lines = []
    file = run / "progress.jsonl"
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            lines.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return lines


def _prompts_in(record: Path) -> int:
    return int(orjson.loads(record.read_bytes())["made_by"].get("rows_in", 0))


def _last_line(run: Path) -> dict[str, Any]:
    lines = read_progress(run)
    return {"seconds": 0.0, **dict.fromkeys(_counters, 0), **(lines[-1] if lines else {})}


def _session(run: Path) -> str:
    """Return who holds the run since when: a worker may outlive one session and serve the next."""
    lock = run / ".lock"
    return lock.read_text() if lock.exists() else ""


def _read_shares(run: Path) -> list[dict[str, Any]]:
    """Read what workers counted, whoever wrote last at the end."""
    files = [(file.stat().st_mtime_ns, file) for file in run.glob("progress/*.json")]
    return [orjson.loads(file.read_bytes()) for _, file in sorted(files)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"
