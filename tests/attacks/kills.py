"""SIGKILL a part of a working sandbox at a random instant, and look for what stays behind.

    python tests/attacks/kills.py --tier A|B --victim supervisor|zygote|candidate --seed N

Prints one JSON object: processes that survive, whether the machine's mount table changed, files
left in the temporary directory, and the verdicts that a surviving supervisor still gave.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sandbox import Limits, Program, Sandbox
code = "def f(x):\\n    n = 0\\n    for _ in range(x):\\n        n += 1\\n    return n\\n"
test = ("assert f(2_000_000) == 2_000_000",)
programs = [Program(id=str(i), code=code, tests=test) for i in range(16)]
with Sandbox(workers=2, limits=Limits(test_cpu_s=5.0), tier=sys.argv[2]) as box:
    print("ready", flush=True)
    print(json.dumps([outcome.verdict for outcome in box.run(programs)]), flush=True)
"""


def descend(root: int) -> dict[int, int]:
    """Every living descendant of a process, with its depth below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended meanwhile
        if state != "Z":
            parents[int(path.parent.name)] = int(parent)
    depths = {root: 0}
    for _ in parents:
        grown = {p: depths[q] + 1 for p, q in parents.items() if q in depths and p not in depths}
        if not grown:
            break
        depths.update(grown)
    return {pid: depth for pid, depth in depths.items() if depth > 0}


def choose(driver: int, victim: str, draw: random.Random) -> int:
    """The process to kill: the driver, a child of it, or one that runs a program."""
    deadline = time.monotonic() + GRACE_S
    while victim != "supervisor" and time.monotonic() < deadline:
        depths = descend(driver)
        wanted = [p for p, depth in depths.items() if (depth > 1) == (victim == "candidate")]
        if wanted:
            return draw.choice(sorted(wanted))
    return driver


def survivors() -> list[str]:
    """Command lines of this process's descendants, after time to end; the dead are reaped."""
    deadline = time.monotonic() + GRACE_S
    while left := descend(os.getpid()):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
    return [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in left]


def run(tier: str, victim: str, seed: int) -> dict[str, object]:
    """One driver, one kill, and what can be seen afterwards."""
    draw = random.Random(seed)
    mounts = Path("/proc/self/mountinfo").read_text()
    with tempfile.TemporaryDirectory() as folder:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(ROOT), tier],
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = driver.stdout.readline()
        time.sleep(draw.uniform(0, 0.5))
        os.kill(choose(driver.pid, victim, draw), signal.SIGKILL)
        verdicts = driver.communicate(timeout=60)[0]
        left = survivors()
        files = sorted(path.name for path in Path(folder).iterdir())
    return {
        "ready": ready.strip(),
        "returncode": driver.returncode,
        "verdicts": json.loads(verdicts) if verdicts else [],
        "survivors": left,
        "mounts_changed": Path("/proc/self/mountinfo").read_text() != mounts,
        "files": files,
    }


def main() -> None:
    """Parse the command line, become the parent of orphans, run once."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tier", choices=["A", "B"], default="A")
    parser.add_argument("--victim", choices=["supervisor", "zygote", "candidate"], required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    print(json.dumps(run(options.tier, options.victim, options.seed)))


if __name__ == "__main__":
    main()
