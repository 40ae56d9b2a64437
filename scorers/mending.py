"""Programs with tests of their own, run and mended in rounds (EpiCoder).

A row has `id`, `rollout_id`, `code`, `tests`, `changed` ("", "code", "tests" or "both": what was
changed since the first answer) and the columns that the next question needs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipeline.operators import sift
from pipeline.relations import reader
from pipeline.schema import Sifted
from pipeline.steps import step
from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code
from scorers.program_text import Function, parse
from scorers.task_matrix import task_matrices

Row = Mapping[str, Any]
Fault = tuple[str, str | None, str | None]  # why a row does not pass, the test, what was said
_COLUMNS = {"code": pa.string(), "tests": pa.list_(pa.string()), "changed": pa.string()}
_SAYS = {"fail": "wrong answer", "timeout": "time limit", "oom": "memory limit"}


@reader(_COLUMNS)
def solution(row: Row) -> dict[str, Any] | str:
    """Read a program and its assertions from one reply."""
    code, tests = _program(row), extract_asserts(row["completion"], row.get("entry_point"))
    if code is None:
        return "no_code"
    return {"code": code, "tests": tests, "changed": ""} if tests else "no_tests"


@reader(_COLUMNS)
def mended(row: Row) -> dict[str, Any] | str:
    """Read a repair: a program, tests or both; what the reply leaves out stays as it was.

    Tests that are fewer than before are refused: dropping the one that fails is no repair.
    """
    tests, code = extract_asserts(row["completion"], row.get("entry_point")), _program(row)
    if not tests and code is None:
        return "no_code"
    if tests and len(tests) < len(row["tests"]):
        return "tests_dropped"
    new = {"code": code or row["code"], "tests": tests or row["tests"]}
    before = {"both": {"code", "tests"}, "": set()}.get(row["changed"], {row["changed"]})
    parts = before | {part for part in new if new[part] != row[part]}
    if not any(new[part] != row[part] for part in new):
        return "unchanged"
    return new | {"changed": "both" if len(parts) > 1 else "".join(parts)}


def _program(row: Row) -> str | None:
    """Return the program of a reply, None if there are only tests."""
    code = extract_code(row["completion"], row.get("entry_point"))
    tree = parse(code) if code else None
    if tree is None or any(isinstance(node, Function) or _is_class(node) for node in tree.body):
        return code
    return None


def _is_class(node: Any) -> bool:
    return type(node).__name__ == "ClassDef"


@step()
def passing(rows: pa.Table, grid: pa.Table, cells: pa.Table, *, weakened: bool) -> Sifted:
    """Keep what passes all its tests, one of them at least not passed by a stub.

    The completion becomes the program alone. Reasons to leave: failing, not_judged, trivial_tests
    and, unless `weakened`, only_tests_changed.
    """
    said = dict(_verdicts(grid, cells))
    reasons = []
    for row in rows.to_pylist():
        fault = said[row["id"]]
        blind = row["changed"] == "tests" and not weakened
        reasons.append(fault[0] if fault else "only_tests_changed" if blind else None)
    kept, dropped, *_ = sift(rows, reasons)
    texts = [f"```python\n{code.strip()}\n```" for code in kept["code"].to_pylist()]
    place = kept.schema.get_field_index("completion")
    kept = kept.set_column(place, "completion", pa.array(texts, pa.string()))
    return Sifted(kept.select(_EMITTED), dropped)


@step()
def failing(rows: pa.Table, grid: pa.Table, cells: pa.Table) -> Sifted:
    """Keep what fails a test, with `program`, `failing` (the first one) and `complaint`.

    The rows ask for a repair under the same id. Reasons to leave: passing, not_judged,
    trivial_tests.
    """
    said = dict(_verdicts(grid, cells))
    found = [said[row["id"]] for row in rows.to_pylist()]
    reasons = ["passing" if one is None else one[0] for one in found]
    kept, dropped, *_ = sift(rows, [None if one == "failing" else one for one in reasons])
    faults = [one for one in found if one is not None and one[0] == "failing"]
    asked = kept.select([name for name in kept.column_names if name not in _ROLLOUT])
    asked = asked.append_column("program", kept["code"])
    for place, name in enumerate(("failing", "complaint"), start=1):
        asked = asked.append_column(name, pa.array([one[place] for one in faults], pa.string()))
    return Sifted(asked, dropped)


_EMITTED = ["id", "rollout_id", "prefix", "completion", "model", "parents", "changed"]
_ROLLOUT = {"rollout_id", "trial", "prefix", "completion", "finish_reason", "model", "sampling",
            "prompt_digest", "seed", "n_tokens", "sum_logprob", "verdict", "reason", "extracted",
            "counted", "target", "program", "failing", "complaint"}  # fmt: skip


def _verdicts(grid: pa.Table, cells: pa.Table) -> Iterable[tuple[str, Fault | None]]:
    """Yield for each row's id None if it passes, else why not, the test and what was said."""
    said = {(cell["id"], cell["code_id"], cell["test_id"]): cell for cell in cells.to_pylist()}
    for matrix in task_matrices(grid, cells):
        [own] = matrix.passed
        failed = [place for place, cell in enumerate(own) if cell == 0]
        if not matrix.tests:
            yield matrix.id, ("trivial_tests", None, None)
        elif failed:
            key = matrix.id, matrix.programs[0]["code_id"], matrix.test_ids[failed[0]]
            yield matrix.id, ("failing", matrix.tests[failed[0]], _complaint(said[key]))
        else:
            yield matrix.id, ("not_judged", None, None) if (own < 0).any() else None


def _complaint(cell: Row) -> str:
    return _SAYS.get(cell["status"]) or cell["exception"] or cell["status"]
