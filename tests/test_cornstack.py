"""CoRNStack end to end with a real encoder: the nano model, mean-pooled."""

import polars as pl
import pyarrow as pa
import pytest

from flows.code.cornstack import cornstack, docstring_pairs
from pipeline.runs import execute
from pipeline.shards import Shards
from pipeline.steps import Run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the nano model as a sentence-transformers folder; returns its path."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    tokens = Transformer("data/nano")
    folder = tmp_path_factory.mktemp("models") / "encoder"
    mean = Pooling(tokens.get_embedding_dimension(), pooling_mode="mean")
    SentenceTransformer(modules=[tokens, mean], device="cpu").save_pretrained(str(folder))
    return str(folder)


def function(doc: str, name: str = "f") -> str:
    """A function with a docstring."""
    return f'def {name}(x):\n    """{doc}"""\n    return x'


def test_queries_are_docstrings_worth_asking() -> None:
    """Each text rule has its reason, and the document no longer holds its query."""
    docs = ["Returns x as it is.", "Too short", "See https://a.b for more", "Наш <b>первый</b> x",
            "Возвращает x как есть", "Bad \ufffd here in text", ""]  # fmt: skip
    rows = [
        {
            "id": str(i),
            "messages": [{"role": "user", "content": function(doc)}],
            "parents": [f"file{i}"],
        }
        for i, doc in enumerate(docs)
    ]
    kept, dropped, *_ = docstring_pairs(pa.Table.from_pylist(rows), least_words=3)
    assert kept["query"].to_pylist() == docs[:1]
    assert kept["document"].to_pylist() == ["def f(x):\n    return x"]
    assert kept["parents"].to_pylist() == [["0", "file0"]]
    assert dropped == {"bad_characters": 1, "link_or_tag": 2, "no_docstring": 1,
                       "not_english": 1, "too_short": 1}  # fmt: skip


def test_kept_pairs_are_consistent_and_negatives_lie_below(
    tmp_path, prefect_server, encoder
) -> None:
    """Ranks, scores and margins hold in every row; each epoch has one; all pairs are counted."""
    given = {"limit": 60, "embedder": encoder, "least": 0.3, "epochs": 2, "margin": 0.99}
    execute(cornstack, given, Run(tmp_path))
    rows = pl.read_parquet(tmp_path / "dataset/scores/data/*.parquet").to_dicts()
    assert {row["epoch"]: row["temperature"] for row in rows} == pytest.approx({0: 0.05, 1: 0.001})
    for row in rows:
        assert row["document_rank"] < 2 and row["document_score"] > 0.3
        assert row["document"] not in row["negatives"] and len(set(row["negatives"])) >= 1
        assert max(row["negative_scores"]) < 0.99 * row["document_score"]
        assert row["id"] not in row["negative_ids"] and row["query"] not in row["document"]
    pairs = Shards.open(tmp_path / "docstring_pairs").rows
    dropped = Shards.open(tmp_path / "mined").lineage["dropped"]
    kept = pairs - dropped.get("rank", 0) - dropped.get("score", 0)
    assert len(rows) == 2 * kept - dropped.get("no_negatives", 0) > 0
