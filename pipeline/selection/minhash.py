"""Near-duplicates in large pools: MinHash signatures, LSH bands, an exact check of each candidate.

A signature can only miss a pair, never invent one: what shares a band is compared by the Jaccard
similarity of all its word 5-grams (as 64-bit hashes) before it counts. Only rows that share a band
with another are looked at one by one.
Method and band shapes: the curation tools compared in datatrove, text-dedup and SelfCodeAlign.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.selection.grams import Grams, hash_grams, join, mix, portions, sign


class Match(NamedTuple):
    """The row that a row repeats, by id, and their Jaccard similarity."""

    duplicate_of: str
    similarity: float


class Bands(NamedTuple):
    """The shape of an LSH index: `bands` bands of `rows` hash values each."""

    bands: int = 14
    rows: int = 8


class _Run(NamedTuple):
    """Band keys of some rows, sorted in each band, uint64[bands, n], and whose they are, int32."""

    keys: np.ndarray
    rows: np.ndarray


class NearIndex:
    """Texts seen so far, by id: add an increment and learn what each row of it repeats.

    Every text is compared with texts that were kept (those that repeated nothing), in the order of
    the calls: rows already in the index win over an increment. Memory: 12 bytes a band and 8 a word
    of a kept row, and its id; twice as much of a row of the call.
    """

    def __init__(self, threshold: float = 0.8, shape: Bands = Bands()) -> None:  # noqa: B008
        if not 0 < threshold <= 1:
            raise UserError(f"Jaccard threshold {threshold} is not above 0 and at most 1")
        self.threshold, self.shape = threshold, shape
        self._ids: list[str] = []
        self._known: set[str] = set()
        self._grams: list[Grams] = []  # a call each
        self._ends: list[int] = []  # how many rows were kept by then
        self._runs: list[_Run] = []  # each more than twice as long as the next

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._known

    def add(
        self, ids: Sequence[str], texts: Sequence[str], *, priority: Sequence[float] | None = None
    ) -> list[Match | None]:
        """Add texts; for each the kept one it repeats, None if it is kept itself.

        Within the call rows of higher priority, then of lower id, are kept first: the outcome does
        not depend on their order. A row's match is its most similar kept row (ties: lower id).
        Raises UserError for an id given twice or already kept.
        """
        if len(set(ids)) != len(ids) or any(one in self for one in ids):
            raise UserError(
                f"{len(ids)} rows to deduplicate have {len(set(ids))} ids, "
                f"{sum(one in self for one in ids)} of them in the index already; give new ids"
            )
        grams, keys = _read(texts, self.shape)
        run = _sort(keys, np.broadcast_to(np.arange(len(ids), dtype=np.int32), keys.shape))
        shared, buckets = self._meet(run)
        some = np.flatnonzero(shared.any(axis=0))
        keys, shared = keys[:, some], shared[:, some]  # most rows share nothing and are kept
        matches: list[Match | None] = [None] * len(ids)
        rank = [0.0] * len(ids) if priority is None else [-float(p) for p in priority]
        places = dict(enumerate(some.tolist()))
        for i, place in sorted(places.items(), key=lambda at: (rank[at[1]], ids[at[1]])):
            own = keys[shared[:, i], i].tolist()
            near = {row for key in own for row in buckets.get(key, ())}
            matches[place] = self._nearest(grams, ids, place, near)
            if matches[place] is None:
                for key in own:
                    buckets.setdefault(key, []).append(len(self._ids) + place)
        self._keep(ids, np.array([match is None for match in matches], dtype=bool), grams, run)
        return matches

    def _meet(self, run: _Run) -> tuple[np.ndarray, dict[int, list[int]]]:
        """Return which keys are another row's too, bool[bands, n], and kept rows by such a key."""
        shared = np.zeros(run.keys.shape, dtype=bool)
        buckets: dict[int, list[int]] = {}
        for band, (keys, rows) in enumerate(zip(run.keys, run.rows, strict=True)):
            twice = keys[1:] == keys[:-1]
            shared[band, rows[1:][twice]] = shared[band, rows[:-1][twice]] = True
            for earlier in self._runs:
                theirs = earlier.keys[band]
                found = theirs.take(np.searchsorted(theirs, keys), mode="clip") == keys
                shared[band, rows[found]] = True
                for key in np.unique(keys[found]):
                    low, high = np.searchsorted(theirs, key), np.searchsorted(theirs, key, "right")
                    held = buckets.setdefault(int(key), [])
                    held += earlier.rows[band, low:high].tolist()
        return shared, buckets

    def _nearest(
        self, grams: Grams, ids: Sequence[str], place: int, near: set[int]
    ) -> Match | None:
        """Return the most similar of the rows nearby (numbers from len(self._ids) are places)."""
        kept, own = len(self._ids), grams.of(place) if near else np.zeros(0)
        best: Match | None = None
        for row in near:
            one = ids[row - kept] if row >= kept else self._ids[row]
            theirs = grams.of(row - kept) if row >= kept else self._grams_of(row)
            found = Match(one, _jaccard(own, theirs))
            is_closer = best is None or (-found.similarity, one) < (-best.similarity, best[0])
            if found.similarity >= self.threshold and is_closer:
                best = found
        return best

    def _grams_of(self, row: int) -> np.ndarray:
        call = bisect_right(self._ends, row)
        return self._grams[call].of(row - (self._ends[call - 1] if call else 0))

    def _keep(self, ids: Sequence[str], kept: np.ndarray, grams: Grams, run: _Run) -> None:
        if not kept.any():
            return
        numbers = np.cumsum(kept, dtype=np.int32) + np.int32(len(self._ids) - 1)
        here = kept[run.rows]
        shape = (len(run.rows), int(kept.sum()))
        new = _Run(run.keys[here].reshape(shape), numbers[run.rows[here]].reshape(shape))
        while self._runs and self._runs[-1].rows.shape[1] <= 2 * new.rows.shape[1]:
            old = self._runs.pop()
            new = _sort(*(np.hstack(parts) for parts in zip(old, new, strict=True)))
        self._runs.append(new)
        self._grams.append(grams.only(kept))
        self._ids += [ids[place] for place in np.flatnonzero(kept).tolist()]
        self._known.update(self._ids[len(self._ids) - shape[1] :])
        self._ends.append(len(self._ids))


def _read(texts: Sequence[str], shape: Bands) -> tuple[Grams, np.ndarray]:
    """Return the texts' grams and their band keys, uint64[bands, n]."""
    grams, keys = [], [np.zeros((shape.bands, 0), dtype=np.uint64)]
    for part in portions(texts):
        grams.append(hash_grams(texts[part]))
        keys.append(_band_keys(sign(grams[-1], shape.bands * shape.rows), shape))
    return join(grams), np.hstack(keys)


def _band_keys(signatures: np.ndarray, shape: Bands) -> np.ndarray:
    """Return a hash of each band of a signature and of the band's number."""
    keys = np.arange(shape.bands, dtype=np.uint64)[:, None]
    for values in signatures.reshape(shape.bands, shape.rows, -1).swapaxes(0, 1):
        keys = mix(keys ^ values)
    return keys


def _sort(keys: np.ndarray, rows: np.ndarray) -> _Run:
    run = _Run(np.empty_like(keys), np.empty(rows.shape, dtype=rows.dtype))
    for band, own in enumerate(keys):
        order = np.argsort(own)
        run.keys[band], run.rows[band] = own[order], rows[band][order]
    return run


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    shared = np.count_nonzero(other.take(np.searchsorted(other, one), mode="clip") == one)
    return float(shared / (len(one) + len(other) - shared))


def candidate_chance(similarity: float, shape: Bands) -> float:
    """Return the probability that two texts of a Jaccard similarity share a band."""
    return 1.0 - (1.0 - similarity**shape.rows) ** shape.bands


def best_bands(threshold: float, size: int) -> Bands:
    """Return the shape of at most `size` values with the least false positives plus negatives.

    The integrals of the miss and false-alarm curves about the threshold, weighed equally, as
    text-dedup and datasketch choose: 250 values at 0.7 give 25 x 10.
    """
    below = (np.arange(1000) + 0.5) / 1000 * threshold
    above = threshold + (np.arange(1000) + 0.5) / 1000 * (1 - threshold)

    def error(shape: Bands) -> float:
        alarms = np.mean(1 - (1 - below**shape.rows) ** shape.bands) * threshold
        misses = np.mean((1 - above**shape.rows) ** shape.bands) * (1 - threshold)
        return float(alarms + misses)

    shapes = [Bands(b, r) for b in range(1, size + 1) for r in range(1, size // b + 1)]
    return min(shapes, key=error)
