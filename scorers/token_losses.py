"""The token-loss primitive with a real model: of each row the sum, the count and what was cut.

Three numbers a row, kept as feature shards, one folder for each model and part of the row; the
scores in `scorers.likelihood` are formulas on them.
"""

from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.engines.checkpoint import identify, locate
from pipeline.engines.forward import context_of, load_causal, losses_of_tokens
from pipeline.errors import UserError
from pipeline.vectors import Features, Identity
from scorers.conversations import COLUMNS, Part, encode_turns, template_name, turns_of
from scorers.features import Encoder
from scorers.likelihood import Losses

Status = Literal["ok", "empty", "truncated", "nonfinite"]


def loss_encoder(
    model: str, *, part: Part = "reply", template: str | None = None, max_length: int = 2048
) -> Encoder:
    """Make the encoder of token losses, float32[n, 3]: sum of -log p in nats, tokens, cut or not.

    part: what is scored, the rest is context (`scorers.conversations`). The first token of a text
    has no prediction and is not counted. A row without the part is (0, 0, 0); one longer than
    `max_length` or the model's context is scored up to there and marked 1.
    """
    loaded, tokenizer = load_causal(model)
    limit = min(max_length, context_of(loaded))

    def encode(rows: pa.Table) -> np.ndarray:
        encoded = [
            encode_turns(tokenizer, turns_of(row), part=part, limit=limit, template=template)
            for row in rows.to_pylist()
        ]
        losses = losses_of_tokens(loaded, [one.tokens for one in encoded])
        counted = [one.counted[1:] for one in encoded]
        found = [
            (loss[own].sum(dtype=np.float64), own.sum(), one.truncated)
            for loss, own, one in zip(losses, counted, encoded, strict=True)
        ]
        return np.array(found, dtype=np.float32).reshape(-1, 3)

    name, _, revision = identify(locate(model)).rpartition("@")
    layout = f"{template_name(tokenizer, template, part)}/{limit}"
    identity = Identity(name, revision, -1, "token losses", "none", 0, "float32", layout)
    return Encoder(identity, COLUMNS, encode)


def losses_of(
    kept: Features | np.ndarray, *, cut: Literal["exclude", "keep"] = "exclude"
) -> Losses:
    """Read stored losses, in their order there; a cut row's sum is NaN unless it is to be kept.

    A mean over what the model happened to see of a row must not compete with whole ones. A row
    stored as NaN (its loss was not finite) has no tokens and a NaN sum.
    """
    vectors = kept.array() if isinstance(kept, Features) else np.asarray(kept)
    if vectors.ndim != 2 or vectors.shape[1] not in (0, 3):
        raise UserError(f"token losses have 3 numbers a row, these vectors {vectors.shape[-1]}")
    total, tokens, truncated = vectors.reshape(-1, 3).astype(np.float64).T
    hidden = (truncated == 1) & (cut == "exclude")
    return Losses(np.where(hidden, np.nan, total), np.nan_to_num(tokens).astype(np.int64))


def statuses(kept: Features | np.ndarray) -> list[Status]:
    """Say of each row why it has a loss or has none: ok, empty, truncated or nonfinite."""
    losses = losses_of(kept, cut="keep")
    whole = losses_of(kept)
    said: list[Status] = []
    for total, tokens, shown in zip(losses.total, losses.tokens, whole.total, strict=True):
        if not np.isfinite(total):
            said.append("nonfinite")
        elif np.isnan(shown):
            said.append("truncated")
        else:
            said.append("ok" if tokens else "empty")
    return said
