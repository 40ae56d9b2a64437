"""SIGKILL at any instant: what is claimed is whole, and the same command finishes the run."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
import xxhash

from pipeline.shards import Shards, committed

TOY = Path(__file__).with_name("toy_flow.py")


def start(folder: Path, marks: Path, api: str, factor: int = 2) -> "subprocess.Popen[bytes]":
    """Start the toy flow and wait until it is about to run."""
    environment = {**os.environ, "PYTHONPATH": str(TOY.parents[1]), "PREFECT_API_URL": api}
    if not api:
        del environment["PREFECT_API_URL"]
    child = subprocess.Popen(
        [sys.executable, str(TOY), str(folder), str(marks), str(factor)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout.readline() == b"started\n"
    return child


def end(child: "subprocess.Popen[bytes]") -> int:
    """Wait for the process and let go of its pipe."""
    child.stdout.close()
    return child.wait()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the lock."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


def check_claims(run: Path) -> None:
    """Every commit record and every manifest names only files that are whole."""
    for file in run.glob("*/commits/[0-9]*.json"):
        key = orjson.loads(file.read_bytes())["key"]
        assert committed(file.parents[1], int(file.stem), key) is not None, file
    for manifest in run.glob("*/manifest.json"):
        for shard in Shards.open(manifest.parent).manifest["shards"]:
            whole = (manifest.parent / shard["file"]).read_bytes()
            assert xxhash.xxh3_128_hexdigest(whole) == shard["xxh3"], manifest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prefect_server) -> dict[str, bytes]:
    """The files of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert end(start(folder / "run", folder / "marks", prefect_server)) == 0
    return content(folder / "run")


def test_killed_flow_resumes_to_the_same_bytes(tmp_path, prefect_server, undisturbed):
    """Ten kills at random instants of one run; the eleventh start ends it, byte for byte."""
    instants = random.Random(0)
    for _ in range(10):
        child = start(tmp_path / "run", tmp_path / "marks", prefect_server)
        time.sleep(instants.uniform(0.0, 0.5))
        child.send_signal(signal.SIGKILL)
        end(child)
        check_claims(tmp_path / "run")
    assert end(start(tmp_path / "run", tmp_path / "marks", prefect_server)) == 0
    assert content(tmp_path / "run") == undisturbed
    assert len((tmp_path / "marks").read_text().split()) <= 5 + 2 * 10  # two in flight a kill


# One process makes the toy's shards again and again without Prefect, each time in a fork that
# kills itself at its n-th change of the file system, until one gets through.
EVERY_INSTANT = """
import os, shutil, signal, sys
from pathlib import Path
from tests_toy import chain
from pipeline import steps
from pipeline.files import lock_folder
from pipeline.plans import finish, finished, make_shard

class Future:
    def __init__(self, record): self.record = record
    def wait(self): pass
    def result(self): return self.record

class Pool:
    def submit(self, plan, parameters):
        i = parameters["i"]
        return Future(finished(plan, i) or make_shard(plan, i))

steps.shard_task = lambda plan, retries: plan
steps.show_cached = lambda folder, shards: None
EVERY = 3  # 1 is exhaustive and takes three times as long
os.fsync = lambda handle: None  # a kill is not a power cut
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.truncate", "shutil.rmtree", "os.rmdir"}

def run(folder, factor, instant):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            seen += 1
            if seen == instant:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    run = steps.Run(folder)
    run.pool.append(Pool())
    steps._active.set(run)
    with lock_folder(folder):
        chain(str(base / 'marks'), factor)

def in_fork(*arguments):
    if (pid := os.fork()) == 0:
        try:
            run(*arguments)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

base, factor_before, instant, status = Path(sys.argv[1]), int(sys.argv[2]), 0, -9
if factor_before:
    assert in_fork(base / "before", factor_before, 0) == 0
while status == -9:
    instant += EVERY
    folder = base / f"{instant:03d}"
    if factor_before:
        shutil.copytree(base / "before", folder)
    status = in_fork(folder, 2, instant)
    assert in_fork(folder, 2, 0) == 0, instant
print(instant, status)
"""


@pytest.mark.parametrize("factor_before", [0, 5])
def test_killed_between_any_two_changes_of_the_disk(tmp_path, undisturbed, factor_before):
    """Killed before its n-th open, rename or removal, n = 3, 6 ..., a run ends in the same bytes.

    On an empty folder, and over a finished run with another parameter.
    """
    shutil.copy(TOY, tmp_path / "tests_toy.py")
    done = subprocess.run(
        [sys.executable, "-c", EVERY_INSTANT, str(tmp_path / "runs"), str(factor_before)],
        env={**os.environ, "TOY_WAIT_S": "0", "PYTHONPATH": f"{TOY.parents[1]}:{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    instants, status = map(int, done.stdout.split())
    assert (status, instants > 60) == (0, True)
    for run in sorted((tmp_path / "runs").glob("[0-9]*")):
        assert content(run) == undisturbed, run


def test_no_server_outlives_a_killed_run(tmp_path):
    """The server that a run started for itself is gone seconds after the run's SIGKILL."""
    child = start(tmp_path / "run", tmp_path / "marks", api="")
    (server,) = servers_of(child.pid)
    child.send_signal(signal.SIGKILL)
    end(child)
    deadline = time.monotonic() + 10
    while (alive := Path(f"/proc/{server}").exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive


def servers_of(parent: int) -> list[int]:
    """Process ids of the Prefect servers that were started by process `parent`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.endswith(b"prefect_server.py") for word in words):
            if words[-2] == str(parent).encode():
                found.append(int(place.name))
    return found
