"""CoLoR-Filter: rows whose loss falls most when a small model is tuned on the target.

Brandfonbrener et al., "CoLoR-Filter: Conditional Loss Reduction Filtering for Targeted Language
Model Pre-training", NeurIPS 2024, arXiv 2406.10670. A small prior model is tuned for one epoch on
the target; a row's score is its loss under the prior minus its loss under the tuned one. Two
forward passes a row, used again for every budget.

Departures: made for fixed windows of pre-training text; here the mean loss of the reply's tokens
(of the whole text for plain text). Rows of fewer than `least_tokens` are left out: the error of a
mean falls with the root of the tokens. A row without a finite loss is never chosen (the official
code takes NaN first, and everything where n would be 0). No diversity term: deduplicate first.

In:  a pool and a target (`queries`). With `tau` only a random n * tau of the pool are scored.
Out: the n rows of the largest fall, largest first (the official order is the reverse).

Ran on: built-in world, nano model
"""

import numpy as np
import pyarrow as pa

from pipeline.choices import (
    choices,
    facts,
    feature_folder,
    load_pool,
    sample,
    select,
    to_rows,
)
from pipeline.schema import Sifted
from pipeline.selectors import top_k
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.likelihood import color
from scorers.token_losses import loss_encoder, losses_of
from scorers.tuning import Schedule, tune


@step(scope="dataset")
def choose_by_fall(
    rows: pa.Table, *, prior: Features, conditional: Features, n: int, least_tokens: int
) -> Sifted:
    """Take the n rows whose mean loss fell most."""
    ids = rows["id"].to_pylist()
    before, after = (losses_of(kept.take(ids)) for kept in (prior, conditional))
    falls = color(before, after)
    short = before.tokens < least_tokens
    reasons = {"no_loss": ~np.isfinite(falls), "too_short": short}
    chosen = top_k(np.where(short, np.nan, falls), n, ids=ids)
    return choices(ids, chosen, scores=falls, reasons=reasons, tokens=before.tokens)


@recipe(paper="arXiv:2406.10670", output="sft")
def color_filter(
    pool: str = "nano_world",
    queries: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    query_columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    prior: str = "data/nano",
    tau: int = 0,
    epochs: int = 1,
    rate: float = 2e-4,
    batch: int = 4,
    least_tokens: int = 8,
    seed: int = 0,
) -> Shards:
    """Take the n rows whose loss falls most by tuning on the queries.

    prior: the small model, the same for both losses; a larger one may be trained on the picks.
    tau: score a random n * tau rows only (0: all); the paper tries 7 to 64.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    aims = load_pool(queries, query_columns, seed=seed, aim=True, into="queries")
    if tau:
        rows = sample(rows, most=tau * n, seed=seed)
    schedule = Schedule(epochs, rate, batch, seed=seed)
    [tuned] = tune(prior, aims.table(), active_run().folder / "models" / "conditional", schedule)
    losses = []
    for model in (prior, tuned):
        reader = loss_encoder(model)
        losses.append(features(rows, reader, feature_folder("losses", reader.identity)))
    found = choose_by_fall(
        facts(rows),
        prior=losses[0],
        conditional=losses[1],
        n=n,
        least_tokens=least_tokens,
        into="choices",
    )
    picked: Shards = to_rows(select(rows, found), recipe="color_filter")
    return picked
