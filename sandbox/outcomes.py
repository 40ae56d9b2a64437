"""What comes out of the sandbox: statuses of tests and the verdict they add up to.

The verdict is that of the first test that ran and did not pass; a program is correct only if it has
at least one test and all of them passed. A missing result is never a pass, and trouble of our own
making (``infra``) is never the program's fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal[
    "pass", "fail", "error", "timeout", "oom", "killed", "protocol", "not_run", "infra"
]
# "unparsable" is for whoever extracts programs from completions; the sandbox never says it.
Verdict = Literal["correct", "wrong", "unparsable", "timeout", "error", "infra", "unverified"]


@dataclass(frozen=True)
class TestResult:
    """One test: milliseconds are measured outside the program's process.

    exception: the name of what was raised, the signal, or what went wrong, at most 300 characters.
    got: the answer that was compared, shortened (only where a comparison failed).
    answer: what a Probe brought to light: its answers in wire form, or its stdout in base64.
    """

    status: Status
    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    exception: str | None = None
    got: str | None = None
    answer: Any = None

    __test__ = False  # pytest: not a test class


@dataclass(frozen=True)
class Outcome:
    """What is known about one program after it, and all it started, are dead.

    integrity: "isolated", tests never shared a process with the program; "shared", some did;
    "none", it ran without a sandbox. tests has one result per test of the program, in order.
    max_rss_kb is the largest process. flags: "flaky", "forged", "restarted@K", "uses:NAME" ...
    attempts: 1, plus one for each time our own machinery failed. exit_status: of the program's last
    run by stdin and stdout; -9 stands for signal 9.
    """

    id: str
    verdict: Verdict
    integrity: Literal["isolated", "shared", "none"]
    tier: str
    tests: tuple[TestResult, ...] = ()
    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    max_rss_kb: int = 0
    stdout: str = ""
    stderr: str = ""
    stdout_cut: bool = False
    exception: str | None = None
    flags: tuple[str, ...] = ()
    attempts: int = 1
    exit_status: int | None = None


_WORDS: dict[Status, Verdict] = {
    "fail": "wrong",
    "error": "error",
    "timeout": "timeout",
    "oom": "error",
    "killed": "error",
    "protocol": "error",
    "not_run": "unverified",
    "infra": "infra",
}


def conclude(tests: tuple[TestResult, ...]) -> Verdict:
    """The verdict that the results of a program's tests add up to."""
    if any(test.status == "infra" for test in tests):
        return "infra"
    missed = [test.status for test in tests if test.status != "pass"]
    if missed:
        return _WORDS[next((status for status in missed if status != "not_run"), "not_run")]
    return "correct" if tests else "unverified"
