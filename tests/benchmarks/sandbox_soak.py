"""Ten thousand programs of every kind through one sandbox: do descriptors or memory grow?

    python -m tests.benchmarks.sandbox_soak [--programs 10000] [--tier A]

Right, wrong, dying, endless, split, inline and stdin programs in turn, on two workers. Printed:
open descriptors and resident memory of the supervisor and of its largest slot, ten times; exit
status 1 if there are more descriptors than after the first tenth, or 8 MB more memory.
"""

import argparse
import gc
import itertools
import os
import sys
import time
from pathlib import Path

from sandbox import Limits, Program, Sandbox, StdioTest

ADD = "def add(a, b):\n    return a + b\n"
QUICK = Limits(test_cpu_s=0.05, cpu_s=0.2)
GROWTH_KB = 8192


def mixed(count):
    """Programs of every kind; nearly all end by themselves, one in a hundred is endless."""
    kinds = [
        Program("right", ADD, tests=("assert add(1, 2) == 3", "assert add(2, 2) == 4")),
        Program("wrong", ADD, tests=("assert add(1, 2) == 4",)),
        Program(
            "dying", "import os\ndef add(a, b):\n    os._exit(0)\n", tests=("assert add(1, 2)",)
        ),
        Program("split", ADD, tests=("for i in range(3):\n    assert add(i, 1) == i + 1",)),
        Program("inline", ADD, tests=("assert add(1, 2) == 3",), mode="inline"),
        Program("broken", "def", tests=("assert add(1, 2) == 3",)),
        Program("stdio", "print(int(input()) * 2)", tests=(StdioTest("21", "42"),)),
        Program("files", "open('/tmp/x', 'w').write('x' * 5000)\n" + ADD, tests=("add(1, 2)",)),
    ]
    endless = Program("endless", "while True: pass", tests=("assert f() == 1",), limits=QUICK)
    for i in range(count):
        yield endless if i % 100 == 99 else kinds[i % len(kinds)]


def size_up(box):
    """Open descriptors and resident kB of this process, and the most of any idle slot."""
    gc.collect()
    time.sleep(0.2)  # a slot closes what it was passed after it has reported the end
    slots = [slot._process.pid for slot in box._idle]
    found = [(_descriptors(pid), _resident_kb(pid)) for pid in (os.getpid(), *slots)]
    return (*found[0], max(f for f, _ in found[1:]), max(kb for _, kb in found[1:]))


def _descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _resident_kb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def soak(box, count):
    """Sizes after each tenth of so many programs."""
    programs = mixed(count)
    for _ in range(10):
        for _ in box.run(itertools.islice(programs, count // 10)):
            pass
        yield size_up(box)


def has_grown(first, last):
    """Whether the last sizes are larger than the first by more than noise."""
    more = last[1] - first[1] > GROWTH_KB or last[3] - first[3] > GROWTH_KB
    return more or last[0] > first[0] or last[2] > first[2]


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--tier", choices=["A", "B"], default="A")
    options = parser.parse_args()
    sizes = []
    with Sandbox(workers=2, tier=options.tier) as box:
        for size in soak(box, options.programs):
            sizes.append(size)
            fds, kb, slot_fds, slot_kb = size
            print(f"supervisor {fds} fds {kb} kB, slot {slot_fds} fds {slot_kb} kB", flush=True)
    return int(has_grown(sizes[0], sizes[-1]))


if __name__ == "__main__":
    sys.exit(main())
