"""Programs before tests, in the real sandbox: verdicts, pass matrices, tests that prove nothing."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.schema import EXECUTIONS, Case, check
from sandbox import Limits, Sandbox
from scorers.programs import (
    consistent_tests,
    extract_code,
    pass_matrix,
    programs,
    read_matrix,
    trivial_tests,
)

ADD = "def add(a, b):\n    return a + b"
TESTS = ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]
MBPP = Path(__file__).parents[2] / "shared" / "datasets" / "mbpp.jsonl"


@pytest.fixture(scope="module")
def box():
    """One open sandbox for the module."""
    with Sandbox(workers=2, limits=Limits(test_cpu_s=0.5, cpu_s=3.0)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("completion", "tests", "verdict", "reason"),
    [
        (f"Here:\n```python\n{ADD}\n```", TESTS, "correct", "isolated"),
        (ADD.replace("+", "-"), TESTS, "wrong", "wrong_answer"),
        ("def add(a, b):\n    return a + c", TESTS, "error", "NameError"),
        ("def sum_two(a, b):\n    return a + b", TESTS, "error", "NameError"),
        ("```python\ndef add(a, b) return\n```", TESTS, "unparsable", "syntax_error"),
        ("I cannot.", TESTS, "unparsable", "no_code"),
        (ADD, [], "unverified", "no_tests"),
        (ADD, None, "unverified", "no_tests"),
        ("import os\ndef add(a, b):\n    os._exit(0)", TESTS, "error", "error"),
    ],
)
def test_verdicts(completion, tests, verdict, reason) -> None:
    """Each way to succeed or fail has its verdict and a short reason; nothing raises."""
    (found,) = programs([Case({"tests": tests}, completion)])
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_batch_is_its_rows() -> None:
    """Verdicts come in order, whatever needs to run, and with the entry point of each prompt."""
    good = Case({"tests": ["assert candidate(1) == 1"], "entry_point": "Solution().run"}, "")
    code = "class Solution:\n    def run(self, x):\n        return x"
    cases = [good._replace(completion=c) for c in (code, "no", code.replace("return x", "return"))]
    found = [verdict.verdict for verdict in programs(cases)]
    assert found == ["correct", "unparsable", "wrong"]
    assert programs([]) == []
    assert programs.needs == ("tests",) and programs.version == 1


def test_gold_scores_one() -> None:
    """Reference solutions of MBPP (of our own where it is not there) are correct."""
    rows = [{"code": ADD, "test_list": TESTS, "test_setup_code": ""}]
    if MBPP.exists():
        rows = [json.loads(line) for line in MBPP.read_text().splitlines()[::40]]
    cases = [
        Case(
            {"tests": [f"{row['test_setup_code']}\n{test}" for test in row["test_list"]]},
            f"```python\n{row['code']}\n```",
        )
        for row in rows
    ]
    assert [verdict for verdict in programs(cases) if verdict.verdict != "correct"] == []


def test_pass_matrix(box) -> None:
    """One row a distinct program, one column a distinct test, each met once, with times and ids."""
    codes = [ADD, "def add(a,b): return a+b", "def add(a, b):\n    return 2 * b", "def add(:"]
    matrix = pass_matrix(codes, [*TESTS, "assert add(1,2)==3, 'why'"], sandbox=box)
    assert matrix.passed.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert matrix.programs.copies.tolist() == [2, 1, 1]
    assert matrix.programs.places == [0, 0, 1, 2]
    assert matrix.tests.copies.tolist() == [2, 1]
    assert (matrix.cpu_ms >= 0).all()
    check(matrix.executions, EXECUTIONS, where="test")
    assert (
        matrix.executions["status"].to_pylist() == ["pass", "pass", "fail", "pass"] + ["error"] * 2
    )
    assert set(matrix.executions["code_id"].to_pylist()) == set(matrix.programs.ids)


def test_a_deadly_test_costs_its_cell_only(box) -> None:
    """A program that dies or hangs in one test is judged on the others."""
    code = "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    while x == 2: pass\n    return x"
    matrix = pass_matrix([code], [f"assert f({x}) == {x}" for x in range(4)], sandbox=box)
    assert matrix.passed.tolist() == [[1, 0, 0, 1]]
    assert matrix.executions["status"].to_pylist() == ["pass", "error", "timeout", "pass"]


def test_nothing_to_run(box) -> None:
    """Without programs or tests the matrix is empty in that direction."""
    assert pass_matrix([], TESTS, sandbox=box).passed.shape == (0, 2)
    assert pass_matrix([ADD], [], sandbox=box).passed.shape == (1, 0)
    assert trivial_tests([], sandbox=box).tolist() == []


def cells(*rows) -> pa.Table:
    """Executions of (program, test, status, exception)."""
    names = ("code_id", "test_id", "status", "exception")
    empty = dict.fromkeys(EXECUTIONS.names) | {"cpu_ms": 1.0}
    listed = [empty | dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(listed, schema=EXECUTIONS)


def test_infra_is_not_judged() -> None:
    """Trouble of our own, and pairs that never met, are -1; a later judgement counts."""
    rows = [("a", "t", "infra", None), ("b", "t", "pass", None), ("a", "u", "not_run", None)]
    passed, cpu_ms = read_matrix(cells(*rows), ["a", "b"], ["t", "u"])
    assert passed.tolist() == [[-1, 0], [1, -1]]
    assert np.isnan(cpu_ms[0, 0]) and cpu_ms[1, 0] == 1
    again, _ = read_matrix(cells(*rows, ("a", "t", "fail", None)), ["a", "b"], ["t", "u"])
    assert again[0, 0] == 0


def test_a_test_of_another_function_is_not_judged(box) -> None:
    """A name that no program has voids the test (DSTC card); one program alone is not enough."""
    tests = [TESTS[0], "assert plus(1, 2) == 3"]
    two = [ADD, ADD.replace("+", "-")]
    assert pass_matrix(two, tests, sandbox=box).passed.tolist() == [[1, -1], [0, -1]]
    assert pass_matrix(two[:1], tests, sandbox=box).passed.tolist() == [[1, 0]]


def test_trivial_tests(box) -> None:
    """What a function that returns None or raises passes proves nothing."""
    tests = [
        TESTS[0],
        "assert True",
        "assert add(1, 2) != 5",
        "try:\n    add(1)\nexcept Exception:\n    pass",
        "assert Solution().run(1) == 1",
        "assert Solution().run(1) is None",
        "try:\n    add('x')\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
    ]
    found = trivial_tests(tests, sandbox=box)
    assert found.tolist() == [False, True, True, True, False, True, False]
    entry = trivial_tests(["assert candidate(1) is None"], sandbox=box, entry_point="f")
    assert entry.tolist() == [True]


def test_plum_card_filter() -> None:
    """The PLUM card: tests that most of the writer's solutions pass, less those of the stub."""
    passed = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 1]], np.int8)
    stub = np.array([False, False, True, False])
    kept = consistent_tests(passed) & ~stub
    assert np.flatnonzero(kept).tolist() == [0, 1]
    assert np.flatnonzero(passed[:, kept].all(axis=1)).tolist() == [0, 1]
    assert consistent_tests(passed, share=1.0).tolist() == [True, False, True, False]
    assert consistent_tests(passed[:1]).tolist() == [True, True, True, False]
    assert not consistent_tests(np.full((2, 1), -1, np.int8)).any()


def test_extraction_is_at_hand() -> None:
    """The verifier's module also gives what it reads replies with."""
    assert extract_code(f"```python\n{ADD}\n```") == ADD
