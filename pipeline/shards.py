"""Immutable folders of Parquet shards. The only module that opens Parquet.

    FOLDER/data/00000.parquet ...    the rows
    FOLDER/aside/00000.parquet ...   rows kept beside them (removed duplicates, surplus trials)
    FOLDER/commits/00000.json ...    one record a finished shard, written after its files
    FOLDER/manifest.json             written last: layout, lineage, counts, checksums

Equal content gives equal bytes in every file: no times, no host names, no paths.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest as checksum_of

from pipeline.errors import UserError
from pipeline.files import write_file
from pipeline.placement import partition, shard_count
from pipeline.schema import Sifted, canonical, digest
from pipeline.tables import plain, read_text, wanted_columns

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shards:
    """A finished folder of shards, read through its manifest.

    `len()` is the number of shards. Two of them with equal `layout` are aligned: shard i of one
    belongs to shard i of the other.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "Shards":
        """Open a folder that a run has finished; UserError if it has no manifest."""
        found = cls(Path(path))
        if not (found.path / "manifest.json").is_file():
            raise UserError(
                f"{path}: there is no manifest.json, so this is not a finished dataset; "
                "give a step's folder of a run, or run the command that makes it again"
            )
        return found

    @classmethod
    def write(
        cls,
        folder: Path,
        rows: Sifted | pa.Table,
        *,
        step: str = "import",
        parameters: Mapping[str, Any] | None = None,
        shard_rows: int = 32_768,
    ) -> "Shards":
        """Write rows, placed by column `id`, as the dataset at `folder`.

        Rows of an earlier version keep their shard as long as the number of shards does.
        """
        table, dropped, *_ = rows if isinstance(rows, Sifted) else Sifted(rows)
        earlier = len(list(folder.glob("commits/*.json")))  # the manifest may be lost or torn
        parts = partition(table, shard_count(len(table), shard_rows, shard_count(earlier, 1)))
        made_by = {"step": step, "version": 1, "parameters": dict(parameters or {}), "inputs": []}
        made_by["rows_in"] = len(table) + sum(dropped.values())
        key = digest(made_by)
        # What was dropped before the rows had a place is counted with the first shard.
        sifted = [Sifted(part, {} if i else dropped) for i, part in enumerate(parts)]
        records = [
            _kept(folder, i, one, key) or write_shard(folder, i, one, key=key)
            for i, one in enumerate(sifted)
        ]
        write_manifest(folder, records, layout=f"id/{len(parts)}", made_by=made_by)
        return cls(folder)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it was when first read; UserError if it is torn."""
        file = self.path / "manifest.json"
        try:
            manifest: dict[str, Any] = orjson.loads(file.read_bytes())
        except orjson.JSONDecodeError as fault:
            raise UserError(
                f"{file}: is torn ({fault.msg} in its {file.stat().st_size} bytes); run the same "
                "command again, which keeps every finished shard"
            ) from fault
        return manifest

    @property
    def fingerprint(self) -> str:
        """Digest of the contents: row counts and checksums, not paths or times."""
        return str(self.manifest["fingerprint"])

    @property
    def lineage(self) -> dict[str, Any]:
        """Where it comes from: step, version, parameters, inputs (fingerprints), dropped."""
        return {
            word: self.manifest[word]
            for word in ("step", "version", "parameters", "inputs", "dropped")
        }

    @property
    def layout(self) -> str:
        """How rows were assigned to shards."""
        return str(self.manifest["layout"])

    @property
    def rows(self) -> int:
        """Number of rows, without those aside."""
        return sum(shard["rows"] for shard in self.manifest["shards"])

    def __len__(self) -> int:
        return len(self.manifest["shards"])

    def checksum(self, i: int) -> str:
        """The xxh3-128 of shard i's file."""
        return str(self.manifest["shards"][i]["xxh3"])

    def shard(self, i: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read shard i."""
        return _read_parquet(self.path / self.manifest["shards"][i]["file"], columns)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read every shard, in order, into one table."""
        parts = [self.shard(i, columns) for i in range(len(self))]
        return pa.concat_tables(parts, promote_options="permissive")

    def scan(self) -> pl.LazyFrame:
        """Query the rows without loading them all."""
        return _scan([self.path / shard["file"] for shard in self.manifest["shards"]])

    def aside(self) -> pl.LazyFrame | None:
        """Query the rows kept beside the data; None if no shard has any."""
        files = sorted((self.path / "aside").glob("*.parquet"))
        return _scan(files) if files else None


def write_shard(
    folder: Path,
    i: int,
    rows: Sifted | pa.Table,
    *,
    key: str,
    made_by: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write shard i durably and return its commit record, which is written last.

    `key` says what the shard was made from; `made_by` is kept in the record for people.
    """
    sifted = rows if isinstance(rows, Sifted) else Sifted(rows)
    # First take back what was claimed: a record or manifest never names files it was not made from.
    aside = f"aside/{i:05d}.parquet"
    for claim in (folder / "manifest.json", _record_file(folder, i), folder / aside):
        claim.unlink(missing_ok=True)
    record = {
        "key": key,
        "made_by": dict(made_by or {}),
        "dropped": dict(sifted.dropped),
        "data": _write_parquet(folder, f"data/{i:05d}.parquet", sifted.kept),
        "aside": None,
    }
    if sifted.aside is not None:
        record["aside"] = _write_parquet(folder, aside, sifted.aside)
    write_file(_record_file(folder, i), canonical(record))
    return record


def committed(folder: Path, i: int, key: str) -> dict[str, Any] | None:
    """Return shard i's record if it was finished under `key` and its files are still whole."""
    try:
        record: dict[str, Any] = orjson.loads(_record_file(folder, i).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    if record.get("key") != key:
        return None
    files = [record["data"], record["aside"]] if record["aside"] else [record["data"]]
    return record if all(_is_whole(folder, file) for file in files) else None


def write_manifest(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    layout: str,
    made_by: Mapping[str, Any],
) -> None:
    """Finish a dataset of these commit records, then remove what earlier versions left behind.

    `made_by` holds step, version, parameters and inputs (fingerprints). What lies aside is not in
    it: which surplus trials there are may depend on timing, the dataset does not.
    """
    shards = [record["data"] for record in records]
    dropped: dict[str, int] = {}
    for record in records:
        for reason, count in record["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    manifest = {
        **made_by,
        "layout": layout,
        "shards": shards,
        "dropped": dropped,
        "fingerprint": digest([[shard["rows"], shard["xxh3"]] for shard in shards]),
    }
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_file(folder / "manifest.json", orjson.dumps(manifest, option=options))
    _remove_stale(folder, len(records))


def write_parquet(file: Path, table: pa.Table) -> None:
    """Write one Parquet file, whole or not at all; equal tables give equal bytes."""
    write_file(file, _parquet_bytes(table))


def read_parquet(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file, or some columns of it; UserError if it is none."""
    return _read_parquet(file, columns)


def read_rows(path: str | Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a user's .parquet, .jsonl, .json or .csv file, or a dataset folder, whole.

    Raises UserError for a missing file, an unknown suffix, a line that cannot be decoded (by its
    number) and a column that is not there.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; give a .jsonl, .json, .parquet or .csv file")
    if path.is_dir():
        return Shards.open(path).table(columns)
    if path.suffix == ".parquet":
        return plain(_read_parquet(path, columns))
    table = read_text(path)
    return table.select(wanted_columns(columns, table.column_names, path))


def _record_file(folder: Path, i: int) -> Path:
    return folder / "commits" / f"{i:05d}.json"


def _kept(folder: Path, i: int, rows: Sifted, key: str) -> dict[str, Any] | None:
    """Return shard i's record if these very rows are there: writing them again costs syncs."""
    if (record := committed(folder, i, key)) is None or record["dropped"] != rows.dropped:
        return None
    return record if record["data"]["xxh3"] == checksum_of(_parquet_bytes(rows.kept)) else None


def _write_parquet(folder: Path, name: str, table: pa.Table) -> dict[str, Any]:
    content = _parquet_bytes(table)
    write_file(folder / name, content)
    facts = {"file": name, "rows": len(table), "size": len(content)}
    return {**facts, "xxh3": checksum_of(content)}


def _parquet_bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(plain(table), sink, compression="zstd", row_group_size=1 << 16)
    return sink.getvalue()


def _read_parquet(file: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(file) as opened:
            return opened.read(wanted_columns(columns, opened.schema_arrow.names, file))
    except (OSError, pa.ArrowInvalid) as fault:
        raise UserError(
            f"{file}: cannot be read as Parquet ({fault}); if a run made it, run the same command "
            "again and it is rebuilt"
        ) from fault


def _scan(files: Sequence[Path]) -> pl.LazyFrame:
    # An all-null column has no type of its own; relaxed lets its neighbours decide.
    return pl.concat([pl.scan_parquet(file) for file in files], how="diagonal_relaxed")


def _is_whole(folder: Path, file: Mapping[str, Any]) -> bool:
    path = folder / file["file"]
    if not path.is_file():
        return False
    if path.stat().st_size == file["size"] and checksum_of(path.read_bytes()) == file["xxh3"]:
        return True
    _log.warning("%s: does not match its commit record; the shard is made again", path)
    return False


def _remove_stale(folder: Path, count: int) -> None:
    for place in ("data", "aside", "commits"):
        for file in (folder / place).glob("*"):
            number = file.name.partition(".")[0]
            if not number.isdigit() or int(number) >= count:
                file.unlink()
