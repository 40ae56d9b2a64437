"""Pools as users have them, and the built-in one."""

import json
from pathlib import Path

import pytest

from pipeline import pools
from pipeline.errors import UserError
from pipeline.pools import read_pool, text_of


def write(file: Path, rows: list[dict[str, object]]) -> str:
    """Write rows as JSON lines and return the path."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


SHAPES: dict[str, tuple[dict[str, object], list[tuple[str, str]]]] = {
    "messages": (
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        [("user", "Q"), ("assistant", "A")],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        [("user", "Q"), ("assistant", "A")],
    ),
    "alpaca": (
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        [("user", "Add.\n\n1 2"), ("assistant", "3")],
    ),
    "pair": ({"prompt": "Q", "completion": "A"}, [("user", "Q"), ("assistant", "A")]),
    "text": ({"text": "All of it."}, [("assistant", "All of it.")]),
}


@pytest.mark.parametrize(("row", "turns"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes_become_conversations(
    tmp_path: Path, row: dict[str, object], turns: list[tuple[str, str]]
) -> None:
    """Chats, ShareGPT, Alpaca, prompt with completion and plain text are all understood."""
    found = read_pool(write(tmp_path / "p.jsonl", [row | {"own": 7}])).kept.to_pylist()
    assert [(turn["role"], turn["content"]) for turn in found[0]["messages"]] == turns
    assert json.loads(found[0]["meta"]) == {"own": 7} and found[0]["source"] == "p.jsonl"


def test_repeats_and_empties_leave_counted(tmp_path: Path) -> None:
    """The first of equal rows stays, rows without an answer leave, and in = kept + dropped."""
    rows = [{"prompt": "Q", "completion": c, "source": "s"} for c in ("A", "A", "", "B")]
    found = read_pool(write(tmp_path / "p.jsonl", rows))
    assert found.dropped == {"duplicate": 1, "empty": 1} and len(found.kept) == 2
    assert found.kept["task"].to_pylist() == ["s", "s"]


def test_parts_make_the_same_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows converted at a time: repeats are found across parts, faults named by their row."""
    rows = [{"prompt": "Q", "completion": c, "own": c} for c in ("A", "B", "A", "", "C", "B", "D")]
    file = write(tmp_path / "p.jsonl", rows)
    whole = read_pool(file)
    monkeypatch.setattr(pools, "_PART", 2)
    parts = read_pool(file)
    assert parts.kept.equals(whole.kept) and parts.dropped == whole.dropped
    assert parts.dropped == {"duplicate": 2, "empty": 1} and len(parts.kept) == 4
    bad = [{"messages": [{"role": "user", "content": "Q"}]}] * 4 + [{"messages": [None]}]
    with pytest.raises(UserError, match="row 5: its messages are not a list"):
        read_pool(write(tmp_path / "m.jsonl", bad))


def test_columns_are_mapped_or_explained(tmp_path: Path) -> None:
    """The user's names serve; a missing one, an unknown role and a wrong shape are explained."""
    file = write(tmp_path / "p.jsonl", [{"q": "Q", "a": "A", "kind": "k"}])
    columns = {"prompt": "q", "completion": "a", "source": "kind"}
    found = read_pool(file, columns=columns).kept.to_pylist()[0]
    assert found["source"] == "k" and text_of(found["messages"]) == "Q\n\nA"
    with pytest.raises(UserError, match=r"no column 'x'; it has: q, a, kind"):
        read_pool(file, columns={"prompt": "x"})
    with pytest.raises(UserError, match=r"columns\.reply: there is no such role"):
        read_pool(file, columns={"reply": "a"})
    with pytest.raises(UserError, match="neither messages, nor prompt and completion, nor text"):
        read_pool(file)
    with pytest.raises(UserError, match="row 1: its messages are not a list"):
        read_pool(write(tmp_path / "m.jsonl", [{"messages": [{"speaker": "x"}]}]))
    with pytest.raises(UserError, match="role and content, both of them texts"):
        read_pool(write(tmp_path / "n.jsonl", [{"messages": [{"role": "user", "content": 5}]}]))


def test_built_in_pool_says_what_is_sound() -> None:
    """The pool has every level and code, unsound rows marked; no query stands in it."""
    pool, aims = read_pool("nano_world").kept, read_pool("nano_world", aim=True).kept
    sound = [json.loads(meta)["sound"] for meta in pool["meta"].to_pylist()]
    assert len(pool) == 480 and 60 <= sound.count(False) <= 75
    assert len(set(pool["source"].to_pylist())) == 9
    assert len(set(aims["task"].to_pylist())) == 3
    assert not set(aims["id"].to_pylist()) & set(pool["id"].to_pylist())
