"""The bodies of ``tamis sandbox ...``; what goes wrong is said in one sentence."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from sandbox.box import Sandbox
from sandbox.outcomes import Outcome
from sandbox.programs import Limits, Program
from sandbox.records import read_program
from sandbox.supervisor import SandboxUnavailable

_LINE = 64 << 20  # bytes of one line of input


def _fail(sentence: object) -> int:
    sys.stderr.write(f"tamis: {sentence}\n")
    return 1


def doctor(chosen: argparse.Namespace) -> int:
    """Try what this machine's sandbox can promise; exit code 1 below the required tier."""
    from sandbox.doctor import examine

    text, sound = examine(as_json=chosen.json, require=chosen.require)
    sys.stdout.write(text + "\n")
    return int(not sound)


def serve(chosen: argparse.Namespace) -> int:
    """Serve the sandbox over HTTP until interrupted."""
    from sandbox.server import serve

    try:
        token = chosen.token_file.read_text().strip() if chosen.token_file else None
        if chosen.token_file and not token:
            return _fail(f"{chosen.token_file} is empty; put a token in it")
        serve(chosen.host, chosen.port, token, chosen.workers)
    except (OSError, ValueError, SandboxUnavailable) as error:
        return _fail(error)
    return 0


def run(chosen: argparse.Namespace) -> int:
    """Judge the programs of a JSONL file, in order; resumable, with little memory."""
    limits = Limits()
    if chosen.timeout_s is not None:
        total = max(limits.cpu_s, 2 * chosen.timeout_s)
        limits = replace(limits, test_cpu_s=chosen.timeout_s, cpu_s=total)
    if chosen.memory_mb is not None:
        limits = replace(limits, memory_mb=chosen.memory_mb)
    out = chosen.out
    if not chosen.resume and out.exists() and out.stat().st_size:
        return _fail(f"{out} is not empty; go on with --resume, or name another file")
    token = chosen.token_file.read_text().strip() if chosen.token_file else None
    try:
        with (
            chosen.programs.open("rb") as source,
            Sandbox(
                chosen.workers, limits, chosen.tier, cache=chosen.cache, url=chosen.url, token=token
            ) as box,
            out.open("ab") as sink,
        ):
            reading = _Reading(source, limits, _finished(out))
            for outcome in box.run(reading.programs()):
                sink.write(_write(reading.ids.popleft(), outcome))
                sink.flush()
            os.fsync(sink.fileno())
    except (OSError, ValueError, SandboxUnavailable) as error:
        return _fail(error)
    return _fail(f"{chosen.programs}, {reading.trouble}") if reading.trouble else 0


@dataclass
class _Reading:
    """The input as it is read: which ids are on their way, and what stopped it."""

    source: IO[bytes]
    limits: Limits
    done: Iterator[Any]  # ids that the output already has, in order
    ids: deque[Any] = field(default_factory=deque)
    trouble: str | None = None

    def programs(self) -> Iterator[Program]:
        """Programs that are not done; ends at the first line that is not one."""
        number = 0
        while line := self.source.readline(_LINE + 1):
            number += 1
            if not line.strip():
                continue
            try:
                if len(line) > _LINE:
                    raise ValueError(f"is longer than {_LINE} bytes")
                record = json.loads(line)
                program = read_program(record, self.limits)
                if self._is_done(record["id"]):
                    continue
            except (ValueError, RecursionError) as error:
                self.trouble = f"line {number}: {_say(error)}"
                return
            self.ids.append(record["id"])
            yield program

    def _is_done(self, name: Any) -> bool:
        try:
            other = next(self.done)
        except StopIteration:
            return False
        if other != name:
            raise ValueError(f"the output has {other!r} here, not {name!r}: it is of another input")
        return True


def _say(error: Exception) -> str:
    is_json = isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError)
    return f"is not JSON ({error})" if is_json else str(error)


def _finished(out: Path) -> Iterator[Any]:
    """Ids of the whole lines of an output; a torn last line is cut off."""
    with out.open("r+b") as file:
        position = 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(position)
                break
            position += len(line)
    return _ids(out, position)


def _ids(out: Path, size: int) -> Iterator[Any]:
    with out.open("rb") as file:
        while file.tell() < size:
            yield json.loads(file.readline())["id"]


def _write(name: Any, outcome: Outcome) -> bytes:
    record = {
        "id": name,
        "verdict": outcome.verdict,
        "integrity": outcome.integrity,
        "tier": outcome.tier,
        "tests": [{"status": t.status, "cpu_ms": round(t.cpu_ms, 3)} for t in outcome.tests],
        "cpu_ms": round(outcome.cpu_ms, 3),
        "max_rss_kb": outcome.max_rss_kb,
        "stdout": outcome.stdout,
        "exception": outcome.exception,
        "flags": list(outcome.flags),
    }
    return json.dumps(record).encode() + b"\n"
