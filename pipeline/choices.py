"""Selection as steps: load a pool, score its rows, keep those that a method chose, write them.

What a method decides is a table of choices: `id`, `rank` (of the chosen, from 0; else null),
`score`, `reason` (of the others) and whatever the method wants to say of a row. A row of the pool
that it does not name was simply not chosen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.pools import read_pool
from pipeline.schema import POOL, SFT, Scorer, Sifted, check, digest
from pipeline.selectors import draw
from pipeline.shards import Shards
from pipeline.steps import active_run, step
from pipeline.vectors import Identity

NOT_CHOSEN = "not_chosen"
_POOL_ROWS = 32_768  # a shard


def load_pool(
    source: str,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    seed: int = 0,
    *,
    aim: bool = False,
    into: str = "pool",
) -> Shards:
    """Read a pool (`pools.read_pool`), or with `aim` queries, into the run's folder `into`."""
    found = read_pool(
        source, columns=columns, subset=subset, split=split, limit=limit, seed=seed, aim=aim
    )
    if not len(found.kept):
        raise UserError(f"'{source}': none of its {sum(found.dropped.values())} rows has an answer")
    parameters = {"source": source, "split": split, "subset": subset, "limit": limit}
    folder = active_run().claim(into)
    return Shards.write(folder, found, step=into, parameters=parameters, shard_rows=_POOL_ROWS)


@step()
def score(rows: pa.Table, *, scorer: Scorer, settings: Mapping[str, Any] = {}) -> pa.Table:
    """Return `id` and the scorer's column, named after it; null where it could not judge.

    `settings` are the scorer's keyword arguments. Raises UserError for a scorer that reads columns
    which the rows lack, or returns anything but a float a row.
    """
    missing = [name for name in scorer.needs if name not in rows.column_names]
    if missing:
        have = ", ".join(rows.column_names)
        raise UserError(f"scorer '{scorer.__name__}' reads {', '.join(missing)}; there is: {have}")
    found = scorer(rows, **settings)
    if len(found) != len(rows) or found.type != pa.float64():
        raise UserError(
            f"scorer '{scorer.__name__}' gave {len(found)} values of type {found.type} for "
            f"{len(rows)} rows; it must give one float64 a row"
        )
    return pa.table({"id": rows["id"], scorer.__name__: found})


@step(scope="dataset")
def sample(rows: pa.Table, *, most: int, seed: int) -> Sifted:
    """Keep `most` rows at random, by seed and id."""
    kept = draw(np.ones(len(rows)), most, seed=seed, ids=rows["id"].to_pylist())
    left = len(rows) - len(kept)
    return Sifted(rows.take(np.sort(kept)), {"not_sampled": left} if left else {})


def feature_folder(name: str, identity: Identity) -> Path:
    """Return where the run keeps vectors of this identity: another identity, another folder."""
    return active_run().folder / "features" / f"{name}-{digest(list(identity))[:12]}"


@step()
def facts(rows: pa.Table) -> pa.Table:
    """Return what selectors may read of a pool without its text: id, source, task, characters."""
    said = [
        sum(len(turn["content"] or "") for turn in turns if turn["role"] == "assistant")
        for turns in rows["messages"].to_pylist()
    ]
    return rows.select(["id", "source", "task"]).append_column("chars", pa.array(said, pa.int64()))


def choices(
    ids: Sequence[str],
    chosen: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    reasons: Mapping[str, np.ndarray] | None = None,
    **said: Sequence[Any] | np.ndarray,
) -> Sifted:
    """Write down what a method decided: `chosen` rows in order, and why others were left out.

    reasons: bool[rows] by name, the first true one counts; rows without any are not listed. `said`:
    further columns, a value a row of the pool (of floats, NaN is null).
    """
    ranks = np.full(len(ids), -1, dtype=np.int64)
    ranks[chosen] = np.arange(len(chosen))
    why = np.full(len(ids), None, dtype=object)
    for name, mask in reversed(list((reasons or {}).items())):
        why[np.asarray(mask) & (ranks < 0)] = name
    listed = np.flatnonzero((ranks >= 0) | (why != None))  # noqa: E711  # elementwise
    listed = listed[np.argsort(np.where(ranks[listed] < 0, len(ids), ranks[listed]), kind="stable")]
    values = np.full(len(ids), np.nan) if scores is None else np.asarray(scores, np.float64)
    table = {
        "id": pa.array([ids[i] for i in listed], pa.string()),
        "rank": pa.array(ranks[listed], pa.int64(), mask=ranks[listed] < 0),
        "score": pa.array(values[listed], pa.float64(), mask=~np.isfinite(values[listed])),
        "reason": pa.array(why[listed].tolist(), pa.string()),
    }
    # Taken of the whole, so that a column has its type where no row is listed too.
    said_of = {k: pa.array(v, from_pandas=True).take(pa.array(listed)) for k, v in said.items()}
    left = len(ids) - len(listed)
    return Sifted(pa.table(table | said_of), {NOT_CHOSEN: left} if left else {})


@step(whole=("chosen",))
def select(pool: pa.Table, chosen: pa.Table) -> Sifted:
    """Keep the chosen rows of a pool, with what is said of them; count why the others left."""
    check(pool, POOL, where="select")
    place = pc.index_in(pool["id"], value_set=chosen["id"].combine_chunks())
    facts = chosen.drop_columns(["id"]).take(place)
    keep = pc.is_valid(facts["rank"])
    others = pc.fill_null(facts["reason"].filter(pc.invert(keep)), NOT_CHOSEN)
    counts = {row["values"]: row["counts"] for row in pc.value_counts(others).to_pylist()}
    # What an earlier choice said of the rows gives way.
    kept = pool.drop_columns([name for name in facts.column_names if name in pool.column_names])
    for name in facts.column_names:
        if name != "reason":
            kept = kept.append_column(name, facts[name])
    return Sifted(kept.filter(keep), dict(sorted(counts.items())))


@step()
def to_rows(rows: pa.Table, *, recipe: str) -> pa.Table:
    """Write pool rows as a training set, with all that was said of them; parents: their ids."""
    ids = rows["id"].to_pylist()
    table = {
        "row_id": pa.array([digest(recipe, one) for one in ids], pa.string()),
        "messages": rows["messages"],
        "weight": pa.array(np.ones(len(ids)), pa.float64()),
        "parents": pa.array([[one] for one in ids], pa.list_(pa.string())),
        "recipe": pa.array([recipe] * len(ids), pa.string()),
    }
    extra = {name: rows[name] for name in rows.column_names if name not in table}
    return check(pa.table(table | extra), SFT, where="to_rows")
