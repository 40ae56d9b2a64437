"""What goes into the sandbox: programs, their tests and their limits.

Covered: a program cannot reach the host's files, processes, network, environment or kernel
interfaces that Python does not need; cannot outlive its verdict; cannot use more than its limits;
cannot see another program's code, input or output; and, except in mode "inline", cannot influence
its verdict other than by its answers, because tests and expected values are in another process.

Not covered: bugs in the kernel itself, timing and cache side channels between programs, and GPUs.
Against hostile people rather than careless models, put a virtual machine around the whole worker.
In mode "inline" tests share the candidate's process: its outcomes say ``integrity="shared"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Limits:
    """What one program may use; CPU time decides, wall time is only a backstop.

    A program that neither answers nor waits for a processor is stopped after
    ``3 * test_cpu_s + 2`` seconds of wall time per test.
    """

    cpu_s: float = 10.0  # CPU seconds, all tests of the program together
    test_cpu_s: float = 5.0  # CPU seconds per test (loading the program counts as one)
    memory_mb: int = 1024  # address space per process
    disk_mb: int = 64  # the private /tmp (tier A; the other tiers have no writable place)
    files: int = 4096  # inodes in the private /tmp
    file_mb: int = 16  # size of any one file
    threads: int = 64
    output_bytes: int = 1 << 20  # kept of stdout and of stderr; the rest is counted and dropped
    result_bytes: int = 8 << 20  # one returned value, or the stdout that a StdioTest judges

    @property
    def wall_s(self) -> float:
        """Seconds of wall time one test may take, not counting the wait for a processor."""
        return 3 * self.test_cpu_s + 2


@dataclass(frozen=True)
class StdioTest:
    """Input for stdin and the output expected on stdout; the expected output stays outside.

    compare: "exact" (bytes), "tokens" (the same number of non-empty lines, equal tokens in each) or
    "float" (as tokens, numbers within 1e-6 relative or absolute). A checker overrides it: Python
    source that defines ``check(input: str, output: str, expected: str) -> bool``, run in a sandbox
    of its own.
    """

    input: str
    output: str
    compare: Literal["tokens", "exact", "float"] = "tokens"
    checker: str | None = None


@dataclass(frozen=True)
class Probe:
    """Questions without expectations, for whoever compares the answers elsewhere (remote.py).

    calls: (function, positional, keyword arguments) with values as `wire.encode` gives them; or
    input: what the program finds on stdin. "pass" means that there is an answer.
    """

    calls: tuple[tuple[str, list[Any], dict[str, Any]], ...] = ()
    input: str | None = None


@dataclass(frozen=True)
class Program:
    """One program and the tests that judge it.

    tests: assert statements or any test code (str), or StdioTest. Names that a test does not define
    itself refer to the program; so do ``candidate`` (the entry point) and ``solution`` (a module).
    entry_point: a function's name or ``Class().method``; needed only where tests say ``candidate``.
    stdin: what a program without tests, or with code as tests, finds on its standard input.
    mode: where the tests run; None chooses per test the strongest that can express it.
    """

    id: str
    code: str
    entry_point: str | None = None
    tests: tuple[str | StdioTest | Probe, ...] = ()
    language: str = "python"
    stdin: str | None = None
    mode: Literal["calls", "split", "stdio", "inline"] | None = None
    limits: Limits | None = None
