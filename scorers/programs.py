"""Programs of a model before tests: a verifier for sampling, and the full pass matrix.

Everything that runs, runs in the sandbox. A program that does not parse is `unparsable`, one that
dies before a test is `error`, and only trouble of our own is `infra`: a cell of -1 in the matrix,
never a failed test.
"""

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.schema import EXECUTIONS, Case, Verdict, verifier
from scorers.assertions import extract_asserts
from scorers.boxes import run_programs
from scorers.code_blocks import extract_code
from scorers.program_text import Distinct, distinct, free_names, parse

if TYPE_CHECKING:
    from sandbox import Limits, Outcome, Sandbox

__all__ = [
    "PassMatrix",
    "cells",
    "consistent_tests",
    "extract_asserts",
    "extract_code",
    "pass_matrix",
    "programs",
    "read_matrix",
    "stubs",
    "trivial_tests",
]

_SAYS = {"fail": "wrong_answer", "timeout": "cpu_limit", "oom": "memory_limit"}


class PassMatrix(NamedTuple):
    """Which distinct program passes which distinct test.

    passed: int8 [N, M], 1 passed, 0 did not, -1 not judged. cpu_ms: float64 [N, M], NaN where not
    judged. programs, tests: the rows and columns, with ids and copies. executions: EXECUTIONS.
    """

    passed: NDArray[np.int8]
    cpu_ms: NDArray[np.float64]
    programs: Distinct
    tests: Distinct
    executions: pa.Table


@verifier(needs=("tests",), version=1)
def programs(cases: Sequence[Case]) -> list[Verdict]:
    """Run each completion's program against its prompt's `tests` (list of Python test codes).

    `entry_point` of the prompt, where it has one, says which function counts. The reason of
    `correct` is how far tests and program were kept apart ("isolated" or "shared"), that of the
    others what went wrong. Raises UserError if this machine cannot run a sandbox.
    """
    from sandbox import Program

    verdicts: list[Verdict | None] = []
    work: list[Program] = []
    for place, (prompt, completion) in enumerate(cases):
        tests, entry_point = tuple(prompt["tests"] or ()), prompt.get("entry_point")
        code = extract_code(completion, entry_point)
        verdict = _settle(code, tests)
        verdicts.append(verdict)
        if verdict is None and code is not None:
            work.append(Program(str(place), code, entry_point, tests))
    for program, outcome in zip(work, run_programs(work), strict=True):
        verdicts[int(program.id)] = _judge(outcome, program.code)
    return [verdict for verdict in verdicts if verdict is not None]


def _settle(code: str | None, tests: Sequence[str]) -> Verdict | None:
    """Return the verdict if nothing needs to run."""
    if not tests:
        return Verdict("unverified", "no_tests", code)
    if code is None:
        return Verdict("unparsable", "no_code")
    return Verdict("unparsable", "syntax_error", code) if parse(code) is None else None


def _judge(outcome: "Outcome", code: str) -> Verdict:
    if outcome.verdict == "correct":
        return Verdict("correct", outcome.integrity, code)
    missed = next((test for test in outcome.tests if test.status != "pass"), None)
    if missed is None:
        return Verdict(outcome.verdict, "nothing_ran", code)
    raised = (missed.exception or "").partition(":")[0]
    reason = raised if missed.status == "error" and raised.isidentifier() else missed.status
    return Verdict(outcome.verdict, _SAYS.get(reason, reason), code)


def pass_matrix(
    codes: Sequence[str],
    tests: Sequence[str],
    *,
    sandbox: "Sandbox",
    entry_point: str | None = None,
    limits: "Limits | None" = None,
) -> PassMatrix:
    """Run every distinct program once against all distinct tests.

    codes: sources, as `extract_code` finds them; tests: test codes, one column each. Equal sources
    (`program_text`) share a row or a column, whose ids are digests of what they have in common.
    """
    from sandbox import Program

    rows, columns = distinct(codes), distinct(tests)
    work = [
        Program(code_id, code, entry_point, tuple(columns.texts), limits=limits)
        for code_id, code in zip(rows.ids, rows.texts, strict=True)
    ]
    outcomes = sandbox.run(work) if columns.texts else iter(())
    judged = [cell for outcome in outcomes for cell in cells(outcome, columns.ids)]
    executions = pa.Table.from_pylist(judged, schema=EXECUTIONS)
    passed, cpu_ms = read_matrix(executions, rows.ids, columns.ids)
    return PassMatrix(passed, cpu_ms, rows, columns, executions)


def cells(outcome: "Outcome", test_ids: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield what became of one program as EXECUTIONS rows, one a test."""
    for test_id, test in zip(test_ids, outcome.tests, strict=True):
        yield {
            "code_id": outcome.id,
            "test_id": test_id,
            "status": test.status,
            "wall_ms": test.wall_ms,
            "cpu_ms": test.cpu_ms,
            "max_rss_kb": outcome.max_rss_kb,
            "exception": test.exception,
            "stdout_bytes": len(outcome.stdout.encode()),
        }


def read_matrix(
    executions: pa.Table, code_ids: Sequence[str], test_ids: Sequence[str]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return `passed` (int8) and `cpu_ms` (float64), both [N, M], of an EXECUTIONS table.

    A test that calls a name which none of two or more programs has is about another function: its
    column is not judged (DSTC card). Of cells that were run more than once the last judged counts.
    """
    rows = {code_id: place for place, code_id in enumerate(code_ids)}
    columns = {test_id: place for place, test_id in enumerate(test_ids)}
    passed = np.full((len(rows), len(columns)), -1, np.int8)
    cpu_ms = np.full(passed.shape, np.nan)
    unknown = np.zeros(passed.shape, np.bool_)
    for cell in executions.to_pylist():
        if cell["status"] == "infra":
            continue
        place = rows[cell["code_id"]], columns[cell["test_id"]]
        passed[place], cpu_ms[place] = cell["status"] == "pass", cell["cpu_ms"]
        unknown[place] = (cell["exception"] or "").startswith("NameError")
    if len(rows) > 1:
        passed[:, unknown.all(axis=0)] = -1
        cpu_ms[passed < 0] = np.nan
    return passed, cpu_ms


def consistent_tests(passed: NDArray[np.int8], *, share: float | None = None) -> NDArray[np.bool_]:
    """Return (bool [M]) which tests the test writer's own solutions confirm (PLUM; reconstructed).

    passed: int8 [R, M] of those solutions. A test needs at least `share` of the solutions that were
    judged; without it more than half of them, and of a single one that one.
    """
    judged, confirmed = (passed >= 0).sum(axis=0), (passed == 1).sum(axis=0)
    enough = 2 * confirmed > judged if share is None else confirmed >= share * judged
    found: NDArray[np.bool_] = enough & (judged > 0)
    return found


def trivial_tests(
    tests: Sequence[str], *, sandbox: "Sandbox", entry_point: str | None = None
) -> NDArray[np.bool_]:
    """Return (bool [M]) which tests prove nothing: one of the `stubs` passes them.

    A test that could not be judged is not called trivial.
    """
    from sandbox import Program

    work = [Program(stub, stub, entry_point, tuple(tests)) for stub in stubs(tests, entry_point)]
    found = np.zeros(len(tests), np.bool_)
    for outcome in sandbox.run(work):
        found |= [test.status == "pass" for test in outcome.tests]
    return found


def stubs(tests: Sequence[str], entry_point: str | None = None) -> list[str]:
    """Return two programs with the names that the tests call: one returns None, the other raises.

    There are none where there are no tests.
    """
    trees = [tree for test in tests if (tree := parse(test)) is not None]
    names = {name for tree in trees for name in free_names(tree) if _is_called(tree, name)}
    names |= {entry_point.partition("().")[0]} if entry_point else set()
    bodies = ("return None", "raise NotImplementedError")
    return ["\n".join(_stub(name, body) for name in sorted(names)) for body in bodies if tests]


def _is_called(tree: ast.Module, name: str) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == name for called in calls)


def _stub(name: str, body: str) -> str:
    """A function, or a class all of whose methods are that function if it is named like a class."""
    function = f"def {name}(*a, **k):\n    {body}\n"
    if not name[:1].isupper():
        return function
    return (
        f"class {name}:\n"
        "    def __init__(self, *a, **k): pass\n"
        "    def __getattr__(self, _):\n"
        f"        def method(*a, **k):\n            {body}\n"
        "        return method\n"
    )
