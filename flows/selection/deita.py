"""DEITA: complex and good rows first, and none that is too like one already kept.

Liu et al., "What Makes Good Data for Alignment?", ICLR 2024, arXiv 2312.15685. Two small tuned
models rate a turn's prompt (complexity) and its reply (quality) from 1 to 6; a row's score is the
sum over its turns of the products. Down that ranking a row is kept unless its cosine to a row kept
before exceeds tau.

Departures: a rating is the expected digit over the six digits' logits, as published, but a missing
one is null and counted, not 3.0; candidates are compared with kept rows only, so a batch changes
nothing; ties go by id. The prompts are in our own words: published scorers want those they were
tuned on (`ask_complexity`, `ask_quality`; the templates see `prompt` and `reply`). The built-in
model was never tuned to rate; it shows the machinery, not the method.

In:  a pool; scorer models, or a numeric column of the pool's file (`column`) in their place.
Out: n rows, best first; `choices` names those left out as too alike, and those without a rating.

Ran on: built-in world, nano model
"""

import json

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, feature_folder, load_pool, score, select, to_rows
from pipeline.errors import UserError
from pipeline.schema import Sifted, verifier
from pipeline.selectors import spread
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.digits import evol
from scorers.features import features
from scorers.hidden_states import hidden_encoder

ASK_COMPLEXITY = """\
How complex is the request below? Reply with one digit, 1 (simple) to 6 (very complex).

Request: {{ prompt }}"""

ASK_QUALITY = """\
How good is the reply below, as an answer to its request? Reply with one digit, 1 to 6 (best).

Request: {{ prompt }}
Reply: {{ reply }}"""


@verifier(needs=("meta",))
def column(rows: pa.Table, *, name: str) -> pa.Array:
    """Read a score that the user's file brought along; null where it is not a number."""
    values = [json.loads(meta).get(name) for meta in rows["meta"].to_pylist()]
    numbers = [float(v) if isinstance(v, int | float) else None for v in values]
    if not any(v is not None for v in numbers):
        raise UserError(f"no row of the pool has a number in column '{name}'")
    return pa.array(numbers, pa.float64())


def rate(
    rows: Shards,
    column_name: str,
    complexity: str,
    quality: str,
    ask_complexity: str = ASK_COMPLEXITY,
    ask_quality: str = ASK_QUALITY,
) -> Shards:
    """Score rows by a column of theirs, or by the two raters."""
    if column_name:
        found: Shards = score(rows, scorer=column, settings={"name": column_name}, into="scores")
        return found
    settings = {"complexity": complexity, "quality": quality}
    settings |= {"ask_complexity": ask_complexity, "ask_quality": ask_quality}
    found = score(rows, scorer=evol, settings=settings, into="scores")
    return found


@step(scope="dataset")
def choose_diverse(scores: pa.Table, *, vectors: Features, n: int, tau: float) -> Sifted:
    """Go down the ranking and keep a row unless it is too like one kept before."""
    ids, by = scores["id"].to_pylist(), scores.column(1).to_numpy()
    held = vectors.take(ids)
    kept = spread(held, by, n, threshold=tau, ids=ids)
    last = by[kept[-1]] if len(kept) == n else -np.inf
    reasons = {
        "no_score": ~np.isfinite(by),
        "no_vector": ~np.isfinite(held).all(axis=1),
        "too_similar": by > last,
    }
    return choices(ids, kept, scores=by, reasons=reasons)


@recipe(paper="arXiv:2312.15685", output="sft")
def deita(
    pool: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    column: str = "",
    complexity: str = "data/nano",
    quality: str = "data/nano",
    ask_complexity: str = ASK_COMPLEXITY,
    ask_quality: str = ASK_QUALITY,
    encoder: str = "data/nano",
    tau: float = 0.9,
    seed: int = 0,
) -> Shards:
    """Keep the n rows of highest score that are not alike.

    tau: the cosine above which two rows are alike; it means another thing for another `encoder`, so
    look at how many left as too_similar.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    scores = rate(rows, column, complexity, quality, ask_complexity, ask_quality)
    reader = hidden_encoder(encoder, how="last")
    vectors = features(rows, reader, feature_folder("pool", reader.identity))
    found = choose_diverse(scores, vectors=vectors, n=n, tau=tau, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="deita")
    return picked
