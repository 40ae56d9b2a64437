"""What Prefect costs: a recipe as a flow with its tasks, and the same steps called plainly.

    python -m tests.benchmarks.prefect_share --rounds 3 dart_math limit=4096 budget=fixed k=4 \
        model=scripted:tests.benchmarks.volume:adds prompts=FILE

Each round runs the recipe both ways in turn, each in a fresh process and an empty folder. Seconds
of wall time and of CPU time (children too: Prefect's server, engines), imports apart. Not in them
is what Prefect's server takes to start, once a run whatever the work; it is said below the table.
"""

import argparse
import inspect
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pipeline import steps
from pipeline.catalog import load_recipe, read_settings
from pipeline.plans import Plan, make_shard
from pipeline.prefect_home import serving
from pipeline.runs import execute

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("prefect", "plain")


def cpu_s() -> float:
    """CPU seconds of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def server_cpu_s() -> float:
    """CPU seconds so far of the children that have not ended: Prefect's server, just started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in children]
    return sum(int(one[11]) + int(one[12]) for one in stats) / os.sysconf("SC_CLK_TCK")


@contextmanager
def threads(name: str, workers: int) -> Iterator[SimpleNamespace]:
    """Stand in for Prefect's task runner: a plain pool of threads."""
    with ThreadPoolExecutor(workers) as pool:
        yield SimpleNamespace(submit=lambda work, parameters: pool.submit(work, **parameters))


def plain_task(plan: Plan, retries: int) -> Callable[[str, int], dict[str, Any]]:
    """Stand in for Prefect's task of a shard."""
    return lambda folder, i: make_shard(plan, i)


@contextmanager
def without_prefect() -> Iterator[None]:
    """Let steps run without flows, tasks and a server in this block."""
    stand_ins = {
        "serving": nullcontext,
        "open_runner": threads,
        "shard_task": plain_task,
        "following": lambda step, futures: nullcontext(iter(())),
        "show_cached": lambda folder, shards: None,
    }
    with ExitStack() as held:
        for name, stand_in in stand_ins.items():
            held.enter_context(patch.object(steps, name, stand_in))
        yield


def run_here(way: str, name: str, settings: list[str], out: Path, workers: int) -> None:
    """Run the recipe in this process one way and print its seconds as JSON."""
    function, given = load_recipe(name), read_settings(settings)
    run = steps.Run(out, workers=workers)
    start = [0.0, 0.0]

    @contextmanager
    def timed() -> Iterator[None]:
        began, used = time.monotonic(), cpu_s()
        with serving():
            start[:] = time.monotonic() - began, cpu_s() - used + server_cpu_s()
            yield

    began, used = time.monotonic(), cpu_s()
    with without_prefect() if way == "plain" else patch.object(steps, "serving", timed):
        execute(function, given, run, inspect.unwrap(function.fn) if way == "plain" else None)
    wall, cpu = time.monotonic() - began - start[0], cpu_s() - used - start[1]
    shards = sum(1 for _ in out.glob("*/commits/*.json"))
    print(json.dumps({"wall": wall, "cpu": cpu, "start": start, "shards": shards}))


def tell(found: dict[str, list[dict[str, Any]]]) -> str:
    """Medians of both ways and Prefect's share, as a markdown table."""
    lines = ["| | with Prefect, s | plain, s | Prefect's share | ms a shard |"]
    lines.append("| --- | --- | --- | --- | --- |")
    shards = found["prefect"][0]["shards"]
    for what in ("wall", "cpu"):
        both = [[run[what] for run in found[way]] for way in WAYS]
        ours, bare = map(statistics.median, both)
        spans = [f"{statistics.median(one):.2f} ({min(one):.2f} to {max(one):.2f})" for one in both]
        each = f"{(ours - bare) / shards * 1e3:.0f}"
        lines.append(f"| {what} | {spans[0]} | {spans[1]} | {1 - bare / ours:.1%} | {each} |")
    wall, cpu = (statistics.median(run["start"][i] for run in found["prefect"]) for i in (0, 1))
    start = f"Prefect's server started in {wall:.1f} s of wall time, {cpu:.1f} s of CPU"
    rest = f"{shards} shards of all steps. Load now: {os.getloadavg()[0]:.1f}"
    return "\n".join([*lines, "", f"Not in it: {start}. {rest}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both ways `--rounds` times and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("recipe")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    chosen = parser.parse_args(arguments)
    place = Path(tempfile.mkdtemp(prefix="tamis-share-"))
    try:
        if chosen.way:
            words = (chosen.way, chosen.recipe, chosen.settings, place, chosen.workers)
            return run_here(*words)
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(chosen.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "tests.benchmarks.prefect_share", "--way", way]
                command += ["--workers", str(chosen.workers), chosen.recipe, *chosen.settings]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr[-2000:])
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
        print(tell(found))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
