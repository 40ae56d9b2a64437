"""Datasets on disk: round trips, stable placement, checksums, and sentences for what is wrong."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.files import lock_folder, require_space, write_file
from pipeline.placement import partition, shard_count
from pipeline.schema import Sifted
from pipeline.shards import Shards, committed, read_rows, write_manifest, write_shard

MADE_BY = {"step": "toy", "version": 1, "parameters": {}, "inputs": []}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=6),
            "x": st.integers(-(2**63), 2**63 - 1) | st.none(),
            "v": st.lists(st.floats(allow_nan=False), max_size=3),
            "messages": st.lists(
                st.fixed_dictionaries({"role": st.text(max_size=4), "content": st.text()}),
                max_size=2,
            ),
        }
    ),
    max_size=20,
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("x", pa.int64()),
        ("v", pa.list_(pa.float64())),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@given(rows=ROWS)
def test_round_trip(tmp_path_factory, rows):
    """Any rows come back with the same values and types, ordered by shard and then as given."""
    folder = tmp_path_factory.mktemp("shards")
    table = pa.Table.from_pylist(rows, SCHEMA)
    shards = Shards.write(folder, table, shard_rows=4)
    assert shards.table().schema == SCHEMA
    assert shards.table().equals(pa.concat_tables(partition(table, len(shards))))
    assert shards.rows == len(rows) == shards.scan().collect().height
    assert shards.aside() is None


@given(rows=ROWS, split=st.integers(0, 20))
def test_equal_tables_give_equal_bytes(tmp_path_factory, rows, split):
    """Chunk borders, slices, metadata, polars' large strings and dictionaries change no byte."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    chunked = pa.concat_tables([table.slice(0, split), table.slice(split)])
    noted = chunked.replace_schema_metadata({"pandas": "note"})
    padded = pa.concat_tables([pa.Table.from_pylist([dict.fromkeys(SCHEMA.names)], SCHEMA), table])
    encoded = table.set_column(0, "id", table["id"].dictionary_encode())
    folder = tmp_path_factory.mktemp("shards")
    large = pl.from_arrow(table).to_arrow()
    contents = []
    for n, same in enumerate([table, noted, padded.slice(1), encoded, large]):
        write_shard(folder / str(n), 0, same, key="k")
        contents.append(files_of(folder / str(n)))
    again = Shards.write(folder / "read", table, shard_rows=100).shard(0)
    write_shard(folder / "again", 0, again, key="k")
    contents.append(files_of(folder / "again"))
    assert all(content == contents[0] for content in contents)


@given(rows=ROWS)
def test_fingerprint_is_of_contents(tmp_path_factory, rows):
    """The fingerprint and every byte are the same at another path, and not for other rows."""
    folder = tmp_path_factory.mktemp("shards")
    table = pa.Table.from_pylist(rows, SCHEMA)
    here, there = (Shards.write(folder / name, table, shard_rows=5) for name in ("a", "b"))
    more = pa.concat_tables([table, pa.Table.from_pylist([{"id": "new"}], SCHEMA)])
    assert here.fingerprint == there.fingerprint
    assert files_of(folder / "a") == files_of(folder / "b")
    assert Shards.write(folder / "c", more, shard_rows=5).fingerprint != here.fingerprint


@given(old=st.lists(st.text()), new=st.lists(st.text()), power=st.integers(0, 5))
def test_new_rows_never_move_old_ones(old, new, power):
    """After rows are added each shard begins with what it held before, in the same order."""
    before = partition(pa.table({"id": pa.array(old, pa.string())}), 1 << power)
    after = partition(pa.table({"id": pa.array(old + new, pa.string())}), 1 << power)
    assert sum(map(len, after)) == len(old + new)
    for part, grown in zip(before, after, strict=True):
        assert grown.slice(0, len(part))["id"].to_pylist() == part["id"].to_pylist()


@given(ids=st.lists(st.text()), power=st.integers(0, 4))
def test_doubling_splits_each_shard_in_two(ids, power):
    """Shard i of n becomes shards i and i + n of 2n: what `recall` relies on."""
    table = pa.table({"id": pa.array(ids, pa.string())})
    n = 1 << power
    doubled = partition(table, 2 * n)
    for i, part in enumerate(partition(table, n)):
        halves = doubled[i]["id"].to_pylist() + doubled[i + n]["id"].to_pylist()
        assert sorted(halves) == sorted(part["id"].to_pylist())


def test_placement_is_fixed_for_ever():
    """Literal example: a change of the hash would move every user's rows."""
    parts = partition(pa.table({"id": ["a", "b", "c", "d", "e", "f"]}), 4)
    placed = [part["id"].to_pylist() for part in parts]
    assert placed == [["e"], [], ["d", "f"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("rows", "previous", "count"),
    [(0, 1, 1), (10, 1, 1), (11, 1, 2), (21, 1, 4), (40, 1, 4), (41, 4, 8), (5, 4, 4)],
)
def test_shard_count(rows, previous, count):
    """Counts are powers of two, enough for ten rows each, and never shrink."""
    assert shard_count(rows, 10, previous) == count


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": [1]}, "text column 'id'"),
        ({"id": [1]}, "text column 'id'"),
        ({"id": ["a", None]}, "1 of 2 rows have no id"),
    ],
)
def test_rows_without_ids_are_refused(table, message):
    """Placement needs an id in every row and says so."""
    with pytest.raises(UserError, match=message):
        partition(pa.table(table), 2)


def test_committed_only_if_the_files_are_whole(tmp_path, numbers, caplog):
    """A record counts while key, size and checksum agree; a changed byte is named in the log."""
    record = write_shard(tmp_path, 0, Sifted(numbers, {}, aside=numbers.slice(0, 1)), key="k")
    assert committed(tmp_path, 0, "k") == record
    assert committed(tmp_path, 0, "other") is None
    assert committed(tmp_path, 1, "k") is None
    for name in ("data/00000.parquet", "aside/00000.parquet"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:50] + b"\x00\x01" + whole[52:])
        with caplog.at_level(logging.WARNING):
            assert committed(tmp_path, 0, "k") is None
        assert f"{tmp_path / name}: does not match" in caplog.text
        (tmp_path / name).unlink()
        assert committed(tmp_path, 0, "k") is None
        (tmp_path / name).write_bytes(whole)
    assert committed(tmp_path, 0, "k") == record
    (tmp_path / "commits" / "00000.json").write_bytes(b'{"key": "k", "da')
    assert committed(tmp_path, 0, "k") is None


def test_fewer_shards_leave_no_stale_files(tmp_path, numbers):
    """Shards beyond the new count, and temporary names, go once the manifest is written."""
    records = [write_shard(tmp_path, i, Sifted(numbers, {}, numbers), key="k") for i in range(4)]
    (tmp_path / "data" / ".00001.parquet.tmp").write_bytes(b"half")
    write_manifest(tmp_path, records[:2], layout="id/2", made_by=MADE_BY)
    names = [f"{i:05d}" for i in range(2)]
    expected = [f"{place}/{name}" for place in ("aside", "commits", "data") for name in names]
    found = [str(Path(name).with_suffix("")) for name in files_of(tmp_path)]
    assert found == [*expected, "manifest"]


def test_aside_and_counts_reach_the_manifest(tmp_path, numbers):
    """Rows aside are readable, counted nowhere, and leave the fingerprint alone."""
    for name, aside in (("with", numbers.slice(0, 3)), ("without", None)):
        sifted = Sifted(numbers, {"odd": 2, "late": 1}, aside)
        record = write_shard(tmp_path / name, 0, sifted, key="k")
        write_manifest(tmp_path / name, [record, record], layout="id/2", made_by=MADE_BY)
    shards, other = Shards.open(tmp_path / "with"), Shards.open(tmp_path / "without")
    assert shards.aside().collect().height == 3
    assert shards.lineage == {**MADE_BY, "dropped": {"odd": 4, "late": 2}}
    assert shards.rows == 200
    assert shards.fingerprint == other.fingerprint


def test_an_all_null_shard_takes_its_neighbours_type(tmp_path):
    """A column that is null throughout one shard reads as its type elsewhere."""
    parts = [pa.table({"id": ["a"], "y": pa.nulls(1)}), pa.table({"id": ["b"], "y": [1.5]})]
    records = [write_shard(tmp_path, i, part, key="k") for i, part in enumerate(parts)]
    write_manifest(tmp_path, records, layout="id/2", made_by=MADE_BY)
    assert Shards.open(tmp_path).table()["y"].to_pylist() == [None, 1.5]
    assert Shards.open(tmp_path).scan().collect()["y"].to_list() == [None, 1.5]


def test_a_remade_shard_takes_back_the_manifest(tmp_path, numbers):
    """While a shard is made again the dataset is not open to readers."""
    Shards.write(tmp_path, numbers)
    write_shard(tmp_path, 0, numbers, key="k")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        Shards.open(tmp_path)


def test_a_lost_shard_is_a_sentence(tmp_path, numbers):
    """Reading a dataset whose file is gone or damaged names the file and the remedy."""
    shards = Shards.write(tmp_path, numbers)
    with pytest.raises(UserError, match="column 'y' is missing; it has: id, x"):
        shards.table(["y"])
    (tmp_path / "data" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"00000\.parquet: cannot be read"):
        shards.table()


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_foreign_files_read_alike(tmp_path, suffix):
    """The same rows are read from each kind of file; columns may be chosen and put in order."""
    path, frame = tmp_path / f"rows{suffix}", pl.DataFrame({"id": ["a", "b"], "x": [1, 2]})
    write = {
        ".jsonl": frame.write_ndjson,
        ".json": frame.write_json,
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
    }
    write[suffix](path)
    assert read_rows(path).equals(pa.table({"id": ["a", "b"], "x": [1, 2]}))
    assert read_rows(path, columns=["x", "id"]).column_names == ["x", "id"]
    with pytest.raises(UserError, match="column 'z' is missing"):
        read_rows(path, columns=["z"])


def test_json_lines_of_any_width(tmp_path):
    """Lines may lack fields, nest, be blank or a megabyte wide, and a field may come late."""
    path = tmp_path / "rows.jsonl"
    lines = ['{"id": "a"}', "", '{"id": "b", "late": {"k": [1]}}', '{"id": "%s"}' % ("w" * 10**6)]
    path.write_text("\n".join([*lines, *['{"id": "c"}'] * 2000, '{"last": 1}']))
    rows = read_rows(path)
    assert len(rows) == 2004
    assert rows["late"].to_pylist()[:2] == [None, {"k": [1]}]
    assert rows["last"].to_pylist()[-1] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"id": 1}\n\n{"id": \n', "a.jsonl, line 3: not JSON"),
        ("a.jsonl", b'{"id": 1}\n\xff\xfe\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b"[1]\n", "line 1: a list, not an object"),
        ("a.jsonl", b'{"x": 1}\n{"x": "y"}\n', "a column mixes types"),
        ("a.json", b'[{"x": 1},\n{]', "a.json, line 2: not JSON"),
        ("a.json", b"{}", "not an array of objects"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"a,b\n1,2\n1,2,3,4\n", "not CSV"),
        ("a.xlsx", b"", "unknown suffix"),
    ],
)
def test_foreign_faults_are_one_sentence(tmp_path, name, content, message):
    """Each fault in a user's file names the file, the line where there is one, and the remedy."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as fault:
        read_rows(tmp_path / name)
    assert "\n" not in str(fault.value)


def test_a_missing_file_is_one_sentence(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "none.jsonl")


def test_empty_files_have_no_rows(tmp_path):
    """An empty .jsonl or .csv file is a table without rows."""
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_bytes(b"")
        assert len(read_rows(tmp_path / name)) == 0


def test_space_is_checked_before_it_is_needed(tmp_path):
    """Asking for more than the disk has names the folder, the bytes needed and the bytes free."""
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(UserError, match=r"disk is full: 1,152,921,504,606,.* are free"):
        require_space(tmp_path / "not" / "yet", 1 << 60)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """When the disk is full the error is a sentence and the file is what it was."""
    write_file(tmp_path / "f", b"old")
    script = (
        "import resource, sys; from pathlib import Path; from pipeline.files import write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: write_file(Path(sys.argv[1]), b'x' * 1000)\n"
        "except Exception as fault: print(type(fault).__name__, fault)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.startswith(f"UserError {tmp_path}: the disk is full: 1,000 bytes are needed")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_one_holder_a_folder(tmp_path):
    """A folder in use is refused, naming the process and host that hold it; then it is free."""
    with lock_folder(tmp_path / "run"):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()} on .*, 20"):
            with lock_folder(tmp_path / "run"):
                raise AssertionError("two holders")
    with lock_folder(tmp_path / "run"):
        pass


def test_stored_files_hold_no_metadata_of_their_writer(tmp_path, numbers):
    """Shards carry statistics and zstd, and no pandas or time stamps."""
    write_shard(tmp_path, 0, numbers.replace_schema_metadata({"pandas": "x"}), key="k")
    with pq.ParquetFile(tmp_path / "data" / "00000.parquet") as file:
        assert set(file.metadata.metadata or {}) <= {b"ARROW:schema"}
        column = file.metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert column.statistics.max == 99
