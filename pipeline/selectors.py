"""Choose rows: arrays in, row numbers out, best first. Knows nothing of files or tables.

Degenerate input means the same to all of them (`pipeline.selection.eligibility`); given ids, a
selection is the same set of ids whatever the order of the rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.eligibility import bound, chances, id_ranks
from pipeline.selection.rough import Kept


class Turns(NamedTuple):
    """Rows in the order taken, which list took each, and in which of its turns."""

    rows: np.ndarray
    pickers: np.ndarray
    rounds: np.ndarray


def top_k(
    scores: np.ndarray, k: int, *, ids: Sequence[Any] | None = None, largest: bool = True
) -> np.ndarray:
    """Return the k rows of highest score (lowest with `largest=False`), int64[k]."""
    scores = np.asarray(scores, dtype=np.float64)
    order = np.lexsort((id_ranks(ids, len(scores)), -scores if largest else scores))
    order = order[np.isfinite(scores[order])]
    chosen: np.ndarray = order[: bound(k, len(order))]
    return chosen


def round_robin(
    scores: np.ndarray,
    k: int,
    *,
    tasks: Sequence[Any] | None = None,
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Let queries take turns, each taking the next row of its ranking, until k rows are taken.

    scores: float[queries, rows]. With `tasks` (one label a query) the tasks take turns instead, in
    order of first appearance, by the highest score of their queries. A query whose next row is
    already taken loses that turn (RDS+, arXiv 2503.01807, algorithm 1 and official code).
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if tasks is not None:
        if len(tasks) != len(scores):
            raise UserError(
                f"there are {len(tasks)} tasks for {len(scores)} queries; give one each"
            )
        finite = np.where(np.isfinite(scores), scores, np.nan)
        groups = [[q for q, t in enumerate(tasks) if t == one] for one in dict.fromkeys(tasks)]
        scores = np.array([np.fmax.reduce(finite[group]) for group in groups])
    depth = bound(k, scores.shape[1])
    ranked = np.full((len(scores), depth), -1, dtype=np.int64)
    for line, own in zip(ranked, scores, strict=True):
        best = top_k(own, depth, ids=ids)
        line[: len(best)] = best
    return take_turns(ranked, k).rows


def take_turns(ranked: np.ndarray, k: int) -> Turns:
    """Merge rankings, int64[lists, depth] padded by -1, as `round_robin` does.

    A depth of k is always enough: after k turns one list alone has given k distinct rows.
    """
    rows, first = np.unique(ranked.T, return_index=True)
    order = np.argsort(first[rows >= 0])[: bound(k, int((rows >= 0).sum()))]
    first = first[rows >= 0][order]
    lists = max(len(ranked), 1)
    return Turns(rows[rows >= 0][order], first % lists, first // lists)


def apportion(
    total: int, weights: np.ndarray, caps: np.ndarray | Sequence[int] | None = None
) -> np.ndarray:
    """Share `total` rows in proportion to weights, int64: largest remainder, ties to the first.

    A share above its cap is cut and the rest goes to the others by weight; all zero weights count
    as equal; a total above the sum of the caps gives the caps.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UserError(f"weights {weights.tolist()} to share {total} rows by must be 0 or more")
    limits = np.full(len(weights), bound(total, total)) if caps is None else np.asarray(caps)
    if len(limits) != len(weights) or (limits < 0).any():
        raise UserError(f"{len(limits)} caps for {len(weights)} weights: one of 0 or more each")
    shares = np.zeros(len(weights), dtype=np.int64)
    left = bound(total, int(limits.sum()))
    is_open = limits > 0
    while left:
        by = np.where(is_open, weights, 0.0)
        if not by.any():
            by = is_open.astype(np.float64)
        quotas = left * (by / by.sum())
        full = is_open & (quotas >= limits)
        if not full.any():
            shares += _round_to(left, quotas)
            break
        shares[full] = limits[full]
        left -= int(limits[full].sum())
        is_open &= ~full
    return shares


def _round_to(total: int, quotas: np.ndarray) -> np.ndarray:
    floors: np.ndarray = np.floor(quotas + 1e-9).astype(np.int64)
    remainders = np.round(quotas - floors, 9)
    floors[np.argsort(-remainders, kind="stable")[: total - int(floors.sum())]] += 1
    return floors


def draw(weights: np.ndarray, k: int, *, seed: int, ids: Sequence[Any] | None = None) -> np.ndarray:
    """Draw k rows without replacement with chances in proportion to weights, in order of draw.

    Each row's luck depends on the seed and its id alone (exponential races: Efraimidis and
    Spirakis, 2006). Rows of weight 0 come after all others, uniformly; so all zero is uniform.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if (weights < 0).any():
        raise UserError(f"weights of {len(weights)} rows to draw by: {weights.min():g} is below 0")
    ranks = id_ranks(ids, len(weights))
    waits = -np.log(chances(ids, len(weights), seed))
    with np.errstate(divide="ignore", over="ignore"):
        order = np.lexsort((ranks, waits, np.where(weights > 0, waits / weights, np.inf)))
    order = order[np.isfinite(weights[order])]
    chosen: np.ndarray = order[: bound(k, len(order))]
    return chosen


def spread(
    vectors: np.ndarray,
    scores: np.ndarray,
    k: int | None = None,
    *,
    threshold: float = 0.9,
    ids: Sequence[Any] | None = None,
    block: int = 1024,
) -> np.ndarray:
    """Go down the ranking; keep a row unless its cosine to a row already kept exceeds `threshold`.

    DEITA's Repr Filter (arXiv 2312.15685, section 2.4). Compared are kept rows only, by exact
    cosines, so the block size changes the speed and nothing else.
    """
    vectors, scores = np.asarray(vectors), np.asarray(scores, dtype=np.float64)
    order = top_k(scores, len(scores), ids=ids)
    limit = bound(k, len(order))
    kept = Kept(vectors, threshold)
    for start in range(0, len(order), block):
        if len(kept.rows) >= limit:
            break
        kept.add(order[start : start + block])
    return kept.rows[:limit]
