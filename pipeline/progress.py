"""How a run is doing: a line a second in progress.jsonl for the report, and one on the terminal.

Clock times live here and nowhere else, so that data and manifests stay free of them. A resumed run
goes on adding to the same file: `seconds` counts working time, not the pauses between.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson

_EVERY_S = 1.0
_QUIET_EVERY_S = 30.0  # where nobody watches: one plain line now and then
_counters = ("prompts", "finished", "covered", "rollouts", "tokens", "prompt_tokens", "correct")


class Progress:
    """Counts of one run folder, added to by every shard that is sampled in this process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.counts = dict.fromkeys(_counters, 0)
        self._lock = threading.Lock()
        self._step = Path()
        self._before = _last_line(file)
        self._start = self._said = self._shown = time.monotonic()

    def add(self, **counts: int) -> None:
        """Add to the counters: prompts, finished, covered, rollouts, tokens, correct ..."""
        with self._lock:
            for name, count in counts.items():
                self.counts[name] += count
            now = time.monotonic()
            if now - self._said >= _EVERY_S:
                self._write(now)

    def begin(self, prompts: int, step: Path) -> None:
        """Say what is sampled now; prompts of shards committed before are finished already."""
        with self._lock:
            if step != self._step:
                self._step = step
                done = sum(_prompts_in(record) for record in step.glob("commits/*.json"))
                self.counts |= {"prompts": prompts, "finished": done, "covered": 0}

    def settle(self, **exact: int) -> None:
        """Replace counters that were only counted in this process by exact ones."""
        with self._lock:
            self.counts |= exact

    def finish(self) -> None:
        """Write the last line."""
        with self._lock:
            self._write(time.monotonic())
            if sys.stderr.isatty():
                sys.stderr.write("\n")

    def _write(self, now: float) -> None:
        self._said = now
        line: dict[str, Any] = {"seconds": round(now - self._start + self._before["seconds"], 2)}
        line |= self.counts
        # Generated in this process plus earlier ones: what was reused is not counted twice.
        for name in ("rollouts", "tokens", "prompt_tokens"):
            line[name] += self._before[name]
        with self.file.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        self._show(line, now)

    def _show(self, line: dict[str, Any], now: float) -> None:
        watched = sys.stderr.isatty()
        if not watched and now - self._shown < _QUIET_EVERY_S:
            return
        self._shown = now
        elapsed = max(now - self._start, 1e-9)
        rate = self.counts["tokens"] / elapsed
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


def track(run: Path) -> Progress:
    """Return the one `Progress` of a run folder in this process."""
    with _open_lock:
        return _open.setdefault(run, Progress(run / "progress.jsonl"))


def opened(run: Path) -> Progress | None:
    """Return the `Progress` of a run folder if anything was sampled in this process."""
    with _open_lock:
        return _open.get(run)


def finish(run: Path) -> None:
    """End a run's progress, if it had any."""
    with _open_lock:
        progress = _open.pop(run, None)
    if progress:
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


def _last_line(file: Path) -> dict[str, Any]:
    lines = read_progress(file.parent)
    return {"seconds": 0.0, **dict.fromkeys(_counters, 0), **(lines[-1] if lines else {})}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"
