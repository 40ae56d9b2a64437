"""GRAPE: of several replies to one prompt, the one that the model to be trained finds most likely.

Zhang et al., "The Best Instruction-Tuning Data Are Those That Fit", NeurIPS 2025, arXiv 2502.04194.
Replies from every source that shares a prompt are scored by the untuned target model; each prompt
keeps its best. It chooses replies, never prompts.

Departures: `rule="mean"` is the log-probability a token, as the later version says; "sum"
reproduces the first, which favours short replies. Scored as trained: the model's own template, the
end token included. Replies that are equal but for space count once; prompts with fewer than two
leave (counted). Degenerate text scores best of all, so replies of fewer than `least_tokens` tokens
leave, and correctness is yours to check before. Cut replies are not compared with whole ones.

In:  a pool in which prompts repeat, from several sources. Out: `at_most` replies a prompt.

Ran on: built-in world, nano model
"""

from collections import Counter
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, feature_folder, load_pool, select, to_rows
from pipeline.schema import Sifted, digest
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from pipeline.vectors import Features
from scorers.features import features
from scorers.likelihood import Losses, fittest, mean_loss
from scorers.token_losses import loss_encoder, losses_of

_FEWEST = 2  # replies that make a choice


@step()
def group_by_prompt(rows: pa.Table) -> pa.Table:
    """Return id, prompt and reply of each row as digests of their normalised text."""
    asked, said = [], []
    for turns in rows["messages"].to_pylist():
        *before, last = turns
        asked.append(digest([[turn["role"], turn["content"].split()] for turn in before]))
        said.append(digest(last["content"].split()))
    return pa.table({"id": rows["id"], "prompt": asked, "reply": said})


@step(scope="dataset")
def choose_fittest(
    rows: pa.Table, *, kept: Features, at_most: int, rule: Literal["mean", "sum"], least_tokens: int
) -> Sifted:
    """Take each prompt's likeliest replies; prompts with one distinct reply leave."""
    ids, prompts, replies = (rows[name].to_pylist() for name in ("id", "prompt", "reply"))
    losses = losses_of(kept.take(ids))
    firsts: dict[tuple[str, str], str] = {}
    for one, prompt, reply in sorted(zip(ids, prompts, replies, strict=True)):
        firsts.setdefault((prompt, reply), one)
    repeated = np.array([firsts[p, r] != i for i, p, r in zip(ids, prompts, replies, strict=True)])
    distinct = Counter(prompt for prompt, _ in firsts)
    alone = np.array([distinct[prompt] < _FEWEST for prompt in prompts])
    short, unscored = losses.tokens < least_tokens, ~np.isfinite(mean_loss(losses))
    left_out = repeated | alone | short
    usable = Losses(np.where(left_out, np.nan, losses.total), losses.tokens)
    chosen = fittest(prompts, usable, ids, at_most=at_most, rule=rule)
    reasons = {"no_loss": unscored, "too_short": short, "same_reply": repeated, "one_reply": alone}
    reasons["less_likely"] = np.ones(len(ids), dtype=bool)
    return choices(ids, chosen, scores=-mean_loss(losses), reasons=reasons, tokens=losses.tokens)


@recipe(paper="arXiv:2502.04194", output="sft")
def grape(
    pool: str = "nano_world",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    target: str = "data/nano",
    at_most: int = 1,
    rule: Literal["mean", "sum"] = "mean",
    least_tokens: int = 2,
    seed: int = 0,
) -> Shards:
    """Keep the replies that `target`, the untuned model, finds most likely."""
    rows = load_pool(pool, columns, subset, split, limit, seed)
    reader = loss_encoder(target)
    losses = features(rows, reader, feature_folder("losses", reader.identity))
    how = {"at_most": at_most, "rule": rule, "least_tokens": least_tokens}
    found = choose_fittest(group_by_prompt(rows), kept=losses, **how, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="grape")
    return picked
