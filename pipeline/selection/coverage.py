"""Selectors that look at the whole pool: every row should have a chosen one near it.

Arrays in, row numbers out, in order of choice; degenerate input as in
`pipeline.selection.eligibility`.
"""

import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound, chances, id_ranks
from pipeline.selection.similarity import point_grid, squared_distances


def k_center(
    vectors: np.ndarray,
    k: int,
    *,
    first: int | None = None,
    seed: int = 0,
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Choose k rows, each the farthest (Euclidean) from those chosen before it.

    Gonzalez's greedy 2-approximation, O(n k d). Starts at row `first`, or at one drawn by seed.
    """
    grid, _ = point_grid(vectors)
    squares = (grid * grid).sum(axis=1)
    ranks = id_ranks(ids, len(grid))
    eligible = np.isfinite(grid).all(axis=1)
    chosen: list[int] = []
    nearest = np.where(eligible, np.inf, -1.0)
    if eligible.any():
        luck = chances(ids, len(grid), seed) if first is None else np.zeros(len(grid))
        row = int(np.argmin(np.where(eligible, luck, np.inf))) if first is None else first
    for _ in range(bound(k, int(eligible.sum()))):
        chosen.append(row)
        apart = squared_distances(grid, squares, row)
        nearest = np.minimum(nearest, np.where(eligible, apart, -1.0))
        nearest[row] = -1.0  # a chosen row is not chosen again, nor is an unusable one
        best = np.flatnonzero(nearest == nearest.max())
        row = int(best[np.argmin(ranks[best])])
    return np.array(chosen, dtype=np.int64)


def radii(vectors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return, after each choice, the distance of the pool's farthest row to its nearest choice."""
    grid, unit = point_grid(vectors)
    squares = (grid * grid).sum(axis=1)
    nearest = np.full(len(grid), np.inf)
    found = []
    for row in chosen.tolist():
        nearest = np.minimum(nearest, squared_distances(grid, squares, row))
        found.append(np.sqrt(np.nanmax(nearest)) * unit)
    return np.array(found)


def facility_location(similarity: Any, k: int, *, ids: Sequence[Any] | None = None) -> np.ndarray:
    """Choose k rows that maximise f(S) = sum over rows i of max over j in S of similarity[i, j].

    Lazy greedy (Minoux 1978), within 1 - 1/e of the best. similarity: float[n, n], or a scipy
    sparse matrix of each row's nearest neighbours (absent = 0), which larger pools need. Negative
    similarities are shifted up to 0, so that gains stay positive. Rows whose
    diagonal is not finite are never chosen.
    """
    columns = _Columns(similarity)
    ranks = id_ranks(ids, columns.n)
    best = np.zeros(columns.n)
    heap = [(-columns.gain(j, best), int(ranks[j]), j) for j in columns.usable.tolist()]
    heapq.heapify(heap)
    chosen: list[int] = []
    for _ in range(bound(k, len(heap))):
        row = _next_best(heap, columns, best)
        rows, values = columns.column(row)
        best[rows] = np.maximum(best[rows], values)
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def coverage_gains(similarity: Any, chosen: np.ndarray) -> np.ndarray:
    """Return what each choice added to f, in order, float64[k]; their sum is f."""
    columns = _Columns(similarity)
    best = np.zeros(columns.n)
    gains: list[float] = []
    for row in chosen.tolist():
        gains.append(columns.gain(row, best) / columns.scale + columns.shift * (not gains))
        rows, values = columns.column(row)
        best[rows] = np.maximum(best[rows], values)
    return np.array(gains)


def _next_best(heap: list[tuple[float, int, int]], columns: "_Columns", best: np.ndarray) -> int:
    while True:
        _, rank, row = heapq.heappop(heap)
        gain = columns.gain(row, best)
        # Stale gains only overstate: if the fresh one still leads, it is the largest.
        if not heap or (-gain, rank) <= heap[0][:2]:
            return row
        heapq.heappush(heap, (-gain, rank, row))


class _Columns:
    """The matrix by column, rounded to whole numbers whose sums are exact in any order."""

    def __init__(self, similarity: Any) -> None:
        self.sparse = similarity.tocsc() if hasattr(similarity, "tocsc") else None
        full: Any = np.asarray(similarity, dtype=np.float64) if self.sparse is None else self.sparse
        self.n = full.shape[0]
        if full.shape != (self.n, self.n):
            raise UserError(f"similarity is {full.shape}; it must be as wide as high")
        diagonal = np.asarray(full.diagonal())
        self.usable = np.flatnonzero(np.isfinite(diagonal))
        values: Any = full.data if self.sparse is not None else full
        finite = values[np.isfinite(values)]
        low = min(0.0, float(finite.min(initial=0.0))) if self.sparse is None else 0.0
        high = float(finite.max(initial=0.0)) - low
        bits = 52 - max(self.n, 2).bit_length()
        # A power of two keeps numbers of few digits as they are, and so their ties.
        self.scale = 2.0 ** (bits - math.ceil(math.log2(high))) if high > 0 else 1.0
        self.shift = low * len(self.usable)
        self.low, self.full = low, full

    def column(self, j: int) -> tuple[Any, np.ndarray]:
        if self.sparse is None:
            return self.usable, np.rint((self.full[self.usable, j] - self.low) * self.scale)
        span = slice(self.sparse.indptr[j], self.sparse.indptr[j + 1])
        values = np.maximum(np.nan_to_num(self.sparse.data[span]), 0.0)
        return self.sparse.indices[span], np.rint(values * self.scale)

    def gain(self, j: int, best: np.ndarray) -> float:
        rows, values = self.column(j)
        return float(np.maximum(values - best[rows], 0.0).sum())
