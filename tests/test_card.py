"""The dataset card is valid for the hub and complete for the reader."""

import pytest
from huggingface_hub import DatasetCard

from pipeline.trainers.card import render


def test_card_is_valid_and_complete():
    """The hub's own parser accepts the card, and the body has funnel, prompt, sample, command."""
    card = {
        "name": "Sums",
        "recipe": "star",
        "license": "mit",
        "language": ["en"],
        "paper": "arXiv:2203.14465",
        "models": ["vllm:data/nano@1f0c"],
        "sampling": {"temperature": 0.7},
        "prompts": {"solve": "{{ problem }}\n```text\nAnswer:\n```"},
        "funnel": [{"step": "verify", "rows_in": 9, "kept": 5, "dropped": {"wrong": 3, "cut": 1}}],
        "verdicts": {"correct": 5, "wrong": 3, "timeout": 1},
        "command": "tamis run star --set n=4",
    }
    text = render(card, kind="pairs", rows=5, sample={"chosen": "a|b", "long": "x" * 3_000})
    parsed = DatasetCard(text)
    assert parsed.data.license == "mit"
    assert parsed.data.tags == ["synthetic", "tamis", "dpo", "preference"]
    assert parsed.data.size_categories == ["n<1K"]
    assert parsed.data.annotations_creators == ["machine-generated"]
    assert "| verify | 9 | 5 | cut 1, wrong 3 |" in text
    assert "````jinja\n{{ problem }}\n```text" in text
    assert "... (3000 characters)" in text
    assert "tamis run star --set n=4" in text


def test_card_refuses_a_funnel_that_does_not_add_up():
    """Rows that leave without a reason are an error, unless the step makes new rows of its rows."""
    funnel = [{"step": "verify", "rows_in": 9, "kept": 5, "dropped": {"wrong": 3}}]
    with pytest.raises(ValueError, match="1 rows left without a reason"):
        render({"funnel": funnel}, kind="sft", rows=5, sample=None)
    made = [funnel[0] | {"expands": True}]
    assert "| verify | 9 | 5 | wrong 3 |" in render(
        {"funnel": made}, kind="sft", rows=5, sample=None
    )
