"""Projektor: how much to take of each source, learnt from pilots and carried to full size.

Kang et al., "Performance Scaling via Optimal Transport", NeurIPS 2023, arXiv 2307.02460. Mixtures
of the sources are drawn at two small sizes; for each a model is tuned, and scored on queries. The
score is fitted as a polynomial in the shares and in the optimal-transport distance of mixture to
queries, carried to size n in the logarithm of the size, and climbed by gradient.

Departures: a score is minus the mean loss of the queries' replies after a short tuning run; pilots
are drawn evenly from the simplex, not on a grid, and fitted with ridge; the extrapolated slope is
followed (the official code computes it and uses that of the smaller size) and shares are projected
onto the simplex; the transport is solved again every few steps; the best point of the climb is
taken. A source that gives no rows to a mixture has no transport slope there.

In:  a pool with sources; queries. Out: n rows, drawn evenly inside each source; `pilots` holds what
was measured, `shares` what was chosen.

Ran on: built-in world, nano model
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.errors import UserError
from pipeline.schema import Sifted, digest
from pipeline.selection.mixtures import (
    extrapolate,
    fit_score,
    predicted_score,
    project_to_simplex,
    score_slope,
    transport_slope,
)
from pipeline.selection.transport import solve_transport
from pipeline.selectors import apportion, draw
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step
from pipeline.vectors import Features
from scorers.embeddings import text_encoder
from scorers.features import features
from scorers.likelihood import mean_loss
from scorers.token_losses import loss_encoder, losses_of
from scorers.tuning import Schedule, tune

_SOLVE_EVERY = 10  # steps of the climb
_EPSILON = 0.1  # of the mean cost: slopes, not matchings, are wanted


def mix(ids: np.ndarray, sources: np.ndarray, shares: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw n rows with these shares of the sources (numbered from 0), int64, capped by source."""
    caps = np.bincount(sources, minlength=len(shares))
    drawn = []
    for source, count in enumerate(apportion(n, shares, caps).tolist()):
        own = np.flatnonzero(sources == source)
        drawn.append(own[draw(np.ones(len(own)), count, seed=seed, ids=ids[own].tolist())])
    return np.concatenate(drawn)


@step(scope="dataset", free=("folder",))
def measure(
    mixtures: pa.Table,
    pool: pa.Table,
    queries: pa.Table,
    *,
    vectors: Features,
    target: Features,
    base: str,
    rate: float,
    batch: int,
    seed: int,
    folder: str,
) -> pa.Table:
    """Tune and score pilots; one row each: id, size, shares, transport distance, score."""
    ids, (names, sources) = np.array(pool["id"].to_pylist()), _numbered(pool)
    held, aim = vectors.take(ids.tolist()), target.array()
    found = []
    for one in mixtures.to_pylist():
        rows = mix(ids, sources, np.array(one["shares"]), one["size"], seed)
        schedule = Schedule(1, rate, batch, seed=seed)
        [tuned] = tune(base, pool.take(rows), Path(folder) / one["id"], schedule)
        loss = mean_loss(losses_of(loss_encoder(tuned).encode(queries)))
        if not np.isfinite(loss).any():
            raise UserError(f"none of the {len(queries)} queries has a reply that fits '{base}'")
        real = np.bincount(sources[rows], minlength=len(names)) / len(rows)
        distance = _transport(held[rows], aim)[0]
        said = {"shares": real.tolist(), "distance": distance, "score": -float(np.nanmean(loss))}
        found.append(one | said)
    return pa.Table.from_pylist(found)


def draw_mixtures(rows: Shards, pilots: int, sizes: list[int], seed: int) -> Shards:
    """Write which mixtures are tried: equal shares, then even draws from the simplex."""
    names = set(rows.table(["source"])["source"].to_pylist())
    random = np.random.default_rng(seed)
    equal = np.full(len(names), 1 / len(names))
    drawn = [equal, *random.dirichlet(np.ones(len(names)), pilots - 1)]
    tried = [
        {"id": digest(size, i), "size": size, "shares": shares.tolist()}
        for size in sizes
        for i, shares in enumerate(drawn)
    ]
    folder = active_run().claim("mixtures")
    return Shards.write(folder, pa.Table.from_pylist(tried), step="mixtures")


def _numbered(rows: pa.Table) -> tuple[list[str], np.ndarray]:
    named = rows["source"].to_pylist()
    names = sorted(set(named))
    return names, np.array([names.index(name) for name in named])


def _transport(held: np.ndarray, aim: np.ndarray) -> tuple[float, np.ndarray]:
    mean_cost = ((held[:, None].mean(0) - aim) ** 2).sum(1).mean() + held.var(0).sum()
    found = solve_transport(held, aim, epsilon=_EPSILON * float(mean_cost), tolerance=1e-4)
    return found.distance, found.f


@step(scope="dataset")
def choose_mixture(
    rows: pa.Table,
    pilots: pa.Table,
    *,
    vectors: Features,
    target: Features,
    n: int,
    climb: int,
    rate: float,
    seed: int,
) -> Sifted:
    """Climb the projected score over the shares and draw n rows of the best mixture."""
    ids, (names, sources) = np.array(rows["id"].to_pylist()), _numbered(rows)
    held, aim = vectors.take(ids.tolist()), target.array()
    sizes = sorted(set(pilots["size"].to_pylist()))
    fits = [_fit(pilots, size) for size in sizes]
    shares, best = np.full(len(names), 1 / len(names)), (-np.inf, np.zeros(0))
    for at in range(climb):
        if at % _SOLVE_EVERY == 0:
            drawn = mix(ids, sources, shares, min(n, sizes[-1]), seed)
            distance, f = _transport(held[drawn], aim)
            slope = np.zeros(len(names))
            present, numbers = np.unique(sources[drawn], return_inverse=True)
            slope[present] = transport_slope(f, numbers)
        values = [predicted_score(shares, distance, *fit) for fit in fits]
        slopes = [score_slope(shares, distance, slope, *fit) for fit in fits]
        reached = extrapolate(values[0], values[1], sizes[0], sizes[1], n)
        best = max(best, (reached, shares), key=lambda one: one[0])
        up = np.array(
            [extrapolate(a, b, sizes[0], sizes[1], n) for a, b in zip(*slopes, strict=True)]
        )
        shares = project_to_simplex(shares + rate * 0.97**at * up / (np.abs(up).max() or 1.0))
    chosen = mix(ids, sources, best[1], n, seed)
    return choices(ids.tolist(), chosen, share=best[1][sources])


def _fit(pilots: pa.Table, size: int) -> tuple[np.ndarray, np.ndarray]:
    own = [row for row in pilots.to_pylist() if row["size"] == size]
    shares, distances, scores = (
        np.array([r[k] for r in own]) for k in ("shares", "distance", "score")
    )
    return fit_score(shares, distances, scores)


@recipe(paper="arXiv:2307.02460", output="sft")
def projektor(
    pool: str = "nano_world",
    queries: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    query_columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    base: str = "data/nano",
    encoder: str = "data/nano",
    pilots: int = 8,
    small: int = 24,
    large: int = 48,
    climb: int = 100,
    step_size: float = 0.02,
    rate: float = 2e-4,
    batch: int = 8,
    seed: int = 0,
) -> Shards:
    """Find the shares of the sources from pilots of two sizes and draw n rows by them.

    pilots: mixtures at each size, every one a tuning run; three for each of 4 * sources + 2
    coefficients would be ample, and ridge makes do with fewer. step_size: of a share.
    """
    if min(pilots, climb, small) < 1 or small >= large:
        raise UserError(
            f"pilots = {pilots}, climb = {climb}, small = {small}: each must be at least 1, and "
            f"small less than large = {large}"
        )
    rows = load_pool(pool, columns, subset, split, limit, seed)
    aims = load_pool(queries, query_columns, seed=seed, aim=True, into="queries")
    reader = text_encoder(encoder)
    held = {
        "vectors": features(rows, reader, feature_folder("pool", reader.identity)),
        "target": features(aims, reader, feature_folder("queries", reader.identity)),
    }
    how = {"base": base, "rate": rate, "batch": batch, "seed": seed}
    folder = str(active_run().folder / "models" / "pilots")
    tried = draw_mixtures(rows, pilots, [small, large], seed)
    measured = measure(tried, rows, aims, **held, **how, folder=folder, into="pilots")
    search = {"n": n, "climb": climb, "rate": step_size, "seed": seed}
    found = choose_mixture(facts(rows), measured, **held, **search, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="projektor")
    return picked
