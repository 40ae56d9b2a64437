"""LESS: rows whose training step would most lower the loss on a handful of queries.

Xia et al., "LESS: Selecting Influential Data for Targeted Instruction Tuning", ICML 2024, arXiv
2402.04333. LoRA is tuned on a sample of the pool; at each of its checkpoints every pool row becomes
the step that Adam would take for it and every query its plain gradient, both projected to `width`
numbers. A row's score: cosines, weighted by the checkpoints' learning rates, mean over the queries
of a task, largest over tasks.

Departures: `mode="code"` is the official step (no bias correction, epsilon inside the root) on a
linearly falling rate; "paper" corrects the bias and falls by a cosine. Cosines cancel the one and
the other hardly moves the weights, so "code" is the default. The projection is ours, a sign matrix
from the seed that is never held, so its features do not mix with trak's. Tasks need not have
equally many queries. A gradient of 0 (the model knows the row by heart) has cosine 0; rows whose
reply does not fit are left out, both are counted. No term against redundancy: deduplicate first.
The published run: 5 % of the pool, rank 128, alpha 512, rate 2e-5, batch 128, width 8,192; the
defaults suit a laptop.

In:  a pool and queries with a `task`. Out: n rows, best first.

Ran on: built-in world, nano model
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.choices import (
    choices,
    facts,
    feature_folder,
    load_pool,
    sample,
    select,
    to_rows,
)
from pipeline.errors import UserError
from pipeline.schema import Sifted, digest
from pipeline.selection.matching import per_group, stream_scores
from pipeline.selectors import top_k
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.row_gradients import gradient_encoder
from scorers.warm_up import Lora, checkpoint_weights, warm_up


@step(scope="dataset")
def choose_by_gradient(
    rows: pa.Table,
    queries: pa.Table,
    *,
    steps: Sequence[Features],
    aims: Sequence[Features],
    weights: Sequence[float],
    n: int,
) -> Sifted:
    """Take the n rows of highest score; `best_task` is the task that gave it."""
    ids = rows["id"].to_pylist()
    names = list(dict.fromkeys(queries["task"].to_pylist()))
    scores = np.zeros((len(ids), len(names)))
    for pool, asked, weight in zip(steps, aims, weights, strict=True):
        scores += weight * _by_task(pool, asked, queries, names, rows["id"])
    best = scores.max(axis=1)
    chosen = top_k(best, n, ids=ids)
    tasks = [names[i] for i in np.nan_to_num(scores, nan=-np.inf).argmax(axis=1)]
    return choices(
        ids, chosen, scores=best, reasons={"no_gradient": np.isnan(best)}, best_task=tasks
    )


def _by_task(
    pool: Features, asked: Features, queries: pa.Table, names: Sequence[str], ids: pa.ChunkedArray
) -> np.ndarray:
    """Return each row's mean cosine to the queries of each task, float64[rows, tasks]."""
    if lost := (~np.isfinite(asked.array()).all(axis=1)).sum():
        raise UserError(f"{lost} of {asked.rows} queries have no reply that fits; drop them")
    task_of = dict(zip(queries["id"].to_pylist(), queries["task"].to_pylist(), strict=True))
    order = np.argsort([names.index(task_of[one]) for one in asked.ids()], kind="stable")
    groups = [task_of[asked.ids()[i]] for i in order]
    blocks = stream_scores(pool, asked, zeros=True)
    held = np.concatenate([per_group(block[:, order], groups, how="mean") for _, block in blocks])
    found: np.ndarray = held[pc.index_in(ids, value_set=pa.array(pool.ids())).to_numpy()]
    return found


@recipe(paper="arXiv:2402.04333", output="sft")
def less(
    pool: str = "nano_world",
    queries: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    query_columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    base: str = "data/nano",
    warm_up_share: float = 0.2,
    epochs: int = 2,
    rank: int = 8,
    alpha: int = 32,
    rate: float = 2e-4,
    batch: int = 16,
    width: int = 1024,
    mode: Literal["code", "paper"] = "code",
    seed: int = 0,
) -> Shards:
    """Take the n rows that would teach `base` most about the queries.

    warm_up_share: of the pool, that LoRA is tuned on. width: of the projected gradients; a row
    takes 2 * width * epochs bytes on disk.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    aims = load_pool(queries, query_columns, seed=seed, aim=True, into="queries")
    some = sample(rows, most=max(1, int(warm_up_share * rows.rows)), seed=seed, into="warm_up")
    lora = Lora(rank, alpha, epochs=epochs, batch=batch, learning_rate=rate)
    made_of = digest(some.fingerprint, base, list(lora), mode, seed)[:12]
    folder = active_run().folder / "models" / f"warm_up-{made_of}"
    checkpoints = warm_up(some.table(), base, folder, lora=lora, mode=mode, seed=seed)
    steps, asked = [], []
    for i, checkpoint in enumerate(checkpoints, 1):
        reader = gradient_encoder(checkpoint, side="pool", mode=mode, width=width, seed=seed)
        aim = gradient_encoder(checkpoint, side="queries", mode=mode, width=width, seed=seed)
        steps.append(features(rows, reader, feature_folder(f"steps_{i}", reader.identity)))
        asked.append(features(aims, aim, feature_folder(f"gradients_{i}", aim.identity)))
    weights = checkpoint_weights(checkpoints).tolist()
    how = {"steps": steps, "aims": asked, "weights": weights, "n": n}
    found = choose_by_gradient(facts(rows), aims, **how, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="less")
    return picked
