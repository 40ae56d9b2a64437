"""RDS+ over millions of stored vectors against the bare matrix product over the same map.

    python -m tests.benchmarks.rotation make --rows 5800000 --out DIR      (4.5 GB at 384 wide)
    python -m tests.benchmarks.rotation time --rows 5800000 --out DIR --n 326000

Random float16 vectors, 949 queries in 7 tasks. `time` measures, in this order and one process: the
bare product (each block of the map to float32, times the queries, into one buffer), then `rotate`,
and prints wall and CPU seconds, their ratio, the peak of resident memory and a digest of the picks:
equal for any `--shard-rows` that was made. `--rows` below what was made takes a part of it.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.schema import digest
from pipeline.selection.rotation import rotate
from pipeline.vectors import Features, Identity, write_features

MADE = Identity("random", "0", -1, "weighted", "none", 0, "float16", "none")
TASKS = {"mmlu": 285, "gsm8k": 8, "bbh": 81, "tydiqa": 9, "codex": 16, "squad": 500, "alpaca": 50}
_CHUNK = 4096  # rows that one random state makes, so that shards do not change the vectors
_BLOCK = 2048


def make(folder: Path, rows: int, width: int, shard_rows: int) -> None:
    """Write random vectors and the queries."""

    def draw(places: Sequence[int]) -> np.ndarray:
        first, last = places[0] // _CHUNK, places[-1] // _CHUNK
        parts = [
            np.random.default_rng([7, c]).standard_normal((_CHUNK, width), dtype=np.float32)
            for c in range(first, last + 1)
        ]
        start = places[0] - first * _CHUNK
        return np.concatenate(parts)[start : start + len(places)].astype(np.float16)

    pool = folder / f"pool-{rows}-{shard_rows}"
    write_features(pool, MADE, [f"{i:08d}" for i in range(rows)], draw, shard_rows=shard_rows)
    asked = np.random.default_rng(8).standard_normal((sum(TASKS.values()), width))
    names = [f"q{i:04d}" for i in range(len(asked))]
    write_features(folder / "queries", MADE, names, lambda at: asked[list(at)])


class Part(Features):
    """The first rows of a folder."""

    limit = 0

    def blocks(self, size: int):
        """Yield blocks until the limit."""
        for first, view in super().blocks(size):
            if first >= self.limit:
                return
            yield first, view[: self.limit - first]

    @property
    def rows(self) -> int:
        """The limit."""
        return self.limit


def measure(folder: Path, rows: int, n: int, shard_rows: int) -> dict[str, object]:
    """Time the bare product and the selection."""
    (stored,) = list(folder.glob(f"pool-*-{shard_rows}"))
    pool, queries = Part(stored), Features(folder / "queries")
    object.__setattr__(pool, "limit", rows)
    asked = np.ascontiguousarray(queries.array().astype(np.float32))
    buffer = np.empty((len(asked), _BLOCK), dtype=np.float32)
    for _ in (v.sum() for _, v in pool.blocks(_BLOCK)):  # the map is in memory for both
        pass
    wall, cpu = time.perf_counter(), time.process_time()
    for _, view in pool.blocks(_BLOCK):
        np.matmul(asked, view.astype(np.float32).T, out=buffer[:, : len(view)])
    bare = time.perf_counter() - wall, time.process_time() - cpu
    tasks = [task for task, count in TASKS.items() for _ in range(count)]
    wall, cpu = time.perf_counter(), time.process_time()
    found = rotate(pool, queries, tasks, n, block_rows=_BLOCK)
    ours = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "what": "rotation",
        "who": "ours",
        "rows": rows,
        "picked": len(found.rows),
        "bare_wall_s": round(bare[0], 1),
        "ours_wall_s": round(ours[0], 1),
        "wall_ratio": round(ours[0] / bare[0], 3),
        "bare_cpu_s": round(bare[1], 1),
        "cpu_s": round(ours[1], 2),
        "cpu_ratio": round(ours[1] / bare[1], 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "picks": digest(found.rows.tolist(), found.groups.tolist()),
    }


def main() -> None:
    """Make or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "time"])
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("rows", 580_000), ("width", 384), ("n", 32_600), ("shard-rows", 4096)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    if chosen.what == "make":
        make(chosen.out, chosen.rows, chosen.width, chosen.shard_rows)
    else:
        print(json.dumps(measure(chosen.out, chosen.rows, chosen.n, chosen.shard_rows)))


if __name__ == "__main__":
    main()
