"""How long right programs take: run again and again, one at a time, on one core.

Programs of a task take turns, so that they share a slow spell of the machine. Times are CPU time,
measured outside the program's process; no other step of the run is at work meanwhile.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.schema import Sifted
from pipeline.steps import step
from scorers.task_matrix import TaskMatrix, task_matrices, with_facts

if TYPE_CHECKING:
    from sandbox import Sandbox

_TIMED = {"times_ms": pa.list_(pa.float64())}
_quiet = threading.Lock()


@step()
def time_programs(
    rollouts: pa.Table,
    grid: pa.Table,
    cells: pa.Table,
    *,
    repetitions: int = 5,
    limits: Mapping[str, Any] | None = None,
) -> Sifted:
    """Time the programs of each task that pass every trusted test (CodeDPO; reconstructed).

    rollouts: scored ones (`score_programs`). Trusted are the tests that the best-scored program
    passes. The score becomes 1.0 where all of them pass, else 0.0 (null as it was); `times_ms`
    (list<float64>) has their sum for each repetition, null where a program was not timed.
    """
    scores = dict(
        zip(*(rollouts[name].to_pylist() for name in ("rollout_id", "score")), strict=True)
    )
    found: dict[str, dict[str, Any]] = {}
    with _quiet, _one_core(), _quiet_box(limits or {}) as box:
        for matrix in task_matrices(grid, cells):
            best = [scores.get(row["rollout_ids"][0]) for row in matrix.programs]
            found |= _time_task(matrix, best, repetitions, box)
    place = rollouts.schema.get_field_index("score")
    settled = [found.get(one, {}).get("score") for one in scores]
    rollouts = rollouts.set_column(place, "score", pa.array(settled, pa.float64()))
    return with_facts(rollouts, found, _TIMED)


def _time_task(
    matrix: TaskMatrix, scores: list[float | None], repetitions: int, box: "Sandbox"
) -> dict[str, dict[str, Any]]:
    """Return score and times of each rollout of a task."""
    known = [place for place, score in enumerate(scores) if score is not None]
    top = min(known, key=lambda place: (-(scores[place] or 0.0), place), default=None)
    trusted = np.flatnonzero(matrix.passed[top] == 1) if top is not None else np.array([], int)
    right = {p for p in known if len(trusted) and (matrix.passed[p, trusted] == 1).all()}
    tests = tuple(matrix.tests[column] for column in trusted)
    times = _time(matrix, sorted(right), tests, repetitions, box) if len(right) > 1 else {}
    return {
        rollout_id: {
            "score": None if scores[place] is None else float(place in right),
            "times_ms": times.get(place),
        }
        for place, row in enumerate(matrix.programs)
        for rollout_id in row["rollout_ids"]
    }


def _time(
    matrix: TaskMatrix, places: list[int], tests: tuple[str, ...], repetitions: int, box: "Sandbox"
) -> dict[int, list[float]]:
    """Return the times of the programs that passed every time."""
    from sandbox import Program

    rows = matrix.programs
    turns = [place for _ in range(repetitions) for place in places]
    work = (
        Program(str(place), rows[place]["code"], rows[place]["entry_point"], tests)
        for place in turns
    )
    times: dict[int, list[float]] = {place: [] for place in places}
    for place, outcome in zip(turns, box.run(work), strict=True):
        if outcome.verdict == "correct":
            times[place].append(sum(test.cpu_ms for test in outcome.tests))
    return {place: taken for place, taken in times.items() if len(taken) == repetitions}


@contextmanager
def _quiet_box(limits: Mapping[str, Any]) -> "Iterator[Sandbox]":
    """Open a sandbox of one slot without a cache: what was measured before is not measured."""
    from sandbox import Limits, Sandbox, SandboxUnavailable

    try:
        with Sandbox(workers=1, limits=Limits(**limits)) as box:
            yield box
    except SandboxUnavailable as error:
        raise UserError(f"the sandbox cannot run here: {error}") from error


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and what it starts, on the last core that it may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
