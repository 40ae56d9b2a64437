"""`tamis sandbox run`: programs in, verdicts out, in order, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADD = "def add(a, b):\n    return a + b\n"


def command(*arguments):
    """The command line."""
    return [sys.executable, "-m", "pipeline", "sandbox", "run", *map(str, arguments)]


def run(*arguments):
    """Run it to its end."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )


def write(path, rows):
    """Write rows, or raw lines, as JSONL."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(path):
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_field_is_heeded(tmp_path):
    """Each verdict comes in input order with exactly the agreed fields; the id keeps its type."""
    rows = [
        {"id": "right", "code": ADD, "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]},
        {"id": 7, "code": ADD, "entry_point": "add", "tests": ["assert candidate(1, 2) == 4"]},
        {"id": "loop", "code": "while True: pass", "tests": ["assert f(1)"], "timeout_s": 0.2},
        {"id": "hog", "code": "x = bytes(200 << 20)", "tests": ["assert f(1)"], "memory_mb": 128},
        {"id": "io", "code": "print(int(input()) + 1)", "tests": [{"input": "1", "output": "2"}]},
        {"id": "echo", "code": "print(input())", "stdin": "hello", "tests": []},
        {"id": "js", "code": "const f = (x) => x;", "tests": ["assert f(1) == 1"],
         "language": "javascript"},
    ]  # fmt: skip
    answer = run(write(tmp_path / "in", rows), "--out", tmp_path / "out", "--workers", 2)
    assert (answer.returncode, answer.stderr) == (0, "")
    found = read(tmp_path / "out")
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    verdicts = ["correct", "wrong", "timeout", "error", "correct", "unverified", "correct"]
    assert [row["verdict"] for row in found] == verdicts
    assert [test["status"] for test in found[0]["tests"]] == ["pass", "pass"]
    assert found[3]["tests"][0]["status"] == "oom" and found[5]["stdout"] == "hello\n"
    fields = {"id", "verdict", "integrity", "tier", "tests", "cpu_ms", "max_rss_kb", "stdout"}
    assert all(set(row) == fields | {"exception", "flags"} for row in found)
    assert all(set(test) == {"status", "cpu_ms"} for row in found for test in row["tests"])


def test_flags_set_the_limits(tmp_path):
    """--timeout-s and --memory-mb hold for the programs that name none, --tier for all."""
    rows = [
        {"id": 1, "code": "while True: pass", "tests": ["assert f(1)"]},
        {"id": 2, "code": "x = bytes(200 << 20)", "tests": ["assert f(1)"]},
    ]
    flags = ["--timeout-s", "0.2", "--memory-mb", "128", "--tier", "B"]
    assert run(write(tmp_path / "in", rows), "--out", tmp_path / "out", *flags).returncode == 0
    found = read(tmp_path / "out")
    assert [row["tests"][0]["status"] for row in found] == ["timeout", "oom"]
    assert found[0]["cpu_ms"] < 1000 and {row["tier"] for row in found} == {"B"}


GOOD = {"id": "a", "code": ADD, "tests": ["assert add(1, 2) == 3"]}
BAD = {
    "{": "is not JSON",
    "[]": "a program is a JSON object",
    '{"id": "b"}': "'code' has to be text",
    '{"id": "b", "code": "", "timeout_s": -1}': "'timeout_s' has to be a positive number, not -1",
    '{"id": "b", "code": "", "test": []}': "unknown field 'test'; fields are",
    '{"id": "b", "code": "", "tests": [{"input": "1"}, 3]}': "a test is text, or an object",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_named(tmp_path, line):
    """A bad line ends the run with one sentence and its number; what came before it is kept."""
    source = write(tmp_path / "in", [GOOD, "", line, GOOD])
    answer = run(source, "--out", tmp_path / "out")
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"tamis: {source}, line 3: {BAD[line]}")
    assert answer.stderr.count("\n") == 1
    assert [row["verdict"] for row in read(tmp_path / "out")] == ["correct"]


def test_an_output_is_not_overwritten(tmp_path):
    """An output that has rows is refused without --resume, and one of another input with it."""
    out = write(tmp_path / "out", [{"id": "other", "verdict": "wrong"}])
    source = write(tmp_path / "in", [GOOD])
    answer = run(source, "--out", out)
    assert (answer.returncode, "is not empty" in answer.stderr) == (1, True)
    answer = run(source, "--out", out, "--resume")
    assert (answer.returncode, "it is of another input" in answer.stderr) == (1, True)
    assert [row["id"] for row in read(out)] == ["other"]
    missing = run(tmp_path / "none", "--out", tmp_path / "new")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


def settled(rows):
    """Rows without what differs between two runs."""
    return [{k: v for k, v in row.items() if k not in ("cpu_ms", "max_rss_kb", "tests")}
            | {"tests": [test["status"] for test in row["tests"]]} for row in rows]  # fmt: skip


def test_a_killed_run_goes_on(tmp_path):
    """After SIGKILL and with a torn last line, --resume finishes with the rows of a whole run."""
    rows = [
        {"id": str(i), "code": f"import time\ntime.sleep(0.02)\nprint({i})", "tests": [
            {"input": "", "output": str(i % 5)}]} for i in range(60)
    ]  # fmt: skip
    source, out = write(tmp_path / "in", rows), tmp_path / "out"
    process = subprocess.Popen(command(source, "--out", out, "--workers", 1), cwd=ROOT)
    while not out.exists() or out.read_bytes().count(b"\n") < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = out.read_bytes().rpartition(b"\n")[0] + b"\n"
    assert 5 <= done.count(b"\n") < 60
    out.write_bytes(done + b'{"id": "torn", "verd')
    assert run(source, "--out", out, "--resume").returncode == 0
    assert out.read_bytes().startswith(done)
    assert run(source, "--out", tmp_path / "whole").returncode == 0
    assert settled(read(out)) == settled(read(tmp_path / "whole"))
    assert run(source, "--out", out, "--resume").returncode == 0
    assert len(read(out)) == 60


def test_memory_stays_bounded(tmp_path):
    """Rows are judged while the input is still being written: little of it is read ahead."""
    source, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(source)
    process = subprocess.Popen(command(source, "--out", out, "--workers", 1), cwd=ROOT)
    with source.open("w") as pipe:
        for i in range(40):
            pipe.write(json.dumps({"id": i, "code": "print(1)"}) + "\n")
        pipe.flush()
        deadline = time.monotonic() + 30
        while (not out.exists() or len(read(out)) < 20) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(read(out)) >= 20
    assert process.wait(30) == 0
    assert [row["id"] for row in read(out)] == list(range(40))
