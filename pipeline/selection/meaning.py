"""Semantic duplicates: rows whose vectors point almost the same way.

SemDeDup (arXiv 2303.09540), written from its description: inside each k-means cluster a row leaves
if its cosine to an earlier row exceeds 1 - epsilon.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.selection.eligibility import id_ranks
from pipeline.selection.similarity import cosines, unit_grid


class Echoes(NamedTuple):
    """For each row: the row it repeats (-1: none) and its highest cosine to those before it."""

    duplicate_of: np.ndarray
    similarity: np.ndarray


def find_echoes(
    vectors: np.ndarray,
    *,
    epsilon: float,
    rule: Literal["kept_only", "earlier"] = "kept_only",
    clusters: np.ndarray | None = None,
    order: np.ndarray | None = None,
    ids: Sequence[Any] | None = None,
    block: int = 1024,
) -> Echoes:
    """Compare each row with those before it in its cluster; more than 1 - epsilon is a repeat.

    rule: "earlier" is the official one, where a row leaves even if its only neighbour left before
    it; "kept_only" (ours) keeps one of every chain link. order: float[n], smaller is looked at
    first (the paper: minus the distance to the centroid), ties by id. Rows without a direction
    repeat nothing; their similarity is NaN.
    """
    n = len(vectors)
    keys = np.zeros(n) if order is None else np.asarray(order, dtype=np.float64)
    labels = np.zeros(n, np.int64) if clusters is None else np.asarray(clusters)
    ranked = np.lexsort((id_ranks(ids, n), keys))
    origin, highest = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
    for label in np.unique(labels):
        rows = ranked[labels[ranked] == label]
        _scan_cluster(
            np.asarray(vectors), rows, 1 - epsilon, rule == "earlier", origin, highest, block
        )
    return Echoes(origin, highest)


def _scan_cluster(
    vectors: np.ndarray,
    rows: np.ndarray,
    limit: float,
    all_earlier: bool,
    origin: np.ndarray,
    highest: np.ndarray,
    block: int,
) -> None:
    seen: list[np.ndarray] = []
    grids: list[np.ndarray] = []
    for start in range(0, len(rows), block):
        own = rows[start : start + block]
        grid = unit_grid(vectors[own])
        usable = ~np.isnan(grid).any(axis=1)
        own, grid = own[usable], grid[usable]
        best, where = np.zeros(len(own)), np.full(len(own), -1, dtype=np.int64)
        for earlier, places in zip(grids, seen, strict=True):
            _raise(best, where, cosines(grid, earlier), places)
        within = cosines(grid, grid)
        stays: list[int] = []
        for i, row in enumerate(own.tolist()):
            before = np.arange(i) if all_earlier else np.array(stays, dtype=np.int64)
            _raise(best[i : i + 1], where[i : i + 1], within[i : i + 1, before], own[before])
            highest[row] = best[i]
            if np.float32(best[i]) > np.float32(limit):
                origin[row] = where[i]
            else:
                stays.append(i)
        kept = np.arange(len(own)) if all_earlier else np.array(stays, dtype=np.int64)
        grids.append(grid[kept])
        seen.append(own[kept])


def _raise(best: np.ndarray, where: np.ndarray, found: np.ndarray, places: np.ndarray) -> None:
    """Replace the best so far where a later block has better; equal ones keep the earlier."""
    if found.shape[1]:
        top = found.argmax(axis=1)
        values = found[np.arange(len(found)), top]
        better = values > best
        best[better], where[better] = values[better], places[top[better]]
