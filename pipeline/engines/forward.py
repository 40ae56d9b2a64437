"""Causal models through transformers, and their forward pass over rows of tokens in micro-batches.

Rows of like length go together, padded on the right and masked, so that what comes out of a row
does not depend on its neighbours beyond float noise.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.engines.checkpoint import locate, without_bars
from pipeline.errors import UserError

Tokens = Sequence[int]
_LOGITS_AT_ONCE = 1 << 27  # floats: half a gigabyte


@lru_cache(maxsize=1)
def load_causal(what: str) -> tuple[Any, Any]:
    """Load (model, tokenizer), to be read only: they stay loaded until others are asked for."""
    return open_causal(what)


def open_causal(what: str) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a folder or hub name anew, for someone who changes the model.

    bfloat16 on a GPU, float32 on the CPU. UserError if transformers cannot load it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate(what)
    on_gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        with without_bars():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.bfloat16 if on_gpu else torch.float32
            )
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise UserError(f"transformers cannot load '{what}': {why}") from error
    return model.to("cuda" if on_gpu else "cpu").eval(), tokenizer


def open_tokenizer(what: str) -> tuple[Any, Any]:
    """Load (tokenizer, config) of a folder or hub name, for someone who lets others run it."""
    from transformers import AutoConfig, AutoTokenizer

    folder = locate(what)
    return AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)


def context_of(model: Any) -> int:
    """Return how many tokens the model reads at most."""
    return int(model.config.max_position_embeddings)


def micro_batches(rows: Sequence[Tokens], tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows that have tokens, shortest first, padded to at most `tokens`."""
    order = sorted((i for i, row in enumerate(rows) if len(row)), key=lambda i: len(rows[i]))
    batch: list[int] = []
    for place in order:
        if batch and (len(batch) + 1) * len(rows[place]) > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def pad(rows: Sequence[Tokens], device: Any) -> tuple[Any, Any]:
    """Return (ids, mask), int64[n, longest], zeros where a row has ended."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask


def losses_of_tokens(model: Any, rows: Sequence[Tokens]) -> list[np.ndarray]:
    """Return -log p in nats of each row's tokens after the first, float32[tokens - 1] a row."""
    import torch

    losses = [np.zeros(0, dtype=np.float32) for _ in rows]
    for places in micro_batches(rows, max(1, _LOGITS_AT_ONCE // model.config.vocab_size)):
        ids, mask = pad([rows[i] for i in places], model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            chosen = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        for place, line in zip(places, (-chosen).cpu().numpy(), strict=True):
            losses[place] = line[: len(rows[place]) - 1]
    return losses
