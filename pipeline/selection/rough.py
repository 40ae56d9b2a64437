"""Cosines in float32 with a proven error: what they leave open is decided in float64.

Half the bytes and twice the speed of `pipeline.selection.similarity`, whose exact cosines no block
size, thread count or device changes. A float32 cosine further from a threshold than `rough_error`
is on the same side of it as the exact one.
"""

import numpy as np

from pipeline.selection.similarity import cosines, unit_grid

_SAFE = 1e-20  # squared lengths below it lose digits in float32


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return rows of length 1, float32[n, d]; NaN where `unit_grid` finds no direction."""
    rows = vectors.astype(np.float32)
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
        rows *= (1 / np.sqrt(squares))[:, None]
        odd = np.flatnonzero(~((squares > _SAFE) & np.isfinite(squares)))
        if len(odd):
            rows[odd] = unit_grid(vectors[odd]) * 2.0**-26
    return rows


def rough_error(width: int) -> float:
    """Return how far a product of two `unit_rows` may be from the exact cosine of these rows.

    Rounding of the inputs and of `width` additions in any order, doubled (Higham 2002, 3.1).
    """
    return (width + 64) * 2.0**-23


class Kept:
    """Rows kept so far; a row is kept unless it is too like one of them.

    Alike are two rows whose exact cosine, rounded to float32, exceeds the threshold: a cosine of
    exactly 0.9 must not exceed 0.9 by what the grid rounds away.
    """

    def __init__(self, vectors: np.ndarray, threshold: float, *, part: int = 4096) -> None:
        self.rows = np.zeros(0, dtype=np.int64)
        self._vectors, self._threshold, self._part = vectors, np.float32(threshold), part
        error = rough_error(vectors.shape[1])
        self._low, self._high = float(self._threshold) - error, float(self._threshold) + error
        self._units = np.empty((part, vectors.shape[1]), dtype=np.float32)

    def add(self, rows: np.ndarray) -> None:
        """Go down these rows and keep each that is like none kept before it."""
        units = unit_rows(self._vectors[rows])
        for start in range(0, len(self.rows), self._part):
            kept = slice(start, min(start + self._part, len(self.rows)))
            alike = self._alike(rows, units, self.rows[kept], self._units[kept])
            rows, units = _only(np.logical_not(alike.any(axis=1)), rows, units)
        usable: np.ndarray = np.isfinite(units).all(axis=1)
        rows, units = _only(usable, rows, units)
        rows, units = _only(_firsts(self._alike(rows, units, rows, units)), rows, units)
        self._append(rows, units)

    def _alike(
        self, rows: np.ndarray, units: np.ndarray, others: np.ndarray, near: np.ndarray
    ) -> np.ndarray:
        """Return which rows are like which others, bool[rows, others]; NaN is like none."""
        scores = units @ near.T
        alike: np.ndarray = scores > self._high
        unsure = (scores >= self._low) ^ alike
        if unsure.any():
            across, down = np.flatnonzero(unsure.any(axis=1)), np.flatnonzero(unsure.any(axis=0))
            one = unit_grid(self._vectors[rows[across]])
            exact = cosines(one, unit_grid(self._vectors[others[down]])).astype(np.float32)
            alike[np.ix_(across, down)] = exact > self._threshold
        return alike

    def _append(self, rows: np.ndarray, units: np.ndarray) -> None:
        count = len(self.rows)
        self.rows = np.concatenate([self.rows, rows])
        if len(self.rows) > len(self._units):
            more = np.empty((len(self.rows), self._units.shape[1]), dtype=np.float32)
            self._units = np.concatenate([self._units[:count], more])
        self._units[count : len(self.rows)] = units


def _only(keep: np.ndarray, rows: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (rows, units) if keep.all() else (rows[keep], units[keep])


def _firsts(alike: np.ndarray) -> np.ndarray:
    """Return which rows are like none of these that comes before them and is one, bool[n]."""
    is_first = np.zeros(len(alike), dtype=bool)
    is_open = np.ones(len(alike), dtype=bool)
    for row in range(len(alike)):
        if is_open[row]:
            is_first[row] = True
            is_open &= ~alike[row]
    return is_first
