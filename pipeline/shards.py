"""The only module that opens Parquet (here only what `emit` and `export` need of it)."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write `table` atomically; equal tables give equal bytes whatever their chunks or metadata."""
    partial = path.with_name(f".{path.name}.tmp")
    pq.write_table(table.replace_schema_metadata(None).combine_chunks(), partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def read_parquet(path: Path) -> pa.Table:
    """Read one Parquet file as a table."""
    with pq.ParquetFile(path) as file:
        return file.read()
