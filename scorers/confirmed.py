"""Tests that the test writer's own solutions confirm, and what they say of a policy's programs.

After PLUM (arXiv 2406.06887), whose filter is known by its idea only; the rule is reconstructed.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.operators import sift
from pipeline.schema import Sifted
from pipeline.steps import step
from scorers.programs import consistent_tests
from scorers.task_matrix import SCORED, TaskMatrix, set_verdicts, task_matrices, with_facts

_LABELS = {
    "code_id": pa.string(),
    **SCORED,
    "n_tests_generated": pa.int32(),
    "failure_kind": pa.string(),
}


@step()
def label_by_tests(
    rollouts: pa.Table,
    grid: pa.Table,
    cells: pa.Table,
    *,
    share: float | None,
    min_tests: int,
    rule: Literal["all", "any"],
) -> Sifted:
    """Judge each program by the confirmed tests of its task.

    A test is confirmed by `share` of the references of the grid (None: more than half). Sets
    `verdict` (correct: passes all of them, or any); adds `score` (share passed), `n_passed`,
    `n_tests`, `n_tests_generated`, `code_id` and `failure_kind` (status or exception of the first
    miss). Rollouts of a task leave if too few tests are confirmed (few_tests) or no reference
    passes all of these (unsolved), those outside of the grid as no_tests.
    """
    misses = _misses(cells)
    found: dict[str, dict[str, Any]] = {}
    for matrix in task_matrices(grid, cells):
        kept = consistent_tests(matrix.references, share=share)
        lost = _lost(matrix, kept, min_tests)
        for row, passed in zip(matrix.programs, matrix.passed[:, kept], strict=True):
            tests = [one for one, keep in zip(matrix.test_ids, kept, strict=True) if keep]
            facts = _facts(row, passed, tests, rule, misses) | {
                "n_tests_generated": len(row["test_ids"]),
                "lost": lost,
            }
            found |= dict.fromkeys(row["rollout_ids"], facts)
    table, dropped, *_ = with_facts(rollouts, found, _LABELS)
    facts_of = [found[one] for one in table["rollout_id"].to_pylist()]
    table = set_verdicts(table, [(one["verdict"], one["failure_kind"] or "") for one in facts_of])
    kept_rows, more, *_ = sift(table, [one["lost"] for one in facts_of])
    return Sifted(kept_rows, {**dropped, **more})


def _lost(matrix: TaskMatrix, kept: NDArray[np.bool_], min_tests: int) -> str | None:
    """Say why the tests of a task are not to be trusted."""
    if kept.sum() < min_tests:
        return "few_tests"
    solved = (matrix.references[:, kept] == 1).all(axis=1).any()
    return None if solved else "unsolved"


def _facts(
    row: Mapping[str, Any],
    passed: NDArray[np.int8],
    tests: list[str],
    rule: str,
    misses: Mapping[tuple[str, str, str], str],
) -> dict[str, Any]:
    judged = bool(len(tests)) and bool((passed >= 0).all())
    n_passed = int((passed == 1).sum())
    good = n_passed == len(tests) if rule == "all" else n_passed > 0
    missed = [misses.get((row["id"], row["code_id"], test)) for test in tests]
    return {
        "code_id": row["code_id"],
        "score": n_passed / len(tests) if judged else None,
        "n_passed": n_passed,
        "n_tests": len(tests),
        "verdict": ("correct" if good else "wrong") if judged else "infra",
        "failure_kind": next((one for one in missed if one), None),
    }


def _misses(cells: pa.Table) -> dict[tuple[str, str, str], str]:
    """Return how each cell that did not pass failed: an exception's name, or the status."""
    return {
        (cell["id"], cell["code_id"], cell["test_id"]): _kind(cell)
        for cell in cells.to_pylist()
        if cell["status"] != "pass"
    }


def _kind(cell: Mapping[str, Any]) -> str:
    raised = (cell["exception"] or "").partition(":")[0]
    return raised if cell["status"] == "error" and raised.isidentifier() else str(cell["status"])
