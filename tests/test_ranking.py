"""`tamis rank` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
ALSO = "Sure:\ndef add(a, b):\n    '''Adds.'''\n    return a + b\n"
WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
TESTS = [
    "assert add(1, 2) == 3",
    "- `assert add(2, 2) == 4`\n- assert True",
    "assert add(1, 1) == 0",
]


def write(path: Path, *rows: object) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rank(folder: Path, *more: str, method: str = "b4") -> int:
    """Run the command on the folder's files."""
    files = ["--codes", str(folder / "codes.jsonl"), "--tests", str(folder / "tests.jsonl")]
    return main(["rank", *files, "--method", method, "--out", str(folder / "out.jsonl"), *more])


def read(folder: Path) -> list[dict]:
    """The lines of the output."""
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A task with a majority, one whose programs pass nothing, one without tests."""
    write(
        tmp_path / "codes.jsonl",
        {"id": 7, "samples": [WRONG, RIGHT, ALSO, "no idea"]},
        {"prompt": "Zero?", "samples": [WRONG]},
        {"id": "alone", "samples": [RIGHT]},
    )
    write(
        tmp_path / "tests.jsonl",
        {"prompt": "Zero?", "tests": ["assert add(1, 2) == 3"]},
        {"id": 7, "tests": TESTS, "entry_point": "add"},
        {"id": "never", "tests": []},
    )
    return tmp_path


@pytest.mark.parametrize("method", ["b4", "codet", "codedpo", "mbr", "maxpass", "dstc"])
def test_rank(tasks: Path, method: str, capsys) -> None:
    """Each method chooses the program that agrees with most, and says what it left out."""
    assert rank(tasks, "--count", "samples", method=method) == 0
    first, zero, alone = read(tasks)
    assert (first["id"], zero["prompt"], alone["id"]) == ("7", "Zero?", "alone")
    assert first["tie_group"] == [1, 2] and first["chosen_sample"] == 1
    assert "return a + b" in first["chosen"] and first["unresolved"] is None
    assert first["tests"] == [
        "assert add(1, 2) == 3",
        "assert add(2, 2) == 4",
        "assert add(1, 1) == 0",
    ]
    assert first["left_out"]["trivial_tests"] == first["left_out"]["samples_without_code"] == 1
    assert [group["samples"] for group in first["ranking"]] == [[1, 2], [0]]
    assert (zero["chosen"], zero["unresolved"]) == (None, "nothing_passed")
    assert (alone["chosen"], alone["unresolved"]) == (None, "no_tests")
    assert "1 of 3 tasks" in capsys.readouterr().out


def test_again_reuses_and_changes_run_alone(tasks: Path, capsys) -> None:
    """The second run ranks nothing anew and writes the same bytes; a new task is ranked alone."""
    assert rank(tasks) == 0
    before = (tasks / "out.jsonl").read_bytes()
    assert rank(tasks) == 0
    assert (tasks / "out.jsonl").read_bytes() == before
    assert "3 were ranked before" in capsys.readouterr().out
    with (tasks / "codes.jsonl").open("a") as file:
        file.write(json.dumps({"id": "never", "samples": [RIGHT]}) + "\n")
    assert rank(tasks) == 0
    assert "3 were ranked before" in capsys.readouterr().out
    assert (tasks / "out.jsonl").read_bytes().startswith(before) and len(read(tasks)) == 4
    assert not list(tasks.glob(".*"))


def test_options_reach_the_method(tasks: Path) -> None:
    """--set changes the priors, and the record says which were used."""
    assert rank(tasks, "--set", "alpha_xy=1000", "--set", "beta_0=10000") == 0
    assert read(tasks)[0]["options"]["alpha_xy"] == 1000


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "line 2: not JSON"),
        ('{"samples": []}', "line 2: neither id nor prompt"),
        ('{"id": "x"}', "line 2: 'samples' is not a list of texts"),
        ('{"id": "x", "samples": [1]}', "line 2: 'samples' is not a list of texts"),
        ('{"id": "x", "samples": [], "entry_point": 1}', "line 2: 'entry_point' is not a text"),
        ('{"id": "a", "samples": []}', "line 2: a second id 'a'"),
        ("[]", "line 2: neither id nor prompt"),
    ],
)
def test_bad_lines_are_one_sentence(tmp_path: Path, bad: str, says: str, capsys) -> None:
    """A bad line is named with its file before anything runs; nothing is written."""
    write(tmp_path / "tests.jsonl", {"id": "a", "tests": []})
    (tmp_path / "codes.jsonl").write_text('{"id": "a", "samples": []}\n' + bad + "\n")
    assert rank(tmp_path) == 1
    said = capsys.readouterr().err
    assert says in said and "codes.jsonl" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_other_faults_are_one_sentence(tasks: Path, capsys) -> None:
    """Missing files, strangers' outputs, other tasks and unknown options are refused."""
    assert rank(tasks, "--set", "beta=1") == 1
    assert rank(tasks, "--set", "keep_zero=1") == 1
    assert rank(tasks, "--set", "test_rule=any", method="dstc") == 1
    assert rank(tasks, "--workers", "0") == 1
    write(tasks / "out.jsonl", {"mine": 1})
    assert rank(tasks) == 1 and json.loads((tasks / "out.jsonl").read_text()) == {"mine": 1}
    (tasks / "out.jsonl").unlink()
    assert rank(tasks) == 0 and rank(tasks, method="codet") == 1
    write(tasks / "tests.jsonl", {"id": "other", "tests": []})
    assert rank(tasks) == 1
    (tasks / "tests.jsonl").unlink()
    assert rank(tasks) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 8 and all(line.startswith("tamis: ") for line in said)


def test_kill_and_go_on(tmp_path: Path, capsys) -> None:
    """After SIGKILL the same command goes on with what was ranked, and writes every task."""
    rows = range(60)
    slow = "def add(a, b):\n    sum(range(300_000))\n    return a + b"
    write(tmp_path / "codes.jsonl", *[{"id": i, "samples": [f"{slow} # {i}"]} for i in rows])
    write(
        tmp_path / "tests.jsonl",
        *[{"id": i, "tests": [f"assert add({i}, 1) == {i} + 1"]} for i in rows],
    )
    files = [f"--{name}={tmp_path / name}.jsonl" for name in ("codes", "tests", "out")]
    command = [sys.executable, "-m", "pipeline", "rank", *files, "--method", "b4"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    journal = tmp_path / ".out.jsonl.work" / "ranked.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n")
    assert 0 < done < 60 and not (tmp_path / "out.jsonl").exists()
    assert rank(tmp_path) == 0
    assert [line["id"] for line in read(tmp_path)] == [str(i) for i in rows]
    assert all(line["chosen"] for line in read(tmp_path))
    assert f"{done} were ranked before" in capsys.readouterr().out
