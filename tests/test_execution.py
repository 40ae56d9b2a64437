"""Programs meet tests in real sandboxes: grids, cells, kills in the middle, chained stages."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.engines import Sampling
from pipeline.errors import UserError
from pipeline.operators import generate
from pipeline.relations import parse, reader
from pipeline.shards import Shards
from pipeline.steps import Run, active_run, recipe, running
from scorers import execution
from scorers.execution import assertions, execute, executions, grid, program

ROOT = Path(__file__).resolve().parents[1]
PYTHON = {"workers": 1}


def codes(*sources, task="t"):
    """Parsed programs of one task."""
    rows = [
        {"id": task, "rollout_id": f"{task}{i}", "code": code, "entry_point": "f"}
        for i, code in enumerate(sources)
    ]
    return pa.Table.from_pylist(rows)


def suites(*tests, task="t"):
    """The tests of one task, from one reply."""
    return pa.table({"id": [task], "tests": [list(tests)]})


RIGHT, WRONG = "def f(x):\n    return x + 1", "def f(x):\n    return x"


def test_grid_takes_each_program_and_test_once() -> None:
    """Equal programs share a row that names their samples; two stubs meet the same tests."""
    made, dropped, *_ = grid(
        codes(RIGHT, "def f(x): return x + 1  # same", WRONG),
        suites("assert f(1) == 2", "assert f(1)==2", "assert f(0) == 1"),
    )
    rows = made.to_pylist()
    assert [row["role"] for row in rows] == ["program", "program", "stub", "stub"]
    assert [row["rollout_ids"] for row in rows] == [["t0", "t1"], ["t2"], [], []]
    assert {len(row["tests"]) for row in rows} == {2} and dropped == {}


def test_grid_counts_programs_without_tests() -> None:
    """A task whose test replies held no test drops its programs under a reason."""
    made, dropped, *_ = grid(codes(RIGHT, WRONG), suites("assert f(1) == 2", task="other"))
    assert len(made) == 0 and dropped == {"no_tests": 2}


def test_executions_are_the_full_matrix() -> None:
    """Every program meets every test in one start; cells name task, program and test."""
    table, _, *_ = grid(codes(RIGHT, WRONG), suites("assert f(1) == 2", "assert f(0) == 0"))
    made = executions(table, sandbox=PYTHON, limits={"test_cpu_s": 1.0}).kept.to_pylist()
    status = {(row["code_id"], row["test_id"]): row["status"] for row in made}
    (one, other), tests = table["code_id"].to_pylist()[:2], table["test_ids"][0].as_py()
    assert [status[one, t] for t in tests] == ["pass", "fail"]
    assert [status[other, t] for t in tests] == ["fail", "pass"]
    assert len(made) == 8 and {row["id"] for row in made} == {"t"}


def test_unknown_limits_are_a_user_fault() -> None:
    """A limit that the sandbox does not know is named in one sentence."""
    table, _, *_ = grid(codes(RIGHT), suites("assert f(1) == 2"))
    with pytest.raises(UserError, match="cpu"):
        executions(table, sandbox=PYTHON, limits={"cpu": 1})


def test_infra_is_tried_again_and_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble of our own is run once more; if it stays it lies aside, counted, never as a fail."""
    from sandbox import Outcome
    from sandbox.outcomes import TestResult

    runs = []

    def troubled(programs, options=None):
        for one in programs:
            runs.append(one.id)
            bad = one.code == WRONG or runs.count(one.id) < 2
            tests = tuple(TestResult("infra" if bad else "pass") for _ in one.tests)
            yield Outcome(one.id, "infra" if bad else "correct", "isolated", "A", tests)

    monkeypatch.setattr(execution, "run_programs", troubled)
    table, _, *_ = grid(codes(RIGHT, WRONG), suites("assert f(1) == 2"))
    table = table.slice(0, 2)
    kept, dropped, aside, _ = executions(table, sandbox={}, limits={})
    assert kept["status"].to_pylist() == ["pass"] and dropped == {"infra": 1}
    assert aside is not None and aside["status"].to_pylist() == ["infra"]
    assert len(runs) == 4


KILLED = """
import json, os, signal, sys
from pathlib import Path
import pyarrow as pa
import sandbox.box
from scorers.execution import executions

ran, die_after = Path(sys.argv[2]), int(sys.argv[3])
rows = [{"id": f"t{i}", "code_id": f"c{i}", "code": f"def f(x): return x + {i}",
         "tests": ["assert f(1) == 1"], "test_ids": ["a"]} for i in range(60)]
anew = sandbox.box.Sandbox._judge_anew
def counted(self, program, call):
    with ran.open("a") as file:
        file.write(program.id + "\\n")
    if ran.read_text().count("c") == die_after:
        os.kill(os.getpid(), signal.SIGKILL)
    return anew(self, program, call)
sandbox.box.Sandbox._judge_anew = counted
made = executions(pa.Table.from_pylist(rows), sandbox={"workers": 1, "cache": sys.argv[1]},
                  limits={})
print(json.dumps(made.kept.select(["code_id", "status"]).to_pylist()))
"""


def test_a_kill_in_the_middle_runs_no_finished_program_again(tmp_path: Path) -> None:
    """After SIGKILL the same call finishes the shard and starts only what was not finished."""
    ran = tmp_path / "ran"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "sandbox"), str(ran)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    dead = subprocess.run([*command, "31"], env=env, cwd=ROOT, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr[-2000:]
    first = ran.read_text().split()
    done = subprocess.run(
        [*command, "0"], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads(done.stdout)
    assert [row["code_id"] for row in cells] == [f"c{i}" for i in range(60)]
    assert [row["status"] for row in cells].count("pass") == 1
    assert ran.read_text().split()[len(first) :] == [f"c{i}" for i in range(30, 60)]


@reader({"topic": pa.string()})
def topic(row):
    """Read the topic that the script names."""
    return {"topic": row["completion"].strip()}


@recipe(paper="none", output="scores")
def chain() -> list[Shards]:
    """Ask for topics, programs about them and tests of these, and run every program."""
    sampling = Sampling(1.0, 1.0, max_tokens=200)
    asked = {"model": "scripted:tests.scripts_for_code:echoes", "sampling": sampling, "seed": 3}
    seeds = pa.table({"id": [f"s{i}" for i in range(6)], "text": [f"n{i}" for i in range(6)]})
    first = Shards.write(active_run().claim("seeds"), seeds, shard_rows=3)
    named = generate(first, "TOPIC {{ text }}", into="topics", **asked)
    topics = parse(named, first, reader=topic, into="named")
    drawn = generate(topics, "CODE {{ topic }} {{ text }}", n=3, **asked)
    programs = parse(drawn, topics, reader=program, into="codes")
    tests = generate(topics, "TESTS {{ topic }}", into="test_rollouts", **asked)
    suite = parse(tests, topics, reader=assertions, into="suites")
    return [drawn, programs, execute(grid(programs, suite), sandbox=PYTHON)]


def test_generations_chain_on_columns(tmp_path: Path, prefect_server: str) -> None:
    """Rows without messages are asked the rendered text; the next template sees what was parsed."""
    with running(Run(tmp_path / "run")):
        drawn, programs, cells = chain()
    rows = drawn.table()
    assert len(rows) == 18 and set(rows["verdict"].to_pylist()) == {"unverified"}
    assert len(drawn) == len(cells) == 2
    assert set(cells.table()["id"].to_pylist()) == {f"s{i}" for i in range(6)}
    held = programs.table()
    assert held["topic"].to_pylist() == [f"topic of {t}" for t in held["text"].to_pylist()]
    assert all(len(parents) == 3 for parents in held["parents"].to_pylist())
