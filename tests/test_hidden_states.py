"""Hidden states of the nano model: pooled by the formula, the same in any batch."""

import logging

import numpy as np
import pyarrow as pa
import pytest

from pipeline.engines.host import close_engines
from pipeline.errors import UserError
from pipeline.nano_world import word_problems, worked_answer
from scorers.hidden_states import hidden_encoder, pool

NANO = "data/nano"


def conversations(count: int) -> pa.Table:
    """Solved word problems as messages, of many lengths."""
    rows = word_problems(count, seed=3).to_pylist()
    replies = [{"role": "assistant", "content": worked_answer(row)} for row in rows]
    chats = [[*row["messages"], reply] for row, reply in zip(rows, replies, strict=True)]
    return pa.table({"messages": chats})


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Row by row."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths


@pytest.mark.parametrize("how", ["weighted", "mean", "last"])
def test_no_batch_moves_a_vector(how: str) -> None:
    """One row at a time, four together and all at once agree to 1e-3 in cosine, and far better."""
    rows = conversations(12)
    alone = hidden_encoder(NANO, how=how, batch_tokens=1).encode(rows)
    for size in (500, 100_000):
        found = hidden_encoder(NANO, how=how, batch_tokens=size).encode(rows)
        assert cosines(alone, found) == pytest.approx(np.ones(12), abs=1e-5)
    assert cosines(alone[:1], alone[1:2])[0] < 0.9999


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_vectors_are_the_pooled_states_of_one_row(layer: int) -> None:
    """What comes out equals `pool` over the states that transformers gives for the row alone."""
    import torch

    from pipeline.engines.forward import load_causal

    model, tokenizer = load_causal(NANO)
    rows = conversations(3)
    found = hidden_encoder(NANO, layer=layer).encode(rows)
    for row, vector in zip(rows.to_pylist(), found, strict=True):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states[layer]
        (wanted,) = pool(states.numpy(), np.ones(states.shape[:2], bool))
        assert vector == pytest.approx(wanted, abs=1e-4)


def test_rows_that_are_empty_or_long(caplog: pytest.LogCaptureFixture) -> None:
    """A row without turns is NaN; one that is too long keeps its head, and the log counts it."""
    (chat,) = conversations(1)["messages"].to_pylist()
    rows = pa.table({"messages": [chat, [], chat]})
    with caplog.at_level(logging.WARNING, logger="scorers"):
        found = hidden_encoder(NANO, max_length=20).encode(rows)
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    assert "2 of 3 rows are longer than the 20 tokens read" in caplog.text


def test_identity_says_what_made_it() -> None:
    """Pooling, layer, limit, template and stored type each change the identity."""
    options: list[dict[str, object]] = [
        {}, {"how": "mean"}, {"layer": 2}, {"max_length": 9}, {"template": "x"},
        {"dtype": "float32"},
    ]  # fmt: skip
    made = {hidden_encoder(NANO, **own).identity for own in options}  # type: ignore[arg-type]
    assert len(made) == 6
    assert hidden_encoder(NANO).identity == hidden_encoder(NANO, batch_tokens=1).identity
    with pytest.raises(UserError, match="has 6 layers, layer 7 is none"):
        hidden_encoder(NANO, layer=7)


@pytest.mark.vllm
def test_vllm_gives_the_same_numbers() -> None:
    """Every pooling over vLLM's token states agrees with transformers, in bfloat16 too."""
    rows = conversations(12).to_pylist()
    table = pa.table({"messages": [*(row["messages"] for row in rows), []]})
    try:
        for how in ("weighted", "mean", "last"):
            by_vllm = hidden_encoder(NANO, engine="vllm", how=how).encode(table)
            by_torch = hidden_encoder(NANO, how=how).encode(table)
            assert cosines(by_vllm, by_torch)[:12] == pytest.approx(np.ones(12), abs=1e-3)
            assert np.isnan(by_vllm[12]).all()
    finally:
        close_engines()
    with pytest.raises(UserError, match="last layer only, not layer 2"):
        hidden_encoder(NANO, engine="vllm", layer=2)
