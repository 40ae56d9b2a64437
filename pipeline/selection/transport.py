"""Optimal transport between two sets of vectors, and what its duals say about each row.

Entropic Sinkhorn in the log domain, float64, squared Euclidean cost, uniform marginals; the cost is
formed in blocks of rows and never held whole. Shared by GOT-D (arXiv 2405.02774) and projektor
(arXiv 2307.02460).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.selectors import top_k

_BLOCK = 2048


class Transport(NamedTuple):
    """A solved problem: <plan, cost>, duals, regularisation, error of the marginals."""

    distance: float
    f: np.ndarray
    g: np.ndarray
    epsilon: float
    marginal_error: float


def solve_transport(
    source: np.ndarray,
    target: np.ndarray,
    *,
    epsilon: float | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
) -> Transport:
    """Solve OT from source float[N, d] to target float[M, d].

    epsilon is in units of the cost; None: 5 % of the mean cost. Raises UserError for empty sets,
    for vectors that are not finite (one would poison every dual), and when the marginals are still
    off by `tolerance` (in total mass) after `max_iterations`.
    """
    x, y = _checked(source, "source"), _checked(target, "target")
    mean_cost = float(((x - y.mean(0)) ** 2).sum(1).mean() + ((y - y.mean(0)) ** 2).sum(1).mean())
    goal = epsilon if epsilon is not None else 0.05 * mean_cost
    if not goal > 0:
        raise UserError(f"epsilon = {goal:g} for a mean cost of {mean_cost:g} must be above 0")
    g = np.zeros(len(y))
    # From coarse to fine: each stage starts from duals that are nearly right for it.
    step = max(goal, mean_cost)
    while True:
        f, g, distance, error = _sinkhorn(x, y, g, step, tolerance, max_iterations)
        if step <= goal:
            break
        step = max(goal, step / 4)
    if not error <= tolerance:
        raise UserError(
            f"optimal transport of {len(x)} to {len(y)} rows: the marginals are off by {error:.1e} "
            f"after {max_iterations} iterations, allowed: {tolerance:.0e}; raise epsilon {goal:g}"
        )
    return Transport(distance, f, g, goal, error)


def _sinkhorn(
    x: np.ndarray, y: np.ndarray, g: np.ndarray, epsilon: float, tolerance: float, most: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    n, m = len(x), len(y)
    for _ in range(most):
        f, f_old_g = np.empty(n), g
        peak, total = np.full(m, -np.inf), np.zeros(m)
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            cost = _cost(x[rows], y)
            f[rows] = -epsilon * (_log_sum((g - cost) / epsilon, 1) - np.log(m))
            lifted = (f[rows, None] - cost) / epsilon
            higher = np.maximum(peak, lifted.max(axis=0))
            total = total * np.exp(peak - higher) + np.exp(lifted - higher).sum(axis=0)
            peak = higher
        g = -epsilon * (peak + np.log(total) - np.log(n))
        # Rows sum to 1/n by construction of f; the columns are off by what moved g.
        error = float(np.abs(np.expm1((f_old_g - g) / epsilon)).mean())
        if error <= tolerance:
            break
    return f, g, _plan_cost(x, y, f, g, epsilon), error


def _plan_cost(x: np.ndarray, y: np.ndarray, f: np.ndarray, g: np.ndarray, epsilon: float) -> float:
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        cost = _cost(x[start : start + _BLOCK], y)
        mass = np.exp((f[start : start + _BLOCK, None] + g - cost) / epsilon)
        total += float((mass * cost).sum())
    return total / (len(x) * len(y))


def _cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * (x @ y.T)
    positive: np.ndarray = np.maximum(squares, 0.0)
    return positive


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    peak = values.max(axis=axis, keepdims=True)
    total: np.ndarray = np.log(np.exp(values - peak).sum(axis=axis)) + peak.squeeze(axis)
    return total


def _checked(vectors: np.ndarray, name: str) -> np.ndarray:
    found = np.asarray(vectors, dtype=np.float64)
    bad = int((~np.isfinite(found)).any(axis=1).sum()) if found.ndim == 2 else 0
    if found.ndim != 2 or not len(found) or bad:
        raise UserError(
            f"{name} of the transport has shape {found.shape} and {bad} rows that are not finite; "
            "give at least 1 row and drop the others first"
        )
    return found


def calibrate(f: np.ndarray) -> np.ndarray:
    """Return the slope of the OT distance in each row's mass, the rest giving it up evenly.

    G_i = f_i - sum over j != i of f_j / (N - 1): float64[N], sums to 0, and the unknown constant of
    the duals cancels (GOT-D, equation 5; LAVA's calibrated gradient). UserError for N = 1.
    """
    n = len(f)
    if n < 2:
        raise UserError(f"{n} row has no others to take mass from; give at least 2")
    slopes: np.ndarray = f + f / (n - 1) - f.sum() / (n - 1)
    return slopes


def transport_gradient(
    pool: np.ndarray,
    target: np.ndarray,
    k: int,
    *,
    contrast: bool = False,
    epsilon: float | None = None,
    ids: Sequence[Any] | None = None,
) -> np.ndarray:
    """Choose the k rows whose mass most lowers the pool's OT distance to the target (GOT-D).

    `contrast` pushes away from the target instead: the most positive slopes. Rows that are not
    finite are never chosen. Linear in small budgets only: duplicates rank together, so
    deduplicate first, and solve again after each part of a budget that is large against the pool.
    """
    pool = np.asarray(pool, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(pool).all(axis=1))
    slopes = np.full(len(pool), np.nan)
    if len(usable) > 1:
        slopes[usable] = calibrate(solve_transport(pool[usable], target, epsilon=epsilon).f)
    elif len(usable):
        slopes[usable] = 0.0
    # Equal rows differ in the last bits; they must tie.
    slopes = np.round(slopes / (np.nanmax(np.abs(slopes), initial=0.0) or 1.0), 9)
    return top_k(slopes, k, ids=ids, largest=contrast)
