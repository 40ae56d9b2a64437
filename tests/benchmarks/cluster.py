"""Runners beside each other: bytes, a worker killed in the middle, two workers against one.

    python -m tests.benchmarks.cluster --runners threads dask ray

Each runner makes the shards of `tests.toy_cluster` on this machine: undisturbed, then with a worker
that kills itself in one shard (not for threads: it would be us), both compared with what threads
make. Then two steps of real recipes over 16 shards, with one worker and with two: `clean` of
decontaminate, which is bound by the processor in Python, and `execute`, which is bound by the
sandbox (one slot a worker). Timed is the step alone, after all workers have started and done the
same once. Threads share one interpreter: only the sandbox can be faster with two of them.
Ray needs `pip install -e .[cluster]` and half a minute for each of its five starts.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from flows.selection.decontaminate import clean
from pipeline.shards import Shards
from pipeline.steps import Run, active_run, recipe, running
from scorers.execution import as_programs, execute
from tests.toy_cluster import squares

SHARDS = 16
ROWS = {"selection": 1200, "sandbox": 64}  # a shard
WORDS = 150  # a row of the selection
PROGRAM = """\
def f(n):
    return sum(i * i for i in range(n)) % {}
"""


def texts(rows: int, seed: int) -> pa.Table:
    """Conversations of random words, which no rule removes."""
    draw = random.Random(seed)
    words = [f"w{i}" for i in range(5000)]
    replies = [" ".join(draw.choices(words, k=WORDS)) for _ in range(rows)]
    messages = [[{"role": "assistant", "content": text}] for text in replies]
    return pa.table({"id": [f"{seed}-{i}" for i in range(rows)], "messages": messages})


def items() -> pa.Table:
    """A hundred benchmark items."""
    asked = [" ".join(f"w{i * k % 5000}" for k in range(40)) for i in range(1, 101)]
    names = [str(i) for i in range(len(asked))]
    return pa.table({"id": names, "bench": ["b"] * 100, "item_id": names, "prompt": asked})


def programs(rows: int) -> pa.Table:
    """Programs that take a few milliseconds, each with a test that it may fail."""
    made = [
        {
            "id": f"p{i}",
            "rollout_id": f"p{i}",
            "code": PROGRAM.format(i + 2),
            "entry_point": "f",
            "tests": ["assert f(50000) == 1"],
        }
        for i in range(rows)
    ]
    return pa.Table.from_pylist(made)


@recipe(paper="none", output="scores")
def selecting(workers: int) -> float:
    """Do the selection twice; return the seconds of the second time."""
    run = active_run()
    pool = Shards.write(
        run.claim("pool"), texts(SHARDS * ROWS["selection"], 0), shard_rows=ROWS["selection"]
    )
    aims = Shards.write(run.claim("items"), items())
    clean(pool, aims, rule="tulu3", exempt=[], into="first")
    began = time.monotonic()
    clean(pool, aims, rule="tulu3", exempt=[], into="second")
    return time.monotonic() - began


@recipe(paper="none", output="scores")
def judging(workers: int) -> float:
    """Run the programs twice, nothing kept from the first time; return the second one's seconds."""
    run = active_run()
    rows = Shards.write(
        run.claim("rows"), programs(SHARDS * ROWS["sandbox"]), shard_rows=ROWS["sandbox"]
    )
    made = as_programs(rows)
    slots = workers if run.runner == "threads" else 1
    options = {"workers": slots, "cache": None}
    execute(made, sandbox=options, into="first")
    began = time.monotonic()
    execute(made, sandbox=options, into="second")
    return time.monotonic() - began


def make(place: Path, runner: str, deadly: str = "") -> tuple[dict[str, bytes], int]:
    """Run the squares; return the data files and how many shards were begun."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with running(Run(place / "run", runner=runner)):
        squares(marks=str(place), deadly=deadly)
    files = sorted((place / "run").glob("*/data/*"))
    data = {str(file.relative_to(place)): file.read_bytes() for file in files}
    return data, len((place / "calls").read_text().splitlines())


def compare(place: Path, runner: str) -> None:
    """Print whether a runner makes the bytes of threads, also when a worker is killed."""
    whole, _ = make(place / "whole", "threads")
    found, begun = make(place / runner, runner)
    print(f"{runner}: same bytes {found == whole}, {begun} shards begun", flush=True)
    if runner != "threads":
        found, begun = make(place / f"{runner}-killed", runner, "r7")
        said = f"same bytes {found == whole}, {begun} shards begun"
        print(f"{runner}, worker killed: {said}", flush=True)


def speed_up(place: Path, runner: str, job: str) -> None:
    """Print a job's seconds with one worker and with two."""
    work = {"selection": selecting, "sandbox": judging}[job]
    took = []
    for workers in (1, 2):
        with running(Run(place / f"{runner}-{job}-{workers}", runner=runner, workers=workers)):
            took.append(work(workers=workers))
    one, two = took
    print(f"{runner}, {job}: one {one:.1f} s, two {two:.1f} s: {one / two:.2f} x", flush=True)


def main() -> None:
    """Compare and time each runner."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runners", nargs="+", default=["threads", "dask", "ray"])
    parser.add_argument("--jobs", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--without-bytes", action="store_true", help="only time the jobs")
    chosen = parser.parse_args()
    for runner in chosen.runners:
        with tempfile.TemporaryDirectory(prefix="tamis-cluster-") as folder:
            if not chosen.without_bytes:
                compare(Path(folder), runner)
            for job in chosen.jobs:
                speed_up(Path(folder), runner, job)
    print(f"Load now: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
