"""Gradient features of LESS with a real model: one backward pass a row, projected.

Xia et al., arXiv 2402.04333, section 3: rows of the pool become the step that Adam would take at a
checkpoint, queries their plain gradient; both go through one random projection, and their cosine is
what training on the row does for the query.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.engines.forward import context_of
from pipeline.vectors import Identity
from scorers.conversations import COLUMNS, Encoded, encode_turns, template_name, turns_of
from scorers.features import Encoder
from scorers.gradients import adam_step, project
from scorers.reply_loss import reply_losses
from scorers.warm_up import Checkpoint, checkpoint_identity, load_checkpoint

_log = logging.getLogger(__name__)
_TINY = 1e-12
_BUFFERED = 48 << 20  # floats of gradients before a projection: 192 MB

Side = Literal["pool", "queries"]


def gradient_encoder(
    checkpoint: Checkpoint,
    *,
    side: Side,
    mode: Literal["code", "paper", "textbook", "epsilon_outside"] = "code",
    width: int = 8192,
    seed: int = 0,
    template: str | None = None,
    max_length: int = 2048,
    dtype: Literal["float16", "float32"] = "float16",
) -> Encoder:
    """Make the encoder of projected gradients at a checkpoint, for `scorers.features.features`.

    side: "pool" rows are Adam steps in `mode` (`scorers.gradients.adam_step`), "queries" plain
    gradients of the loss. Both have one identity, since they are made to be compared: keep them in
    two folders. Vectors are scaled to length 1, as raw ones may exceed float16; a gradient of 0
    stays 0. A row without a reply within the limit is NaN; one that is cut has the gradient of what
    is left, and the log says how many are.
    """
    model, tokenizer, m, v = _loaded(checkpoint.folder)
    limit = min(max_length, context_of(model))

    def encode(rows: pa.Table) -> np.ndarray:
        encoded = [
            encode_turns(tokenizer, turns_of(row), part="replies", limit=limit, template=template)
            for row in rows.to_pylist()
        ]
        if cut := sum(one.truncated for one in encoded):
            _log.warning("%d of %d rows are longer than the %d tokens read", cut, len(rows), limit)
        found = np.full((len(rows), width), np.nan, dtype=np.float32)
        usable = [i for i, one in enumerate(encoded) if one.counted[1:].any()]
        size = max(16, _BUFFERED // len(m))
        for start in range(0, len(usable), size):
            places = usable[start : start + size]
            steps = np.empty((len(places), len(m)), dtype=np.float32)
            gradients = row_gradients(model, [encoded[i] for i in places])
            for line, own in zip(steps, gradients, strict=True):
                as_step = side == "pool"
                line[:] = adam_step(own, m, v, mode=mode, step=checkpoint.step) if as_step else own
            found[places] = _unit(project(steps, width, seed=seed))
        return found

    name, revision = checkpoint_identity(checkpoint.folder)
    layout = f"{template_name(tokenizer, template, 'replies')}/{limit}"
    kind = f"signs-philox/{width}/unit"
    identity = Identity(name, revision, -1, f"less-{mode}", kind, seed, dtype, layout)
    return Encoder(identity, COLUMNS, encode)


def row_gradients(model: Any, rows: Sequence[Encoded]) -> Iterator[np.ndarray]:
    """Yield each row's gradient of its mean reply loss, float32[parameters], one row at a time.

    Over the parameters that are trained, flattened in their order. Dropout is as the model has it.
    """
    import torch

    parameters = [own for own in model.parameters() if own.requires_grad]
    for row in rows:
        (loss,) = reply_losses(model, [row])
        parts = torch.autograd.grad(loss, parameters)
        yield torch.cat([part.flatten().float() for part in parts]).cpu().numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.where(lengths < _TINY, 0, vectors / np.maximum(lengths, _TINY))
    return unit


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Return (model, tokenizer, m, v), moments flattened in the order of the parameters."""
    model, tokenizer, moments = load_checkpoint(folder)
    m, v = (
        np.concatenate([pair[which].flatten().cpu().numpy() for pair in moments.values()])
        for which in (0, 1)
    )
    return model, tokenizer, m, v
