"""One program from its tests to its outcome, on a slot that works."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sandbox.batches import run_batch
from sandbox.outcomes import Outcome, TestResult, Verdict, conclude
from sandbox.plan import Place, Planned, demote, plan_test
from sandbox.programs import Limits, Program
from sandbox.runs import Tally
from sandbox.stdio import run_script, run_stdio_test
from sandbox.supervisor import Slot
from sandbox.tripwire import falsify, suspicious_words

_PLACES: tuple[Place, ...] = ("calls", "split", "inline")


def judge(program: Program, slot: Slot, limits: Limits) -> Outcome:
    """Run all tests of a program; raises SlotLost if the slot fails it."""
    tally = Tally(slot, program, program.limits or limits)
    planned = [plan_test(program, index) for index in range(len(program.tests))]
    if program.language != "python" and not _all_impossible(planned):
        failed = _prepare(tally, planned)
        if failed is not None:
            tests = tuple(failed for _ in planned)
            return _outcome(tally, tests, conclude((failed,)), "isolated", failed.exception)
    if not program.tests:
        result, _ = run_script(tally, program.stdin)
        verdict = "unverified" if result.status == "pass" else conclude((result,))
        return _outcome(tally, (), verdict, "isolated", result.exception)
    results = _run_planned(tally, planned)
    tests = tuple(results[index] for index in range(len(planned)))
    missed = next((test.exception for test in tests if test.status != "pass"), None)
    shared = any(test.place == "inline" for test in planned)
    return _outcome(tally, tests, conclude(tests), "shared" if shared else "isolated", missed)


def _all_impossible(planned: list[Planned]) -> bool:
    return bool(planned) and all(test.place == "impossible" for test in planned)


def _prepare(tally: Tally, planned: list[Planned]) -> TestResult | None:
    """Make a program of another language executable, or say why it cannot be."""
    from sandbox.languages import LANGUAGES  # which few programs need

    language = LANGUAGES.get(tally.program.language)
    if language is None:
        why = f"the sandbox runs python, {', '.join(LANGUAGES)}, not {tally.program.language}"
        return TestResult("not_run", exception=why)
    calls = [call.name for test in planned for check in test.checks for call in check.calls]
    try:
        built = language.build(tally, frozenset(calls))
    except LookupError as error:
        return TestResult("infra", exception=str(error))
    if isinstance(built, TestResult):
        return built
    tally.built = built
    return None


def _outcome(
    tally: Tally,
    tests: tuple[TestResult, ...],
    verdict: Verdict,
    integrity: Literal["isolated", "shared"],
    exception: str | None,
) -> Outcome:
    return Outcome(
        id=tally.program.id,
        verdict=verdict,
        integrity=integrity,
        tier=tally.slot.tier,
        tests=tests,
        cpu_ms=tally.cpu_ns / 1e6,
        wall_ms=tally.wall_ns / 1e6,
        max_rss_kb=tally.max_rss_kb,
        stdout=tally.stdout.decode(errors="backslashreplace"),
        stderr=tally.stderr.decode(errors="backslashreplace"),
        stdout_cut=tally.cut,
        exception=exception,
        exit_status=tally.exit_status,
        flags=tuple(dict.fromkeys(tally.flags)),
    )


def _run_planned(tally: Tally, planned: list[Planned]) -> dict[int, TestResult]:
    """Results by index; `planned` is updated where a test had to move."""
    results: dict[int, TestResult] = {}
    for test in planned:
        if test.place == "impossible":
            results[test.index] = TestResult("not_run", exception=test.problem)
        elif test.place == "stdio":
            results[test.index] = run_stdio_test(tally, test)
    for place in _PLACES:
        tests = [test for test in planned if test.place == place]
        if not tests:
            continue
        done, moved = run_batch(tally, place, tests)
        results |= done
        for test in moved:
            mode = tally.program.mode if tally.built is None else "calls"
            planned[test.index] = demote(test, mode)
        if place == "inline":
            _check_forgery(tally, tests, results)
    return results


def _check_forgery(tally: Tally, tests: list[Planned], results: dict[int, TestResult]) -> None:
    """Run each test that passed in the program's own process against false expectations."""
    passed = [test for test in tests if results[test.index].status == "pass"]
    if not passed:
        return
    tally.flags += suspicious_words(tally.program.code)
    false = []
    for test in passed:
        source = falsify(test.source)
        if source is None:
            tally.flags.append("no-tripwire")
        else:
            false.append(replace(test, source=source))
    shadow = Tally(tally.slot, tally.program, tally.limits)
    again, _ = run_batch(shadow, "inline", false)
    tally.cpu_ns += shadow.cpu_ns
    tally.wall_ns += shadow.wall_ns
    for index in (index for index, result in again.items() if result.status == "pass"):
        tally.flags.append("forged")
        why = "passes the same test with false expectations"
        results[index] = replace(results[index], status="fail", exception=why)
