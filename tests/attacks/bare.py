"""The control: a judge without a sandbox, as many are. It must be fooled, or the corpus is blunt.

Candidate and tests share one process, the exit status is the verdict.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

JUDGE = """
import json, sys
job = json.loads(sys.argv[1])
results = []
space = {"__name__": "__main__"}
exec(job["code"], space)
for test in job["tests"]:
    exec(test, space)
    results.append("pass")
sys.exit(0 if results == ["pass"] * len(job["tests"]) else 1)
"""


def judge_bare(code: str, tests: tuple[str, ...], folder: Path, kept: int) -> tuple[str, str]:
    """The verdict ("correct", "wrong", "timeout", "dead") and what was printed, within 6 s."""
    job = json.dumps({"code": code, "tests": tests})
    # The shell between is the worker that C10 kills.
    shell = ["sh", "-c", '"$@"; echo "status $?"', "sh", sys.executable, "-I", "-c", JUDGE, job]
    process = subprocess.Popen(
        shell,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[kept],
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=6)
        text = output.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return "timeout", ""
    finally:
        _end(process)
    if process.returncode != 0:
        return "dead", text
    return ("correct" if text.endswith("status 0\n") else "wrong"), text


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdout:
        process.stdout.close()
