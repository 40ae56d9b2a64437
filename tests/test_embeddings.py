"""Embeddings with a real sentence-transformers model: the nano model, mean-pooled."""

import logging
from pathlib import Path

import numpy as np
import pytest

from scorers.embeddings import embed, embedding_identity

TEXTS = ["Tom has 12 apples and eats 5.", "def add(a, b): return a + b", "What is 3 * 4?", "Hi"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the nano model as a sentence-transformers folder with its pooling; returns its path."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    tokens = Transformer("data/nano")
    folder = tmp_path_factory.mktemp("models") / "encoder"
    mean = Pooling(tokens.get_embedding_dimension(), pooling_mode="mean")
    SentenceTransformer(modules=[tokens, mean], device="cpu").save_pretrained(str(folder))
    return str(folder)


def test_vectors_have_length_one_and_know_no_batch(encoder: str) -> None:
    """Alone, in batches and in another order each text keeps its vector, float32 of length 1."""
    texts = TEXTS + [" ".join(TEXTS) * n for n in range(1, 5)]
    together = embed(texts, model=encoder)
    assert together.shape == (8, 256) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(8), abs=1e-5)
    for other in (
        embed(texts, model=encoder, batch=1),
        embed(texts, model=encoder, batch=3),
        embed(texts[::-1], model=encoder)[::-1],
    ):
        assert ((together * other).sum(axis=1) > 1 - 1e-3).all()


def test_equal_texts_are_nearest(encoder: str) -> None:
    """The nearest neighbour of a text is its copy, at cosine 1; others are further away."""
    found = embed([*TEXTS, TEXTS[1]], model=encoder)
    cosines = found @ found[1]
    assert cosines[4] == pytest.approx(1, abs=1e-5) and cosines[[0, 2, 3]].max() < 0.999


def test_blank_texts_have_no_direction(encoder: str) -> None:
    """A blank text is NaN and its neighbours are as they were; no texts give no rows."""
    found = embed(["", TEXTS[0], " \n"], model=encoder)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(embed(TEXTS[:1], model=encoder)[0], abs=1e-5)
    assert embed([], model=encoder).shape == (0, 256)


def test_what_is_cut_is_said(encoder: str, caplog: pytest.LogCaptureFixture) -> None:
    """A text beyond the model's context is counted in the log."""
    with caplog.at_level(logging.WARNING, logger="scorers"):
        embed(["one " * 2000, TEXTS[0]], model=encoder)
    assert "1 of 2 texts are longer than the 512 tokens read" in caplog.text


def test_identity_knows_pooling_and_weights(encoder: str) -> None:
    """Another pooling of the same weights, another file, another template are other identities."""
    first = embedding_identity(encoder)
    assert first == embedding_identity(encoder) and first.model == "encoder"
    config = Path(encoder) / "1_Pooling" / "config.json"
    text = config.read_text()
    config.write_text(text + "\n")
    try:
        assert embedding_identity(encoder).pooling != first.pooling
    finally:
        config.write_text(text)
    assert embedding_identity(encoder, template="user") != first
    assert embedding_identity("data/nano").pooling != first.pooling
