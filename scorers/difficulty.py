"""How hard a prompt is: its pass rate with an interval, and item response theory.

IRT puts prompts on one scale when different solvers tried different ones; a solver is a model
checkpoint at a temperature, a trial its verdict on a completion. Easy2Hard-Bench (arXiv 2409.18433)
publishes such ratings; priors, optimiser and normalisation are ours, since theirs are not.
"""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.budgets import wilson
from pipeline.errors import UserError

_UNJUDGED = ("infra", "unverified")
_RATED = (
    "unnorm_rating",
    "unnorm_rating_std",
    "rating",
    "rating_std",
    "rating_quantile",
    "model_avg_acc",
    "slope",
)
_SLOPE_SD = 0.5  # prior of the logarithm of a 2PL slope


class Fit(NamedTuple):
    """A fitted model: solvers' ability, prompts' difficulty, its std and slope, the minimum."""

    ability: np.ndarray
    difficulty: np.ndarray
    std: np.ndarray
    slope: np.ndarray
    minimum: float


def pass_rates(rollouts: pa.Table) -> pa.Table:
    """Count the verdicts of each prompt: id, judged, correct, pass_rate, low, high, by id.

    infra and unverified trials are no evidence; a prompt with nothing else has a null rate and the
    interval (0, 1). The interval is Wilson's, two-sided 90 %.
    """
    table = pl.from_arrow(rollouts.select(["id", "verdict"]))
    frame = table if isinstance(table, pl.DataFrame) else table.to_frame()
    judged = ~pl.col("verdict").is_in(_UNJUDGED)
    counts = (
        frame.group_by("id")
        .agg(judged=judged.sum(), correct=(pl.col("verdict") == "correct").sum())
        .sort("id")
        .with_columns(pl.col("judged", "correct").cast(pl.Int64))
    )
    rate = pl.when(pl.col("judged") > 0).then(pl.col("correct") / pl.col("judged"))
    spans = [
        wilson(correct, judged) for judged, correct in counts.select("judged", "correct").rows()
    ]
    found = counts.with_columns(
        rate.alias("pass_rate"),
        pl.Series("low", [low for low, _ in spans], pl.Float64),
        pl.Series("high", [high for _, high in spans], pl.Float64),
    )
    return found.to_arrow()


def fit_irt(
    solvers: np.ndarray,
    items: np.ndarray,
    correct: np.ndarray,
    trials: np.ndarray | None = None,
    *,
    kind: Literal["1pl", "2pl"] = "1pl",
) -> Fit:
    """Fit P(correct) = sigmoid(slope (ability - difficulty)) to observed cells, by MAP.

    solvers, items: int[cells] from 0; correct of trials (default 1) in each; a cell that is not
    listed was not tried. Priors: N(0, 1) on ability and difficulty, which fix the scale and keep
    prompts that all or none solve finite; N(0, 0.5) on log slope (2PL; 1PL: 1). std is Laplace's,
    over ability and difficulty. Raises UserError for no cells or impossible counts.
    """
    from scipy.optimize import minimize

    solvers, items = np.asarray(solvers, np.int64), np.asarray(items, np.int64)
    counts = np.asarray(correct, np.float64)
    of = np.ones(len(counts)) if trials is None else np.asarray(trials, np.float64)
    if not len(counts) or (counts < 0).any() or (counts > of).any():
        raise UserError(
            f"{len(counts)} cells: each needs 0 <= correct <= trials, and one is needed"
        )
    n, m = int(solvers.max()) + 1, int(items.max()) + 1
    free = kind == "2pl"

    cells = solvers, items, counts, of
    start = np.zeros(n + m * (2 if free else 1))
    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-8}
    done = minimize(
        _objective, start, (cells, n, m, free), jac=True, method="L-BFGS-B", options=options
    )
    theta, b = done.x[:n], done.x[n : n + m]
    slope = np.exp(done.x[n + m :]) if free else np.ones(m)
    z = slope[items] * (theta[solvers] - b[items])
    weights = of * slope[items] ** 2 / (2 + np.exp(z) + np.exp(-z))
    return Fit(theta, b, _laplace(solvers, items, weights, n, m), slope, float(done.fun))


def _objective(
    parameters: np.ndarray, cells: tuple[np.ndarray, ...], n: int, m: int, free: bool
) -> tuple[float, np.ndarray]:
    """Return minus the log posterior, up to a constant, and its gradient."""
    solvers, items, counts, of = cells
    theta, b = parameters[:n], parameters[n : n + m]
    logs = parameters[n + m :] if free else np.zeros(m)
    slope = np.exp(logs)[items]
    z = slope * (theta[solvers] - b[items])
    loss = float((of * np.logaddexp(0, z) - counts * z).sum())
    pull = of / (1 + np.exp(-z)) - counts
    gradient = [
        np.bincount(solvers, pull * slope, n) + theta,
        b - np.bincount(items, pull * slope, m),
    ]
    if free:
        gradient.append(np.bincount(items, pull * z, m) + logs / _SLOPE_SD**2)
    prior = (theta @ theta + b @ b + (logs / _SLOPE_SD) @ (logs / _SLOPE_SD)) / 2
    return loss + prior, np.concatenate(gradient)


def _laplace(s: np.ndarray, i: np.ndarray, weights: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return the std of each difficulty: blocks are eliminated, O(n**3 + n**2 m), n solvers."""
    from scipy.sparse import csr_array

    ours = 1 + np.bincount(s, weights, n)
    theirs = 1 + np.bincount(i, weights, m)
    cross = csr_array((weights, (s, i)), shape=(n, m))
    scaled = cross / theirs[None, :]
    inner = np.linalg.inv(np.diag(ours) - (scaled @ cross.T).toarray())
    dense = scaled.toarray()
    spread: np.ndarray = np.sqrt(1 / theirs + np.einsum("ji,jk,ki->i", dense, inner, dense))
    return spread


def rate_prompts(rollouts: pa.Table, *, kind: Literal["1pl", "2pl"] = "1pl") -> pa.Table:
    """Rate each prompt's difficulty from the verdicts of many solvers; one row an id, by id.

    A solver is a model with its sampling. Columns as Easy2Hard-Bench publishes them:
    unnorm_rating (IRT, higher is harder) and its std, rating (0 to 1), rating_std,
    rating_quantile, model_avg_acc; and slope. A prompt with no judged trial is null throughout:
    it was not tried, not failed. Ratings compare inside one call only.
    """
    table = pl.from_arrow(rollouts.select(["id", "model", "sampling", "verdict"]))
    frame = table if isinstance(table, pl.DataFrame) else table.to_frame()
    ids = frame.select(pl.col("id").unique().sort())
    right = (pl.col("verdict") == "correct").sum()
    cells = (
        frame.filter(~pl.col("verdict").is_in(_UNJUDGED))
        .group_by("model", "sampling", "id")
        .agg(correct=right, trials=pl.len())
        .sort("model", "sampling", "id")
    )
    tried = cells.select(pl.col("id").unique().sort())
    solver = cells.select(pl.struct("model", "sampling").rank("dense") - 1).to_series()
    item = cells["id"].rank("dense") - 1
    if not len(cells):
        empty = {name: pl.lit(None, pl.Float64) for name in _RATED}
        return ids.with_columns(**empty).to_arrow()
    counts, of = cells["correct"].to_numpy(), cells["trials"].to_numpy()
    fit = fit_irt(solver.to_numpy(), item.to_numpy(), counts, of, kind=kind)
    rates = np.bincount(item, counts / of) / np.bincount(item)  # each solver counts once
    found = (fit.difficulty, fit.std, *normalise_ratings(fit.difficulty, fit.std), rates, fit.slope)
    columns = [pl.Series(name, own) for name, own in zip(_RATED, found, strict=True)]
    return ids.join(tried.with_columns(columns), on="id", how="left").sort("id").to_arrow()


def normalise_ratings(
    raw: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rating in 0..1, its std, and quantile: (average rank - 0.5) / n, after rounding.

    Optimisers leave equal items apart in the last digits; ranks are taken of raw rounded to 1e-6.
    One value for all gives rating 0 and quantile 0.5.
    """
    from scipy.stats import rankdata

    raw = np.asarray(raw, dtype=np.float64)
    width = float(np.ptp(raw)) if len(raw) else 0.0
    scale = width if width > 1e-6 else 1.0
    low = raw.min(initial=np.inf) if width > 1e-6 else raw
    quantile = (rankdata(np.round(raw, 6)) - 0.5) / max(len(raw), 1)
    return (raw - low) / scale, np.asarray(std) / scale, quantile
