"""The journal: what is appended is read back, and a damaged tail is cut, wherever it is damaged."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.journal import Journal, remove

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates too
PLAIN = st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.integers(0, 2**64 - 1))


def write(path: Path, records: list[dict]) -> None:
    """Append one batch in a session of its own."""
    journal = Journal.open(path)
    journal.append(records)
    journal.close()


def read(path: Path) -> list[dict]:
    """All records, read in a session of its own."""
    journal = Journal.open(path)
    records = list(journal.records)
    journal.close()
    return records


@given(batches=st.lists(st.lists(PLAIN, max_size=4), max_size=4))
def test_records_come_back_in_order(tmp_path_factory, batches):
    """Whatever batches are appended, in several sessions, the records read back are the same."""
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    for batch in batches:
        write(path, batch)
    assert read(path) == [record for batch in batches for record in batch]


@given(text=ANY_TEXT)
def test_any_text_is_one_record(tmp_path_factory, text):
    """Any Python string, newlines and lone surrogates included, makes one readable record."""
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    write(path, [{"completion": text}, {"completion": "next"}])
    first, second = read(path)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert first["completion"] == whole
    assert second["completion"] == "next"


def test_lone_surrogate_becomes_the_replacement_character(tmp_path):
    """A lone surrogate is replaced, a pair written as two halves is joined."""
    write(tmp_path / "j", [{"a": "x\ud800y", "b": ["\ud83d\ude00"]}])
    assert read(tmp_path / "j") == [{"a": "x\ufffdy", "b": ["😀"]}]


def test_tail_torn_at_every_byte_is_cut_to_whole_records(tmp_path):
    """Cut the file at any byte: exactly the whole records remain, and appending goes on."""
    path = tmp_path / "j"
    records = [{"n": i, "text": "é\n" * i} for i in range(4)]
    write(path, records)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        write(path, [{"new": cut}])
        assert read(path) == [*records[:whole], {"new": cut}]


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_changed_byte_cuts_there(tmp_path_factory, at, flip):
    """Change any one byte: the records before the damaged one survive, nothing after it does."""
    path = tmp_path_factory.mktemp("journal") / "j"
    records = [{"n": i, "text": "abc"} for i in range(5)]
    write(path, records)
    content = bytearray(path.read_bytes())
    at %= len(content)
    damaged = bytes(content[:at]).count(b"\n")
    content[at] ^= flip
    path.write_bytes(content)
    assert read(path) == records[:damaged]


def test_cut_is_logged_with_its_size(tmp_path, caplog):
    """The log names how many bytes were cut."""
    write(tmp_path / "j", [{"n": 1}])
    with (tmp_path / "j").open("ab") as file:
        file.write(b"0123456789")
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "j")
    assert "cut a torn tail of 10 bytes" in caplog.text


def test_records_can_be_read_while_appending(tmp_path):
    """Reading streams what was there when it began, though more is appended meanwhile."""
    journal = Journal.open(tmp_path / "deep" / "j")
    journal.append([{"n": 1}, {"n": 2}])
    reading = journal.records
    first = next(reading)
    journal.append([{"n": 3}])
    assert [first, *reading] == [{"n": 1}, {"n": 2}]
    assert len(list(journal.records)) == 3
    journal.close()
    journal.close()


def test_sigkill_loses_nothing_that_append_returned_from(tmp_path):
    """A process killed by SIGKILL right after it reported an append has that record on disk."""
    script = (
        "import sys; from pathlib import Path; from pipeline.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n"
        "    journal.append([{'n': n}]); print(n, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "j")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    for _ in range(200):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split(b"\n")[:-1]
    child.stdout.close()
    child.wait()
    reported = int(rest[-1]) if rest else last
    found = [record["n"] for record in read(tmp_path / "j")]
    assert found[: reported + 1] == list(range(reported + 1))


def test_full_disk_is_a_sentence_and_leaves_the_log_whole(tmp_path):
    """When the disk takes only part of a batch, the log ends where it did and the error says so."""
    script = (
        "import resource, sys; from pathlib import Path; from pipeline.journal import Journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "journal = Journal.open(Path(sys.argv[1])); journal.append([{'n': 1}])\n"
        "try: journal.append([{'text': 'x' * 2000}])\n"
        "except Exception as fault: print(type(fault).__name__, fault)\n"
        "journal.append([{'n': 2}]); journal.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.startswith(f"UserError {tmp_path}: the disk is full: 2,0")
    assert read(tmp_path / "j") == [{"n": 1}, {"n": 2}]


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    """A value that is not JSON raises, and no part of its batch is in the log."""
    journal = Journal.open(tmp_path / "j")
    with pytest.raises(TypeError):
        journal.append([{"n": 1}, {"n": object()}])
    journal.close()
    assert read(tmp_path / "j") == []


def test_remove_is_quiet_when_there_is_nothing(tmp_path):
    """`remove` deletes the log, and does nothing the second time."""
    write(tmp_path / "j", [{}])
    remove(tmp_path / "j")
    remove(tmp_path / "j")
    assert not (tmp_path / "j").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    """Opening below a file raises UserError naming the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Journal.open(tmp_path / "file" / "journal" / "j")


def test_lines_are_checksum_space_json(tmp_path):
    """The format is what the docstring says: 16 hex digits, a space, JSON, a newline."""
    write(tmp_path / "j", [{"n": 1}])
    line = (tmp_path / "j").read_bytes()
    int(line[:16], 16)
    assert line[16:17] == b" "
    assert orjson.loads(line[17:-1]) == {"n": 1}
