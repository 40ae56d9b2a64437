"""The sandbox of another machine, behind the same Sandbox class: ``Sandbox(url=..., token=...)``.

What crosses the network: the program, and of its tests only the questions. For assertions over
calls with literal arguments those are functions and arguments, for stdin tests the input; answers
come back and are compared here, so that the server never learns what was expected. Tests that need
an interpreter (modes split and inline) and tests with a checker are sent whole, and the server's
word is taken for them. Use TLS in front of a server that is not on this machine.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import urllib.parse
from dataclasses import replace
from typing import Any

from sandbox.batches import judge_answers
from sandbox.compare import Unsupported, same_output
from sandbox.outcomes import Outcome, TestResult, conclude
from sandbox.plan import Planned, plan_test
from sandbox.programs import Limits, Probe, Program, StdioTest
from sandbox.records import read_outcome, write_program
from sandbox.supervisor import SandboxUnavailable, SlotLost

_SILENCE_S = 60.0  # the server writes something every 10 s
_BUSY_S = 600.0  # for a server with a full queue
_TROUBLE = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError)


class Connection:
    """A line to a server, used by one thread at a time, as a slot is."""

    def __init__(self, url: str, token: str | None) -> None:
        """Ask for its health; SlotLost if it does not answer, SandboxUnavailable if it refuses."""
        self.programs = 0
        self._url = urllib.parse.urlsplit(url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise SandboxUnavailable(f"{url!r} is not an address like http://host:port")
        self._given_up = threading.Event()
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._line = kind(self._url.hostname, self._url.port, timeout=_SILENCE_S)
        health = json.loads(self._ask("GET", "/v1/health"))
        self.tier = str(health["tier"])
        self.machine = str(health["machine"])

    def judge(self, program: Program, limits: Limits) -> Outcome:
        """Have a program run there, and compare its answers here; raises SlotLost."""
        planned = [plan_test(program, index) for index in range(len(program.tests))]
        tests = tuple(_question(p, t) for p, t in zip(planned, program.tests, strict=True))
        asked = replace(program, tests=tests, limits=program.limits or limits)
        outcome = self._run(asked)
        again: list[int] = []
        results = list(outcome.tests)
        for index, test in enumerate(tests):
            if isinstance(test, Probe) and results[index].status == "pass":
                result = _compare(planned[index], results[index])
                results[index] = result or results[index]
                again += [] if result else [index]
        if again:  # an answer that only an interpreter can compare
            whole = self._run(replace(asked, tests=tuple(program.tests[i] for i in again)))
            for index, result in zip(again, whole.tests, strict=True):
                results[index] = result
            outcome = replace(outcome, integrity=_weaker(outcome, whole))
        if not results:
            return outcome
        missed = next((test.exception for test in results if test.status != "pass"), None)
        verdict = conclude(tuple(results))
        return replace(outcome, tests=tuple(results), verdict=verdict, exception=missed)

    def abort(self) -> None:
        """End what it waits for, from any thread."""
        self._given_up.set()
        sock = self._line.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def _run(self, program: Program) -> Outcome:
        body = json.dumps(write_program(program)).encode()
        answer = self._ask("POST", "/v1/check", body)
        try:
            outcome = read_outcome(json.loads(answer))
            if len(outcome.tests) != len(program.tests) or outcome.id != program.id:
                raise ValueError("an answer to something else")
        except _TROUBLE as error:
            raise SlotLost(f"{self._url.netloc} gave no outcome: {error}") from None
        return outcome

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request; waits while the server is busy, dials again if the line was closed."""
        waited, dialled = 0.0, 0
        while True:
            try:
                self._line.request(method, self._url.path.rstrip("/") + path, body, self._headers)
                response = self._line.getresponse()
                answer = response.read().strip()
            except (OSError, http.client.HTTPException) as error:
                self._line.close()
                dialled += 1
                if dialled > 1 or self._given_up.is_set():
                    raise SlotLost(f"{self._url.netloc} does not answer: {error}") from None
                continue
            if response.status == 200:
                return answer
            if response.status == 429 and waited < _BUSY_S:
                pause = min(float(response.headers.get("Retry-After", 1)), 30.0)
                waited += pause
                if not self._given_up.wait(pause):
                    continue
            said = answer.decode(errors="replace")[:300]
            trouble = f"{self._url.netloc} refused ({response.status}): {said}"
            raise SandboxUnavailable(trouble) if response.status == 401 else SlotLost(trouble)


def _question(planned: Planned, test: str | StdioTest | Probe) -> str | StdioTest | Probe:
    """A test as far as the server has to know it."""
    if planned.probe or planned.place not in ("calls", "stdio"):
        return test
    if planned.stdio is not None:
        return test if planned.stdio.checker else Probe(input=planned.stdio.input)
    calls = (call for check in planned.checks for call in check.calls)
    return Probe(tuple((call.name, call.arguments, call.keywords) for call in calls))


def _compare(planned: Planned, result: TestResult) -> TestResult | None:
    """The judged result of a question, or None if that takes an interpreter."""
    got: str | None
    if planned.probe:
        return result
    if planned.stdio is not None:
        output = base64.b64decode(result.answer)
        if same_output(output, planned.stdio.output, planned.stdio.compare):
            return replace(result, answer=None)
        got = output[:200].decode(errors="backslashreplace")
        return replace(result, status="fail", answer=None, got=got)
    try:
        status, exception, got = judge_answers(planned, result.answer)
    except Unsupported:
        return None
    return replace(result, status=status, answer=None, exception=exception, got=got)


def _weaker(one: Outcome, other: Outcome) -> Any:
    return "shared" if "shared" in (one.integrity, other.integrity) else one.integrity
