"""Near-duplicates in large pools: MinHash signatures, LSH bands, an exact check of each candidate.

The signatures come from rensa; a wrong one can only miss a pair, never invent one, because what
shares a band is compared by the Jaccard similarity of all its word 5-grams (as 64-bit hashes)
before it counts.
Method and band shapes: the curation tools compared in datatrove, text-dedup and SelfCodeAlign.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from pipeline.dedup import normalise, shingles
from pipeline.errors import UserError

_SEED = 1


class Match(NamedTuple):
    """The row that a row repeats, by id, and their Jaccard similarity."""

    duplicate_of: str
    similarity: float


class Bands(NamedTuple):
    """The shape of an LSH index: `bands` bands of `rows` hash values each."""

    bands: int = 14
    rows: int = 8


class NearIndex:
    """Texts seen so far, by id: add an increment and learn what each row of it repeats.

    Every text is compared with texts that were kept (those that repeated nothing), in the order of
    the calls: rows already in the index win over an increment. Memory: about 5 kB a kept row.
    """

    def __init__(self, threshold: float = 0.8, shape: Bands = Bands()) -> None:  # noqa: B008
        if not 0 < threshold <= 1:
            raise UserError(f"Jaccard threshold {threshold} is not above 0 and at most 1")
        self.threshold, self.shape = threshold, shape
        self._buckets: dict[int, list[str]] = {}
        self._grams: dict[str, np.ndarray] = {}
        self._exact: dict[int, str] = {}

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._grams

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
        grams = [hash_grams(text) for text in texts]
        keys = self._keys(grams)
        matches: list[Match | None] = [None] * len(ids)
        rank = [0.0] * len(ids) if priority is None else [-float(p) for p in priority]
        for place in sorted(range(len(ids)), key=lambda i: (rank[i], ids[i])):
            matches[place] = self._place(ids[place], texts[place], grams[place], keys[place])
        return matches

    def _place(
        self, row_id: str, text: str, grams: np.ndarray, keys: Sequence[int]
    ) -> Match | None:
        exact = self._exact.get(_digest(text))
        if exact is not None:
            return Match(exact, 1.0)
        near = {other for key in keys for other in self._buckets.get(key, ())}
        found = [(_jaccard(grams, self._grams[other]), other) for other in near]
        found = [pair for pair in found if pair[0] >= self.threshold]
        if found:
            similarity, other = min(found, key=lambda pair: (-pair[0], pair[1]))
            return Match(other, similarity)
        self._exact[_digest(text)] = row_id
        self._grams[row_id] = grams
        for key in keys:
            self._buckets.setdefault(key, []).append(row_id)
        return None

    def _keys(self, grams: Sequence[np.ndarray]) -> list[list[int]]:
        signatures = sign(grams, self.shape.bands * self.shape.rows)
        parts = signatures.reshape(len(grams), self.shape.bands, self.shape.rows)
        return [
            [xxhash.xxh3_64_intdigest(band.tobytes(), seed=b) for b, band in enumerate(row)]
            for row in parts
        ]


def hash_grams(text: str) -> np.ndarray:
    """Return the xxh3-64 of each distinct word 5-gram of a text, uint64, sorted."""
    hashes = (xxhash.xxh3_64_intdigest("\x1f".join(gram).encode()) for gram in shingles(text))
    return np.unique(np.fromiter(hashes, np.uint64))


def sign(grams: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Return MinHash signatures of hashed sets, uint32[n, size].

    The share of equal values in two rows estimates the Jaccard similarity of their sets.
    """
    import rensa

    if not grams:
        return np.zeros((0, size), dtype=np.uint32)
    hashes = [own.tolist() for own in grams]
    rows = rensa.RMinHash.digest_matrix_from_token_hash_sets(hashes, size, _SEED).to_rows()
    return np.array(rows, dtype=np.uint32)


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


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


def _digest(text: str) -> int:
    return xxhash.xxh3_128_intdigest(normalise(text).encode())
