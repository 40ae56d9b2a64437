"""Time RDS+ selection over a stored pool: streamed cosines, top rows a query, turns.

    python tests/benchmarks/bench_rds_selection.py --rows 58178 --width 4096 --queries 285 --n 10000

The published size is 5,817,792 rows, 4,096 wide, 285 queries (float16: 47.7 GB on disk). Prints CPU
seconds of each part and the peak of resident memory; vectors are random, made from --seed.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from pipeline.selection.matching import rank_rows, stream_scores
from pipeline.selectors import take_turns
from pipeline.vectors import Features, Identity, write_features

MADE = Identity("random", "0", -1, "weighted", "none", 0, "float16", "none")


def make(folder: Path, rows: int, width: int, seed: int) -> Features:
    """Write random vectors, 4,096 rows a shard."""

    def embed(places: Sequence[int]) -> np.ndarray:
        rng = np.random.default_rng([seed, places[0]])
        return rng.standard_normal((len(places), width), dtype=np.float32)

    return write_features(folder, MADE, [f"{i:08d}" for i in range(rows)], embed)


def main() -> None:
    """Make the vectors, select, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 58_178), ("width", 4096), ("queries", 285), ("n", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        pool = make(Path(folder) / "pool", sizes.rows, sizes.width, sizes.seed)
        queries = make(Path(folder) / "queries", sizes.queries, sizes.width, sizes.seed + 1)
        written = time.process_time()
        blocks = stream_scores(pool, queries, block_rows=sizes.block)
        ranked = rank_rows(blocks, sizes.n, ids=pool.ids(), rows=pool.rows)
        scored = time.process_time()
        turns = take_turns(ranked.rows, sizes.n)
        done = time.process_time()
    figures = {
        "rows": sizes.rows,
        "selected": len(turns.rows),
        "write_cpu_s": round(written - start, 2),
        "score_and_rank_cpu_s": round(scored - written, 2),
        "turns_cpu_s": round(done - scored, 2),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
