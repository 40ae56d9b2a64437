"""RDS+: queries take turns in picking their nearest rows, by the model's own hidden states.

Ivison et al., "Large-Scale Data Selection for Instruction Tuning", arXiv 2503.01807. Pool rows and
a few queries a task are embedded with the untuned base model: a mean of the last layer in which
later tokens weigh more. With one task its queries take turns, with several the tasks do, each by
its best query; a turn is lost if the row is taken. Scales to millions of rows: one pass, no
training.

Departures: weights are built from the mask, so padding does not count (in the official code it
does, and embeddings depend on the batch); ties go by id; `order="score"` is the official option
called optimized, the best rows of any query, which lets one task of high cosines take all.

In:  a pool and queries with a `task`: the built-in world, local files or hub datasets.
Out: the picks; `choices` says which task picked a row, in which round, at which cosine.

Ran on: built-in world, nano model
"""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted
from pipeline.selection.rotation import rotate
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.hidden_states import hidden_encoder


@step(scope="dataset")
def take_turns(
    rows: pa.Table,
    queries: pa.Table,
    *,
    vectors: Features,
    asked: Features,
    n: int,
    order: Literal["turns", "score"],
) -> Sifted:
    """Let tasks (a single task's queries) pick in turn, or take the best rows of any query."""
    tasks = dict(zip(queries["id"].to_pylist(), queries["task"].to_pylist(), strict=True))
    pickers = [tasks[one] for one in asked.ids()]
    if len(set(pickers)) == 1:
        pickers = asked.ids()
    groups = pickers if order == "turns" else ["any"] * len(pickers)
    held = pa.array(vectors.ids())
    wanted = pc.is_in(held, value_set=rows["id"].combine_chunks()).to_numpy(zero_copy_only=False)
    found = rotate(vectors, asked, groups, n, wanted=wanted)
    place = pc.index_in(held.take(pa.array(found.rows)), value_set=rows["id"]).to_numpy()
    scores, rounds = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    picked_by = np.full(len(rows), None, dtype=object)
    scores[place], rounds[place] = found.scores, found.rounds
    picked_by[place] = np.array(list(dict.fromkeys(groups)), dtype=object)[found.groups]
    return choices(rows["id"].to_pylist(), place, scores=scores, picked_by=picked_by, round=rounds)


@recipe(paper="arXiv:2503.01807", output="sft")
def rds_plus(
    pool: str = "nano_world",
    queries: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    query_columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    encoder: str = "data/nano",
    order: Literal["turns", "score"] = "turns",
    seed: int = 0,
) -> Shards:
    """Pick n rows that are nearest to the queries, task by task in turn.

    queries: rows like the pool's, in the format that the target is asked in; a column `task` (or
    query_columns.task=NAME) says who takes turns. Deduplicate the pool and keep test sets out.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    aims = load_pool(queries, query_columns, seed=seed, aim=True, into="queries")
    reader = hidden_encoder(encoder, how="weighted")
    vectors = features(rows, reader, feature_folder("pool", reader.identity))
    asked = features(aims, reader, feature_folder("queries", reader.identity))
    found = take_turns(
        facts(rows), aims, vectors=vectors, asked=asked, n=n, order=order, into="choices"
    )
    picked: Shards = to_rows(select(rows, found), recipe="rds_plus")
    return picked
