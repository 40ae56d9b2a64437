"""Iterative kMQ: the budget is spent in rounds, and clusters that still teach something get more.

Yu et al., "Diversify and Conquer", arXiv 2409.11378, section 4. Each round draws its part of the
budget from the clusters by their weights, tunes the base model for an epoch on all rows drawn so
far, lets it answer their prompts (greedily), and scores each row: how much better the model fits
its own answer than the one in the data, S = L(gold) - L(generated), in nats a token (the paper's
perplexity form). A cluster's mean S moves its weight.

Departures, `mode="sound"`: weights are multiplied by softmax(S / scale) and renormalised; a cluster
without a drawn row keeps its share. "paper" is equation 6 to the letter, which sums to less than 1
and fails for S <= 0; "code" forgets earlier weights. Each round draws its whole part (the official
later rounds draw a k-th of it, and at random); rows are drawn as `kmq` draws by default.

In:  a pool. Out: n rows; `choices_i` says each round's clusters, `weights_i` what they weigh next.

Ran on: built-in world, nano model
"""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.selection.deita import rate
from flows.selection.kmq import cluster
from pipeline.choices import choices, feature_folder, load_pool, select, to_rows
from pipeline.engines import Sampling
from pipeline.errors import UserError
from pipeline.operators import generate
from pipeline.schema import Sifted
from pipeline.selection.strata import draw_by_cluster, reweight
from pipeline.selectors import apportion
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step
from pipeline.vectors import Features
from scorers.embeddings import text_encoder
from scorers.features import features
from scorers.likelihood import mean_loss
from scorers.token_losses import loss_encoder, losses_of
from scorers.tuning import Schedule, tune


@step(scope="dataset")
def draw_round(
    scored: pa.Table, earlier: tuple[pa.Table, ...], *, weights: list[float], n: int, seed: int
) -> Sifted:
    """Draw n rows that no earlier round drew, a share of each cluster by weight."""
    ids, labels = scored["id"].to_pylist(), scored["cluster"].to_numpy()
    taken = {one for table in earlier for one in table["id"].to_pylist()}
    free = np.array([one not in taken for one in ids])
    quality = np.where(free, scored.column(1).to_numpy(), np.nan)
    own = np.array([weights[label] for label in np.unique(labels[labels >= 0])])
    drawn = draw_by_cluster(quality, labels, n, seed=seed, weights=own, ids=ids)
    return choices(ids, drawn, scores=quality, cluster=labels)


@step()
def asked_of(rows: pa.Table) -> Sifted:
    """Return the rows' prompts: what stands before the last turn."""
    prompts = [turns[:-1] for turns in rows["messages"].to_pylist()]
    table = rows.set_column(
        1, rows.schema.field("messages"), pa.array(prompts, rows["messages"].type)
    )
    ends_well = pa.array([bool(p) and p[-1]["role"] == "user" for p in prompts], pa.bool_())
    table = table.select(["id", "messages", "source", "meta"]).filter(ends_well)
    left = len(rows) - len(table)
    return Sifted(table, {"no_prompt": left} if left else {})


@step()
def answered_by(prompts: pa.Table, rollouts: pa.Table) -> Sifted:
    """Return the prompts with what the model answered."""
    said = dict(zip(rollouts["id"].to_pylist(), rollouts["completion"].to_pylist(), strict=True))
    rows = prompts.filter(pc.is_in(prompts["id"], value_set=pa.array(list(said))))
    messages = [
        [*turns, {"role": "assistant", "content": said[one]}]
        for one, turns in zip(rows["id"].to_pylist(), rows["messages"].to_pylist(), strict=True)
    ]
    table = pa.table({"id": rows["id"], "messages": pa.array(messages, rows["messages"].type)})
    left = len(prompts) - len(rows)
    return Sifted(table, {"not_answered": left} if left else {})


@step(scope="dataset")
def gains(drawn: pa.Table, *, gold: Features, generated: Features) -> pa.Table:
    """Return id, cluster and S of each drawn row that the model answered, null for the others."""
    ids = drawn["id"].to_pylist()
    answered = set(generated.ids())
    some = [one for one in ids if one in answered]
    apart = mean_loss(losses_of(gold.take(some))) - mean_loss(losses_of(generated.take(some)))
    found = dict(zip(some, apart.tolist(), strict=True))
    values = pa.array([found.get(one) for one in ids], pa.float64(), from_pandas=True)
    return pa.table({"id": drawn["id"], "cluster": drawn["cluster"], "gain": values})


@step(scope="dataset", expands=True)  # rows in, clusters out
def reweigh(
    gained: pa.Table,
    *,
    weights: list[float],
    mode: Literal["sound", "paper", "code"],
    scale: float,
) -> pa.Table:
    """Return each cluster's rows with a gain, their mean gain, and its weight in the next round."""
    labels, values = gained["cluster"].to_numpy(), gained["gain"].to_numpy()
    own = [values[(labels == place) & np.isfinite(values)] for place in range(len(weights))]
    means = np.array([part.mean() if len(part) else np.nan for part in own])
    after = reweight(np.array(weights), means, mode=mode, scale=scale)
    table = {"cluster": pa.array(range(len(weights)), pa.int64()), "rows": [len(p) for p in own]}
    return pa.table(table | {"gain": pa.array(means, from_pandas=True), "weight": after})


def learn(rows: Shards, model: str, schedule: Schedule, max_tokens: int, round_: int) -> Shards:
    """Tune on the rows drawn so far, let the model answer them, and return each row's gain."""
    if not rows.rows:
        raise UserError(f"no row is drawn by round {round_}: none has a quality and a vector")
    folder = active_run().folder / "models" / f"round_{round_}"
    [tuned] = tune(model, rows.table(), folder, schedule)
    prompts = asked_of(rows, into=f"prompts_{round_}")
    rollouts = generate(
        prompts,
        "{{ prompt }}",
        model=f"torch:{tuned}",
        sampling=Sampling(0.0, 1.0, max_tokens=max_tokens),
        seed=schedule.seed,
        into=f"rollouts_{round_}",
    )
    replies = answered_by(prompts, rollouts, into=f"answers_{round_}")
    reader = loss_encoder(tuned)
    own = features(rows, reader, feature_folder(f"gold_{round_}", reader.identity))
    other = features(replies, reader, feature_folder(f"generated_{round_}", reader.identity))
    found: Shards = gains(rows, gold=own, generated=other, into=f"gains_{round_}")
    return found


@step(scope="dataset")
def gather(parts: tuple[pa.Table, ...]) -> pa.Table:
    """Put the rounds' rows into one table, with the number of their round."""
    numbered = [
        part.append_column("round", pa.array([i] * len(part), pa.int64()))
        for i, part in enumerate(parts, 1)
    ]
    return pa.concat_tables(numbered)


@recipe(paper="arXiv:2409.11378", output="sft")
def kmq_iterative(
    pool: str = "nano_world",
    n: int = 90,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    rounds: int = 3,
    clusters: int = 8,
    column: str = "",
    complexity: str = "data/nano",
    quality: str = "data/nano",
    encoder: str = "data/nano",
    base: str = "data/nano",
    learning_rate: float = 2e-4,
    batch: int = 16,
    max_tokens: int = 160,
    scale: float = 1.0,
    mode: Literal["sound", "paper", "code"] = "sound",
    seed: int = 0,
) -> Shards:
    """Draw n rows in rounds, each by what the rounds before taught a model tuned on them.

    scale: of a gain in the softmax, in nats a token; smaller moves the weights more.
    """
    if rounds < 1 or clusters < 1 or scale <= 0:
        raise UserError(
            f"rounds = {rounds} and clusters = {clusters} must be at least 1, scale = {scale} "
            "above 0"
        )
    rows = load_pool(pool, columns, subset, split, limit, seed)
    scores = rate(rows, column, complexity, quality)
    reader = text_encoder(encoder)
    vectors = features(rows, reader, feature_folder("pool", reader.identity))
    how = {"k": clusters, "candidates": [], "iterations": 25, "restarts": 1, "seed": seed}
    scored = cluster(scores, vectors=vectors, **how)
    weights = [1 / clusters] * clusters
    drawn: tuple[Shards, ...] = ()
    kept: tuple[Shards, ...] = ()
    schedule = Schedule(1, learning_rate, batch, seed=seed)
    for i, share in enumerate(apportion(n, np.ones(rounds)).tolist(), 1):
        asked = {"weights": weights, "n": share, "seed": seed + i}
        drawn += (draw_round(scored, drawn, **asked, into=f"choices_{i}"),)
        kept += (select(rows, drawn[-1], into=f"picked_{i}"),)
        so_far = gather(kept, into=f"drawn_{i}")
        if i < rounds:
            found = learn(so_far, base, schedule, max_tokens, i)
            moved = {"weights": weights, "mode": mode, "scale": scale}
            weights = reweigh(found, **moved, into=f"weights_{i}").table()["weight"].to_pylist()
    picked: Shards = to_rows(so_far, recipe="kmq_iterative")
    return picked
