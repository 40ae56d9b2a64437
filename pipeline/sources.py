"""Where prompts come from: the built-in world, a local file, any dataset of the Hugging Face hub.

Whatever the source, the result is a PROMPTS table with the columns that the recipe needs beside the
messages: a reference in `answer`, say, or an `entry_point`. Ids are the user's own column, or a
digest of the messages; two rows with the user's same id are an error, two rows with the same text
are one prompt.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.schema import MESSAGES, PROMPTS, Sifted, canonical, digest

BUILT_IN = ("nano_world", "nano_code", "nano_snippets")
_BUILT_IN_ROWS = 240
_STRINGS = pa.list_(pa.string())
_USUAL = {  # what a column is called elsewhere
    "prompt": ("messages", "prompt", "problem", "question", "query", "instruction", "text"),
    "answer": ("answer", "final_answer", "expected_answer", "ground_truth", "ref_ans", "solution"),
    "entry_point": ("entry_point", "function_name", "fn_name"),
    "solution": ("solution", "canonical_solution", "reference", "code", "content"),
    "tests": ("tests", "test_list", "test_cases", "test"),
}
_FILE = re.compile(r"\.(jsonl|json|parquet|csv)$|^[./~]|^/")
_AFTER = "####"  # GSM8K writes the final answer after the worked one


def read_prompts(
    source: str,
    *,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    seed: int = 0,
    needs: Sequence[str] = ("answer",),
) -> Sifted:
    """Read prompts; `columns` maps prompt, id and each of `needs` to the user's names.

    needs: answer (a reference), entry_point (a function's name), tests (list of Python tests),
    solution (a program).
    Raises UserError, naming the place and the first ids, for a missing column, duplicate ids and
    empty prompts or needs; with `skip_bad` such rows leave, counted. `limit` keeps the first rows
    (0: all; of the built-in world it says how many to make).
    """
    if source in BUILT_IN:
        return _built_in(source, limit or _BUILT_IN_ROWS, seed, split, needs)
    rows = read_source(source, subset, split)
    if limit:
        rows = rows.slice(0, limit)
    return _as_prompts(rows, source, columns or {}, needs, skip_bad)


def read_source(source: str, subset: str = "", split: str = "train") -> pa.Table:
    """Read a local file, or a dataset of the hub, as it is; UserError if it holds no rows."""
    rows = _read_file(source) if _FILE.search(source) else _read_hub(source, subset, split)
    if not len(rows):
        raise UserError(f"'{source}': 0 rows; give a source that holds some")
    return rows


def _built_in(source: str, n: int, seed: int, split: str, needs: Sequence[str]) -> Sifted:
    from pipeline.nano_code import snippets
    from pipeline.nano_world import code_tasks, word_problems

    draw = dict(zip(BUILT_IN, (word_problems, code_tasks, snippets), strict=True))[source]
    rows = draw(n, seed=seed, split=split)
    for name in needs:
        if name not in rows.column_names:
            raise _missing(rows, source, name, name)
    return Sifted(rows.select([*PROMPTS.names, *needs]))


def _read_file(source: str) -> pa.Table:
    from pipeline.shards import read_rows

    return read_rows(Path(source).expanduser())


def _read_hub(name: str, subset: str, split: str) -> pa.Table:
    import datasets

    try:
        found = datasets.load_dataset(name, subset or None, split=split)
    except Exception as error:  # the library raises a dozen unrelated types for "cannot have it"
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise UserError(
            f"'{name}': neither a local file nor a dataset that can be loaded "
            f"({type(error).__name__}: {first}); give a .jsonl, .parquet or .csv file, a hub name "
            f"with subset= and split=, or {BUILT_IN[0]}"
        ) from None
    return found.with_format("arrow")[:]


def _as_prompts(
    rows: pa.Table, source: str, columns: Mapping[str, str], needs: Sequence[str], skip_bad: bool
) -> Sifted:
    names = {role: _choose(rows, source, role, columns) for role in ("prompt", *needs)}
    id_name = columns.get("id") or ("id" if "id" in rows.column_names else None)
    if id_name and id_name not in rows.column_names:
        raise _missing(rows, source, "id", id_name)
    messages = [_messages(value) for value in rows[names["prompt"]].to_pylist()]
    ids = [str(v) for v in rows[id_name].to_pylist()] if id_name else [digest(m) for m in messages]
    made = {
        "id": pa.array(ids, pa.string()),
        "messages": pa.array(messages, MESSAGES),
        "source": pa.array([Path(source).name] * len(rows), pa.string()),
        "meta": pa.array(other_columns(rows, {*names.values(), id_name}), pa.string()),
    }
    made |= {role: _read(rows[names[role]], role) for role in needs}
    return _sift(pa.table(made), source, needs, own_ids=id_name is not None, skip_bad=skip_bad)


def _choose(rows: pa.Table, source: str, role: str, columns: Mapping[str, str]) -> str:
    asked, usual = columns.get(role), _USUAL[role]
    if asked and asked not in rows.column_names:
        raise _missing(rows, source, role, asked)
    found = asked or next((name for name in usual if name in rows.column_names), None)
    if found is None:
        raise _missing(rows, source, role, " or ".join(usual))
    return found


def _missing(rows: pa.Table, source: str, role: str, wanted: str) -> UserError:
    have = ", ".join(rows.column_names)
    return UserError(
        f"prompts '{source}': there is no {role} column ({wanted}); it has: {have}; "
        f"name it with columns.{role}=NAME"
    )


def _messages(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return [{"role": turn["role"], "content": turn["content"] or ""} for turn in value]
    text = "" if value is None else str(value).strip()
    return [{"role": "user", "content": text}]


def _read(values: pa.ChunkedArray, role: str) -> pa.Array:
    if role == "tests":  # a single test program is a list of one
        lists = [[v] if isinstance(v, str) else v or [] for v in values.to_pylist()]
        return pa.array(lists, _STRINGS)
    final = _final if role == "answer" else str
    return pa.array(["" if v is None else final(v) for v in values.to_pylist()], pa.string())


def _final(value: Any) -> str:
    """Return the final answer of a reference: what follows the last #### if there is one."""
    return "" if value is None else str(value).rpartition(_AFTER)[2].strip()


def other_columns(rows: pa.Table, used: set[str | None]) -> list[str]:
    """Return what no role took, a JSON object a row."""
    rest = rows.select([name for name in rows.column_names if name not in used])
    if rest.num_columns == 0:
        return ["{}"] * len(rows)
    return [canonical(_jsonable(row)).decode() for row in rest.to_pylist()]


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, list, dict, type(None))
    return {key: v if isinstance(v, plain) else str(v) for key, v in row.items()}


def _sift(
    table: pa.Table, source: str, needs: Sequence[str], *, own_ids: bool, skip_bad: bool
) -> Sifted:
    """Take out what cannot be sampled or verified: by error, or counted."""
    texts = pa.array([row[-1]["content"] if row else "" for row in table["messages"].to_pylist()])
    bad = {"empty_prompt": _is_empty(texts)}
    bad |= {f"empty_{role}": _is_empty(table[role]) for role in needs}
    bad["duplicate_id" if own_ids else "duplicate_prompt"] = _repeated(table["id"])
    keep, dropped = pa.array([True] * len(table)), {}
    for reason, mask in bad.items():
        mask = pc.and_(mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask, keep)
        count = pc.sum(mask).as_py() or 0
        if count and not skip_bad and reason != "duplicate_prompt":
            raise _bad_rows(table.filter(mask), source, reason, count, len(table))
        if count:
            dropped[reason] = count
        keep = pc.and_not(keep, mask)
    return Sifted(table.filter(keep), dropped)


def _is_empty(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    if pa.types.is_list(values.type):
        return pc.equal(pc.list_value_length(values), 0)
    return pc.equal(pc.utf8_trim_whitespace(values), "")


def _bad_rows(rows: pa.Table, source: str, reason: str, count: int, of: int) -> UserError:
    first = ", ".join(rows["id"].slice(0, 3).to_pylist())
    return UserError(
        f"prompts '{source}': {count} of {of} rows have {reason.replace('_', ' ')}s, "
        f"the first: {first}; mend them, or leave them out with skip_bad=true"
    )


def _repeated(ids: pa.ChunkedArray) -> pa.Array:
    """Return true for every row whose id stood in an earlier row."""
    seen: set[str] = set()
    repeated = []
    for row_id in ids.to_pylist():
        repeated.append(row_id in seen)
        seen.add(row_id)
    return pa.array(repeated, pa.bool_())
