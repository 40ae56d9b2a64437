"""What a changed parameter or input makes of finished work: say it, keep its rows, find them again.

A step that keeps a journal may use rows of its earlier output by identity. Shards that no longer
hold are moved to FOLDER/previous/ before any new one is written, and stay until the step is done.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.files import sync_folder
from pipeline.schema import digest
from pipeline.shards import read_rows

_log = logging.getLogger(__name__)
Resume = Literal["never", "always", "if-possible"]


def settle(
    folder: Path, wanted: Sequence[Mapping[str, Any]], *, resume: Resume, keep: bool
) -> None:
    """Prepare `folder` for shards made by `wanted`; log what is invalid now and why.

    never: removes everything. always: raises UserError if finished work is invalid. `keep` moves
    the rows of invalid shards aside for `recall`.
    """
    if resume == "never":
        shutil.rmtree(folder, ignore_errors=True)
        return
    records = _records(folder)
    stale = {
        i: record
        for i, record in records.items()
        if i >= len(wanted) or record["key"] != digest(wanted[i])
    }
    if not stale:
        return
    reason = _explain(stale, wanted)
    unfinished = all("stopped" in record["made_by"] for record in stale.values())
    if resume == "always" and not unfinished:
        raise UserError(
            f"{folder}: {len(stale)} of {len(records)} finished shards no longer hold ({reason}); "
            "undo the change, or run with --resume if-possible to make them again"
        )
    _log.warning(
        "%s: %d of %d finished shards are made again: %s", folder, len(stale), len(records), reason
    )
    if keep:
        _retire(folder, stale, version=wanted[0]["version"])


def recall(folder: Path, i: int, of: int, ids: pa.ChunkedArray) -> pa.Table | None:
    """Rows of earlier versions (data and aside) whose id is in `ids`, for shard i of `of`.

    None if there are none. Counts of shards are powers of two, so the rows of shard i were in
    those shards whose number agrees with i modulo the smaller count.
    """
    found = []
    for file in sorted((folder / "previous").glob("*.parquet")):
        then, of_then = (int(part) for part in file.name.split("-")[:2])
        if (then - i) % min(of, of_then) == 0:
            rows = read_rows(file)
            found.append(rows.filter(pc.is_in(rows["id"], value_set=ids)))
    rows_found = pa.concat_tables(found, promote_options="permissive") if found else None
    return rows_found if rows_found else None


def clear(folder: Path) -> None:
    """Remove what only unfinished work needs."""
    for place in ("previous", "journal"):
        shutil.rmtree(folder / place, ignore_errors=True)


def _records(folder: Path) -> dict[int, dict[str, Any]]:
    files = sorted((folder / "commits").glob("[0-9]*.json"))
    return {int(file.stem): orjson.loads(file.read_bytes()) for file in files}


def _explain(stale: Mapping[int, Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> str:
    reasons: dict[str, None] = {}
    for i, record in stale.items():
        if i >= len(wanted):
            reasons[f"{len(wanted)} shards now"] = None
        else:
            reasons |= dict.fromkeys(_differences(record["made_by"], wanted[i]))
    return "; ".join(reasons)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if "stopped" in then:
        return ["the run was stopped early"]
    found = [
        f"{word} {then.get(word)!r} -> {now[word]!r}"
        for word in ("step", "version")
        if then.get(word) != now[word]
    ]
    old, new = then.get("parameters", {}), now["parameters"]
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            found.append(f"parameter {name} {old.get(name)!r} -> {new.get(name)!r}")
    return found or ["its input changed"]


def _retire(folder: Path, stale: Mapping[int, Mapping[str, Any]], *, version: int) -> None:
    """Move stale shards to previous/, unless the step's author raised its version since."""
    previous = folder / "previous"
    if any(record["made_by"]["version"] != version for record in stale.values()):
        shutil.rmtree(previous, ignore_errors=True)
        return
    previous.mkdir(exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    for i, record in stale.items():
        for file in filter(None, (record["data"], record["aside"])):
            if (folder / file["file"]).exists():
                name = f"{i:05d}-{record['made_by']['of']:05d}-{file['xxh3']}.parquet"
                (folder / file["file"]).replace(previous / name)
        (folder / "commits" / f"{i:05d}.json").unlink()
    sync_folder(previous)
