"""Datasets into feature shards: row-exact, also after a real kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.shards import Shards
from pipeline.vectors import Identity
from scorers.embeddings import text_encoder
from scorers.features import Encoder, features
from scorers.hidden_states import hidden_encoder
from scorers.token_losses import loss_encoder, losses_of
from tests.test_hidden_states import NANO, conversations

MADE = Identity("toy", "1", 0, "none", "none", 0, "float32", "x")


def dataset(folder: Path, count: int, shard_rows: int = 7) -> Shards:
    """Conversations with ids, in several shards."""
    table = conversations(count).append_column("id", pa.array([f"r{i:03d}" for i in range(count)]))
    return Shards.write(folder, table, shard_rows=shard_rows)


def counting(asked: list[str]) -> Encoder:
    """An encoder whose vectors are the length of the reply; it notes what it was asked."""

    def encode(rows: pa.Table) -> np.ndarray:
        texts = [chat[-1]["content"] for chat in rows["messages"].to_pylist()]
        asked.extend(texts)
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    return Encoder(MADE, ("messages", "prompt"), encode)


def replies(rows: Shards) -> dict[str, str]:
    """The reply of each id."""
    table = rows.table(["id", "messages"]).to_pylist()
    return {row["id"]: row["messages"][-1]["content"] for row in table}


@pytest.mark.parametrize("shard_rows", [1, 5, 100])
def test_every_row_keeps_its_own_vector(tmp_path: Path, shard_rows: int) -> None:
    """Whatever the sizes of shards in and out, each id has the vector of its row."""
    rows = dataset(tmp_path / "rows", 20)
    assert len(rows) > 1
    found = features(rows, counting([]), tmp_path / "f", shard_rows=shard_rows)
    wanted = [len(replies(rows)[one]) for one in found.ids()]
    assert found.array()[:, 0].tolist() == wanted and found.rows == 20


def test_only_new_rows_are_asked(tmp_path: Path) -> None:
    """A longer dataset with other shards asks for what the folder does not hold, nothing else."""
    features(dataset(tmp_path / "rows", 10), counting([]), tmp_path / "f")
    more = dataset(tmp_path / "more", 16, shard_rows=3)
    asked: list[str] = []
    found = features(more, counting(asked), tmp_path / "f")
    assert sorted(asked) == sorted(replies(more)[f"r{i:03d}"] for i in range(10, 16))
    assert found.rows == 16
    features(more, counting(asked), tmp_path / "f")
    assert len(asked) == 6


def test_datasets_that_cannot_be_encoded(tmp_path: Path) -> None:
    """No column to read, another identity and an empty dataset each have a clear outcome."""
    rows = Shards.write(tmp_path / "rows", pa.table({"id": ["a"], "text": ["x"]}))
    with pytest.raises(UserError, match="none of the columns messages, prompt is there"):
        features(rows, counting([]), tmp_path / "f")
    full = dataset(tmp_path / "full", 3)
    features(full, counting([]), tmp_path / "f")
    other = counting([])._replace(identity=MADE._replace(seed=1))
    with pytest.raises(UserError, match=r"seed is '0' in .* and '1' in"):
        features(full, other, tmp_path / "f")
    none = Shards.write(
        tmp_path / "none", conversations(0).append_column("id", pa.array([], "str"))
    )
    assert features(none, counting([]), tmp_path / "g").rows == 0


KILLED = """
import sys, time
from pipeline.shards import Shards
from scorers.features import features
from scorers.hidden_states import hidden_encoder

encoder = hidden_encoder("data/nano")

def encode(rows):
    time.sleep(0.05)
    return encoder.encode(rows)

slow = encoder._replace(encode=encode)
features(Shards.open(sys.argv[1]), slow, sys.argv[2], shard_rows=3)
"""


def test_after_a_kill_only_missing_rows_are_encoded(tmp_path: Path) -> None:
    """SIGKILL in the middle: durable rows are not encoded again, vectors are as without."""
    rows = dataset(tmp_path / "rows", 60)
    folder = tmp_path / "f"
    command = [sys.executable, "-c", KILLED, str(rows.path), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    worker = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list(folder.glob("[0-9]*.json"))) < 4 and time.monotonic() < until:
        assert worker.poll() is None
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not (folder / "manifest.json").exists()
    records = [orjson.loads(file.read_bytes()) for file in folder.glob("[0-9]*.json")]
    durable = {one for record in records for one in record["ids"]}
    assert 12 <= len(durable) < 60
    whole = hidden_encoder(NANO)
    asked: list[str] = []

    def encode(table: pa.Table) -> np.ndarray:
        asked.extend(table["id"].to_pylist())
        return whole.encode(table)

    columns = ("id", "messages")
    found = features(rows, whole._replace(encode=encode, columns=columns), folder)
    assert set(asked) == set(rows.table(["id"])["id"].to_pylist()) - durable
    assert len(asked) == len(set(asked))
    clean = features(rows, whole, tmp_path / "clean")
    place = {one: i for i, one in enumerate(clean.ids())}
    again = clean.array()[[place[one] for one in found.ids()]]
    assert found.array().astype(np.float32) == pytest.approx(again.astype(np.float32), abs=2e-3)


def test_each_kind_goes_through_the_same_step(tmp_path: Path) -> None:
    """Embeddings, hidden states and token losses of one dataset, each with its identity."""
    rows = dataset(tmp_path / "rows", 9)
    kinds = [text_encoder(NANO), hidden_encoder(NANO), loss_encoder(NANO)]
    made = [features(rows, kind, tmp_path / str(i)) for i, kind in enumerate(kinds)]
    assert [one.width for one in made] == [256, 256, 3]
    assert len({one.identity for one in made}) == 3
    assert all(np.isfinite(one.array()).all() for one in made)
    assert (losses_of(made[2]).tokens > 0).all()
