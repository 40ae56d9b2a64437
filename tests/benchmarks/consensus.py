"""CPU time of each ranking on a 100 x 500 pass matrix: the bound is 5 ms.

python tests/benchmarks/consensus.py [programs] [tests]
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from scorers.consensus import b4, codedpo, codet, dstc, max_pass, mbr_exec

ROUNDS = 50


def main(programs: int = 100, tests: int = 500) -> None:
    """Print the median of CPU milliseconds over rounds; half of the rows are duplicates."""
    draw = np.random.default_rng(0)
    distinct = draw.random((programs // 2 + 1, tests)) < draw.random(tests)
    passed = distinct[draw.integers(0, len(distinct), programs)]
    for method in (max_pass, mbr_exec, codet, b4, codedpo, dstc):
        method(passed)
        used = []
        for _ in range(ROUNDS):
            start = time.process_time()
            method(passed)
            used.append(1e3 * (time.process_time() - start))
        print(f"{method.__name__:9} {statistics.median(used):6.2f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
