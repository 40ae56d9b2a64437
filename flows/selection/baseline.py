"""The plain selectors that any clever one has to beat: chance, balance, length, perplexity.

As run beside RDS+ in Ivison et al., arXiv 2503.01807, section 4: "random" draws evenly, "balanced"
draws equally many rows from each source (what a small one lacks goes to the others), "longest" is
the longest replies, "perplexity" the least likely and "mid_perplexity" those about the median.

Departures: every draw depends on the seed and a row's id alone; perplexity is that of the reply
given its prompt.

In:  a pool. Out: n rows.

Ran on: built-in world, nano model
"""

from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted, trial_seed
from pipeline.selection.strata import draw_by_cluster
from pipeline.selectors import draw, top_k
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.likelihood import mean_loss
from scorers.token_losses import loss_encoder, losses_of

By = Literal["random", "balanced", "longest", "perplexity", "mid_perplexity"]


@step(scope="dataset")
def choose_plainly(rows: pa.Table, *, losses: Features | None, by: By, n: int, seed: int) -> Sifted:
    """Take n rows by chance, by length, or by their loss."""
    ids = rows["id"].to_pylist()
    # Else a row lucky here is lucky in every method's draw of that seed, and all look alike.
    seed = trial_seed(seed, "baseline", by, 0)
    even = np.ones(len(ids))
    if by == "random":
        return choices(ids, draw(even, n, seed=seed, ids=ids))
    if by == "balanced":
        names, sources = np.unique(np.array(rows["source"].to_pylist()), return_inverse=True)
        equal = np.ones(len(names))
        return choices(ids, draw_by_cluster(even, sources, n, seed=seed, weights=equal, ids=ids))
    if losses is None:
        lengths = rows["chars"].to_numpy().astype(np.float64)
        return choices(ids, top_k(lengths, n, ids=ids), scores=lengths)
    loss = mean_loss(losses_of(losses.take(ids)))
    unlikely = loss if by == "perplexity" else -np.abs(loss - np.nanmedian(loss))
    reasons = {"no_loss": np.isnan(loss)}
    return choices(ids, top_k(unlikely, n, ids=ids), scores=loss, reasons=reasons)


@recipe(paper="arXiv:2503.01807", output="sft")
def baseline(
    pool: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    by: Literal["random", "balanced", "longest", "perplexity", "mid_perplexity"] = "random",
    scorer: str = "data/nano",
    seed: int = 0,
) -> Shards:
    """Take n rows by chance, balance, length or perplexity."""
    rows = load_pool(pool, columns, subset, split, limit, seed)
    losses = None
    if by in ("perplexity", "mid_perplexity"):
        reader = loss_encoder(scorer)
        losses = features(rows, reader, feature_folder("losses", reader.identity))
    found = choose_plainly(facts(rows), losses=losses, by=by, n=n, seed=seed, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="baseline")
    return picked
