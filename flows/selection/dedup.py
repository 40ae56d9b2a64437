"""Deduplication: of rows that say the same, one stays, and each of the others names it.

Three sieves. Exact: equal after Unicode, case and space are normalised. Near: MinHash finds
candidates (14 x 8 bands as in datatrove), and a pair counts only if the Jaccard similarity of its
word 5-grams reaches `near`. Meaning: within k-means clusters of embeddings, a cosine above
1 - `meaning` to a row that was kept (SemDeDup, Abbas et al., arXiv 2303.09540); off by default.

Departures: candidate pairs are verified and a row is compared with kept rows only, so that chains
A ~ B ~ C do not take C along (`mode="paper"`: SemDeDup's own rule, where they do); numbers stay as
they are, since they tell two problems apart. A row shorter than 5 words repeats only its equal.

In:  a pool; perhaps rows that are kept already (`existing`), which win over the pool's.
Out: the rows that stay; those that left are in `choices`, with the row they repeat and how alike.

Ran on: built-in world
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, feature_folder, load_pool, select, to_rows
from pipeline.pools import text_of
from pipeline.schema import Sifted
from pipeline.selection.clusters import assign, k_means
from pipeline.selection.meaning import find_echoes
from pipeline.selection.minhash import NearIndex
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.embeddings import text_encoder
from scorers.features import features


@step(scope="dataset")
def find_repeats(pool: pa.Table, existing: Sequence[pa.Table], *, near: float) -> Sifted:
    """Choose the rows that repeat neither a row of `existing` nor a kept row of lower id."""
    index = NearIndex(near)
    for table in existing:
        index.add([f"existing {one}" for one in table["id"].to_pylist()], _texts(table))
    ids = pool["id"].to_pylist()
    matches = index.add(ids, _texts(pool))
    alike = np.array([m.similarity if m else np.nan for m in matches])
    return choices(
        ids,
        np.flatnonzero(np.isnan(alike)),
        scores=alike,
        reasons={"duplicate": alike == 1, "near_duplicate": alike < 1},
        duplicate_of=[m.duplicate_of if m else None for m in matches],
    )


def _texts(table: pa.Table) -> list[str]:
    return [text_of(turns) for turns in table["messages"].to_pylist()]


@step(scope="dataset")
def find_paraphrases(
    pool: pa.Table,
    *,
    vectors: Features,
    epsilon: float,
    clusters: int,
    rule: Literal["kept_only", "earlier"],
    seed: int,
) -> Sifted:
    """Choose the rows whose cosine to one before them in their cluster is at most 1 - epsilon."""
    ids = pool["id"].to_pylist()
    held = vectors.take(ids)
    centroids = k_means(held, min(clusters, len(ids)), seed=seed, ids=ids)
    found = find_echoes(held, epsilon=epsilon, rule=rule, clusters=assign(held, centroids), ids=ids)
    return choices(
        ids,
        np.flatnonzero(found.duplicate_of < 0),
        scores=found.similarity,
        reasons={"same_meaning": found.duplicate_of >= 0},
        duplicate_of=[ids[i] if i >= 0 else None for i in found.duplicate_of.tolist()],
    )


@recipe(paper="arXiv:2303.09540", output="sft")
def dedup(
    pool: str = "nano_world",
    columns: dict[str, str] | None = None,
    existing: str = "",
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    near: float = 0.8,
    meaning: float = 0.0,
    encoder: str = "data/nano",
    clusters: int = 64,
    mode: Literal["sound", "paper"] = "sound",
    seed: int = 0,
) -> Shards:
    """Drop repeats: the same text, nearly the same words, and with `meaning` the same sense.

    near: Jaccard similarity of word 5-grams from which two rows are one. meaning: the cosine
    distance below which they are (0: off); it depends on `encoder`, so look at what left first.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    held = []
    if existing:
        held = [load_pool(existing, columns, subset, split, seed=seed, into="existing")]
    kept = select(rows, find_repeats(rows, held, near=near, into="choices"))
    if meaning:
        reader = text_encoder(encoder)
        vectors = features(kept, reader, feature_folder("kept", reader.identity))
        rule = "earlier" if mode == "paper" else "kept_only"
        same = {"epsilon": meaning, "clusters": clusters, "rule": rule, "seed": seed}
        found = find_paraphrases(kept, vectors=vectors, into="choices_by_meaning", **same)
        kept = select(kept, found, into="selected")
    result: Shards = to_rows(kept, recipe="dedup")
    return result
