"""The row shapes that trainers take: from a canonical row to theirs, and from theirs to an Example.

Checked against the trainers' converters: TRL 1.16.0, Axolotl 0.21.0, LLaMA-Factory 0.9.5 and
open-instruct of 2026-08-20. All of them pass over columns they do not know, such as `row_id`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from pipeline.errors import UserError
from pipeline.schema import STEPWISE, UNPAIRED
from pipeline.trainers.conversations import Example

Kind = Literal["sft", "pairs", "unpaired", "stepwise", "scores"]
Trainer = Literal["trl", "axolotl", "llamafactory", "open-instruct"]

_Row = Mapping[str, Any]


def find_writer(to: str, kind: str, form: str) -> Callable[[_Row], dict[str, Any]]:
    """Return the function from a canonical row to the trainer's row, or say what it takes."""
    if (to, kind, form) in _WRITERS:
        return _WRITERS[to, kind, form]
    known = ", ".join(f"{kind} as {form}" for trainer, kind, form in _WRITERS if trainer == to)
    if not known:
        raise UserError(f"--to {to} is not one of {', '.join(get_args(Trainer))}")
    raise UserError(f"{to} has no format for {kind} as {form}; it takes {known}")


def read_back(row: _Row, row_id: str, to: str, kind: str) -> Example:
    """Return what a trainer would understand of its own row; missing columns come back as None.

    The form need not be told: it shows in the columns. Wrong shapes are passed on as they are, and
    `find_faults` names them.
    """
    if kind == "pairs":
        prompt = row.get("messages") if to == "llamafactory" else row.get("prompt")
        answers = [row.get(side) for side in ("chosen", "rejected")]
        if to == "llamafactory":  # its converter sees an answer only in a dict
            answers = [[answer] if isinstance(answer, dict) else None for answer in answers]
        return Example(row_id, [_join(prompt, answer, to) for answer in answers])
    if kind == "unpaired" and to == "axolotl":
        return Example(row_id, [_as_turns(row)], row.get("label"))
    joined = _join(row.get("prompt"), row.get("completion"))
    return Example(row_id, [row.get("messages", joined)], row.get("label"))


def as_example(row: _Row, kind: str) -> Example:
    """Return a canonical row (not stepwise) in the common form."""
    if kind == "sft":
        return Example(row["row_id"], [row["messages"]])
    if kind == "pairs":
        return Example(row["row_id"], [_whole(row, "chosen"), _whole(row, "rejected")])
    return Example(row["row_id"], [_as_turns(row)], row["label"])


def _join(prompt: Any, answer: Any, to: str = "") -> Any:
    if to == "open-instruct" or prompt is None:
        return answer
    return prompt + answer if isinstance(prompt, list) and isinstance(answer, list) else None


def _answer(text: str | None) -> dict[str, str]:
    return {"role": "assistant", "content": text or ""}


def _side(row: _Row, side: str) -> dict[str, str]:
    # No format holds a prefix between prompt and answer, so both answers begin with it.
    return _answer((row["prefix"] or "") + (row[side] or ""))


def _whole(row: _Row, side: str) -> list[dict[str, str]]:
    return [*row["prompt"], _side(row, side)]


def _as_turns(row: _Row) -> list[dict[str, Any]]:
    return [{"role": "user", "content": row.get("prompt")}, _answer(row.get("completion"))]


def _messages(row: _Row) -> dict[str, Any]:
    return {"messages": row["messages"]}


def _prompt_completion(row: _Row) -> dict[str, Any]:
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _explicit(row: _Row) -> dict[str, Any]:
    return {"prompt": row["prompt"]} | {side: [_side(row, side)] for side in ("chosen", "rejected")}


def _implicit(row: _Row) -> dict[str, Any]:
    return {side: _whole(row, side) for side in ("chosen", "rejected")}


def _ranked(row: _Row) -> dict[str, Any]:
    # Dicts on purpose: LLaMA-Factory drops rows whose chosen is a list, with a warning only.
    return {"messages": row["prompt"]} | {side: _side(row, side) for side in ("chosen", "rejected")}


def _labelled_turns(row: _Row) -> dict[str, Any]:
    prompt, completion = _as_turns(row)
    return {"prompt": [prompt], "completion": [completion], "label": row["label"]}


def _labelled_messages(row: _Row) -> dict[str, Any]:
    return {"messages": _as_turns(row), "label": row["label"]}


def _labelled_text(row: _Row) -> dict[str, Any]:
    return {name: row[name] for name in UNPAIRED.names}


def _steps(row: _Row) -> dict[str, Any]:
    return {name: row[name] for name in STEPWISE.names}


_WRITERS: dict[tuple[str, str, str], Callable[[_Row], dict[str, Any]]] = {
    ("trl", "sft", "messages"): _messages,
    ("trl", "sft", "prompt-completion"): _prompt_completion,
    ("trl", "pairs", "messages"): _explicit,
    ("trl", "pairs", "implicit"): _implicit,
    ("trl", "unpaired", "messages"): _labelled_turns,
    ("trl", "stepwise", "messages"): _steps,
    ("axolotl", "sft", "messages"): _messages,
    ("axolotl", "pairs", "messages"): _explicit,
    ("axolotl", "unpaired", "messages"): _labelled_text,
    ("axolotl", "stepwise", "messages"): _steps,
    ("llamafactory", "sft", "messages"): _messages,
    ("llamafactory", "pairs", "messages"): _ranked,
    ("llamafactory", "unpaired", "messages"): _labelled_messages,
    ("open-instruct", "sft", "messages"): _messages,
    ("open-instruct", "pairs", "messages"): _implicit,
}
