"""A program and a test of it as one text, and two such texts face to face (DSTC).

Liu et al., arXiv 2411.13611. Program, test and rejected program are chosen by `consensus.contrast`.
"""

from typing import Any, Literal

import pyarrow as pa

from pipeline.schema import ROLLOUTS, Sifted
from pipeline.steps import step
from scorers.consensus import contrast
from scorers.task_matrix import TaskMatrix, task_matrices

_COLUMNS = ("rollout_id", "id", "prefix", "completion", "finish_reason", "model", "verdict",
            "reason", "parents")  # fmt: skip
_SIDE = pa.schema(
    [
        *(ROLLOUTS.field(name) for name in _COLUMNS),
        ("code", pa.string()),
        ("tests", pa.list_(pa.string())),
        ("side", pa.string()),
        ("test_id", pa.string()),
        ("score", pa.float64()),
    ]
)
_FACED = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "chosen", "rejected", "kind", "test_id")),
        *((name, pa.float64()) for name in ("score_chosen", "score_rejected")),
        ("parents", pa.list_(pa.string())),
    ]
)


@step(expands=True)
def join_sides(
    codes: pa.Table,
    grid: pa.Table,
    cells: pa.Table,
    *,
    test_rule: Literal["most_agreed", "hardest"],
    rejected_rule: Literal["clear_gap", "near_miss"],
) -> Sifted:
    """Choose program, test and rejected program of each task; a row for each joined text.

    Tasks in which no test tells programs apart leave (nothing_differs), with all their programs.
    """
    rows: list[dict[str, Any]] = []
    alike = 0
    of = {row["rollout_id"]: row for row in codes.to_pylist()}
    for matrix in task_matrices(grid, cells):
        found = contrast(matrix.passed, test_rule=test_rule, rejected_rule=rejected_rule)
        if found is None:
            alike += len(matrix.programs)
            continue
        for side, place in (("chosen", found.chosen), ("rejected", found.rejected)):
            sample = of[matrix.programs[place]["rollout_ids"][0]]
            rows.append(sample | _joined(matrix, place, found.test) | {"side": side})
    return Sifted(pa.Table.from_pylist(rows, _SIDE), {"nothing_differs": alike} if alike else {})


def _joined(matrix: TaskMatrix, place: int, test: int) -> dict[str, Any]:
    text = f"{matrix.programs[place]['code'].rstrip()}\n\n{matrix.tests[test]}"
    return {
        "completion": f"```python\n{text}\n```",
        "code": text,
        "tests": ["assert True"],  # the text runs through: it loads
        "test_id": matrix.test_ids[test],
        "score": float((matrix.passed[place] == 1).sum()),
    }


@step(expands=True)
def face(sides: pa.Table) -> Sifted:
    """Put the two sides of a task face to face if the chosen text ran and the rejected one raised.

    Otherwise they leave (chosen_raises, rejected_runs, not_judged).
    """
    tasks: dict[str, dict[str, Any]] = {}
    for row in sides.to_pylist():
        tasks.setdefault(row["id"], {})[row["side"]] = row
    made, dropped = [], dict[str, int]()
    for both in tasks.values():
        chosen, rejected = both["chosen"], both["rejected"]
        if reason := _unsettled(chosen["verdict"], rejected["verdict"]):
            dropped[reason] = dropped.get(reason, 0) + 2
        else:
            pair = {f"score_{side}": row["score"] for side, row in both.items()}
            pair |= {side: row["completion"] for side, row in both.items()}
            ids = [chosen["rollout_id"], rejected["rollout_id"]]
            made.append(pair | {"id": chosen["id"], "kind": "joined", "parents": ids,
                                "test_id": chosen["test_id"]})  # fmt: skip
    return Sifted(pa.Table.from_pylist(made, _FACED), dropped)


def _unsettled(chosen: str, rejected: str) -> str:
    if "infra" in (chosen, rejected):
        return "not_judged"
    return "chosen_raises" if chosen != "correct" else "rejected_runs" * (rejected == "correct")
