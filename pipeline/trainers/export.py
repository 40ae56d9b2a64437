"""The canonical dataset of a run, and the same rows in the shapes that trainers take.

`emit` writes RUN/dataset/<kind>/ (Parquet and a card); `export` reads that and writes
RUN/export/<to>-<kind>/. Rows keep their order, and equal inputs give equal bytes. What a format has
no place for is refused with counts; what a trainer merely ignores is said in the export's README.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest as checksum_of

from pipeline.errors import UserError
from pipeline.schema import PAIRS, SCORES, SFT, STEPWISE, UNPAIRED, check, digest
from pipeline.shards import Shards, read_parquet, write_parquet
from pipeline.trainers.card import Card, render
from pipeline.trainers.conversations import REMEDIES, find_faults, find_step_faults
from pipeline.trainers.formats import Kind, Trainer, as_example, find_writer
from pipeline.trainers.usage import Export, write_usage

Form = Literal["messages", "prompt-completion", "implicit"]

_SCHEMAS = {
    "sft": SFT,
    "pairs": PAIRS,
    "unpaired": UNPAIRED,
    "stepwise": STEPWISE,
    "scores": SCORES,
}
_ROWS_PER_FILE = 100_000

_Rows = list[dict[str, Any]]


def emit(
    run_folder: Path | str, kind: Kind, tables: pa.Table | Iterable[pa.Table], *, card: Card
) -> Path:
    """Write RUN/dataset/<kind>/ and return it: `datasets.load_dataset` reads that folder.

    `tables` is one table, or tables that are written one by one as they come; each has the fixed
    columns of `kind`, and all the same extra ones. The folder appears whole or not at all. Raises
    UserError if a column is off or a pair has chosen equal to rejected.
    """
    target = Path(run_folder) / "dataset" / kind
    partial = _fresh(target)
    (partial / "data").mkdir()
    parts: list[Path] = []
    rows, sample = 0, None
    for table in _split(tables):
        _check_canonical(table, kind, where=f"dataset '{kind}'")
        parts.append(partial / "data" / f"part-{len(parts):05d}")
        write_parquet(parts[-1], table)
        sample = table.slice(0, 1).to_pylist()[0] if sample is None and len(table) else sample
        rows += len(table)
    for i, part in enumerate(parts):
        part.rename(part.with_name(f"train-{i:05d}-of-{len(parts):05d}.parquet"))
    text = render(card, kind=kind, rows=rows, sample=sample)
    (partial / "README.md").write_text(text, encoding="utf-8")
    return _swap(partial, target)


def is_emitted(run_folder: Path | str, kind: Kind, rows: Shards) -> bool:
    """Say whether RUN/dataset/<kind>/ holds these very shards, each in a file of its own."""
    files = sorted((Path(run_folder) / "dataset" / kind / "data").glob("*.parquet"))
    same = (checksum_of(one.read_bytes()) == rows.checksum(i) for i, one in enumerate(files))
    return len(files) == len(rows) and all(same)


def export(
    run_folder: Path | str,
    to: Trainer,
    kind: Kind | None = None,
    out: Path | str | None = None,
    form: Form = "messages",
) -> Path:
    """Write the run's dataset in a trainer's shape to RUN/export/<to>-<kind>/ (or `out`).

    `kind` may be left out when the run has one dataset. `form` is for TRL: sft as `messages` or
    `prompt-completion`; pairs as prompt, chosen, rejected (`messages`) or as two whole
    conversations (`implicit`, for reward models). Raises UserError for what the format cannot hold.
    """
    run = Path(run_folder)
    kind = find_kind(run, kind)
    find_writer(to, kind, form)
    name = f"{to}-{kind}" if form == "messages" else f"{to}-{kind}-{form}"
    target = Path(out) if out is not None else run / "export" / name
    _refuse_foreign(target)
    counts = _survey(run, to, kind, form)
    partial = _fresh(target)
    file = _write_rows(partial, _convert(run, to, kind, form), dated=counts["dated"] > 0)
    facts = {name: counts[name] for name in ("prefixed", "weighted", "desirable", "undesirable")}
    written = Export(to, kind, form, file, counts["rows"], facts)
    for file_name, text in write_usage(written).items():
        (partial / file_name).write_text(text, encoding="utf-8")
    (partial / "export.json").write_text(json.dumps(written._asdict(), indent=2) + "\n")
    return _swap(partial, target)


def _split(tables: pa.Table | Iterable[pa.Table]) -> Iterator[pa.Table]:
    if not isinstance(tables, pa.Table):
        yield from tables
        return
    for start in range(0, max(len(tables), 1), _ROWS_PER_FILE):
        yield tables.slice(start, _ROWS_PER_FILE)


def _check_canonical(table: pa.Table, kind: Kind, *, where: str) -> None:
    check(table, _SCHEMAS[kind], where=where)
    if kind == "pairs":
        same = pc.sum(pc.equal(table["chosen"], table["rejected"])).as_py() or 0
        if same:
            raise UserError(
                f"{where}: {same} of {len(table)} pairs have chosen equal to rejected; the rule"
                " that made them must drop ties"
            )


def find_kind(run: Path, kind: Kind | None) -> Kind:
    """Return the kind of dataset that is meant; UserError unless the run has exactly one such."""
    have = [name for name in get_args(Kind) if (run / "dataset" / name / "data").is_dir()]
    if kind is None and len(have) == 1:
        return have[0]  # type: ignore[no-any-return]
    if kind is None or kind not in have:
        asked = "no kind was named" if kind is None else f"'{kind}' was asked for"
        found = f"{len(have)} datasets ({', '.join(have) or 'none'})"
        raise UserError(f"{run} has {found}, but {asked}; name one of them with --kind")
    return kind


def _read(run: Path, kind: Kind) -> Iterator[_Rows]:
    """Yield the canonical rows, a file at a time; without a row_id a row gets its own digest."""
    for file in sorted((run / "dataset" / kind / "data").glob("train-*.parquet")):
        rows = read_parquet(file).to_pylist()
        yield [row if row.get("row_id") else row | {"row_id": digest(row)} for row in rows]


def _convert(run: Path, to: Trainer, kind: Kind, form: Form) -> Iterator[_Rows]:
    write = find_writer(to, kind, form)
    for rows in _read(run, kind):
        yield [{"row_id": row["row_id"], **write(row)} for row in rows]


def _survey(run: Path, to: Trainer, kind: Kind, form: Form) -> Counter[str]:
    """Count what the README must say; refuse what the trainer cannot take."""
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for rows in _read(run, kind):
        counts["rows"] += len(rows)
        for row in rows:
            counts["prefixed"] += bool(row.get("prefix"))
            counts["weighted"] += kind == "sft" and row["weight"] not in (None, 1.0)
            if kind == "unpaired":
                counts["desirable" if row["label"] else "undesirable"] += 1
            faults.update(_faults(row, to, kind))
    if not counts["rows"]:
        raise UserError(f"dataset '{kind}' of {run} has 0 rows; there is nothing to export")
    if faults:
        fault, bad = faults.most_common(1)[0]
        raise UserError(f"{to} cannot take {bad} of {counts['rows']} rows: they {REMEDIES[fault]}")
    for rows in _convert(run, to, kind, form):
        counts["dated"] += any(map(_has_dates, pa.Table.from_pylist(rows).columns))
    return counts


def _faults(row: dict[str, Any], to: Trainer, kind: Kind) -> list[str]:
    if kind == "stepwise":
        return find_step_faults(row["prompt"], row["completions"], row["labels"])
    return find_faults(as_example(row, kind), kind=kind, alternating=to == "llamafactory")


def _write_rows(folder: Path, parts: Iterable[_Rows], *, dated: bool) -> str:
    """Write JSON lines, or Parquet where JSON lines would be read back as something else.

    `datasets` guesses the types of JSON lines: where every text of a column is a date (within a
    block of 10 MB) the column becomes timestamps. Parquet says its types.
    """
    if dated:
        table = pa.Table.from_pylist([row for rows in parts for row in rows])
        write_parquet(folder / "train.parquet", table)
        return "train.parquet"
    with (folder / "train.jsonl").open("wb") as file:
        for rows in parts:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    return "train.jsonl"


def _has_dates(column: pa.ChunkedArray | pa.Array) -> bool:
    if pa.types.is_list(column.type):
        return _has_dates(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        return any(_has_dates(pc.struct_field(column, i)) for i in range(column.type.num_fields))
    if not pa.types.is_string(column.type):
        return False
    dates = pc.match_substring_regex(column, r"^\d{4}-\d\d-\d\d([T ][0-9:.+Z-]*)?$")
    return bool(pc.any(dates).as_py())


def _refuse_foreign(target: Path) -> None:
    ours = (target / "export.json").is_file()
    if target.exists() and not ours and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not an export of ours; name another --out")


def _fresh(target: Path) -> Path:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _swap(partial: Path, target: Path) -> Path:
    # A kill between the two lines leaves no folder at all; the same command makes it again.
    if target.exists():
        shutil.rmtree(target)
    return partial.rename(target)
