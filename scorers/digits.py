"""Scores of DEITA's scorers: expected digit, and complexity times quality over the turns.

Liu et al., arXiv 2312.15685. The scorer is a small model tuned to answer with one digit, 1 to 6.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.prompts import render
from pipeline.schema import verifier
from scorers.conversations import Turns
from scorers.labels import label_logits

_DIGITS = ("1", "2", "3", "4", "5", "6")


def expected_digit(logits: np.ndarray) -> np.ndarray:
    """Return the mean digit under a softmax over the digits' logits alone, float64[n].

    logits: float[n, digits], of "1", "2", ... at the first generated place. NaN where any is not
    finite: the official default of 3.0 looks like a real score.
    """
    table = np.atleast_2d(np.asarray(logits, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        powers = np.exp(table - table.max(axis=1, keepdims=True))
    digits: np.ndarray = powers @ np.arange(1.0, table.shape[1] + 1) / powers.sum(axis=1)
    return digits


def expected_digit_of(logprobs: Mapping[str, float], most: int = 6) -> float | None:
    """Return the same from the log-probabilities that a server shows; None if no digit is there.

    Digits that are not shown count as having no mass.
    """
    seen = {d: logprobs[str(d)] for d in range(1, most + 1) if str(d) in logprobs}
    if not seen:
        return None
    row = np.full(most, -1e9)
    row[np.array(list(seen)) - 1] = list(seen.values())
    return float(expected_digit(row)[0])


def evol_score(
    complexity: Sequence[Sequence[float]], quality: Sequence[Sequence[float]]
) -> np.ndarray:
    """Return the sum over turns of complexity times quality, float64[n] (a sum of products).

    Raises UserError when a row's two lists differ in length, which NumPy would broadcast away.
    """
    for row, (c, q) in enumerate(zip(complexity, quality, strict=True)):
        if len(c) != len(q):
            raise UserError(
                f"row {row}: {len(c)} complexities for {len(q)} qualities; one each a turn"
            )
    rows = zip(complexity, quality, strict=True)
    return np.array([float(np.dot(c, q)) for c, q in rows], dtype=np.float64)


@verifier(needs=("messages",))
def evol(
    rows: pa.Table, *, complexity: str, quality: str, ask_complexity: str, ask_quality: str
) -> pa.Array:
    """Rate each turn's prompt and reply with two models and return the rows' `evol_score`.

    The templates see `prompt` and `reply`; a last prompt without reply has an empty one. Null where
    a rating is missing: no turns, or one too long for a model.
    """
    turns = [list(_pairs(messages)) for messages in rows["messages"].to_pylist()]
    rated = []
    for model, template in ((complexity, ask_complexity), (quality, ask_quality)):
        asked = [_ask(template, p, r) for own in turns for p, r in own]
        digits = iter(expected_digit(label_logits(model, asked, _DIGITS)) if asked else [])
        rated.append([[float(next(digits)) for _ in own] for own in turns])
    scores = evol_score(*rated)
    judged = np.isfinite(scores) & np.array([bool(own) for own in turns], dtype=bool)
    return pa.array(scores, pa.float64(), mask=~judged)


def _ask(template: str, prompt: str, reply: str) -> Turns:
    row = {"id": "of a rater", "messages": [{"role": "user", "content": prompt}], "reply": reply}
    return [{"role": role, "content": text} for role, text in render(template, row).messages]


def _pairs(messages: Turns) -> Iterator[tuple[str, str]]:
    prompt: str | None = None
    for turn in messages:
        if turn["role"] == "user":
            if prompt is not None:
                yield prompt, ""
            prompt = turn["content"]
        elif turn["role"] == "assistant":
            yield prompt or "", turn["content"]
            prompt = None
    if prompt is not None:
        yield prompt, ""
