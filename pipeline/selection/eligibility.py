"""What every selector does with degenerate input, said once.

k < 0                 UserError
k = 0, empty table    no rows
k > eligible rows     all of them, in the selector's order; the caller compares the lengths
NaN or infinite       a row with such a score or component is never chosen
zero vector           never chosen where similarity is a cosine; a point like any other where it
                      is a distance
ties                  by id, without ids by row number
duplicate ids         UserError: ids are digests of content, so deduplicate first
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash

from pipeline.errors import UserError
from pipeline.schema import canonical


def bound(k: int | None, eligible: int) -> int:
    """Return how many rows to choose: k (None: no limit), at most the eligible ones."""
    if k is not None and k < 0:
        raise UserError(f"k = {k} of {eligible} rows: k must be at least 0")
    return eligible if k is None else min(int(k), eligible)


def id_ranks(ids: Sequence[Any] | None, n: int) -> np.ndarray:
    """Return the place of each row's id in sorted order, int64[n]; the row number without ids."""
    if ids is None:
        return np.arange(n)
    if len(ids) != n:
        raise UserError(f"there are {len(ids)} ids for {n} rows; give one id a row")
    named = np.asarray(ids)
    order = np.argsort(named, kind="stable")
    same = np.flatnonzero(named[order[1:]] == named[order[:-1]]) if n else np.zeros(0, np.int64)
    if len(same):
        one, other = sorted(order[same[0] : same[0] + 2].tolist())
        raise UserError(f"id '{named[one]}' is that of rows {one} and {other}; deduplicate first")
    ranks = np.empty(n, dtype=np.int64)
    ranks[order] = np.arange(n)
    return ranks


def chances(ids: Sequence[Any] | None, n: int, seed: int) -> np.ndarray:
    """Return a uniform draw in (0, 1) for each row, float64[n]: a function of seed and id alone."""
    named = range(n) if ids is None else [str(one) for one in ids]
    drawn = [xxhash.xxh3_64_intdigest(canonical([seed, one])) >> 11 for one in named]
    return (np.array(drawn, dtype=np.float64) + 0.5) / 2.0**53


def rows_for_share(n: int, share: float) -> int:
    """Return int(share * n), the rows that a share of the surviving n rows stands for.

    Raises UserError for a share above 1, and at 0 rows: slices such as `[-0:]` would silently take
    everything (the official scripts of CoLoR-Filter and Cherry do).
    """
    if share > 1:
        raise UserError(f"a share of {share:g} is more than all {n} rows; take one of at most 1")
    k = int(share * n + 1e-9)
    if k < 1:
        raise UserError(f"a share of {share:g} of {n} rows is less than 1 row; take a larger share")
    return k
