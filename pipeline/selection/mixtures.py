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


def fit_score(
    shares: np.ndarray, distances: np.ndarray, scores: np.ndarray, *, ridge: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Fit stage 1 to measured mixtures of one size; the two tables of `predicted_score`.

    shares: float[mixtures, sources]. Ridge on all but the constants, since there are seldom three
    times as many mixtures as coefficients. Mixtures whose score is NaN are left out.
    """
    seen = np.isfinite(scores)
    p, far, y = shares[seen], distances[seen], scores[seen]
    m = p.shape[1]
    powers = np.concatenate([np.square(p), p, np.ones((len(p), 1))], axis=1)
    features = np.concatenate([powers * far[:, None], powers], axis=1)
    penalty = np.full(features.shape[1], ridge)
    penalty[-1] = 0.0
    normal = features.T @ features + np.diag(penalty)
    found = np.linalg.lstsq(normal, features.T @ y, rcond=None)[0]
    tables = []
    for part in np.split(found, 2):
        tables.append(np.stack([part[:m], part[m : 2 * m], np.full(m, part[-1] / m)]))
    return tables[0], tables[1]


def score_slope(
    shares: np.ndarray,
    distance: float,
    distance_slope: np.ndarray,
    by_distance: np.ndarray,
    plain: np.ndarray,
) -> np.ndarray:
    """Return the slope of `predicted_score` in each source's share, float64[sources].

    distance_slope: `transport_slope` of the mixture; NaN (a source without rows in it) counts as 0.
    """
    p = np.asarray(shares, dtype=np.float64)
    grow = np.stack([2 * p, np.ones(len(p)), np.zeros(len(p))])
    powers = np.stack([np.square(p), p, np.ones(len(p))])
    far = np.nan_to_num(np.asarray(distance_slope, dtype=np.float64))
    own: np.ndarray = (by_distance * grow).sum(axis=0) * distance + (plain * grow).sum(axis=0)
    return own + float((by_distance * powers).sum()) * far


def project_to_simplex(shares: np.ndarray) -> np.ndarray:
    """Return the nearest point of the simplex (all >= 0, sum 1), which the official code omits."""
    values = np.asarray(shares, dtype=np.float64)
    ordered = np.sort(values)[::-1]
    surplus = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    cut = surplus[np.flatnonzero(ordered > surplus)[-1]]
    projected: np.ndarray = np.maximum(values - cut, 0.0)
    return projected
