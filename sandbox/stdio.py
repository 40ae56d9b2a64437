"""Programs that read stdin and print: one process per test, output compared outside."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from typing import Any

from sandbox.attend import Watch
from sandbox.compare import same_output
from sandbox.outcomes import Status, TestResult
from sandbox.plan import Planned
from sandbox.programs import Program, StdioTest
from sandbox.runs import Run, Tally, how_it_ended, load_job, run
from sandbox.supervisor import SlotLost
from sandbox.wire import NotPlainData, encode

_OUT_OF_MEMORY = (b"MemoryError", b"std::bad_alloc", b"out of memory", b"process OOM")


class Silent:
    """A script has nothing to say on its channel, which is closed before it starts."""

    def take(self, message: Any, watch: Watch) -> None:
        """Any frame is nonsense, but that the machine would not even execute a binary."""
        if isinstance(message, list) and message[:1] == ["unfit"]:
            raise SlotLost(f"the program cannot be executed here: {message[-1]}")
        raise NotPlainData("a script has no result channel")

    def finished(self) -> bool:
        """It ends when it ends."""
        return False


def run_script(tally: Tally, stdin: str | None) -> tuple[TestResult, bytes]:
    """Run the program once; "pass" means that it ended by itself with status 0."""
    limits = tally.limits
    role, message, _ = tally.opening("script")
    plan = Run(role, message, Silent(), stdin, stdout_limit=limits.result_bytes)
    watch, captures = run(tally, plan)
    output = bytes(captures[0].kept)
    used = watch.mark()
    if watch.reason is not None:
        reason: Status = "timeout" if watch.reason == "timeout" else "protocol"
        return TestResult(reason, *used, exception=watch.detail), output
    process = watch.processes[0]
    tally.exit_status = os.waitstatus_to_exitcode(process.status or 0)
    if process.status and any(word in captures[1].kept[-8192:] for word in _OUT_OF_MEMORY):
        return TestResult("oom", *used, exception="out of memory"), output
    if os.WIFEXITED(process.status or 0):
        code = os.WEXITSTATUS(process.status or 0)
        if code == 0 and captures[0].size <= limits.result_bytes:
            return TestResult("pass", *used), output
        why = f"exit status {code}" if code else f"printed {captures[0].size} bytes"
        last = captures[1].kept[-300:].decode(errors="replace").strip().splitlines()
        return TestResult("error", *used, exception=(last[-1] if last and code else why)), output
    status, exception = how_it_ended(process, limits)
    return TestResult(status, *used, exception=exception), output


def run_stdio_test(tally: Tally, test: Planned) -> TestResult:
    """Run the program on one input and compare what it printed."""
    if tally.cpu_left_ns() <= 0:
        return TestResult("not_run", exception="the CPU limit was reached")
    assert test.stdio is not None  # the plan says so
    result, output = run_script(tally, test.stdio.input)
    if result.status != "pass":
        return result
    if test.probe:
        return replace(result, answer=base64.b64encode(output).decode())
    status = _check(tally, test.stdio, output)
    shown = None if status == "pass" else output[:200].decode(errors="backslashreplace")
    problem = "the checker gave no answer" if status == "not_run" else None
    return TestResult(status, result.cpu_ms, result.wall_ms, problem, shown)


class _CheckerReply:
    """Listens for the one frame of answers, and the one answer, of a checker."""

    def __init__(self) -> None:
        self.answer: Any = None
        self._loaded = False

    def take(self, message: Any, watch: Watch) -> None:
        """Ready, then the answer."""
        if not self._loaded and message[0] == "ready":
            self._loaded = True
        else:
            (self.answer,) = message

    def finished(self) -> bool:
        """After one answer."""
        return self.answer is not None


def _check(tally: Tally, test: StdioTest, output: bytes) -> Status:
    """Pass, fail (also if the checker raises), or not_run when the checker does not work."""
    if test.checker is None:
        return "pass" if same_output(output, test.output, test.compare) else "fail"
    checker = Program(f"{tally.program.id}/checker", test.checker)
    texts = [encode(t) for t in (test.input, output.decode(errors="replace"), test.output)]
    reply = _CheckerReply()
    message = load_job(checker, tally.limits, questions=[[[1, "check", texts, {}]]])
    run(Tally(tally.slot, checker, tally.limits), Run("calls", message, reply))
    if not isinstance(reply.answer, list) or reply.answer[0] != 1:
        return "not_run"
    return "pass" if reply.answer[1:] == ["value", True] else "fail"
