"""Selection by cluster: a budget for each, a weighted draw inside, weights that learn by round.

kMQ and its iterative form (arXiv 2409.11378; `for-ai/iterative-data-selection`), and the cluster
sample of Cherry LLM's pre-experience step (arXiv 2308.12032). Paper and code disagree often:
"sound" is ours, "paper" and "code" reproduce them.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound, id_ranks
from pipeline.selectors import apportion, draw

Mode = Literal["sound", "paper", "code"]


def draw_by_cluster(
    quality: np.ndarray,
    clusters: np.ndarray,
    k: int,
    *,
    seed: int,
    mode: Mode = "sound",
    weights: np.ndarray | None = None,
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Draw k rows: a budget for each cluster, then rows in it by quality, int64, by cluster.

    sound: budgets in proportion to `weights` (default: usable rows), largest remainder, capped by
    cluster size and redistributed; chances in proportion to quality, without replacement.
    paper: the same budgets without caps, drawn with replacement, so rows may repeat.
    code: int(k / clusters) each, the remainder lost, shortfalls too; chances by softmax of quality
    cut to whole numbers; NumPy's RandomState(seed) in order of the clusters.
    Rows of cluster -1 or without a finite quality are never drawn.
    """
    quality, labels = np.asarray(quality, np.float64), np.asarray(clusters)
    ranks = id_ranks(ids, len(quality))
    usable = np.isfinite(quality) & (labels >= 0)
    names = np.unique(labels[labels >= 0])
    order = np.flatnonzero(usable)
    order = order[np.lexsort((ranks[order], labels[order]))]
    members = np.split(order, np.searchsorted(labels[order], names[1:]))
    sizes = np.array([len(rows) for rows in members], dtype=np.int64)
    if not len(names) or k == 0:
        return np.zeros(bound(0, 0), dtype=np.int64)
    shares = _shares(k, sizes, mode, weights)
    random = np.random.RandomState(seed % 2**32)
    chosen = []
    for rows, share in zip(members, shares.tolist(), strict=True):
        if mode == "sound":
            named = rows.tolist() if ids is None else [ids[row] for row in rows.tolist()]
            chosen.append(rows[draw(quality[rows], share, seed=seed, ids=named)])
        elif len(rows):
            by = _softmax(np.trunc(quality[rows])) if mode == "code" else _share(quality[rows])
            picks = random.choice(len(rows), share, replace=mode == "paper", p=by)
            chosen.append(rows[picks])
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def _shares(k: int, sizes: np.ndarray, mode: Mode, weights: np.ndarray | None) -> np.ndarray:
    if mode == "code":
        equal: np.ndarray = np.minimum(k // len(sizes), sizes)
        return equal
    by = sizes if weights is None else np.asarray(weights)
    return apportion(k, by, sizes if mode == "sound" else None)


def _share(quality: np.ndarray) -> np.ndarray:
    by = quality if quality.sum() > 0 else np.ones(len(quality))
    found: np.ndarray = by / by.sum()
    return found


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(initial=-np.inf))
    found: np.ndarray = powers / powers.sum()
    return found


def reweight(
    weights: np.ndarray, gains: np.ndarray, *, mode: Mode = "sound", scale: float = 1.0
) -> np.ndarray:
    """Return the clusters' weights for the next round, float64[clusters], from their mean gains.

    A gain is score(gold) - score(generated), NaN where no row of the cluster was drawn.
    sound: w softmax(gain / scale), renormalised; a cluster without a gain keeps its share.
    paper: w gain / sum of gains (equation 6), which sums to less than 1 and needs gains > 0.
    code: softmax(gain), earlier weights ignored; a missing cluster is an error, as it is there.
    """
    weights, gains = np.asarray(weights, np.float64), np.asarray(gains, np.float64)
    if len(weights) != len(gains) or (mode != "sound" and np.isnan(gains).any()):
        missing = int(np.isnan(gains).sum())
        raise UserError(f"{len(gains)} gains, {missing} missing, for {len(weights)} clusters")
    if mode == "code":
        return _softmax(gains)
    if mode == "paper":
        literal: np.ndarray = weights * gains / gains.sum()
        return literal
    seen = ~np.isnan(gains)
    after = weights.copy()
    if seen.any():
        moved = weights[seen] * np.exp((gains[seen] - gains[seen].max()) / scale)
        after[seen] = moved * (weights[seen].sum() / moved.sum())
    found: np.ndarray = after / after.sum()
    return found


def band_by_cluster(
    scores: np.ndarray,
    clusters: np.ndarray,
    per_cluster: int,
    *,
    low: float = 25,
    high: float = 75,
    mode: Mode = "sound",
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Take rows of each cluster evenly by rank from a percentile band of their scores, int64.

    Rows with low <= percentile <= high are sorted by score and taken at equal steps; a cluster with
    fewer than `per_cluster` of them gives all. code: steps in row order, and such a cluster gives
    none.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(clusters)
    ranks = id_ranks(ids, len(scores))
    chosen: list[int] = []
    for name in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero((labels == name) & np.isfinite(scores))
        if not len(rows) or per_cluster < 1:
            continue
        floor, ceiling = np.percentile(scores[rows], [low, high])
        rows = rows[(scores[rows] >= floor) & (scores[rows] <= ceiling)]
        if mode == "sound":
            rows = rows[np.lexsort((ranks[rows], scores[rows]))]
        if len(rows) >= per_cluster:
            rows = rows[:: len(rows) // per_cluster][:per_cluster]
        elif mode == "code":
            continue
        chosen += rows.tolist()
    return np.array(chosen, dtype=np.int64)
