"""What CodeDPO, DSTC and PLUM make of pass matrices: the cards' worked examples, as steps."""

import pyarrow as pa
import pytest

from pipeline.pair_matching import fast_against_slow
from pipeline.pair_rules import extremes
from pipeline.pairs import make_pairs
from pipeline.schema import MESSAGES
from scorers.confirmed import label_by_tests
from scorers.execution import as_programs, executions, grid
from scorers.joined import face, join_sides
from scorers.task_matrix import judge, score_programs, task_matrices
from scorers.timing import time_programs

LINK = [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
PROMPTS = pa.table(
    {"id": ["t"], "messages": pa.array([[{"role": "user", "content": "task"}]], MESSAGES)}
)
BOX = {"workers": 1}


def samples(*codes):
    """Parsed rollouts of task t."""
    return pa.Table.from_pylist(
        [
            {
                "rollout_id": f"r{i}",
                "id": "t",
                "prefix": "",
                "completion": f"```python\n{code}\n```",
                "finish_reason": "stop",
                "model": "m",
                "verdict": "unverified",
                "reason": "",
                "parents": ["t"],
                "code": code,
            }
            for i, code in enumerate(codes)
        ]
    )


def judged(link, references=(), stubs=()):
    """Rollouts, grid and cells that say what `link` says (rows programs, columns tests)."""
    codes = samples(*(f"def f(): return {i}" for i in range(len(link))))
    suites = pa.table({"id": ["t"], "tests": [[f"assert f() == {j}" for j in range(len(link[0]))]]})
    writers = samples(*(f"def f(): return -{i}" for i in range(len(references))))
    table = grid(codes, suites, writers).kept
    found = {"program": list(link), "reference": list(references), "stub": list(stubs) or [[], []]}
    cells = []
    for row in table.to_pylist():
        passed = found[row["role"]].pop(0) or [0] * len(link[0])
        for test_id, one in zip(row["test_ids"], passed, strict=True):
            status = {1: "pass", 0: "fail", -1: "infra"}[one]
            ids = {"id": "t", "code_id": row["code_id"], "test_id": test_id}
            cells.append(ids | {"status": status, "cpu_ms": 1.0, "exception": None})
    return codes, table, pa.Table.from_pylist(cells)


def test_matrices_leave_trivial_tests_out() -> None:
    """What a stub passes is no column, what was not judged is -1; references are apart."""
    link = [[1, 1, 0], [0, 1, -1]]
    _, table, cells = judged(link, references=[[1, 1, 1]], stubs=[[0, 1, 0], [0, 0, 0]])
    [matrix] = task_matrices(table, cells)
    assert matrix.passed.tolist() == [[1, 0], [0, -1]] and matrix.n_trivial == 1
    assert matrix.references.tolist() == [[1, 1]]
    assert matrix.tests == ["assert f() == 0", "assert f() == 2"]


def test_codedpo_scores_and_pairs_the_card() -> None:
    """Example A: the scores of round 10 over their maximum; program 0 is chosen, 3 rejected."""
    scored = score_programs(*judged(LINK), method="codedpo").kept
    assert scored["score"].to_pylist() == pytest.approx([1, 0.856493, 0.390880, 0.067361], abs=1e-6)
    assert scored["n_passed"].to_pylist() == [4, 3, 2, 1]
    pairs = make_pairs(scored, PROMPTS, rule=extremes, score="score", same="code_id", recipe="x")
    assert pairs.kept["parents"].to_pylist() == [["r0", "r3", "t"]]


@pytest.mark.parametrize("link", [[[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 0], [1, 0]]])
def test_codedpo_needs_a_difference(link) -> None:
    """All pass, all fail, or all alike: no pair."""
    scored = score_programs(*judged(link), method="codedpo").kept
    pairs = make_pairs(scored, PROMPTS, rule=extremes, score="score", same="code_id", recipe="x")
    assert len(pairs.kept) == 0 and pairs.dropped == {"tie": 2}


@pytest.mark.parametrize(
    ("test_rule", "rejected_rule", "pair"),
    [
        ("hardest", "clear_gap", ("r0", "r3", 3)),
        ("hardest", "near_miss", ("r0", "r1", 3)),
        ("most_agreed", "clear_gap", ("r0", "r3", 0)),
        ("most_agreed", "near_miss", ("r0", "r3", 0)),
    ],
)
def test_dstc_chooses_the_cards_sides(test_rule: str, rejected_rule: str, pair) -> None:
    """The card's table: both sides carry the same test, in one block after the program."""
    codes, table, cells = judged(LINK)
    made = join_sides(codes, table, cells, test_rule=test_rule, rejected_rule=rejected_rule).kept
    one, other = made.to_pylist()
    assert (one["rollout_id"], other["rollout_id"]) == pair[:2]
    assert one["completion"] == f"```python\ndef f(): return 0\n\nassert f() == {pair[2]}\n```"
    assert other["code"].endswith(f"\n\nassert f() == {pair[2]}")
    assert (one["side"], other["side"]) == ("chosen", "rejected")


@pytest.mark.parametrize("link", [[[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1]]])
def test_dstc_needs_a_difference(link) -> None:
    """All ones, all zeros, one program: no pair, and its programs are counted."""
    codes, table, cells = judged(link)
    options = {"test_rule": "most_agreed", "rejected_rule": "clear_gap"}
    made = join_sides(codes, table, cells, **options)
    assert len(made.kept) == 0 and made.dropped == {"nothing_differs": len(link)}


def test_joined_texts_are_run_once_more() -> None:
    """A chosen text must run through and a rejected one raise; one that ends early raises too."""
    codes = samples("def f(): return 0", "def f(): return 1", "import sys\nsys.exit(0)")
    suites = pa.table({"id": ["t"], "tests": [["assert f() == 0"]]})
    table = grid(codes, suites).kept
    cells = executions(table, sandbox=BOX, limits={}).kept
    options = {"test_rule": "most_agreed", "rejected_rule": "clear_gap"}
    sides = join_sides(codes, table, cells, **options).kept
    again = executions(as_programs(sides), sandbox=BOX, limits={}).kept
    said = judge(sides, again)
    assert said["verdict"].to_pylist() == ["correct", "error"]
    [pair] = face(said).kept.to_pylist()
    assert pair["chosen"].endswith("assert f() == 0\n```") and pair["parents"][0] == "r0"
    swapped = said.set_column(said.column_names.index("side"), "side", [["rejected", "chosen"]])
    assert face(swapped).dropped == {"chosen_raises": 2}
    lost = judge(sides, again.slice(0, 1))
    assert face(lost).dropped == {"not_judged": 2}


WRITER = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 1]]
POLICY = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]]


def labelled(link=POLICY, references=WRITER, **options):
    """What PLUM makes of the card's matrices; the stub passes t2 only."""
    asked = {"share": None, "min_tests": 2, "rule": "all"} | options
    given = judged(link, references, stubs=[[0, 0, 1, 0], [0, 0, 0, 0]])
    return label_by_tests(*given, **asked)


def test_plum_labels_the_cards_programs() -> None:
    """Kept are t0 and t1; programs 0 and 2 pass both; with rule any program 1 is preferred too."""
    made = labelled()
    assert made.kept["verdict"].to_pylist() == ["correct", "wrong", "correct", "wrong"]
    assert made.kept["n_tests"].to_pylist() == [2] * 4
    assert made.kept["n_tests_generated"].to_pylist() == [4] * 4
    assert made.kept["failure_kind"].to_pylist() == [None, "fail", None, "fail"]
    assert labelled(rule="any").kept["verdict"].to_pylist() == ["correct"] * 3 + ["wrong"]


def test_plum_drops_tasks_whose_tests_are_not_to_be_trusted() -> None:
    """Too few confirmed tests, or none of the writer's programs passes them all: counted."""
    assert labelled(min_tests=3).dropped == {"few_tests": 4}
    split = [[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1]]
    assert labelled(references=split, min_tests=1).dropped == {"unsolved": 4}


def test_plum_never_judges_by_our_own_trouble() -> None:
    """A program with a cell that was not judged has no score, and counts as infra."""
    made = labelled([[1, -1, 0, 0], [1, 1, 0, 0]])
    assert made.kept["verdict"].to_pylist() == ["infra", "correct"]
    assert made.kept["score"].to_pylist() == [None, 1.0]


SLOW = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total"
FAST = "def f(n):\n    return n * (n - 1) // 2"
WRONG = "def f(n):\n    return n"


def test_fast_is_preferred_to_slow() -> None:
    """Of two right programs the closed form beats the loop, by CPU time in the real sandbox."""
    codes = samples(SLOW, FAST, WRONG)
    tests = ["assert f(200000) == 19999900000", "assert f(3) == 3"]
    table = grid(codes, pa.table({"id": ["t"], "tests": [tests]})).kept
    cells = executions(table, sandbox=BOX, limits={}).kept
    scored = score_programs(codes, table, cells, method="codedpo").kept
    timed = time_programs(scored, table, cells, repetitions=5).kept
    assert [len(times or ()) for times in timed["times_ms"].to_pylist()] == [5, 5, 0]
    assert timed["score"].to_pylist() == [1.0, 1.0, 0.0]
    options = {"score": "score", "same": "code_id", "kind": "efficiency", "recipe": "x"}
    [pair] = make_pairs(timed, PROMPTS, rule=fast_against_slow, **options).kept.to_pylist()
    assert pair["parents"] == ["r1", "r0", "t"]
    assert pair["time_rejected"] > 1.1 * pair["time_chosen"]


def test_nothing_is_timed_without_trust() -> None:
    """Where no program passes a test, or only one is right, there is nothing to compare."""
    for link in ([[0, 0], [0, 0]], [[1, 1], [1, 0]]):
        scored = score_programs(*judged(link), method="codedpo").kept
        _, table, cells = judged(link)
        timed = time_programs(scored, table, cells, repetitions=2).kept
        assert timed["times_ms"].to_pylist() == [None, None]
