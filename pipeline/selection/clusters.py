"""k-means, its k, and nearest neighbours over feature vectors, with faiss.

Centroids are trained on a sample (`sample_vectors`) and rows assigned block by block, so a pool may
exceed memory. On a
machine with a GPU build of faiss the training runs there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound, chances, id_ranks
from pipeline.selection.similarity import unit_grid
from pipeline.vectors import Features

_POINTS_A_CENTROID = 256  # faiss itself uses no more
_BLOCK = 16_384  # rows looked at together


def k_means(
    vectors: np.ndarray,
    k: int,
    *,
    seed: int = 0,
    iterations: int = 25,
    restarts: int = 1,
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Train k centroids, float32[k, d]: plain Euclidean on at most 256 k rows drawn by seed.

    Give rows of length 1 if cosine is meant. kMQ's paper uses 300 iterations, 5 restarts. Raises
    UserError if fewer than k usable (finite) rows are there.
    """
    import faiss

    vectors = np.asarray(vectors)
    usable = np.flatnonzero(_finite(vectors))
    if not 1 <= k <= len(usable):
        raise UserError(f"k = {k} clusters of {len(usable)} usable rows; take 1 to that many")
    named = [ids[row] for row in usable.tolist()] if ids is not None else None
    order = np.argsort(chances(named, len(usable), seed), kind="stable")
    sample = usable[order[: _POINTS_A_CENTROID * k]]
    trained = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=iterations,
        nredo=restarts,
        seed=seed & 0x7FFFFFFF,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_A_CENTROID,
        gpu=getattr(faiss, "get_num_gpus", lambda: 0)() > 0,
    )
    trained.train(np.ascontiguousarray(vectors[sample], dtype=np.float32))
    return np.asarray(trained.centroids)


def sample_vectors(pool: Features, rows: int, *, seed: int = 0) -> np.ndarray:
    """Return `rows` vectors drawn by seed and id, float[rows, d], whatever the shards."""
    ids = pool.ids()
    order = np.lexsort((id_ranks(ids, len(ids)), chances(ids, len(ids), seed)))
    chosen = np.sort(order[: bound(rows, len(ids))])
    parts = []
    for first, view in pool.blocks(4096):
        low, high = np.searchsorted(chosen, [first, first + len(view)])
        parts.append(np.asarray(view)[chosen[low:high] - first])
    return np.concatenate([np.zeros((0, pool.width), pool.identity.dtype), *parts])


def assign(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the nearest centroid of each row, int64[n]; -1 for a row that is not finite."""
    import faiss

    vectors, centroids = np.asarray(vectors), np.ascontiguousarray(centroids, np.float32)
    found = np.full(len(vectors), -1, dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        rows = np.ascontiguousarray(vectors[start : start + _BLOCK], dtype=np.float32)
        usable = np.flatnonzero(_finite(rows))
        if len(usable):
            _, nearest = faiss.knn(rows[usable], centroids, 1)
            found[start + usable] = nearest[:, 0]
    return found


def _finite(vectors: np.ndarray) -> np.ndarray:
    """Return which rows are finite throughout, bool[n], with little memory."""
    starts = range(0, len(vectors), _BLOCK)
    parts = [np.isfinite(vectors[start : start + _BLOCK]).all(axis=1) for start in starts]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


def choose_k(
    vectors: np.ndarray, candidates: Sequence[int], *, seed: int = 0, sample: int = 5_000
) -> int:
    """Return the k of highest mean silhouette on a seeded sample; ties to the smaller k.

    As kMQ picks its clusters before any training (arXiv 2409.11378, section 3). O(sample ** 2).
    """
    order = np.argsort(chances(None, len(vectors), seed), kind="stable")[:sample]
    chosen = np.asarray(vectors, dtype=np.float32)[np.sort(order)]
    return max(sorted(candidates), key=lambda k: silhouette(chosen, k, seed=seed))


def silhouette(vectors: np.ndarray, k: int, *, seed: int = 0) -> float:
    """Return the mean silhouette of k-means with k clusters; -1 if only one is not empty."""
    from sklearn.metrics import silhouette_score

    labels = assign(vectors, k_means(vectors, k, seed=seed, iterations=300, restarts=5))
    found = len(np.unique(labels))
    return float(silhouette_score(vectors, labels)) if 1 < found < len(vectors) else -1.0


def neighbours(vectors: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's `depth` most similar other rows and their cosines, [n, depth] each.

    Exact search, float32. Rows without a direction have neighbours -1 and cosine NaN.
    """
    import faiss

    units = (unit_grid(vectors) * 2.0**-26).astype(np.float32)
    usable = np.flatnonzero(~np.isnan(units).any(axis=1))
    depth = min(depth, max(len(usable) - 1, 0))
    rows = np.full((len(units), depth), -1, dtype=np.int64)
    similarities = np.full((len(units), depth), np.nan, dtype=np.float32)
    if depth:
        own = np.ascontiguousarray(units[usable])
        found, near = faiss.knn(own, own, depth + 1, metric=faiss.METRIC_INNER_PRODUCT)
        # A row's own place is not always first: a duplicate may stand before it.
        near = np.where(near == np.arange(len(own))[:, None], -1, near)
        others = np.argsort(near < 0, axis=1, kind="stable")[:, :depth]
        rows[usable] = usable[np.take_along_axis(near, others, axis=1)]
        similarities[usable] = np.take_along_axis(found, others, axis=1)
    return rows, similarities
