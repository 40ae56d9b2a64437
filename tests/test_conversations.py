"""Which tokens of a row count, with the nano model's tokenizer and template."""

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from scorers.conversations import PLAIN, Encoded, Part, encode_turns, template_name, turns_of

CHAT = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "And 3?"},
    {"role": "assistant", "content": "5"},
]


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """The nano model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained("data/nano")


def encode(turns: list[dict[str, str]], part: Part, limit: int = 512, **options: Any) -> Encoded:
    """Encode with the nano tokenizer."""
    return encode_turns(tokenizer(), turns, part=part, limit=limit, **options)


def texts(found: Encoded) -> tuple[str, str]:
    """All text of a row, and the part of it that counts."""
    chosen = [t for t, c in zip(found.tokens, found.counted, strict=True) if c]
    return tokenizer().decode(found.tokens), tokenizer().decode(chosen)


@pytest.mark.parametrize(
    "part, text, scored",
    [
        ("reply", None, "5<|end|>"),
        ("replies", None, "It is 4.<|end|>5<|end|>"),
        ("reply_after_header", "<|assistant|>5<|end|>", "5<|end|>"),
        ("reply_alone", "5<|end|>", "5<|end|>"),
        ("prompt_alone", "And 3?", "And 3?"),
        ("everything", None, None),
    ],
)
def test_parts_of_a_conversation(part: Part, text: str | None, scored: str | None) -> None:
    """Each part scores the words it names, with the end marker a model is trained to write."""
    whole = tokenizer().apply_chat_template(CHAT, tokenize=False)
    assert texts(encode(CHAT, part)) == (text or whole, scored or whole)


def test_turns_after_the_reply_are_left_out() -> None:
    """A conversation that ends with the user is scored up to its last reply."""
    open_end = [*CHAT, {"role": "user", "content": "Thanks"}]
    assert encode(open_end, "reply").tokens == encode(CHAT, "reply").tokens


@pytest.mark.parametrize("part", ["reply", "replies", "reply_alone", "prompt_alone", "everything"])
def test_nothing_to_score_is_no_tokens(part: Part) -> None:
    """No turns, and for replies an empty or missing answer, give a row without tokens."""
    assert encode([], part).tokens == []
    for turns in ([{"role": "assistant", "content": ""}], [{"role": "user", "content": ""}]):
        assert part == "everything" or encode(turns, part).tokens == []


@given(st.integers(1, 60))
def test_the_limit_cuts_the_end_and_says_so(limit: int) -> None:
    """A cut row is the head of the whole one, and marked; a whole one is not."""
    whole, cut = encode(CHAT, "replies"), encode(CHAT, "replies", limit)
    assert cut.tokens == whole.tokens[:limit]
    assert cut.counted.tolist() == whole.counted.tolist()[:limit]
    assert cut.truncated == (len(whole.tokens) > limit)


def test_a_template_of_ones_own() -> None:
    """PLAIN needs no markers of roles, ends a reply as texts end, and has another name."""
    whole, scored = texts(encode(CHAT[:2], "reply", template=PLAIN))
    assert (whole, scored) == ("What is 2 + 2?\nIt is 4.<|end|>", "It is 4.<|end|>")
    names = {template_name(tokenizer(), t, p) for t in (None, PLAIN) for p in ("reply", "replies")}
    assert len(names) == 4


def test_templates_that_cannot_serve_are_refused() -> None:
    """One that rewrites turns once others follow, and none at all, are explained."""
    fickle = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(UserError, match="writes turn 1 otherwise"):
        encode(CHAT, "replies", template=fickle)
    assert encode(CHAT, "everything", template=fickle).tokens
    bare = type("Bare", (), {"chat_template": None})()
    with pytest.raises(UserError, match="no chat template"):
        encode_turns(bare, CHAT, part="reply", limit=9)


def test_rows_of_either_shape() -> None:
    """Messages, prompt and completion as texts, and a prompt of turns give the same turns."""
    pair = {"prompt": CHAT[0]["content"], "completion": CHAT[1]["content"]}
    assert turns_of({"messages": CHAT[:2]}) == CHAT[:2] == turns_of(pair)
    assert turns_of({**pair, "prompt": CHAT[:1]}) == CHAT[:2]
    assert turns_of({"prompt": "x", "completion": None}) == [{"role": "user", "content": "x"}]
    assert turns_of({"messages": None, "prompt": None}) == []
    with pytest.raises(UserError, match="none of messages, prompt, completion; it has: text"):
        turns_of({"text": "x"})
