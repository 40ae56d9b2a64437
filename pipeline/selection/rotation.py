"""RDS+ over a pool of any size: the rows that tasks pick in turn, exact and nearly for the price of
one matrix product.

float32 products find the few rows that can matter: those within a proven error bound of each task's
best. Only these are read again and scored exactly (`pipeline.selection.similarity`), so that no
block size, shard size or BLAS changes a pick. Method: Ivison et al., arXiv 2503.01807, section 3.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound
from pipeline.selection.matching import Blocks
from pipeline.selection.rough import rough_error, unit_rows
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.selectors import take_turns
from pipeline.vectors import Features, require_same


class Rotation(NamedTuple):
    """Rows in the order picked, which group picked each, in which round, at which cosine."""

    rows: np.ndarray
    groups: np.ndarray
    rounds: np.ndarray
    scores: np.ndarray
    unusable: int  # rows without a direction


def rotate(
    pool: Features,
    queries: Features,
    groups: Sequence[Any],
    n: int,
    *,
    wanted: np.ndarray | None = None,
    block_rows: int = 2048,
) -> Rotation:
    """Let groups of queries take turns in picking pool rows, each by its nearest query.

    groups: a label a query, taking turns in order of first appearance. A group whose next row is
    already taken loses that turn; ties go by id. wanted: bool[rows], False for rows of the store
    that are not in the pool. Equal to `selectors.round_robin` on the whole matrix.
    Raises UserError for queries of another identity, or without a direction.
    """
    require_same(pool.identity, queries.identity, names=(str(pool.path), str(queries.path)))
    asked = [grid for _, grid in _by_group(queries, groups)]
    n = bound(n, pool.rows)
    if not n or not asked:
        nothing = np.zeros(0, dtype=np.int64)
        return Rotation(nothing, nothing, nothing, np.zeros(0), 0)
    near = _Nearest(asked, n)
    for first, best in _on_cores(near.score, pool.blocks(block_rows)):
        near.see(first, best, None if wanted is None else wanted[first : first + best.shape[1]])
    rough = [rows[np.argsort(-scores, kind="stable")] for rows, scores in near.best(n)]
    turns = take_turns(_pad(rough), n)
    # As many rounds as the rough ranking needs, and some: if these give n rows, the rest is idle.
    deep = min(n, int(turns.rounds.max(initial=0) * 1.05) + 64)
    for depth in dict.fromkeys([deep, n]):
        found = zip(near.best(depth), asked, strict=True)
        ranked = [_rank(pool, rows, grid, depth) for (rows, _), grid in found]
        turns = take_turns(_pad([rows for rows, _ in ranked]), n)
        if len(turns.rows) == n or depth == n:
            break
    scores = np.array([ranked[g][1][r] for g, r in zip(turns.pickers, turns.rounds, strict=True)])
    return Rotation(turns.rows, turns.pickers, turns.rounds, scores, near.unusable)


def _by_group(queries: Features, groups: Sequence[Any]) -> list[tuple[Any, np.ndarray]]:
    if len(groups) != queries.rows:
        raise UserError(f"there are {len(groups)} groups for {queries.rows} queries; one each")
    grid = unit_grid(queries.array())
    bad = np.flatnonzero(np.isnan(grid[:, :1]).any(axis=1))
    if len(bad):
        raise UserError(
            f"{queries.path}: {len(bad)} of {len(grid)} queries are zero or not finite, first "
            f"'{queries.ids()[bad[0]]}'; drop them"
        )
    return [
        (one, grid[[q for q, label in enumerate(groups) if label == one]])
        for one in dict.fromkeys(groups)
    ]


class _Nearest:
    """For each group the rows whose float32 score may be among its best, as blocks go by."""

    def __init__(self, asked: Sequence[np.ndarray], depth: int) -> None:
        self.queries = np.concatenate(asked).astype(np.float32) * np.float32(2.0**-26)
        self.ends = np.cumsum([len(grid) for grid in asked])
        self.depth = depth
        self.error = rough_error(self.queries.shape[1])
        self.found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in asked]
        self.counts, self.least = [0] * len(asked), [-np.inf] * len(asked)
        self.unusable = 0
        self.buffers = threading.local()  # a product as large as a block costs more to allocate

    def score(self, view: np.ndarray) -> np.ndarray:
        """Return each group's best score of every row, float32[groups, rows]; thread-safe."""
        held = self.buffers.__dict__
        if held.get("width", -1) < len(view):
            held["width"] = len(view)
            held["scores"] = np.empty((len(self.queries), len(view)), dtype=np.float32)
        scores = held["scores"][:, : len(view)]
        np.matmul(self.queries, unit_rows(view).T, out=scores)
        starts = [0, *self.ends[:-1].tolist()]
        spans = zip(starts, self.ends.tolist(), strict=True)
        return np.stack([scores[start:end].max(axis=0) for start, end in spans])

    def see(self, first: int, found: np.ndarray, wanted: np.ndarray | None) -> None:
        """Note the rows of a block that may matter."""
        unusable = np.isnan(found[0])
        self.unusable += int((unusable if wanted is None else unusable & wanted).sum())
        for g, best in enumerate(found):
            keep = best >= self.least[g]  # not so for NaN
            keep = np.flatnonzero(keep if wanted is None else keep & wanted)
            self.found[g].append((first + keep, best[keep]))
            self.counts[g] += len(keep)
            if self.counts[g] > 2 * self.depth + 4096:
                self._shrink(g)

    def _shrink(self, g: int) -> None:
        rows, scores = self._within(g, self.depth)
        self.found[g], self.counts[g] = [(rows, scores)], len(rows)
        if len(rows) >= self.depth:
            self.least[g] = np.partition(scores, -self.depth)[-self.depth] - 2 * self.error

    def _within(self, g: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.concatenate([rows for rows, _ in self.found[g]])
        scores = np.concatenate([scores for _, scores in self.found[g]])
        if len(rows) <= depth:
            return rows, scores
        keep = scores >= np.partition(scores, -depth)[-depth] - 2 * self.error
        return rows[keep], scores[keep]

    def best(self, depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return by group the rows that may be among its `depth` best, and their rough scores."""
        return [self._within(g, depth) for g in range(len(self.found))]


def _on_cores(work: Callable[[np.ndarray], np.ndarray], blocks: Blocks) -> Blocks:
    """Yield (first row, work(block)) in order.

    A block a core, each with a BLAS of one thread: so what is no product runs on every core too.
    """
    workers = os.cpu_count() or 1
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as threads:
        waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
        for first, block in blocks:
            waiting.append((first, threads.submit(work, block)))
            if len(waiting) > 2 * workers:
                first, done = waiting.popleft()
                yield first, done.result()
        for first, done in waiting:
            yield first, done.result()


def _rank(
    pool: Features, rows: np.ndarray, asked: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score candidate rows exactly and return the `depth` best, ties by id."""
    rows = np.sort(rows)
    scores = np.empty(len(rows))

    def exact(vectors: np.ndarray) -> np.ndarray:
        best: np.ndarray = cosines(unit_grid(vectors), asked).max(axis=1)
        return best

    for first, best in _on_cores(exact, _gather(pool, rows)):
        scores[first : first + len(best)] = best
    order = np.argsort(-scores, kind="stable")
    tied = np.flatnonzero(np.isin(scores, _repeated(scores[order])))
    ranks = np.zeros(len(rows), dtype=np.int64)
    if len(tied):  # ids are text on disk: looked up only where they decide
        ranks[tied] = np.argsort(np.argsort(np.asarray(pool.ids_of(rows[tied]))))
        order = np.lexsort((ranks, -scores))
    return rows[order[:depth]], scores[order[:depth]]


def _gather(pool: Features, rows: np.ndarray) -> Blocks:
    """Yield (place in rows, vectors of these rows) in blocks worth a product; rows ascend."""
    held: list[np.ndarray] = []
    start = end = 0
    for first, view in pool.blocks(4096):
        start_here, end = np.searchsorted(rows, [first, first + len(view)]).tolist()
        held.append(view[rows[start_here:end] - first])
        if end - start >= 1024:
            yield start, np.concatenate(held)
            start, held = end, []
    if end > start:
        yield start, np.concatenate(held)


def _repeated(ordered: np.ndarray) -> np.ndarray:
    twice: np.ndarray = ordered[1:][ordered[1:] == ordered[:-1]]
    return twice


def _pad(ranked: Sequence[np.ndarray]) -> np.ndarray:
    table = np.full((len(ranked), max(map(len, ranked), default=0)), -1, dtype=np.int64)
    for line, rows in zip(table, ranked, strict=True):
        line[: len(rows)] = rows
    return table
