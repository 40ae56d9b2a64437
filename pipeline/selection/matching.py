"""Scores of a pool against queries, streamed in blocks, and the best rows of each query.

Only the queries and one block are in memory. Cosines are exact
(`pipeline.selection.similarity`), so block and shard sizes change no pick.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound, id_ranks
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.vectors import Features, require_same

_log = logging.getLogger(__name__)

Blocks = Iterable[tuple[int, np.ndarray]]


class Ranked(NamedTuple):
    """The best rows of each query, int64[queries, depth], their scores, and rows not usable."""

    rows: np.ndarray
    scores: np.ndarray
    unusable: int


def stream_scores(
    pool: Features, queries: Features, *, block_rows: int = 2048, zeros: bool = False
) -> Blocks:
    """Yield (first row, cosines float64[block, queries]); NaN where a pool row has no direction.

    zeros: a row or query of zeros has cosine 0 with any other (a gradient, say), and the log counts
    them. Raises UserError when pool and queries differ in identity, or a query has no direction.
    """
    require_same(pool.identity, queries.identity, names=(str(pool.path), str(queries.path)))
    asked = _directions(queries.array(), zeros=zeros)
    bad = np.flatnonzero(np.isnan(asked).any(axis=1))
    if len(bad):
        raise UserError(
            f"{queries.path}: {len(bad)} of {len(asked)} queries are zero or not finite, first "
            f"'{queries.ids()[bad[0]]}'; drop them"
        )
    blocks = pool.blocks(block_rows)
    return ((first, cosines(_directions(view, zeros=zeros), asked)) for first, view in blocks)


def _directions(vectors: np.ndarray, *, zeros: bool) -> np.ndarray:
    grid, empty = unit_grid(vectors), (vectors == 0).all(axis=1) if zeros else np.zeros(0, bool)
    if empty.any():
        _log.warning("%d of %d vectors are 0; their cosines are 0", empty.sum(), len(empty))
        grid[empty] = 0
    return grid


def masked(blocks: Blocks, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Make rows unusable that are not wanted (bool[rows]): in the store, but not in the pool."""
    for first, scores in blocks:
        yield first, np.where(wanted[first : first + len(scores), None], scores, np.nan)


def blend(streams: Sequence[Blocks], weights: Sequence[float]) -> Iterator[tuple[int, np.ndarray]]:
    """Add aligned streams by weights scaled to sum 1: LESS over its checkpoints (section 3.2).

    The streams must have equal block sizes over equal shards, as one pool's checkpoints do.
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    for parts in zip(*streams, strict=True):
        if len({(first, block.shape) for first, block in parts}) != 1:
            shapes = [block.shape for _, block in parts]
            raise UserError(f"checkpoints do not have the same rows: blocks of {shapes}")
        yield parts[0][0], sum(s * block for s, (_, block) in zip(shares, parts, strict=True))


def per_group(scores: np.ndarray, groups: Sequence[Any], *, how: str) -> np.ndarray:
    """Reduce query columns by group, float64[rows, groups], groups in order of first appearance.

    how: "max" (RDS+: a task's score is its best query's) or "mean" (LESS: a subtask's score, of
    which the row then takes the largest). Groups need not be equally large.
    """
    if len(groups) != scores.shape[1]:
        raise UserError(f"there are {len(groups)} groups for {scores.shape[1]} queries")
    members = [[q for q, g in enumerate(groups) if g == one] for one in dict.fromkeys(groups)]
    if how == "max":
        return np.stack([scores[:, own].max(axis=1) for own in members], axis=1)
    # Added column by column, so that the order of summation does not depend on the block.
    return np.stack([sum(scores[:, q] for q in own) / len(own) for own in members], axis=1)


def rank_rows(blocks: Blocks, depth: int, *, ids: Sequence[Any] | None, rows: int) -> Ranked:
    """Keep the `depth` best rows of every column of streamed scores, ties by id.

    Memory is O(columns * depth) whatever the pool. Rows with a NaN are never ranked, and counted.
    """
    ranks = id_ranks(ids, rows)
    buffers: list[_Buffer] = []
    unusable = 0
    for first, scores in blocks:
        buffers = buffers or [_Buffer(bound(depth, rows), ranks) for _ in range(scores.shape[1])]
        usable = np.flatnonzero(np.isfinite(scores).all(axis=1))
        unusable += len(scores) - len(usable)
        columns = np.ascontiguousarray(scores[usable].T)
        for buffer, column in zip(buffers, columns, strict=True):
            buffer.add(first + usable, column)
    for buffer in buffers:
        buffer.shrink()
    found = [(buffer.rows, buffer.scores) for buffer in buffers]
    return Ranked(np.array([r for r, _ in found]), np.array([s for _, s in found]), unusable)


class _Buffer:
    """The best rows of one query so far, and some that may be."""

    def __init__(self, depth: int, ranks: np.ndarray) -> None:
        self.depth, self.ranks = depth, ranks
        self.rows, self.scores = np.zeros(0, np.int64), np.zeros(0)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.count, self.least = 0, -np.inf

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        hopeful = scores >= self.least  # an equal score may win by its id
        self.waiting.append((rows[hopeful], scores[hopeful]))
        self.count += int(hopeful.sum())
        if self.count > self.depth + 1024:
            self.shrink()

    def shrink(self) -> None:
        rows = np.concatenate([self.rows, *(r for r, _ in self.waiting)])
        scores = np.concatenate([self.scores, *(s for _, s in self.waiting)])
        order = np.lexsort((self.ranks[rows], -scores))[: self.depth]
        self.rows, self.scores = rows[order], scores[order]
        self.waiting, self.count = [], 0
        if self.depth and len(order) == self.depth:
            self.least = float(self.scores[-1])
