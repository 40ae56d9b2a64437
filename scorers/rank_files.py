"""The files of `tamis rank`: tasks in two JSONL files, read by place, and rankings read back."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.errors import UserError


class Task(NamedTuple):
    """One task: how its file names it, the model's replies, its tests."""

    name: dict[str, str]  # {"id": ...} or {"prompt": ...}
    samples: list[str]
    tests: list[str]
    entry_point: str | None


def index_tasks(path: Path, field: str) -> dict[tuple[str, str], int]:
    """Return where (byte) each task's line begins, after a look at every line.

    `field` ("samples" or "tests") must hold a list of texts. Raises UserError for the first line
    that is not such a task, or is one that the file has already.
    """
    places: dict[tuple[str, str], int] = {}
    try:
        with path.open("rb") as file:
            start = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    name = _name(_checked(line, field, f"{path}, line {number}"))
                    if name in places:
                        raise UserError(
                            f"{path}, line {number}: a second {name[0]} {name[1]!r:.80}"
                        )
                    places[name] = start
                start += len(line)
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}); name a .jsonl file") from None
    return places


def read_tasks(
    codes: Path,
    samples: Mapping[tuple[str, str], int],
    tests: Path,
    suites: Mapping[tuple[str, str], int],
) -> Iterator[Task]:
    """Yield the tasks of `codes` in its order, each with its tests, none where there are none."""
    with codes.open("rb") as code_file, tests.open("rb") as test_file:
        for name, place in samples.items():
            code_file.seek(place)
            row = orjson.loads(code_file.readline())
            suite: dict[str, Any] = {}
            if name in suites:
                test_file.seek(suites[name])
                suite = orjson.loads(test_file.readline())
            entry_point = row.get("entry_point") or suite.get("entry_point")
            yield Task({name[0]: name[1]}, row["samples"], suite.get("tests", []), entry_point)


def read_rankings(out: Path, method: str) -> dict[str, dict[str, Any]]:
    """Return the rankings that an earlier run wrote, by digest; UserError if they are not such."""
    if not out.exists():
        return {}
    known: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(out.read_bytes().splitlines(), 1):
        try:
            record = orjson.loads(line)
            made_by, key = record["method"], record["digest"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            raise UserError(
                f"{out}, line {number}: not a ranking of tamis rank; choose another --out"
            ) from None
        if made_by != method:
            raise UserError(
                f"{out} holds a ranking by {made_by}, not {method}; choose another --out"
            )
        known[key] = record
    return known


def _checked(line: bytes, field: str, where: str) -> dict[str, Any]:
    shape = f'a line is {{"id" or "prompt": text, "{field}": [text, ...]}}'
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise UserError(f"{where}: not JSON ({fault}); {shape}") from None
    if not isinstance(row, dict) or not isinstance(row.get("id", row.get("prompt")), str | int):
        raise UserError(f"{where}: neither id nor prompt; {shape}")
    texts = row.get(field)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: '{field}' is not a list of texts; {shape}")
    if not isinstance(row.get("entry_point"), str | None):
        raise UserError(f"{where}: 'entry_point' is not a text; {shape}, entry_point may be added")
    return row


def _name(row: Mapping[str, Any]) -> tuple[str, str]:
    return ("id", str(row["id"])) if "id" in row else ("prompt", str(row["prompt"]))
