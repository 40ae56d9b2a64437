"""A row's vector from the hidden states of a causal model: RDS+ pooling that knows no padding.

Ivison et al., arXiv 2503.01807, section 2: the whole conversation, the last layer (after the final
norm), token i of L weighing i / (1 + ... + L). Their code counts padding too and so depends on the
batch.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import pyarrow as pa

from pipeline.engines.checkpoint import identify, locate
from pipeline.engines.forward import Tokens, load_causal, micro_batches, open_tokenizer, pad
from pipeline.engines.host import on_engine
from pipeline.engines.vllm_offline import POOLING
from pipeline.errors import UserError
from pipeline.vectors import Identity
from scorers.conversations import COLUMNS, encode_turns, template_name, turns_of
from scorers.features import Encoder

_log = logging.getLogger(__name__)

How = Literal["weighted", "mean", "last"]


def hidden_encoder(
    model: str,
    *,
    engine: Literal["torch", "vllm"] = "torch",
    how: How = "weighted",
    layer: int = -1,
    template: str | None = None,
    max_length: int = 2048,
    batch_tokens: int = 8192,
    dtype: Literal["float16", "float32"] = "float16",
) -> Encoder:
    """Make the encoder of whole conversations for `scorers.features.features`.

    engine: vLLM gives the same numbers (cosines above 0.9999), but of the last layer only, and has
    an identity of its own. layer: -1 is the last, after the final norm; 0 the embeddings. For torch
    a micro-batch holds at most `batch_tokens` tokens with padding, which moves a cosine by less
    than 1e-3. Rows longer than `max_length` or the model's context keep their head, and the log
    says how many; a row without tokens is NaN. Raises UserError for a layer that is not there.
    """
    tokenizer, config = open_tokenizer(model)
    limit = min(max_length, int(config.max_position_embeddings))
    _check_layer(int(config.num_hidden_layers), layer, engine, model)

    def encode(rows: pa.Table) -> np.ndarray:
        encoded = [
            encode_turns(tokenizer, turns_of(r), part="everything", limit=limit, template=template)
            for r in rows.to_pylist()
        ]
        if cut := sum(one.truncated for one in encoded):
            _log.warning("%d of %d rows are longer than the %d tokens read", cut, len(rows), limit)
        tokens = [one.tokens for one in encoded]
        if engine == "vllm":
            return _pooled_by_vllm(model, tokens, how, config.hidden_size)
        return _pooled(load_causal(model)[0], tokens, how, layer, batch_tokens)

    name, _, revision = identify(locate(model)).rpartition("@")
    pooling = how if engine == "torch" else f"{how}/vllm"
    layout = f"{template_name(tokenizer, template, 'everything')}/{limit}"
    return Encoder(
        Identity(name, revision, layer, pooling, "none", 0, dtype, layout), COLUMNS, encode
    )


def pool(hidden: np.ndarray, mask: np.ndarray, *, how: How = "weighted") -> np.ndarray:
    """Pool states float[n, length, d] over the tokens of mask bool[n, length], to float32[n, d].

    weighted: token i of L real ones counts i / (1 + ... + L). mean; last (DEITA). A row without
    tokens is NaN: no selector chooses it.
    """
    real = np.asarray(mask, dtype=bool)
    # Padding may hold anything, infinities too; 0 * inf would be NaN.
    states = np.where(real[:, :, None], np.asarray(hidden, np.float64), 0.0)
    pooled: np.ndarray = np.einsum("nl,nld->nd", _shares(real, how), states)
    return pooled.astype(np.float32)


def _shares(real: np.ndarray, how: How) -> np.ndarray:
    """Return what each place of bool[n, length] weighs, float64, sums 1 or NaN."""
    place = np.cumsum(real, axis=1)
    if how == "last":
        weights = (real & (place == place[:, -1:])).astype(np.float64)
    else:
        weights = np.where(real, place if how == "weighted" else 1.0, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    shares: np.ndarray = weights / np.where(total > 0, total, np.nan)
    return shares


def _pooled(
    model: Any, rows: Sequence[Tokens], how: How, layer: int, batch_tokens: int
) -> np.ndarray:
    import torch

    found = np.full((len(rows), model.config.hidden_size), np.nan, dtype=np.float32)
    for places in micro_batches(rows, batch_tokens):
        ids, mask = pad([rows[i] for i in places], model.device)
        with torch.inference_mode():
            states = _states(model, ids, mask, layer)
            shares = torch.from_numpy(_shares(mask.cpu().numpy() > 0, how)).to(states.device)
            states = states.masked_fill(mask[:, :, None] == 0, 0)
            pooled = torch.einsum("nl,nld->nd", shares.float(), states.float())
        found[places] = pooled.cpu().numpy()
    return found


def _states(model: Any, ids: Any, mask: Any, layer: int) -> Any:
    inner = model.base_model  # without the head: no logits are made
    if layer == -1:
        return inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    found = inner(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    return found.hidden_states[layer]


def _pooled_by_vllm(model: str, rows: Sequence[Tokens], how: How, width: int) -> np.ndarray:
    found = np.full((len(rows), width), np.nan, dtype=np.float32)

    async def work(engine: Any) -> None:
        free = asyncio.Semaphore(engine.slots)

        async def one(place: int) -> None:
            async with free:
                states = await engine.token_states(f"states-{uuid4().hex}", rows[place])
                found[place] = pool(states[None], np.ones((1, len(states)), dtype=bool), how=how)[0]

        # Not a task group: it would hide the EngineError after which a step is tried again.
        await asyncio.gather(*(one(place) for place, row in enumerate(rows) if len(row)))

    on_engine(f"vllm:{model}", work, **POOLING)
    return found


def _check_layer(layers: int, layer: int, engine: str, name: str) -> None:
    if not -layers - 1 <= layer <= layers:
        raise UserError(f"model '{name}' has {layers} layers, layer {layer} is none of them")
    if engine == "vllm" and layer not in (-1, layers):
        raise UserError(f"vLLM shows the last layer only, not layer {layer}; use engine='torch'")
