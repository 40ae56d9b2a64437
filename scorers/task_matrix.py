"""The pass matrix of each task of a run, and what it says of the programs in it.

Reads a grid (`scorers.execution`) and its executions. Tests that a stub passes prove nothing and
are no columns; a cell that was not judged is -1.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.operators import sift
from pipeline.schema import Sifted
from pipeline.steps import step
from scorers.programs import read_matrix
from scorers.ranking import METHODS

Row = Mapping[str, Any]
SCORED = {"score": pa.float64(), "n_passed": pa.int32(), "n_tests": pa.int32()}
_WORDS = {"pass": "correct", "fail": "wrong", "timeout": "timeout", "not_run": "unverified"}


class TaskMatrix(NamedTuple):
    """One task: int8 [N, M] of the models' programs and [R, M] of references, if there are any.

    programs: the grid's rows, in the order of the matrix; tests, test_ids: its columns.
    n_trivial: tests that a stub passes and that are left out.
    """

    id: str
    programs: list[Row]
    tests: list[str]
    test_ids: list[str]
    passed: NDArray[np.int8]
    references: NDArray[np.int8]
    n_trivial: int


def task_matrices(grid: pa.Table, cells: pa.Table) -> Iterator[TaskMatrix]:
    """Yield the matrix of each task of a grid, in the grid's order."""
    rows: dict[str, list[Row]] = {}
    for row in grid.to_pylist():
        rows.setdefault(row["id"], []).append(row)
    order = np.argsort(np.array(cells["id"].to_pylist(), object), kind="stable")
    sorted_cells = cells.take(pa.array(order, pa.int64()))
    bounds = _bounds(sorted_cells["id"].to_pylist())
    for id_, members in rows.items():
        start, end = bounds.get(id_, (0, 0))
        yield _matrix(id_, members, sorted_cells.slice(start, end - start))


def _matrix(id_: str, rows: list[Row], cells: pa.Table) -> TaskMatrix:
    by_role: dict[str, list[Row]] = {"program": [], "reference": [], "stub": []}
    for row in rows:
        by_role[row["role"]].append(row)
    test_ids, tests = rows[0]["test_ids"], rows[0]["tests"]
    own = {row["code_id"] for row in by_role["stub"]}
    stub = pa.array([one in own for one in cells["code_id"].to_pylist()], pa.bool_())
    passed, _ = read_matrix(
        cells.filter(pc.invert(stub)),
        [row["code_id"] for role in ("program", "reference") for row in by_role[role]],
        test_ids,
    )
    stubs = cells.filter(stub).to_pylist()
    trivial = {cell["test_id"] for cell in stubs if cell["status"] == "pass"}
    kept = [place for place, one in enumerate(test_ids) if one not in trivial]
    n = len(by_role["program"])
    return TaskMatrix(
        id_,
        by_role["program"],
        [tests[place] for place in kept],
        [test_ids[place] for place in kept],
        passed[:n, kept],
        passed[n:, kept],
        len(test_ids) - len(kept),
    )


@step()
def judge(rows: pa.Table, cells: pa.Table) -> pa.Table:
    """Set `verdict` and `reason` of rows that were run on tests of their own (`as_programs`).

    The first test that did not pass decides; a row with a cell that is missing is infra.
    """
    found: dict[str, list[Row]] = {}
    for cell in cells.to_pylist():
        found.setdefault(cell["code_id"], []).append(cell)
    said = [_verdict(row, found.get(row["rollout_id"], [])) for row in rows.to_pylist()]
    return set_verdicts(rows, said)


def set_verdicts(rollouts: pa.Table, said: Sequence[tuple[str, str]]) -> pa.Table:
    """Replace verdict and reason of rollouts."""
    for place, name in enumerate(("verdict", "reason")):
        at = rollouts.schema.get_field_index(name)
        words = pa.array([one[place] for one in said], pa.string())
        rollouts = rollouts.set_column(at, name, words)
    return rollouts


def _verdict(row: Row, cells: list[Row]) -> tuple[str, str]:
    if len(cells) < len(row["tests"]):
        return "infra", "not_judged"
    missed = next((cell for cell in cells if cell["status"] != "pass"), None)
    if missed is None:
        return "correct", ""
    word = _WORDS.get(missed["status"], "error")
    return word, (missed["exception"] or missed["status"]).partition(":")[0]


@step()
def score_programs(
    rollouts: pa.Table,
    grid: pa.Table,
    cells: pa.Table,
    *,
    method: str,
    options: Mapping[str, Any] | None = None,
) -> Sifted:
    """Give each sample the score of its program by a method of `scorers.ranking`.

    Adds `code_id`, `score` (float64; null: not judged, or may not be chosen), `n_passed` and
    `n_tests`. Rollouts that the grid does not hold leave (no_tests).
    """
    found: dict[str, dict[str, Any]] = {}
    for matrix in task_matrices(grid, cells):
        scores = METHODS[method](matrix.passed, **(options or {})).scores
        for row, score, own in zip(matrix.programs, scores, matrix.passed, strict=True):
            facts = {
                "code_id": row["code_id"],
                "score": float(score) if np.isfinite(score) else None,
                "n_passed": int((own == 1).sum()),
                "n_tests": len(matrix.tests),
            }
            found |= dict.fromkeys(row["rollout_ids"], facts)
    return with_facts(rollouts, found, {"code_id": pa.string(), **SCORED})


def with_facts(
    rollouts: pa.Table, found: Mapping[str, Mapping[str, Any]], columns: Mapping[str, pa.DataType]
) -> Sifted:
    """Add what is `found` of each rollout, by its id; the others leave (no_tests)."""
    ids = rollouts["rollout_id"].to_pylist()
    kept, dropped, *_ = sift(rollouts, [None if one in found else "no_tests" for one in ids])
    facts = [found[one] for one in kept["rollout_id"].to_pylist()]
    for name, kind in columns.items():
        kept = kept.append_column(name, pa.array([one[name] for one in facts], kind))
    return Sifted(kept, dropped)


def _bounds(ids: list[str]) -> dict[str, tuple[int, int]]:
    """Return where the rows of each id begin and end; `ids` are sorted."""
    starts = [i for i, one in enumerate(ids) if i == 0 or ids[i - 1] != one]
    return {ids[i]: (i, j) for i, j in zip(starts, [*starts[1:], len(ids)], strict=False)}
