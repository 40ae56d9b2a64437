"""SFTMix: the confident and the unconfident half of a set, and which rows to mix with which.

Xiao et al., "SFTMix: Elevating Language Model Instruction Tuning with Mixup Recipe", arXiv
2410.05248. A reference model is tuned on the whole set; a row's confidence is minus its mean
perplexity over the run's checkpoints. Split at the median; in training each batch takes as many
rows from both halves, and pairs of them are mixed in the hidden states (the trainer's part).
Nothing is thrown away: what comes out is the set with `half`, `confidence` and `partner`.

Departures: text and code were not at hand. Ours: five checkpoints evenly over one epoch, all rows
scored at each; with an odd number the middle row is unconfident and has no partner; pairs are drawn
by (seed, row id) and hold for one epoch, so give each epoch its seed; the mixing weight of a pair
is Beta(alpha, alpha). `keep` makes a selector of it, which is not what was published.

In:  a pool. Out: the whole set (or one half), with the columns above and `mix`.

Ran on: built-in world, nano model
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted
from pipeline.selection.eligibility import chances
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.likelihood import confidence, split_at_median
from scorers.token_losses import loss_encoder, losses_of
from scorers.tuning import Schedule, tune


@step(scope="dataset")
def split_and_pair(
    rows: pa.Table,
    *,
    checkpoints: Sequence[Features],
    keep: Literal["both", "confident", "unconfident"],
    alpha: float,
    seed: int,
) -> Sifted:
    """Split the rows at the median of their confidence and pair the halves at random."""
    ids = rows["id"].to_pylist()
    scores = confidence([losses_of(one.take(ids)) for one in checkpoints])
    usable = np.flatnonzero(np.isfinite(scores))
    upper = np.zeros(len(ids), dtype=bool)
    upper[usable] = split_at_median(scores[usable], [ids[i] for i in usable])
    halves = np.where(upper, "confident", "unconfident")
    partner = np.full(len(ids), None, dtype=object)
    one, other = (_shuffled(usable[upper[usable] == side], ids, seed) for side in (True, False))
    for a, b in zip(one, other, strict=False):
        partner[a], partner[b] = ids[b], ids[a]
    # A pair's weight is drawn by its confident row, and 1 - weight is the other's.
    mix = np.full(len(ids), np.nan)
    weights = _beta(alpha, [ids[a] for a in one], seed)
    for a, b, weight in zip(one, other, weights, strict=False):
        mix[a], mix[b] = weight, 1 - weight
    kept = usable if keep == "both" else usable[halves[usable] == keep]
    chosen = kept[np.lexsort((np.array(ids)[kept], -scores[kept]))]
    reasons = {"no_loss": ~np.isfinite(scores), "other_half": np.ones(len(ids), bool)}
    said = {"half": halves.tolist(), "partner": partner, "mix": mix}
    return choices(ids, chosen, scores=scores, reasons=reasons, **said)


def _shuffled(rows: np.ndarray, ids: Sequence[str], seed: int) -> list[int]:
    luck = chances([ids[i] for i in rows], len(rows), seed)
    order: list[int] = rows[np.argsort(luck, kind="stable")].tolist()
    return order


def _beta(alpha: float, ids: Sequence[str], seed: int) -> np.ndarray:
    from scipy.stats import beta

    drawn: np.ndarray = beta.ppf(
        chances([f"mix/{one}" for one in ids], len(ids), seed), alpha, alpha
    )
    return drawn


@recipe(paper="arXiv:2410.05248", output="sft")
def sftmix(
    pool: str = "nano_world",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    reference: str = "data/nano",
    checkpoints: int = 5,
    rate: float = 2e-4,
    batch: int = 16,
    alpha: float = 0.5,
    keep: Literal["both", "confident", "unconfident"] = "both",
    seed: int = 0,
) -> Shards:
    """Split a set by a reference run's confidence and pair its halves.

    reference: the model that is tuned for one epoch; it may be smaller than the one to be trained.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    folder = active_run().folder / "models" / "reference"
    schedule = Schedule(1, rate, batch, seed=seed)
    losses = []
    for i, model in enumerate(
        tune(reference, rows.table(), folder, schedule, checkpoints=checkpoints)
    ):
        reader = loss_encoder(model, part="replies")
        losses.append(features(rows, reader, feature_folder(f"losses_{i}", reader.identity)))
    how = {"keep": keep, "alpha": alpha, "seed": seed}
    found = split_and_pair(facts(rows), checkpoints=losses, **how, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="sftmix")
    return picked
