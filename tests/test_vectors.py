"""Feature shards: row-exact resumption, identities, and picks that know no shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.selection.matching import blend, masked, per_group, rank_rows, stream_scores
from pipeline.selectors import take_turns, top_k
from pipeline.vectors import Features, Identity, write_features

MADE = Identity("nano", "r1", -1, "weighted", "none", 0, "float32", "chat")


def store(
    folder: Path, vectors: np.ndarray, ids: Sequence[str] | None = None, **options: int
) -> Features:
    """Write an array as features; ids r000, r001 ... by default."""
    names = ids or [f"r{i:03d}" for i in range(len(vectors))]
    return write_features(folder, MADE, names, lambda rows: vectors[list(rows)], **options)


def test_vectors_come_back_as_written(tmp_path: Path) -> None:
    """Ids, rows and values of three shards are read back in order, as memory maps."""
    vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
    found = store(tmp_path / "f", vectors, shard_rows=4)
    assert (found.rows, found.width, found.identity) == (10, 2, MADE)
    assert found.ids() == [f"r{i:03d}" for i in range(10)]
    assert (Features.open(tmp_path / "f").array() == vectors).all()
    starts = [first for first, view in found.blocks(3) if isinstance(view, np.memmap)]
    assert starts == [0, 3, 4, 7, 8]


def test_a_killed_writer_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a fault in the third shard only rows that are not durable are embedded again."""
    vectors = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    asked: list[int] = []

    def embed(rows: Sequence[int]) -> np.ndarray:
        if len(asked) == 8:
            raise ConnectionError
        asked.extend(rows)
        return vectors[list(rows)]

    names = [f"r{i}" for i in range(10)]
    with pytest.raises(ConnectionError):
        write_features(tmp_path, MADE, names, embed, shard_rows=4)
    with pytest.raises(UserError, match="no manifest"):
        Features.open(tmp_path)
    rest: list[int] = []
    found = write_features(
        tmp_path, MADE, names, lambda rows: (rest.extend(rows), vectors[list(rows)])[1]
    )
    assert (asked, rest) == ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9])
    assert (found.array() == vectors).all()


def test_a_torn_shard_is_made_again(tmp_path: Path) -> None:
    """A shard that does not match its checksum, and all after it, are embedded anew."""
    vectors = np.ones((6, 2), dtype=np.float32)
    store(tmp_path, vectors, shard_rows=2)
    torn = tmp_path / "00001.npy"
    torn.write_bytes(torn.read_bytes()[:-3])
    asked: list[int] = []
    names = [f"r{i:03d}" for i in range(6)]
    found = write_features(
        tmp_path, MADE, names, lambda rows: (asked.extend(rows), vectors[list(rows)])[1]
    )
    assert asked == [2, 3, 4, 5] and found.rows == 6 and found.ids() == names
    assert store(tmp_path, vectors).ids() == names


def test_new_rows_are_added_to_old_ones(tmp_path: Path) -> None:
    """A longer list of ids embeds only what is new."""
    store(tmp_path, np.ones((2, 2)), ["a", "b"])
    asked: list[int] = []
    found = write_features(
        tmp_path, MADE, ["c", "a", "b"], lambda rows: (asked.extend(rows), np.zeros((1, 2)))[1]
    )
    assert asked == [0] and found.ids() == ["a", "b", "c"]


@pytest.mark.parametrize("field", Identity._fields)
def test_other_identities_are_refused(tmp_path: Path, field: str) -> None:
    """Any field that differs is named with both values, on writing and on matching."""
    store(tmp_path / "pool", np.ones((2, 2)))
    value = "float16" if field == "dtype" else 7
    other = MADE._replace(**{field: value})
    with pytest.raises(UserError, match=f"{field} is '{getattr(MADE, field)}'.*'{value}'"):
        write_features(tmp_path / "pool", other, ["z"], lambda rows: np.ones((1, 2)))
    queries = write_features(tmp_path / "q", other, ["q"], lambda rows: np.ones((1, 2)))
    with pytest.raises(UserError, match="were not made alike"):
        stream_scores(Features.open(tmp_path / "pool"), queries)


def test_faulty_vectors_are_refused(tmp_path: Path) -> None:
    """Too few rows, another width, an id twice and values beyond float16 are explained."""
    with pytest.raises(UserError, match=r"returned \(1, 2\), expected \(2, 2\)"):
        write_features(tmp_path / "a", MADE, ["x", "y"], lambda rows: np.ones((1, 2)))
    with pytest.raises(UserError, match="2 rows have 1 ids"):
        store(tmp_path / "b", np.ones((2, 2)), ["x", "x"])
    half = MADE._replace(dtype="float16")
    with pytest.raises(UserError, match="70000 exceeds the 65504"):
        write_features(tmp_path / "c", half, ["x"], lambda rows: np.full((1, 2), 7e4))
    with pytest.raises(UserError, match="dtype 'int8'"):
        write_features(tmp_path / "d", MADE._replace(dtype="int8"), ["x"], lambda rows: rows)


def ranked(pool: Features, queries: Features, depth: int, block: int) -> tuple[list, list, int]:
    """The best rows of each query by id, with scores, and how many were unusable."""
    found = rank_rows(
        stream_scores(pool, queries, block_rows=block), depth, ids=pool.ids(), rows=pool.rows
    )
    names = np.array(pool.ids())
    return names[found.rows].tolist(), found.scores.tolist(), found.unusable


@settings(max_examples=12)
@given(st.integers(0, 1000), st.integers(1, 50), st.integers(1, 50))
def test_picks_know_neither_shards_nor_blocks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shard: int, block: int
) -> None:
    """Any shard size, block size and order of rows gives the same ids and bit-equal scores."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, 48)).astype(np.float16)
    vectors[5:15] = vectors[3]  # ties
    names = [f"r{i:03d}" for i in range(40)]
    folder = tmp_path_factory.mktemp("f")
    queries = store(folder / "q", rng.normal(size=(7, 48)))
    plain = ranked(store(folder / "one", vectors), queries, 12, 40)
    order = rng.permutation(40)
    cut = store(folder / "cut", vectors[order], [names[i] for i in order], shard_rows=shard)
    assert ranked(cut, queries, 12, block) == plain


def test_streamed_ranks_are_the_exact_ones(tmp_path: Path) -> None:
    """Against cosines in extended precision the ranking agrees and scores are within 1e-7."""
    rng = np.random.default_rng(1)
    vectors, asked = rng.normal(size=(3000, 64)).astype(np.float32), rng.normal(size=(5, 64))
    pool, queries = store(tmp_path / "p", vectors), store(tmp_path / "q", asked)
    found = rank_rows(stream_scores(pool, queries), 100, ids=pool.ids(), rows=pool.rows)
    p = vectors.astype(np.longdouble) / np.linalg.norm(vectors.astype(float), axis=1)[:, None]
    q = asked.astype(np.float32).astype(np.longdouble)
    exact = (p @ (q / np.sqrt((q * q).sum(axis=1))[:, None]).T).T.astype(float)
    for rows, scores, truth in zip(found.rows, found.scores, exact, strict=True):
        assert rows.tolist() == top_k(truth, 100).tolist()
        assert scores == pytest.approx(truth[rows], abs=1e-7)
    assert take_turns(found.rows, 100).rows[0] == found.rows[0, 0]


def test_rows_without_direction_are_counted(tmp_path: Path) -> None:
    """Zero and NaN rows are never ranked but counted; such a query is refused by its id."""
    pool = store(tmp_path / "p", np.array([[1.0, 0], [0, 0], [np.nan, 1], [0, 1]]))
    queries = store(tmp_path / "q", np.array([[2.0, 1]]))
    assert ranked(pool, queries, 4, 2)[0] == [["r000", "r003"]]
    assert ranked(pool, queries, 4, 2)[2] == 2
    with pytest.raises(UserError, match="first 'r000'"):
        stream_scores(pool, store(tmp_path / "z", np.zeros((1, 2))))


def test_rows_outside_the_pool_are_not_ranked(tmp_path: Path) -> None:
    """Vectors that the store holds but the pool does not want count as unusable."""
    pool = store(tmp_path / "p", np.array([[1.0, 0], [1, 1], [0, 1]]))
    blocks = masked(stream_scores(pool, store(tmp_path / "q", np.array([[1.0, 0]]))), WANTED)
    found = rank_rows(blocks, 3, ids=pool.ids(), rows=3)
    assert found.rows.tolist() == [[1, 2]] and found.unusable == 1


WANTED = np.array([False, True, True])


def test_less_matching_of_the_card(tmp_path: Path) -> None:
    """LESS card C: blended matrix, subtask means, scores; another aggregator flips the pick."""
    pools = [
        [[3, 4, 0, 0], [0, 0, 5, 0], [1, 1, 1, 1]],
        [[4, 3, 0, 0], [0, 0, 0, 2], [2, 0, 0, 0]],
    ]
    asked = [
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 3]],
        [[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
    ]
    streams = [
        stream_scores(
            store(tmp_path / f"p{i}", np.array(p, float)),
            store(tmp_path / f"q{i}", np.array(q, float)),
        )
        for i, (p, q) in enumerate(zip(pools, asked, strict=True))
    ]
    ((_, matrix),) = blend(streams, [3e-5, 1e-5])
    assert matrix == pytest.approx(
        np.array([[0.6, 0.8, 0, 0], [0, 0, 1, 0], [0.375, 0.625, 0.375, 0.375]]), abs=1e-7
    )
    means = per_group(matrix, [0, 0, 1, 1], how="mean")
    assert means == pytest.approx(np.array([[0.7, 0], [0, 0.5], [0.5, 0.375]]), abs=1e-7)
    assert means.max(axis=1) == pytest.approx([0.7, 0.5, 0.5], abs=1e-7)
    assert top_k(means.max(axis=1), 1).tolist() == [0]
    assert matrix.mean(axis=1) == pytest.approx([0.35, 0.25, 0.4375], abs=1e-7)
    assert top_k(matrix.mean(axis=1), 1).tolist() == [2]


def test_less_first_order_meaning(tmp_path: Path) -> None:
    """LESS card D: cosines of three gradients with the query's; a zero gradient has none."""
    pool = store(tmp_path / "p", np.array([[-2.0, 0], [0, 0.75], [0, 0]]))
    queries = store(tmp_path / "q", np.array([[-1.0, -2]]))
    ((_, found),) = stream_scores(pool, queries)
    assert found[:2, 0] == pytest.approx([0.447214, -0.894427], abs=1e-6)
    assert np.isnan(found[2, 0])


def test_unequal_checkpoints_are_refused(tmp_path: Path) -> None:
    """Checkpoints of different rows cannot be blended."""
    queries = store(tmp_path / "q", np.ones((1, 2)))
    one = stream_scores(store(tmp_path / "a", np.ones((2, 2))), queries)
    two = stream_scores(store(tmp_path / "b", np.ones((3, 2))), queries)
    with pytest.raises(UserError, match="same rows"):
        list(blend([one, two], [1, 1]))
