"""Queries and documents for retrieval: consistent pairs and hard negatives (CoRNStack).

Suresh et al., ICLR 2025, arXiv 2412.01007; the curation code was not released. Similarities are
float32 [b, n]: a block of queries against all documents, of which `own[i]` belongs to query i.
Documents are distinct (`pipeline.dedup`): an equal document is no negative.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.schema import trial_seed
from pipeline.selectors import draw

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class Mined(NamedTuple):
    """For each query: its document's similarity and rank, the places and similarities of negatives.

    The lists are empty where every candidate looks like a document that answers the query too.
    """

    scores: NDArray[np.float32]
    ranks: Places
    negatives: list[list[int]]
    negative_scores: list[list[float]]


def strict_ranks(similarities: ArrayLike, own: ArrayLike) -> Places:
    """Return how many documents are strictly more similar than the query's own, int64 [b]."""
    values = np.asarray(similarities)
    mine = np.take_along_axis(values, np.asarray(own)[:, None], axis=1)
    ranks: Places = (values > mine).sum(axis=1).astype(np.int64)
    return ranks


def is_consistent(
    scores: ArrayLike, ranks: ArrayLike, *, k: int = 2, least: float = 0.7
) -> NDArray[np.bool_]:
    """Return which pairs hold: the document is among the query's k best, and similar enough."""
    kept: NDArray[np.bool_] = (np.asarray(ranks) < k) & (np.asarray(scores) > least)
    return kept


def negative_candidates(
    similarities: ArrayLike, own: ArrayLike, *, margin: float = 0.95
) -> NDArray[np.bool_]:
    """Return (bool [b, n]) which documents may be negatives: less than `margin` times the own.

    The form of this filter and its value were not found; both are ours.
    """
    values = np.asarray(similarities)
    places = np.asarray(own)[:, None]
    mine = np.take_along_axis(values, places, axis=1)
    allowed: NDArray[np.bool_] = values < margin * mine
    np.put_along_axis(allowed, places, False, axis=1)
    return allowed


def negative_chances(similarities: ArrayLike, temperature: float) -> Floats:
    """Return softmax(similarities / temperature), float64; safe for any temperature above 0."""
    values = np.asarray(similarities, np.float64)
    powers = np.exp((values - values.max()) / temperature)
    chances: Floats = powers / powers.sum()
    return chances


def anneal(progress: float, *, start: float = 0.05, end: float = 0.001) -> float:
    """Return the temperature at a share of training, linearly (the paper's shape: not found)."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def mine(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    own: ArrayLike,
    ids: list[str],
    *,
    negatives: int = 4,
    pool: int = 100,
    margin: float = 0.95,
    temperature: float = 0.05,
    seed: int = 0,
    block: int = 1024,
) -> Mined:
    """Rank every query's document and draw its negatives, a block of queries at a time.

    queries: float32 [q, d], documents: float32 [n, d], unit length; NaN rows are never similar.
    `pool` most similar candidates take part in the draw, which is without replacement and depends
    on the seed and the query's id alone.
    """
    places = np.asarray(own, np.int64)
    found = Mined(np.zeros(len(ids), np.float32), np.zeros(len(ids), np.int64), [], [])
    for start in range(0, len(ids), block):
        rows = slice(start, start + block)
        similar = queries[rows] @ documents.T
        similar[np.isnan(similar)] = -np.inf
        found.scores[rows] = np.take_along_axis(similar, places[rows][:, None], axis=1)[:, 0]
        found.ranks[rows] = strict_ranks(similar, places[rows])
        allowed = negative_candidates(similar, places[rows], margin=margin)
        for line, mask, id_ in zip(similar, allowed & np.isfinite(similar), ids[rows], strict=True):
            near = _nearest(line, mask, pool)
            taken = near[:0]
            if len(near):
                chances = negative_chances(line[near], temperature)
                drawn = trial_seed(seed, id_, "cornstack", 0)
                taken = near[draw(chances, negatives, seed=drawn)]
            found.negatives.append(taken.tolist())
            found.negative_scores.append(line[taken].astype(np.float64).tolist())
    return found


def _nearest(similar: NDArray[np.float32], mask: NDArray[np.bool_], pool: int) -> Places:
    candidates = np.flatnonzero(mask)
    order = np.argsort(-similar[candidates], kind="stable")[:pool]
    nearest: Places = candidates[order]
    return nearest
