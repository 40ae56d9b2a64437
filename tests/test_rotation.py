"""Rotation over stored vectors: equal to the plain selector whatever the shards and blocks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.selection.rotation import rotate
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.selectors import round_robin
from pipeline.vectors import Features, Identity, write_features

MADE = Identity("m", "0", -1, "mean", "none", 0, "float16", "none")


def store(folder: Path, vectors: np.ndarray, ids: list[str], shard_rows: int = 7) -> Features:
    """Write vectors, so many a shard."""
    return write_features(folder, MADE, ids, lambda at: vectors[list(at)], shard_rows=shard_rows)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 70),
    shard_rows=st.integers(1, 80),
    block=st.integers(1, 90),
    coarse=st.booleans(),
)
def test_equals_the_plain_rotation(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    n: int,
    shard_rows: int,
    block: int,
    coarse: bool,
) -> None:
    """Rows, order and scores are those of round_robin on exact cosines; coarse ones tie often."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(-2, 3, (60, 3)) if coarse else rng.normal(size=(60, 3))
    queries = rng.integers(1, 4, (9, 3)) if coarse else rng.normal(size=(9, 3))
    pool, queries = (v.astype(np.float16).astype(float) for v in (pool, queries))
    pool[5], pool[6] = np.nan, 0
    ids = [f"{i:03d}" for i in rng.permutation(60)]
    tasks = [f"t{i}" for i in rng.integers(0, 3, 9)]
    folder = tmp_path_factory.mktemp("rotation")
    stored = store(folder / "pool", pool, ids, shard_rows)
    asked = store(folder / "queries", queries, [f"q{i}" for i in range(9)])
    wanted = rng.random(60) < 0.9
    found = rotate(stored, asked, tasks, n, wanted=wanted, block_rows=block)
    scores = cosines(unit_grid(queries), unit_grid(pool))
    scores[:, ~wanted] = np.nan
    expected = round_robin(scores, n, tasks=tasks, ids=ids)
    assert found.rows.tolist() == expected.tolist()
    names = list(dict.fromkeys(tasks))
    for row, group, score in zip(found.rows, found.groups, found.scores, strict=True):
        own = [q for q, task in enumerate(tasks) if task == names[group]]
        assert score == scores[own, row].max()


def test_tiny_and_huge_vectors_have_a_direction(tmp_path: Path) -> None:
    """Lengths that float32 squares cannot hold still rank by angle."""
    made = MADE._replace(dtype="float32")
    vectors = np.array([[1e-11, 1e-11], [3e30, 0], [0, 2.0], [1e-30, 0]])
    pool = write_features(tmp_path / "p", made, list("abcd"), lambda at: vectors[list(at)])
    asked = write_features(tmp_path / "q", made, ["q"], lambda at: np.array([[1.0, 0.5]]))
    found = rotate(pool, asked, ["t"], 4)
    assert found.rows.tolist() == [0, 1, 2] and found.unusable == 1


def test_faulty_queries_are_explained(tmp_path: Path) -> None:
    """A query without direction and a wrong number of groups are refused with the numbers."""
    pool = store(tmp_path / "p", np.eye(3), list("abc"))
    asked = store(tmp_path / "q", np.diag([1.0, 1.0, 0.0]), list("xyz"))
    with pytest.raises(UserError, match="1 of 3 queries are zero or not finite, first 'z'"):
        rotate(pool, asked, "ttt", 2)
    with pytest.raises(UserError, match="2 groups for 3 queries"):
        rotate(pool, asked, "tt", 2)
