"""Outcomes by content: what was judged before is not run again.

The key is over everything that a verdict depends on: code, tests, stdin, language, mode, limits,
tier, interpreter and compilers, and the version of this sandbox. A timeout, trouble of our own, a
flaky verdict and one that hangs on memory are never kept, as another run may see another.

One file, appended to under a lock by any number of processes: a line is a checksum, a key and an
outcome. Lines that a crash tore are skipped.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import subprocess
import threading
import zlib
from dataclasses import asdict, replace
from pathlib import Path

from sandbox.languages import LANGUAGES
from sandbox.outcomes import Outcome
from sandbox.programs import Limits, Program
from sandbox.records import read_outcome, write_program

VERSION = 1  # of all that can change a verdict here; raised by whoever changes it
_FINAL = {"pass", "fail", "error", "killed", "protocol"}
_PART = 1 << 26  # bytes read at a time; longer than any line


@functools.cache
def describe_python(python: str) -> str:
    """The interpreter's version, as it gives it itself."""
    said = subprocess.run([python, "-VV"], capture_output=True, text=True, check=False)
    return said.stdout.strip()


def make_key(program: Program, limits: Limits, machine: str) -> str:
    """The content key; `machine` says where and how the box runs programs."""
    import hashlib  # it loads OpenSSL, which not every user of the sandbox needs

    record = write_program(replace(program, id="", limits=program.limits or limits))
    if program.language in LANGUAGES:
        try:
            machine += LANGUAGES[program.language].version()
        except LookupError:
            machine += "missing"
    text = json.dumps([VERSION, machine, record], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_final(outcome: Outcome) -> bool:
    final = all(test.status in _FINAL for test in outcome.tests)
    return final and outcome.verdict not in ("timeout", "infra") and "flaky" not in outcome.flags


class Cache:
    """The outcomes in one folder; safe for several threads and processes."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open or make the folder; raises OSError if that cannot be."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(Path(folder) / "outcomes.log", flags, 0o600)
        self._places: dict[str, tuple[int, int]] = {}
        self._seen = 0  # bytes of the file that are in `_places`
        self._lock = threading.Lock()

    def find(self, key: str, name: str) -> Outcome | None:
        """The outcome kept under a key, for the program of that id."""
        with self._lock:
            if key not in self._places:
                while self._catch_up():
                    pass
            place = self._places.get(key)
        if place is None:
            return None
        line = os.pread(self._file, place[1], place[0])
        return replace(read_outcome(json.loads(line)), id=name)

    def keep(self, key: str, outcome: Outcome) -> None:
        """Add an outcome, if it is one that every further run would have."""
        if not _is_final(outcome):
            return
        body = f"{key} {json.dumps(asdict(outcome))}".encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                size = os.fstat(self._file).st_size
                if size and os.pread(self._file, 1, size - 1) != b"\n":
                    line = b"\n" + line  # after a line that a crash tore
                os.write(self._file, line)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _catch_up(self) -> bool:
        """Index the next whole lines that this or another process has added; False if none."""
        data = os.pread(self._file, _PART, self._seen)
        end = data.rfind(b"\n") + 1
        start = 0
        while start < end:
            stop = data.index(b"\n", start)
            checksum, _, body = data[start:stop].partition(b" ")
            if checksum == b"%08x" % zlib.crc32(body):
                key, _, outcome = body.partition(b" ")
                self._places[key.decode()] = (self._seen + stop - len(outcome), len(outcome))
            start = stop + 1
        self._seen += end
        return end > 0
