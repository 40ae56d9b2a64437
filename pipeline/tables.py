"""Tables from outside: the one Arrow type for each kind of value, and readers for text files."""

from collections.abc import Sequence
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa

from pipeline.errors import UserError


def plain(table: pa.Table) -> pa.Table:
    """Return equal rows in the one form that is stored: contiguous, no metadata, no variants.

    Large and view variants of strings, binaries and lists become the ordinary type, dictionaries
    their values: what polars, pandas and pyarrow give for the same rows is then the same table.
    """
    fields = [pa.field(field.name, _plain_type(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type)) for field in kind])
    return kind


def wanted_columns(columns: Sequence[str] | None, have: Sequence[str], file: Path) -> list[str]:
    """Return the columns to read of a file, all for None; UserError for one it does not have."""
    wanted = list(have if columns is None else columns)
    for name in wanted:
        if name not in have:
            raise UserError(f"{file}: column '{name}' is missing; it has: {', '.join(have)}")
    return wanted


def read_text(path: Path) -> pa.Table:
    """Read a .jsonl, .json (an array of objects) or .csv file; UserError names the bad line."""
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix not in (".jsonl", ".json"):
        raise UserError(f"{path}: unknown suffix; give a .jsonl, .json, .parquet or .csv file")
    rows = _read_array(path) if path.suffix == ".json" else _read_lines(path)
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, OverflowError) as fault:
        raise UserError(f"{path}: a column mixes types ({fault}); give each column one") from fault


def _read_lines(path: Path) -> list[dict[str, object]]:
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_read_object(line, f"{path}, line {number}"))
    return rows


def _read_array(path: Path) -> list[dict[str, object]]:
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as fault:
        where = f"{path}, line {fault.lineno}"
        raise UserError(f"{where}: not JSON ({fault.msg}); mend the file") from fault
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: not an array of objects; give one object a row")
    return rows


def _read_object(line: bytes, where: str) -> dict[str, object]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise UserError(f"{where}: not JSON ({fault.msg}); mend or remove the line") from fault
    if not isinstance(row, dict):
        raise UserError(f"{where}: a {type(row).__name__}, not an object; give one object a line")
    return row


def _read_csv(path: Path) -> pa.Table:
    try:
        return plain(pl.read_csv(path, infer_schema_length=None).to_arrow())
    except pl.exceptions.NoDataError:
        return pa.table({})
    except (pl.exceptions.ComputeError, UnicodeDecodeError) as fault:
        reason = str(fault).splitlines()[0]
        raise UserError(f"{path}: not CSV ({reason}); mend the file") from fault
