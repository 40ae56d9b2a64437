"""Programs and tests of a run meet: the grid of what is to be run, and running it.

A grid row is one distinct program of a task with all the task's tests: `id` (the task's),
`code_id`, `code`, `entry_point`, `tests` and `test_ids` (list<string>), `role` ("program",
"reference": the test writer's own, or "stub": a function that does nothing, by which trivial tests
are known), `rollout_ids` (the samples that the program stands for). Each program is started once,
whatever the number of its tests.
"""

from collections.abc import Iterator, Mapping
from itertools import islice, tee
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.relations import reader
from pipeline.schema import EXECUTIONS, Sifted
from pipeline.shards import Shards
from pipeline.steps import active_run, step
from scorers.assertions import extract_asserts
from scorers.boxes import run_programs
from scorers.code_blocks import extract_code
from scorers.program_text import distinct
from scorers.programs import cells, stubs

if TYPE_CHECKING:
    from sandbox import Outcome

Row = Mapping[str, Any]
_STRINGS = pa.list_(pa.string())
_CELLS = pa.schema([("id", pa.string()), *EXECUTIONS])
_GRID = pa.schema(
    [
        ("id", pa.string()),
        ("code_id", pa.string()),
        ("code", pa.string()),
        ("entry_point", pa.string()),
        ("tests", _STRINGS),
        ("test_ids", _STRINGS),
        ("role", pa.string()),
        ("rollout_ids", _STRINGS),
    ]
)
_ROWS_AT_ONCE = 256  # programs whose cells are Python objects at a time


@reader({"code": pa.string()})
def program(row: Row) -> dict[str, Any] | str:
    """Read the program of a reply (`extract_code`); no_code where there is none."""
    code = extract_code(row["completion"], row.get("entry_point"))
    return "no_code" if code is None else {"code": code}


@reader({"tests": _STRINGS})
def assertions(row: Row) -> dict[str, Any] | str:
    """Read the single assertions of a reply (`extract_asserts`); no_tests where there are none."""
    tests = extract_asserts(row["completion"], row.get("entry_point"))
    return {"tests": tests} if tests else "no_tests"


@step(expands=True)
def grid(codes: pa.Table, suites: pa.Table, references: pa.Table | None = None) -> Sifted:
    """Let the distinct programs of each task meet its distinct tests, and two stubs as well.

    codes: rows with `id`, `rollout_id`, `code` and perhaps `entry_point`, as `parse` makes them
    with `program`; suites: rows with `id`, `tests`; references: rows like those of codes, other
    programs that the tests are to meet. Programs of a task without tests leave (no_tests).
    """
    tests: dict[str, list[str]] = {}
    for row in suites.select(["id", "tests"]).to_pylist():
        tests.setdefault(row["id"], []).extend(row["tests"])
    others = _by_task(references)
    made: list[Row] = []
    alone = 0
    for id_, rows in _by_task(codes).items():
        alone += 0 if id_ in tests else len(rows)
        made += _task_grid(rows, others.get(id_, []), tests[id_]) if id_ in tests else ()
    return Sifted(pa.Table.from_pylist(made, _GRID), {"no_tests": alone} if alone else {})


def _by_task(table: pa.Table | None) -> dict[str, list[Row]]:
    tasks: dict[str, list[Row]] = {}
    for row in table.to_pylist() if table is not None else ():
        tasks.setdefault(row["id"], []).append(row)
    return tasks


def _task_grid(rows: list[Row], others: list[Row], tests: list[str]) -> Iterator[Row]:
    programs, suite = distinct(row["code"] for row in rows), distinct(tests)
    entry_point = rows[0].get("entry_point")
    samples: list[list[str]] = [[] for _ in programs.texts]
    for row, place in zip(rows, programs.places, strict=True):
        samples[place].append(row["rollout_id"])
    stand_ins = [("reference", row["code"]) for row in others]
    stand_ins += [("stub", code) for code in stubs(suite.texts, entry_point)]
    named = {f"{role}_{i}": (role, code) for i, (role, code) in enumerate(stand_ins)}
    shared = {"id": rows[0]["id"], "entry_point": entry_point}
    shared |= {"tests": suite.texts, "test_ids": suite.ids}
    for code_id, code, ids in zip(programs.ids, programs.texts, samples, strict=True):
        yield shared | {"code_id": code_id, "code": code, "role": "program", "rollout_ids": ids}
    for code_id, (role, code) in named.items():
        yield shared | {"code_id": code_id, "code": code, "role": role, "rollout_ids": []}


@step()
def as_programs(rows: pa.Table) -> pa.Table:
    """Make a grid of rows that bring their own tests: `id`, `rollout_id`, `code`, `tests`."""
    made = [
        {
            **row,
            "code_id": row["rollout_id"],
            "test_ids": [str(place) for place in range(len(row["tests"]))],
            "role": "program",
            "rollout_ids": [row["rollout_id"]],
        }
        for row in rows.to_pylist()
    ]
    return pa.Table.from_pylist(made, _GRID)


def execute(
    programs: Shards,
    *,
    sandbox: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    into: str = "executions",
) -> Shards:
    """Run every program against its tests: EXECUTIONS rows with the task's `id`, a cell each.

    programs: rows with `id`, `code_id`, `code`, `tests`, `test_ids` and perhaps `entry_point`.
    sandbox: options of `Sandbox` (workers, tier, url ...); limits: fields of `Limits`. Trouble of
    our own is tried again at the end of the shard; what is left lies aside, counted as infra. What
    was run before a kill is found again in the run's folder `sandbox` (option cache).
    """
    options = {"cache": str(active_run().folder / "sandbox"), **(sandbox or {})}
    made: Shards = executions(programs, sandbox=options, limits=dict(limits or {}), into=into)
    return made


@step(expands=True, free=("sandbox",))
def executions(
    programs: pa.Table, *, sandbox: Mapping[str, Any], limits: Mapping[str, Any]
) -> Sifted:
    """Run a shard of programs, few at a time in memory; see `execute`."""
    found = _cells(programs, sandbox, limits)
    parts = [_CELLS.empty_table()]
    while rows := list(islice(found, _ROWS_AT_ONCE)):
        cells_of = [cell for one in rows for cell in one]
        parts.append(pa.Table.from_pylist(cells_of, _CELLS))
    table = pa.concat_tables(parts)
    infra = pc.equal(table["status"], "infra")
    lost = pc.sum(infra).as_py() or 0
    if not lost:
        return Sifted(table)
    return Sifted(table.filter(pc.invert(infra)), {"infra": lost}, table.filter(infra))


def _cells(
    programs: pa.Table, sandbox: Mapping[str, Any], limits: Mapping[str, Any]
) -> Iterator[list[dict[str, object]]]:
    """Yield the cells of one program after another; those with trouble of our own come last."""
    again: list[Row] = []
    rows, asked = tee(
        row for part in programs.to_batches(_ROWS_AT_ONCE) for row in part.to_pylist()
    )
    for row, outcome in zip(rows, _run(asked, sandbox, limits), strict=True):
        if outcome.verdict == "infra":
            again.append(row)
        else:
            yield _named(row, outcome)
    for row, outcome in zip(again, _run(iter(again), sandbox, limits), strict=True):
        yield _named(row, outcome)


def _run(
    rows: Iterator[Row], sandbox: Mapping[str, Any], limits: Mapping[str, Any]
) -> "Iterator[Outcome]":
    from sandbox import Limits, Program

    try:
        bounds = Limits(**limits)
    except TypeError as error:
        raise UserError(
            f"limits {dict(limits)}: {error}; they are fields of sandbox.Limits"
        ) from None

    def program_of(row: Row) -> Program:
        tests = tuple(row["tests"])
        return Program(row["code_id"], row["code"], row.get("entry_point"), tests, limits=bounds)

    return run_programs(map(program_of, rows), sandbox)


def _named(row: Row, outcome: "Outcome") -> list[dict[str, object]]:
    return [{"id": row["id"], **cell} for cell in cells(outcome, row["test_ids"])]
