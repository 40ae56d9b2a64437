"""How much to take from each source: projektor (arXiv 2307.02460).

A model of the validation score as a function of mixing ratios and OT distance is fitted at two
small sizes, carried to the full size without new parameters, and climbed on the simplex.
"""

import math

import numpy as np

from pipeline.errors import UserError


def extrapolate(score_small: float, score_large: float, small: int, large: int, size: int) -> float:
    """Carry the scores fitted at two sizes to a third, linearly in the logarithm of the size."""
    if not 0 < small < large or size < 1:
        raise UserError(f"sizes {small}, {large} and {size} must be 0 < first < second, third >= 1")
    up, down = math.log(size / small), math.log(size / large)
    return (up * score_large - down * score_small) / math.log(large / small)


def transport_slope(f: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return the slope of the OT distance in each source's share, float64[sources].

    f: duals of the N rows of the mixture; sources: int[N] from 0. Mass goes to a source and is
    taken evenly from the others, so a constant in f cancels. One source alone has slope 0.
    """
    counts = np.bincount(sources).astype(np.float64)
    own = np.bincount(sources, f)
    others = len(f) - counts
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = np.where(others > 0, counts / others * (f.sum() - own), own)
        slopes: np.ndarray = np.where(counts > 0, (own - rest) / counts, np.nan)
    return slopes


def predicted_score(
    shares: np.ndarray, distance: float, by_distance: np.ndarray, plain: np.ndarray
) -> float:
    """Return stage 1's score of a mixture at one size.

    by_distance, plain: float[3 rows (square, linear, constant), sources]; the constants count once
    a source, as in the paper's sum (section 3.1), so a shared constant is repeated.
    """
    powers = np.stack([np.square(shares), np.asarray(shares), np.ones(len(shares))])
    return float((by_distance * powers).sum() * distance + (plain * powers).sum())


def project_to_simplex(shares: np.ndarray) -> np.ndarray:
    """Return the nearest point of the simplex (all >= 0, sum 1), which the official code omits."""
    values = np.asarray(shares, dtype=np.float64)
    ordered = np.sort(values)[::-1]
    surplus = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    cut = surplus[np.flatnonzero(ordered > surplus)[-1]]
    projected: np.ndarray = np.maximum(values - cut, 0.0)
    return projected
