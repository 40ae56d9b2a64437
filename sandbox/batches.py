"""Running the tests of one mode: one process for all, a new one after each loss.

A test that kills or hangs its process loses only itself: the next ones run in a new process. After
3 such restarts, or the program's CPU limit, the rest is ``not_run``. If the program cannot even be
loaded, every test of the batch has that result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sandbox.attend import Watch
from sandbox.compare import Unsupported, evaluate
from sandbox.frames import pack
from sandbox.outcomes import Status, TestResult
from sandbox.plan import Place, Planned
from sandbox.runs import Run, Tally, how_it_ended, run
from sandbox.supervisor import SlotLost
from sandbox.wire import NotPlainData, decode

MAX_RESTARTS = 3
_STATUSES = ("pass", "fail", "error", "oom", "protocol", "died", "unsplit")


class Conversation:
    """What one run said: how far it came, and the result of each test that it finished."""

    def __init__(self, tests: list[Planned], place: Place) -> None:
        self.tests = tests
        self.calls_place = place == "calls"
        self.loaded = False
        self.broken: TestResult | None = None  # the program could not be loaded
        self.lost: str | None = None  # what a tester says became of the program
        self.results: list[TestResult] = []
        self.word = ""  # with which a process says that it could not become the program
        self.moved: list[Planned] = []  # tests that turned out to need a weaker mode
        self._answers: list[list[Any]] = []
        numbers = _draw(sum(len(check.calls) for test in tests for check in test.checks))
        self.questions = [
            [
                [next(numbers), call.name, call.arguments, call.keywords]
                for check in test.checks
                for call in check.calls
            ]
            for test in tests
        ]

    def finished(self) -> bool:
        """Whether nothing more is expected."""
        over = self.broken is not None or self.lost is not None
        return over or len(self.results) == len(self.tests)

    def take(self, message: Any, watch: Watch) -> None:
        """One frame from the process; anything out of place raises NotPlainData or the like."""
        if self.finished():
            raise NotPlainData("more than was asked for")
        if not self.loaded:
            self._load(message, watch)
        elif self.calls_place:
            self._take_answers(message, watch)
        else:
            self._take_report(message, watch)

    def _load(self, message: Any, watch: Watch) -> None:
        if message[0] == "ready":
            self.loaded = True
            watch.mark()
            return
        if message[0] == "unfit" and message[1] == self.word:
            raise SlotLost(f"the program cannot be executed here: {str(message[2])[:300]}")
        if message[0] == "gone" and not self.calls_place:
            self.lost = "died"
            return
        if message[0] != "broken":
            raise NotPlainData("neither ready nor broken")
        self.broken = TestResult(*_raised(message[1], message[2]))

    def _take_answers(self, message: Any, watch: Watch) -> None:
        """Some answers, not none: a program must not keep us busy with nothing."""
        if type(message) is not list or not message:
            raise NotPlainData("no answers")
        for answer in message:
            self._take_answer(answer, watch)

    def _take_answer(self, message: Any, watch: Watch) -> None:
        """The next answer of a program; its comparison once the test's last one is there."""
        if self.finished():
            raise NotPlainData("more than was asked for")
        place = len(self.results)
        if message[0] != self.questions[place][len(self._answers)][0]:
            raise NotPlainData("an answer to another question")
        self._answers.append(message[1:])
        if len(self._answers) == len(self.questions[place]):
            answers, self._answers = self._answers, []
            if self.tests[place].probe:
                self.results.append(TestResult("pass", *watch.mark(), answer=answers))
                return
            try:
                status, exception, got = judge_answers(self.tests[place], answers)
            except Unsupported:
                self.moved.append(self.tests[place])
                status, exception, got = "not_run", None, None
            self.results.append(TestResult(status, *watch.mark(), exception, got))

    def _take_report(self, message: Any, watch: Watch) -> None:
        """One report of a process that runs test code."""
        index, status, exception = message
        test = self.tests[len(self.results)]
        if index != test.index or status not in _STATUSES:
            raise NotPlainData("a report of something else")
        if status in ("died", "protocol"):
            self.lost = status
            return
        if status == "unsplit":
            self.moved.append(test)
            status = "not_run"
        text = None if exception is None else str(exception)[:300]
        self.results.append(TestResult(status, *watch.mark(), text))


def _draw(count: int) -> Iterator[int]:
    """Numbers that no program can guess."""
    drawn = os.urandom(6 * count)
    return (int.from_bytes(drawn[6 * i : 6 * i + 6], "big") for i in range(count))


def _raised(name: object, message: object) -> tuple[Status, float, float, str]:
    text = f"{str(name)[:300]}: {str(message)[:300]}".removesuffix(": ")[:300]
    return "oom" if name == "MemoryError" else "error", 0.0, 0.0, text


def judge_answers(test: Planned, answers: list[list[Any]]) -> tuple[Status, str | None, str | None]:
    """Status, exception and shortened answer of a test all of whose calls came back."""
    position = 0
    for check in test.checks:
        mine = answers[position : position + len(check.calls)]
        position += len(check.calls)
        for answer in mine:
            if answer[0] == "raised":
                status, _, _, text = _raised(answer[1], answer[2])
                return status, text, None
        try:
            values = [_value(answer) for answer in mine]
            if not evaluate(check.condition, values):
                return "fail", None, ", ".join(_show(value) for value in values)
        except NotPlainData as error:
            return "fail", str(error)[:300], None
        except Unsupported:
            raise
        except Exception as error:  # comparing this answer raises: so would the assertion
            return "error", type(error).__name__, None
    return "pass", None, None


def _value(answer: list[Any]) -> Any:
    if answer[0] != "value":
        raise NotPlainData(str(answer[1])[:300])
    return decode(answer[1])


def _show(value: Any) -> str:
    try:
        return repr(value)[:200]
    except ValueError:  # an integer too long to print
        return type(value).__name__


def run_batch(
    tally: Tally, place: Place, tests: list[Planned]
) -> tuple[dict[int, TestResult], list[Planned]]:
    """Results by test index, and the tests that have to move to a weaker mode."""
    results: dict[int, TestResult] = {}
    moved: list[Planned] = []
    restarts = 0
    while tests:
        if tally.cpu_left_ns() <= 0 or restarts > MAX_RESTARTS:
            why = "too many restarts" if restarts > MAX_RESTARTS else "the CPU limit was reached"
            results |= {test.index: TestResult("not_run", exception=why) for test in tests}
            break
        said, watch = _converse(tally, place, tests)
        moved += said.moved
        done = len(said.results)
        results |= {t.index: r for t, r in zip(tests, said.results, strict=False)}
        tests = tests[done:]
        if not tests:
            break
        failed = said.broken or _unfinished(tally, said, watch)
        if not said.loaded:
            results |= {test.index: failed for test in tests}
            break
        results[tests[0].index] = failed
        tests = tests[1:]
        restarts += 1
        if tests:
            tally.flags.append(f"restarted@{tests[0].index}")
    return results, moved


def _converse(tally: Tally, place: Place, tests: list[Planned]) -> tuple[Conversation, Watch]:
    """One run over some tests."""
    said = Conversation(tests, place)
    entry = tally.program.entry_point
    listed = [] if place == "calls" else [test.wire() for test in tests]
    more: dict[str, Any] = {}
    if place == "calls":
        more = {"questions": said.questions}
    elif place == "inline":
        more = {"entry": entry, "tests": listed}
    role, message, said.word = tally.opening(place, **more)
    plan = Run(role, message, said, tally.program.stdin)
    if place == "split":
        task = pack({"entry": entry, "tests": listed})
        plan = replace(plan, role="tester", message=task, job=message)
    watch, _ = run(tally, plan)
    return said, watch


def _unfinished(tally: Tally, said: Conversation, watch: Watch) -> TestResult:
    """The result of the test during which the run ended."""
    used = watch.mark()
    if watch.reason == "timeout":
        return TestResult("timeout", *used, exception=watch.detail)
    if watch.reason == "protocol" or said.lost == "protocol":
        return TestResult("protocol", *used, exception="spoke out of turn on the result channel")
    process = watch.processes[0 if said.lost else -1]
    status, exception = how_it_ended(process, tally.limits)
    result = TestResult(status, *used, exception=exception)
    if not said.lost and len(watch.processes) > 1:  # the tester itself ended
        result = replace(result, exception=f"in the test: {exception}")
    return result
