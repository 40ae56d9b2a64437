"""IFD: replies that the prompt makes easier, but not easy.

Instruction-following difficulty is the loss of the reply given the prompt against its loss alone:
near 1 the prompt hardly helps, above 1 it misleads, far below 1 there is little to learn. `score`:
"cherry" a ratio of losses (Li et al., arXiv 2308.12032), "superfiltering" a ratio of perplexities
with a small model (Li et al., arXiv 2402.00530), "ic" also divided by the prompt's own loss, so
that over-complicated prompts do not win (Hui et al., arXiv 2412.11231; it drops nothing above 1).
The highest are kept.

Departures: rows are scored by the model as it is (Cherry's first version tunes it first); a row cut
by the context, without a prompt of two tokens, without a loss, or with fewer than `least_tokens`
reply tokens is left out and counted, where the official code keeps some as zeros; a share of less
than one row is an error, where it keeps all. `diverse` is Superfiltering.D: facility location over
embeddings from ten times n by score (published: from 20 % to 2 %).

In:  a pool of prompts with replies. Out: n rows (or `share` of those that fit), hardest first.

Ran on: built-in world, nano model
"""

from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, facts, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted
from pipeline.selection.coverage import facility_location
from pipeline.selection.eligibility import rows_for_share
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.selectors import top_k
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.conversations import Part
from scorers.embeddings import text_encoder
from scorers.features import features
from scorers.likelihood import ifd as difficulty
from scorers.likelihood import within_ifd
from scorers.token_losses import loss_encoder, losses_of

Score = Literal["cherry", "superfiltering", "ic"]
_WIDER = 10  # candidates of facility location for each row wanted


@step(scope="dataset")
def choose_hard(
    rows: pa.Table,
    *,
    given: Features,
    alone: Features,
    asked: Features,
    vectors: Features | None,
    score: Score,
    n: int,
    share: float,
    least_tokens: int,
) -> Sifted:
    """Take the rows of highest score among those that the published rule keeps."""
    ids = rows["id"].to_pylist()
    reply, plain, prompt = (losses_of(one.take(ids)) for one in (given, alone, asked))
    ratio: Literal["loss", "perplexity"] = "perplexity" if score == "superfiltering" else "loss"
    scores = difficulty(reply, plain, prompt if score == "ic" else None, ratio=ratio)
    short, unasked = reply.tokens < least_tokens, prompt.tokens == 0
    usable = np.where(short | unasked, np.nan, scores)
    fitting = usable if score == "ic" else within_ifd(usable, score)
    wanted = rows_for_share(int(np.isfinite(fitting).sum()), share) if share else n
    chosen = top_k(fitting, wanted * (_WIDER if vectors else 1), ids=ids)
    if vectors is not None:
        held = unit_grid(vectors.take([ids[i] for i in chosen]))
        best = facility_location(cosines(held, held), wanted, ids=[ids[i] for i in chosen])
        chosen = chosen[best]
    reasons = {"no_prompt": unasked, "no_loss": ~np.isfinite(scores), "too_short": short}
    reasons["above_1"] = np.isnan(fitting)
    return choices(ids, chosen, scores=scores, reasons=reasons)


@recipe(paper="arXiv:2308.12032", output="sft")
def ifd(
    pool: str = "nano_world",
    n: int = 100,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    scorer: str = "data/nano",
    score: Literal["cherry", "superfiltering", "ic"] = "cherry",
    mode: Literal["cherry", "superfiltering"] = "cherry",
    share: float = 0.0,
    least_tokens: int = 8,
    diverse: bool = False,
    encoder: str = "data/nano",
    seed: int = 0,
) -> Shards:
    """Keep the n rows whose prompts help least without misleading.

    mode: what stands before the reply when it is scored alone, the template's opening (cherry) or
    nothing (superfiltering). share: of the rows that fit, in place of n (published: 0.05 to 0.15).
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    alone: Part = "reply_after_header" if mode == "cherry" else "reply_alone"
    losses = {}
    parts: dict[str, Part] = {"given": "reply", "alone": alone, "asked": "prompt_alone"}
    for name, part in parts.items():
        reader = loss_encoder(scorer, part=part)
        losses[name] = features(rows, reader, feature_folder(name, reader.identity))
    vectors = None
    if diverse:
        writer = text_encoder(encoder)
        vectors = features(rows, writer, feature_folder("pool", writer.identity))
    how = {"score": score, "n": n, "share": share, "least_tokens": least_tokens}
    found = choose_hard(facts(rows), **losses, vectors=vectors, **how, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="ifd")
    return picked
