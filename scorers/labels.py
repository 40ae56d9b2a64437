"""How a causal model would begin its reply: the logits of a few labels, for weak judges too.

Used where a reply is one of few words: the digits of DEITA's scorers, the A, B and TIE of Meta
Ranking. Nothing is generated and nothing can fail to parse.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.engines.checkpoint import require_template
from pipeline.engines.forward import context_of, load_causal, micro_batches, pad
from pipeline.errors import UserError
from scorers.conversations import Turns

_BATCH_TOKENS = 8192


def label_logits(model: str, asked: Sequence[Turns], labels: Sequence[str]) -> np.ndarray:
    """Return the logit of each label's first token as the reply's first, float32[n, labels].

    A conversation without text, or longer than the model's context, is NaN. Raises UserError for a
    model without a chat template, and for labels that begin with the same token.
    """
    loaded, tokenizer = load_causal(model)
    require_template(tokenizer, model)
    tokens = [_first_token(tokenizer, label) for label in labels]
    if len(set(tokens)) < len(tokens):
        raise UserError(
            f"model '{model}' begins some of the labels {', '.join(labels)} with the same token; "
            "choose labels that differ in their first letters"
        )
    rows = [_encode(tokenizer, turns, context_of(loaded)) for turns in asked]
    found = np.full((len(rows), len(labels)), np.nan, dtype=np.float32)
    for places in micro_batches(rows, _BATCH_TOKENS):
        found[places] = _last_logits(loaded, [rows[i] for i in places], tokens)
    return found


def _encode(tokenizer: Any, turns: Turns, limit: int) -> list[int]:
    if not any(turn["content"].strip() for turn in turns):
        return []
    text = tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    return ids if len(ids) <= limit else []


def _first_token(tokenizer: Any, label: str) -> int:
    # SentencePiece puts a token of its own, a blank one, before a word.
    ids = tokenizer.encode(label, add_special_tokens=False)
    return int(next(one for one in ids if tokenizer.decode([one]).strip()))


def _last_logits(model: Any, rows: Sequence[Sequence[int]], tokens: Sequence[int]) -> np.ndarray:
    import torch

    ids, mask = pad(rows, model.device)
    ends = torch.tensor([len(row) - 1 for row in rows], device=model.device)
    with torch.inference_mode():
        states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        chosen = states[torch.arange(len(rows), device=model.device), ends]
        logits = model.get_output_embeddings()(chosen).float()[:, list(tokens)]
    found: np.ndarray = logits.cpu().numpy()
    return found
