"""A row as its model reads it: rendered once, tokenised once, and which of the tokens count."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.schema import digest

COLUMNS = ("messages", "prompt", "completion")

# What of a conversation is scored. reply: the last assistant turn, all before it is context;
# replies: every assistant turn; reply_after_header: that turn with only the template's opening
# before it; reply_alone and prompt_alone: that text and nothing else; everything.
Part = Literal[
    "reply", "replies", "reply_after_header", "reply_alone", "prompt_alone", "everything"
]

# For models without a chat template: turns on lines of their own, replies end as texts do.
PLAIN = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n' }}{% endfor %}"
)

Turns = Sequence[Mapping[str, str]]


class Encoded(NamedTuple):
    """A row's tokens, which of them count (bool[tokens]), and whether the limit cut any."""

    tokens: list[int]
    counted: np.ndarray
    truncated: bool


def turns_of(row: Mapping[str, Any]) -> Turns:
    """Return a row's turns: its `messages`, or `prompt` (text or turns) and `completion`.

    No turns where a row has nothing in them; UserError where it has none of the columns.
    """
    if row.get("messages") is not None:
        turns: Turns = row["messages"]
        return turns
    if not set(COLUMNS) & set(row):
        raise UserError(f"a row has none of {', '.join(COLUMNS)}; it has: {', '.join(row)}")
    prompt, completion = row.get("prompt"), row.get("completion")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or ())
    return [*asked, {"role": "assistant", "content": completion}] if completion else asked


def encode_turns(
    tokenizer: Any, turns: Turns, *, part: Part, limit: int, template: str | None = None
) -> Encoded:
    """Render turns and tokenise the text once; tokens beyond `limit` are cut at the end.

    template: Jinja as in chat templates; None is the tokenizer's own. A token counts if any of its
    characters does. A row without the part has no tokens. Raises UserError when there is no
    template, or when it writes a turn otherwise once others follow it.
    """
    text, spans = _scored(tokenizer, turns, part, template)
    if not spans:
        return Encoded([], np.zeros(0, dtype=bool), False)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    tokens = found["input_ids"]
    offsets = np.array(found["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    counted = np.zeros(len(tokens), dtype=bool)
    for start, end in spans:
        counted |= (offsets[:, 1] > start) & (offsets[:, 0] < end)
    return Encoded(tokens[:limit], counted[:limit], len(tokens) > limit)


def template_name(tokenizer: Any, template: str | None, part: Part) -> str:
    """Name the layout for an identity: the part, and a digest of the template's text."""
    return f"{part}/{digest(template or tokenizer.chat_template)[:12]}"


def _scored(
    tokenizer: Any, turns: Turns, part: Part, template: str | None
) -> tuple[str, list[tuple[int, int]]]:
    """Return a text and the spans of it that are scored."""
    if part == "prompt_alone":
        asked = [turn["content"] for turn in turns if turn["role"] == "user"]
        return (asked[-1], [(0, len(asked[-1]))]) if asked and asked[-1] else ("", [])
    whole = _render(tokenizer, turns, template)
    if part == "everything":
        return whole, [(0, len(whole))] if whole else []
    replies = [i for i, turn in enumerate(turns) if turn["role"] == "assistant" and turn["content"]]
    wanted = replies if part == "replies" else replies[-1:]
    spans = [_span(tokenizer, turns, i, whole, template) for i in wanted]
    if part in ("reply", "replies") or not spans:
        return whole[: spans[-1][1]] if spans else "", spans
    (start, end), header = spans[-1], ""
    if part == "reply_after_header":
        header = whole[len(_render(tokenizer, turns[: replies[-1]], template)) : start]
    return header + whole[start:end], [(len(header), len(header) + end - start)]


def _span(
    tokenizer: Any, turns: Turns, i: int, whole: str, template: str | None
) -> tuple[int, int]:
    opened = _render(tokenizer, turns[:i], template, opening=True)
    closed = _render(tokenizer, turns[: i + 1], template)
    if not (whole.startswith(closed) and closed.startswith(opened)):
        raise UserError(
            f"the chat template writes turn {i} otherwise once others follow, so its tokens cannot "
            "be told apart; give a template that does not"
        )
    return len(opened), len(closed)


def _render(tokenizer: Any, turns: Turns, template: str | None, *, opening: bool = False) -> str:
    if not (template or getattr(tokenizer, "chat_template", None)):
        raise UserError("the model has no chat template; give one, scorers.conversations.PLAIN say")
    if not turns:
        return ""
    text: str = tokenizer.apply_chat_template(
        [dict(turn) for turn in turns],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=opening,
    )
    return text
