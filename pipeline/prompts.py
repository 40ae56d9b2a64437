"""Templates into requests: Jinja with StrictUndefined, chat or plain, and a digest of the result.

A template sees every column of the prompt's row and `prompt`, the text of its last user message.
Its output replaces that message (chat), or is the whole text that a base model continues (plain).
A row without messages has no `prompt`; what is rendered is then its only user message.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jinja2

from pipeline.errors import UserError
from pipeline.schema import digest

# What several code recipes ask alike: a program for a task, and tests for it without a program.
WRITE_PROGRAM = "{{ prompt }}\n\nReply with the whole function in one Python block."
WRITE_TESTS = (
    "{{ prompt }}\n\nDo not write the function. "
    "Write three assertions that check it, in one Python block."
)


class Rendered(NamedTuple):
    """What an engine is asked: messages as (role, content), or plain text; never both."""

    messages: tuple[tuple[str, str], ...]
    text: str
    digest: str


def render(template: str, row: Mapping[str, Any], *, plain: bool = False) -> Rendered:
    """Fill a template with one prompt row; raise UserError naming the variable that is missing."""
    turns = [(turn["role"], turn["content"]) for turn in row.get("messages") or ()]
    if turns and turns[-1][0] != "user":
        raise UserError(f"prompt {row['id']}: messages must end with a user turn")
    try:
        text = _compiled(template).render({**row, "prompt": turns[-1][1]} if turns else row)
    except jinja2.UndefinedError as error:
        raise UserError(
            f"prompt {row['id']}: the template needs a column that is not there: {error.message}"
        ) from None
    if plain:
        return Rendered((), text, digest("plain", text))
    messages = (*turns[:-1], ("user", text))
    return Rendered(messages, "", digest("chat", messages))


@lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    return _JINJA.from_string(template)


# Prompts are text, not HTML: nothing is escaped. Blocks leave no blank lines behind.
_JINJA = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
