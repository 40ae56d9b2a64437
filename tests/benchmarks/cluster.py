"""Runners beside each other: bytes, a worker killed in the middle, two workers against one.

    python -m tests.benchmarks.cluster --runners threads dask ray

Each runner makes the shards of `tests.toy_cluster` on this machine: undisturbed, then with a worker
that kills itself in one shard (not for threads: it would be us), then a CPU-bound step with one and
with two workers. Ray needs `pip install -e .[cluster]`.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from pipeline.shards import Shards
from pipeline.steps import Run, active_run, recipe, running
from tests.toy_cluster import burn, numbers, squares


@recipe(paper="none", output="scores")
def burning(rounds: int) -> Shards:
    """Eight shards of work in Python."""
    return burn(numbers(active_run().claim("numbers"), shard_rows=16), rounds=rounds)


def make(place: Path, runner: str, deadly: str = "") -> tuple[dict[str, bytes], int]:
    """Run the squares; return the data files and how many shards were begun."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with running(Run(place / "run", runner=runner)):
        squares(marks=str(place), deadly=deadly)
    files = sorted((place / "run").glob("*/data/*"))
    data = {str(file.relative_to(place)): file.read_bytes() for file in files}
    return data, len((place / "calls").read_text().splitlines())


def seconds(place: Path, runner: str, workers: int, rounds: int) -> float:
    """Time the CPU-bound step, without the start of its workers."""
    with running(Run(place, runner=runner, workers=workers, resume="never")):
        burning(rounds=0)  # workers start and import
    shutil.rmtree(place)
    with running(Run(place, runner=runner, workers=workers, resume="never")):
        burning(rounds=1)
        began = time.monotonic()
        active_run().names.clear()
        burning(rounds=rounds)
        return time.monotonic() - began


def main() -> None:
    """Print a line a runner."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runners", nargs="+", default=["threads", "dask", "ray"])
    parser.add_argument("--rounds", type=int, default=300_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tamis-cluster-") as folder:
        place = Path(folder)
        whole, _ = make(place / "whole", "threads")
        for runner in chosen.runners:
            found, calls = make(place / runner, runner)
            said = [f"same bytes {found == whole}", f"{calls} shards begun"]
            if runner != "threads":
                found, calls = make(place / f"{runner}-killed", runner, "r7")
                said.append(f"worker killed: same bytes {found == whole}, {calls} shards begun")
            one, two = (seconds(place / "burn", runner, n, chosen.rounds) for n in (1, 2))
            said.append(f"one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} x")
            print(f"{runner}: {'; '.join(said)}", flush=True)
    print(f"Load now: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
