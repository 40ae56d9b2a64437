"""kMQ: clusters for diversity, and inside each a draw that favours quality.

Yu et al., "Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement",
arXiv 2409.11378, the static form (`kmq_iterative` learns the clusters' weights). k-means over
embeddings; every cluster gets a share of the budget; rows are drawn from it by quality.

Departures, `mode="sound"`: shares in proportion to the clusters, by largest remainder, capped and
passed on, and rows drawn without replacement in proportion to quality. "paper" draws with
replacement, so repeated draws are lost; "code" gives equal shares, loses remainders and
shortfalls, and draws by a softmax of quality cut to whole numbers. Vectors have length 1, so
Euclidean clusters are clusters by angle. k comes from the silhouette on a sample, as in the paper,
or is given. Quality is DEITA's score, or a column of the pool's file.

In:  a pool. Out: about n rows; `choices` says each one's cluster.

Ran on: built-in world, nano model
"""

from typing import Literal

import numpy as np
import pyarrow as pa

from flows.selection.deita import rate
from pipeline.choices import choices, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted
from pipeline.selection.clusters import assign, choose_k, k_means, sample_vectors
from pipeline.selection.strata import draw_by_cluster
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.embeddings import text_encoder
from scorers.features import features

_SAMPLE = 256  # vectors a cluster that k-means is trained on, as in faiss


@step(scope="dataset")
def cluster(
    scores: pa.Table,
    *,
    vectors: Features,
    k: int,
    candidates: list[int],
    iterations: int,
    restarts: int,
    seed: int,
) -> pa.Table:
    """Assign every row to one of k clusters (0: the best of `candidates` by silhouette)."""
    fitting = [c for c in candidates if 2 <= c <= scores.num_rows // 2] or [1]
    most = k or max(fitting)
    sample = sample_vectors(vectors, _SAMPLE * most, seed=seed)
    sample = sample[np.isfinite(sample).all(axis=1)]
    best = k or choose_k(sample, fitting, seed=seed)
    centroids = k_means(sample, best, seed=seed, iterations=iterations, restarts=restarts)
    held = vectors.ids()
    found = [assign(view, centroids) for _, view in vectors.blocks(4096)]
    labels = dict(zip(held, np.concatenate(found).tolist(), strict=True))
    own = [labels[one] for one in scores["id"].to_pylist()]
    return scores.append_column("cluster", pa.array(own, pa.int64()))


@step(scope="dataset")
def draw_from_clusters(
    scored: pa.Table, *, n: int, mode: Literal["sound", "paper", "code"], seed: int
) -> Sifted:
    """Share n among the clusters and draw each one's rows by quality."""
    ids, labels = scored["id"].to_pylist(), scored["cluster"].to_numpy()
    quality = scored.column(1).to_numpy()
    drawn = draw_by_cluster(quality, labels, n, seed=seed, mode=mode, ids=ids)
    distinct = np.array(list(dict.fromkeys(drawn.tolist())), dtype=np.int64)
    reasons = {"no_score": ~np.isfinite(quality), "no_vector": labels < 0}
    return choices(ids, distinct, scores=quality, reasons=reasons, cluster=labels)


@recipe(paper="arXiv:2409.11378", output="sft")
def kmq(
    pool: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    clusters: int = 0,
    candidates: list[int] | None = None,
    column: str = "",
    complexity: str = "data/nano",
    quality: str = "data/nano",
    encoder: str = "data/nano",
    mode: Literal["sound", "paper", "code"] = "sound",
    iterations: int = 25,
    restarts: int = 1,
    seed: int = 0,
) -> Shards:
    """Draw n rows over k clusters by quality.

    clusters: k, or 0 to take the best of `candidates` (by default powers of two to 1,024) by
    silhouette. The paper runs k-means for 300 iterations with 5 restarts.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    scores = rate(rows, column, complexity, quality)
    reader = text_encoder(encoder)
    vectors = features(rows, reader, feature_folder("pool", reader.identity))
    how = {"k": clusters, "iterations": iterations, "restarts": restarts, "seed": seed}
    among = candidates or [2**power for power in range(2, 11)]
    scored = cluster(scores, vectors=vectors, candidates=among, **how)
    found = draw_from_clusters(scored, n=n, mode=mode, seed=seed, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="kmq")
    return picked
