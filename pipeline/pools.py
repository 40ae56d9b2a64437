"""Where pools and queries come from: rows with answers, to be chosen from or aimed at.

Conversations, prompt and completion, or plain text, in a local file, a hub dataset or the built-in
world; all become `id, messages, source, task, meta`. Plain text is one assistant turn: all of it is
what a model would learn.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.schema import POOL, Sifted, digest
from pipeline.sources import BUILT_IN, other_columns, read_source

_CHATS = ("messages", "conversations", "conversation")
_PROMPTS = ("prompt", "instruction", "question", "problem", "query")
_COMPLETIONS = ("completion", "response", "output", "answer", "solution")
_TEXTS = ("text", "content", "document")
_SHAREGPT = {"human": "user", "gpt": "assistant"}
_PART = 8192  # rows converted together
_ROLES = ("messages", "prompt", "input", "completion", "text", "source", "task")


def read_pool(
    source: str,
    *,
    columns: Mapping[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    seed: int = 0,
    aim: bool = False,
) -> Sifted:
    """Read rows into POOL; the first of equal ones stays, empty ones leave, both counted.

    `columns` maps messages, prompt, input, completion, text, source, task to the user's names. Ids
    are digests of the messages, so that what was computed for a row holds as long as its text does;
    the user's own stay in `meta`, with all other columns. `source` defaults to the file's name,
    `task` to the source. `aim`: of the built-in world, queries instead of a pool. Raises UserError
    for a missing column.
    """
    if source == BUILT_IN[0]:
        from pipeline.nano_pool import nano_pool, nano_queries

        return Sifted(nano_queries(limit, seed=seed) if aim else nano_pool(limit, seed=seed))
    rows = read_source(source, subset, split)
    if limit:
        rows = rows.slice(0, limit)
    return _as_pool(rows, source, _choose(rows, source, columns or {}))


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return all that is said in a conversation, a turn a paragraph."""
    return "\n\n".join(turn["content"] or "" for turn in messages)


def _choose(rows: pa.Table, source: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Say which of the user's columns plays which role."""
    have = rows.column_names
    for role, name in columns.items():
        if role not in _ROLES:
            raise UserError(f"columns.{role}: there is no such role; roles: {', '.join(_ROLES)}")
        if name not in have:
            raise UserError(f"'{source}' has no column '{name}'; it has: {', '.join(have)}")

    def usual(role: str, names: Sequence[str]) -> dict[str, str]:
        found = columns.get(role) or next((name for name in names if name in have), None)
        return {role: found} if found else {}

    found = {key: v for role in ("source", "task") for key, v in usual(role, [role]).items()}
    chat, text = usual("messages", _CHATS), usual("text", _TEXTS)
    pair = {**usual("prompt", _PROMPTS), **usual("completion", _COMPLETIONS)}
    if chat and not {"prompt", "completion", "text"} & set(columns):
        return found | chat
    if len(pair) == 2 and "text" not in columns:
        return found | pair | usual("input", ["input"])
    if text:
        return found | text
    raise UserError(
        f"'{source}' has neither messages, nor prompt and completion, nor text; it has: "
        f"{', '.join(have)}; name yours with columns.messages=NAME (or prompt, completion, text)"
    )


def _as_pool(rows: pa.Table, source: str, roles: Mapping[str, str]) -> Sifted:
    """Convert a part at a time: as Python objects rows take many times their room in a table."""
    seen: set[str] = set()
    kept, dropped = [POOL.empty_table()], Counter[str]()
    for start in range(0, len(rows), _PART):
        part = _convert(rows.slice(start, _PART), source, start, roles)
        reasons = _reasons(part["messages"].to_pylist(), part["id"].to_pylist(), seen)
        kept.append(part.filter(pa.array([reason is None for reason in reasons], pa.bool_())))
        dropped.update(reason for reason in reasons if reason)
    return Sifted(pa.concat_tables(kept), dict(sorted(dropped.items())))


def _convert(rows: pa.Table, source: str, start: int, roles: Mapping[str, str]) -> pa.Table:
    read = rows.select(list(dict.fromkeys(roles.values()))).to_pylist()
    messages = [
        _messages(row, roles, f"'{source}', row {i}") for i, row in enumerate(read, start + 1)
    ]
    name = Path(source).name
    sources = [str(row[roles["source"]]) if "source" in roles else name for row in read]
    tasks = [str(row[roles["task"]]) for row in read] if "task" in roles else sources
    meta = other_columns(rows, set(roles.values()))
    columns = [[digest(one) for one in messages], messages, sources, tasks, meta]
    return pa.table(columns, schema=POOL)


def _messages(row: Mapping[str, Any], roles: Mapping[str, str], where: str) -> list[dict[str, str]]:
    if "messages" in roles:
        turns = row[roles["messages"]] or []
        try:
            return [_turn(turn) for turn in turns]
        except (KeyError, TypeError, AttributeError):
            raise UserError(
                f"{where}: its messages are not a list of role and content, both of them texts"
            ) from None
    if "text" in roles:
        return [{"role": "assistant", "content": str(row[roles["text"]] or "").strip()}]
    asked = [row[roles[role]] for role in ("prompt", "input") if role in roles]
    prompt = "\n\n".join(str(part).strip() for part in asked if part)
    answer = str(row[roles["completion"]] or "").strip()
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _turn(turn: Mapping[str, Any]) -> dict[str, str]:
    if "role" in turn:
        role, content = turn["role"], turn["content"] or ""
    else:
        role, content = _SHAREGPT.get(turn["from"], turn["from"]), turn["value"] or ""
    if not (isinstance(role, str) and isinstance(content, str)):
        raise TypeError("a turn holds text")
    return {"role": role, "content": content}


def _reasons(
    messages: Sequence[Sequence[Mapping[str, str]]], ids: Sequence[str], seen: set[str]
) -> list[str | None]:
    """Return why each row leaves, None if it stays; adds the ids to those seen."""
    reasons: list[str | None] = []
    for turns, one in zip(messages, ids, strict=True):
        answered = any(t["content"].strip() for t in turns if t["role"] == "assistant")
        reasons.append(("duplicate" if one in seen else None) if answered else "empty")
        seen.add(one)
    return reasons
