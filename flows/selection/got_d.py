"""GOT-D: rows whose extra weight would most pull the pool's distribution towards a target's.

Kang et al., "Get more for less: Principled Data Selection for Warming Up Fine-Tuning in LLMs", ICLR
2024, arXiv 2405.02774. One optimal-transport solve from the pool to the target gives each row a
dual potential; calibrated, it is the slope of the distance in that row's mass. The n most negative
slopes are taken. The pool stands for what the model was trained on: rows that are rare there and
common in the target win, not rows that are merely alike.

Departures: plain entropic Sinkhorn to convergence with epsilon 5 % of the mean cost (the paper has
none; LAVA's debiased solver stops early and may misalign rows above 10,000); labels play no part.
For budgets that are large against the pool, `parts` takes n in pieces and solves again without
what was taken. Duplicates share a slope: deduplicate first.

In:  a pool and a target (`queries`), or with `contrast` what to keep away from.
Out: the picks, with their slopes; the solve's distance and epsilon are columns of `choices`.

Ran on: built-in world, nano model
"""

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.errors import UserError
from pipeline.schema import Sifted
from pipeline.selection.transport import calibrate, solve_transport
from pipeline.selectors import apportion, top_k
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.embeddings import text_encoder
from scorers.features import features


@step(scope="dataset")
def choose_by_slope(
    rows: pa.Table,
    *,
    vectors: Features,
    target: Features,
    n: int,
    contrast: bool,
    epsilon: float | None,
    parts: int,
) -> Sifted:
    """Take the rows of the most negative slope (with `contrast`: most positive), part by part."""
    ids = rows["id"].to_pylist()
    held, aim = vectors.take(ids), target.array()
    usable = np.isfinite(held).all(axis=1)
    taken: list[int] = []
    slopes, solved = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    for share in apportion(min(n, int(usable.sum())), np.ones(parts)).tolist():
        left = np.flatnonzero(usable & ~np.isin(np.arange(len(ids)), taken))
        if share == 0:
            break
        found = solve_transport(held[left], aim, epsilon=epsilon)
        own = calibrate(found.f) if len(left) > 1 else np.zeros(1)  # its mass has nowhere to go
        # Equal rows differ in the last bits; they must tie.
        tied = np.round(own / (np.abs(own).max() or 1.0), 9)
        best = left[top_k(tied, share, ids=[ids[i] for i in left], largest=contrast)]
        slopes[left], solved[best] = own, found.distance
        taken += best.tolist()
    unusable = {"no_vector": ~usable}
    return choices(ids, np.array(taken, np.int64), scores=slopes, reasons=unusable, distance=solved)


@recipe(paper="arXiv:2405.02774", output="sft")
def got_d(
    pool: str = "nano_world",
    queries: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    query_columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    encoder: str = "data/nano",
    contrast: bool = False,
    epsilon: float | None = None,
    parts: int = 1,
    seed: int = 0,
) -> Shards:
    """Take the n rows that most lower the transport distance from the pool to the target.

    epsilon: the regularisation in units of the cost (squared distance); null: 5 % of its mean.
    """
    if parts < 1:
        raise UserError(f"parts = {parts} must be at least 1")
    rows = load_pool(pool, columns, subset, split, limit, seed)
    aims = load_pool(queries, query_columns, seed=seed, aim=True, into="queries")
    reader = text_encoder(encoder)
    found = choose_by_slope(
        facts(rows),
        vectors=features(rows, reader, feature_folder("pool", reader.identity)),
        target=features(aims, reader, feature_folder("queries", reader.identity)),
        n=n,
        contrast=contrast,
        epsilon=epsilon,
        parts=parts,
        into="choices",
    )
    picked: Shards = to_rows(select(rows, found), recipe="got_d")
    return picked
