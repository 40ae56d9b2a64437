"""Scores that are formulas on token losses: one primitive, sums and counts by model and context.

The model call is `pipeline.engines.torch_local.token_losses`; what is kept of it is, for each row,
the sum of -log p in nats and the number of tokens. Every mean below is a mean over those tokens.
A score is NaN where it cannot be judged: no tokens, or a loss that is not finite.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from pipeline.errors import UserError

_FLOOR = 1e-3  # nats; memorised text has a loss near 0 and a ratio over it would explode


class Losses(NamedTuple):
    """Summed token losses, float64[n] in nats, and tokens, int64[n]: one model, one context."""

    total: np.ndarray
    tokens: np.ndarray


def sum_losses(losses: Sequence[np.ndarray], starts: Sequence[int] | None = None) -> Losses:
    """Sum each text's token losses from a token on.

    losses: as `token_losses` gives them, that of the second token first. starts: the number of
    context tokens of each text (a prompt's), whose losses do not count; 0 or 1: all of them do.
    """
    firsts = [0] * len(losses) if starts is None else [max(0, start - 1) for start in starts]
    if len(firsts) != len(losses):
        raise UserError(f"there are {len(firsts)} starts for {len(losses)} texts; give one each")
    parts = [np.asarray(own, np.float64)[a:] for own, a in zip(losses, firsts, strict=True)]
    return Losses(
        np.array([part.sum() for part in parts], dtype=np.float64),
        np.array([len(part) for part in parts], dtype=np.int64),
    )


def mean_loss(losses: Losses) -> np.ndarray:
    """Return the mean loss, float64[n]: minus GRAPE's score, CoLoR's L; exp of it is perplexity."""
    totals = np.asarray(losses.total, dtype=np.float64)
    usable = (np.asarray(losses.tokens) > 0) & np.isfinite(totals)
    return np.where(usable, totals / np.maximum(losses.tokens, 1), np.nan)


def ifd(
    answer_given_prompt: Losses,
    answer: Losses,
    prompt: Losses | None = None,
    *,
    ratio: Literal["loss", "perplexity"] = "loss",
) -> np.ndarray:
    """Return the instruction-following difficulty, float64[n]; higher is harder.

    ratio "loss": L(A|Q) / L(A) (Cherry LLM, arXiv 2308.12032); "perplexity": exp(L(A|Q) - L(A))
    (Superfiltering, arXiv 2402.00530); they order rows differently and both are 1 where the prompt
    does not help. With `prompt`, also divided by L(Q): IC-IFD (arXiv 2412.11231).
    Divisors are at least 0.001.
    """
    given, alone = mean_loss(answer_given_prompt), mean_loss(answer)
    if ratio == "perplexity":
        with np.errstate(over="ignore"):
            scores: np.ndarray = np.exp(given - alone)
    else:
        scores = given / np.maximum(alone, _FLOOR)
    if prompt is not None:
        scores = scores / np.maximum(mean_loss(prompt), _FLOOR)
    return scores


def within_ifd(
    scores: np.ndarray, rule: Literal["cherry", "superfiltering", "reflection"]
) -> np.ndarray:
    """Set to NaN the scores that a published selection drops, so that no selector takes them.

    cherry drops > 1, superfiltering >= 1, reflection > 1; what is NaN stays so.
    """
    scores = np.asarray(scores, dtype=np.float64)
    kept = scores < 1 if rule == "superfiltering" else scores <= 1
    return np.where(kept, scores, np.nan)


def color(prior: Losses, conditional: Losses) -> np.ndarray:
    """Return how much tuning on the target lowered the mean loss, float64[n]; higher is better.

    CoLoR-Filter (arXiv 2406.10670, equation 6). Means, so that rows of any length compare.
    """
    fall: np.ndarray = mean_loss(prior) - mean_loss(conditional)
    return fall


def confidence(checkpoints: Sequence[Losses]) -> np.ndarray:
    """Return minus the mean perplexity over a reference run's checkpoints, float64[n].

    SFTMix (arXiv 2410.05248). A mean of perplexities, not of losses: one bad checkpoint rules.
    """
    with np.errstate(over="ignore"):
        found: np.ndarray = -np.mean([np.exp(mean_loss(one)) for one in checkpoints], axis=0)
    return found


def split_at_median(scores: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Return True for the upper half, bool[n]: sizes differ by at most one, ties by id.

    SFTMix's confident half; with an odd number the middle row goes to the lower. Raises UserError
    for NaN: a row without a score belongs to no half, drop it first.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise UserError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; drop them")
    order = np.lexsort((np.asarray(ids), -scores))
    upper = np.zeros(len(scores), dtype=bool)
    upper[order[: len(scores) // 2]] = True
    return upper


def fittest(
    groups: Sequence[str],
    losses: Losses,
    ids: Sequence[str],
    *,
    at_most: int = 1,
    rule: Literal["mean", "sum"] = "mean",
) -> np.ndarray:
    """Return each group's responses that a model finds most likely, best first, int64.

    GRAPE (arXiv 2502.04194): by mean log-probability (v3) or its sum (v1, which favours short
    ones); ties by fewer tokens, then id. Groups follow in order of first appearance; responses
    without a score are never chosen.
    """
    key = mean_loss(losses)
    if rule == "sum":
        key = np.where(np.isnan(key), np.nan, losses.total)
    order = np.lexsort((np.asarray(ids), losses.tokens, key))
    chosen: dict[str, list[int]] = {group: [] for group in groups}
    for row in order.tolist():
        if np.isfinite(key[row]) and len(chosen[groups[row]]) < at_most:
            chosen[groups[row]].append(row)
    return np.array([row for own in chosen.values() for row in own], dtype=np.int64)
