"""Programs a second through the whole path, against the sandbox alone; and one large run.

    python -m tests.benchmarks.execution path [--tasks 100] [--rounds 3]
    python -m tests.benchmarks.execution large [--programs 16400]

path: replies of 10 programs and 4 x 3 tests a task. The whole path extracts programs and tests,
lays the grid, runs it and reads the matrices; the sandbox alone is given the same grid's programs.
Rounds alternate; both have two slots, no cache and no Prefect. The ratio is of wall time.

large: the same grids as a run of `execute`, killed once in the middle, finished by the same
command: executions, what was run twice, and the peak memory of the parent (ru_maxrss).
"""

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
Row = Mapping[str, Any]


def replies(tasks: int, programs: int = 10, suites: int = 4) -> tuple[pa.Table, pa.Table]:
    """Return rollouts of programs and of tests: right, wrong, broken and wordy ones."""
    from pipeline.nano_world import code_tasks

    codes, tests = [], []
    for row in code_tasks(tasks, seed=1).to_pylist():
        rng = random.Random(row["id"])
        for i in range(programs):
            source = rng.choice([row["solution"], *row["wrong_solutions"]])
            source += rng.choice(["", "\n# done", "\n\nunused = 1", f"\n\nunused = {i}"])
            codes.append(_rollout(row, f"c{i}", f"Way {i}.\n```python\n{source}\n```"))
        for i in range(suites):
            lines = "\n".join(rng.sample(row["tests"], 3))
            tests.append(_rollout(row, f"t{i}", f"```python\n{lines}\n```"))
    return pa.Table.from_pylist(codes), pa.Table.from_pylist(tests)


def _rollout(row: Row, name: str, completion: str) -> dict[str, Any]:
    return {
        "rollout_id": f"{row['id']}/{name}",
        "id": row["id"],
        "entry_point": row["entry_point"],
        "completion": completion,
        "finish_reason": "stop",
        "parents": [row["id"]],
    }


def whole_path(codes: pa.Table, tests: pa.Table) -> tuple[int, float]:
    """Return programs run and seconds from replies to matrices."""
    from pipeline.relations import parse
    from scorers.execution import assertions, executions, grid, program
    from scorers.task_matrix import task_matrices

    start = time.monotonic()
    met = grid(parse(codes, reader=program).kept, parse(tests, reader=assertions).kept).kept
    cells = executions(met, sandbox={"workers": 2}, limits={}).kept
    matrices = list(task_matrices(met, cells))
    seconds = time.monotonic() - start
    if sum(len(one.programs) for one in matrices) == 0:
        raise SystemExit("no program was run")
    return len(met), seconds


def sandbox_alone(codes: pa.Table, tests: pa.Table) -> tuple[int, float]:
    """Return programs run and seconds in the sandbox, for the same programs."""
    from pipeline.relations import parse
    from sandbox import Program
    from scorers.boxes import run_programs
    from scorers.execution import assertions, grid, program

    met = grid(parse(codes, reader=program).kept, parse(tests, reader=assertions).kept).kept
    work = [
        Program(row["code_id"], row["code"], row["entry_point"], tuple(row["tests"]))
        for row in met.to_pylist()
    ]
    start = time.monotonic()
    n = sum(1 for _ in run_programs(work, {"workers": 2}))
    return n, time.monotonic() - start


def path(tasks: int, rounds: int) -> None:
    """Print both rates, and their ratio's median and range over the rounds."""
    given = replies(tasks)
    whole_path(*replies(5))  # opens the slots
    ratios = []
    for _ in range(rounds):
        (n, alone), (_, whole) = sandbox_alone(*given), whole_path(*given)
        ratios.append(alone / whole)
        print(f"sandbox alone {n / alone:.0f}/s, whole path {n / whole:.0f}/s: {ratios[-1]:.3f}")
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def large(programs: int) -> None:
    """Start the run, kill it when half is done, finish it, print what was seen."""
    with tempfile.TemporaryDirectory() as place:
        words = [sys.executable, "-m", "tests.benchmarks.execution", "run"]
        command = [*words, "--programs", str(programs), "--folder", place]
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while _kept(place) < programs // 2:
            if running.poll() is not None:
                raise SystemExit("the run ended before it could be killed")
            time.sleep(0.2)
        running.send_signal(signal.SIGKILL)
        running.wait()
        before = _kept(place)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        found |= {"found again": before, "outcomes kept in all": _kept(place)}
        print(json.dumps(found, indent=2))


def _kept(place: str) -> int:
    file = Path(place) / "run/sandbox/outcomes.log"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def run(programs: int, folder: str) -> None:
    """Run the programs, 1,024 tasks a shard; print cells, seconds and peak memory."""
    from pipeline.nano_world import code_tasks
    from pipeline.shards import Shards
    from pipeline.steps import Run, active_run, recipe, running
    from scorers.execution import execute

    rows = []
    for task in code_tasks(programs // 10, seed=2).to_pylist():
        sources = [task["solution"], *task["wrong_solutions"]]
        for i in range(10):
            code = f"{sources[i % len(sources)]}\n\nunused = {i}"
            rows.append(
                {
                    "id": task["id"],
                    "code_id": f"{task['id']}/{i}",
                    "code": code,
                    "tests": task["tests"] * 2,
                    "test_ids": [str(j) for j in range(10)],
                }
            )

    @recipe(paper="none", output="scores")
    def chain() -> Shards:
        made = Shards.write(
            active_run().claim("programs"), pa.Table.from_pylist(rows), shard_rows=8192
        )
        return execute(made)

    start = time.monotonic()
    with running(Run(Path(folder) / "run")):
        cells = chain()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    facts = {"programs": len(rows), "cells": cells.rows, "parent's peak MB": peak}
    print(json.dumps(facts | {"seconds": round(time.monotonic() - start), "pid": os.getpid()}))


def main() -> None:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("path", "large", "run"))
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=int, default=16_400)
    parser.add_argument("--folder", default="")
    args = parser.parse_args()
    if args.what == "path":
        path(args.tasks, args.rounds)
    elif args.what == "large":
        large(args.programs)
    else:
        run(args.programs, args.folder)


if __name__ == "__main__":
    main()
