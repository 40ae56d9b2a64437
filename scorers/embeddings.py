"""Vectors of texts from a sentence-transformers model: unit length, the same in any batch."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.engines.checkpoint import identify, locate, without_bars
from pipeline.vectors import Identity
from scorers.conversations import COLUMNS, turns_of
from scorers.features import Encoder

_log = logging.getLogger(__name__)
_TINY = 1e-12


def embed(texts: Sequence[str], *, model: str, batch: int = 32) -> np.ndarray:
    """Embed texts, float32[n, d], each of length 1; NaN for a blank text.

    model: a folder or a hub name; one that names no pooling gets sentence-transformers' default
    (the mean, or the last token of a causal model). Padding is masked and everything is float32,
    so that `batch` moves a cosine by less than 1e-3. What is longer than the model reads is cut at
    its end, and the log says how many were.
    """
    loaded = _load(model)
    found = np.full((len(texts), loaded.get_embedding_dimension()), np.nan, dtype=np.float32)
    full = [place for place, text in enumerate(texts) if text.strip()]
    if full:
        asked = [texts[place] for place in full]
        _log_cut(loaded, asked)
        vectors = loaded.encode(asked, batch_size=batch, show_progress_bar=False)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found[full] = vectors / np.where(lengths > _TINY, lengths, np.nan)
    return found


def text_encoder(
    model: str,
    *,
    of: Literal["all", "user"] = "all",
    batch: int = 32,
    dtype: Literal["float16", "float32"] = "float32",
) -> Encoder:
    """Make the encoder of rows' texts for `scorers.features.features`.

    of: the contents of all turns, or of the user's only, with an empty line between two.
    """

    def encode(rows: pa.Table) -> np.ndarray:
        wanted = [
            [t for t in turns_of(r) if of == "all" or t["role"] == of] for r in rows.to_pylist()
        ]
        texts = ["\n\n".join(turn["content"] or "" for turn in turns) for turns in wanted]
        return embed(texts, model=model, batch=batch)

    return Encoder(embedding_identity(model, template=f"text/{of}", dtype=dtype), COLUMNS, encode)


def embedding_identity(
    model: str, *, template: str = "text", dtype: Literal["float16", "float32"] = "float32"
) -> Identity:
    """Name what `embed` depends on, for `pipeline.vectors`; `template` says what the text was.

    Every file of the model's modules counts, those in its sub-folders too, and where it cuts.
    """
    name, _, revision = identify(locate(model)).rpartition("@")
    loaded = _load(model)
    modules = xxhash.xxh3_128("\n".join(str(module) for module in loaded).encode())
    for file in _module_files(locate(model)):
        modules.update(f"{file.parent.name}/{file.name}\0".encode() + file.read_bytes())
    pooling = f"sentence-transformers/{modules.hexdigest()[:12]}"
    cut = f"{template}/{loaded.max_seq_length}"
    return Identity(name, revision, -1, pooling, "none", 0, dtype, cut)


def _module_files(folder: Path) -> list[Path]:
    """Return what says how token vectors become one: modules.json and files a folder below."""
    below = [file for kind in ("*/*.json", "*/*.safetensors") for file in folder.glob(kind)]
    return sorted(below) + sorted(folder.glob("*modules.json"))


@lru_cache(maxsize=1)
def _load(what: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    folder = locate(what)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Half precision would make the sums depend on the batch.
    kind = {"dtype": torch.float32}
    with without_bars():
        return SentenceTransformer(str(folder), device=device, model_kwargs=kind)


def _log_cut(loaded: Any, texts: Sequence[str]) -> None:
    limit = loaded.max_seq_length
    tokens = loaded.tokenizer(list(texts), truncation=False, padding=False, verbose=False)[
        "input_ids"
    ]
    cut = sum(len(ids) > limit for ids in tokens) if limit else 0
    if cut:
        _log.warning("%d of %d texts are longer than the %d tokens read", cut, len(texts), limit)
