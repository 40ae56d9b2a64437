"""Selection as steps: every row of a pool is chosen or counted under a reason."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.choices import choices, facts, load_pool, sample, score, select, to_rows
from pipeline.errors import UserError
from pipeline.nano_pool import nano_pool
from pipeline.schema import SFT, Scorer, check, verifier
from pipeline.shards import Shards
from pipeline.steps import Run, running

POOL = nano_pool(40)
IDS = POOL["id"].to_pylist()


@given(st.integers(0, 40), st.integers(0, 1000))
def test_every_row_is_accounted_for(k: int, seed: int) -> None:
    """Rows in = rows kept + rows dropped by reason, and the kept ones are the chosen ones."""
    random = np.random.default_rng(seed)
    chosen, bad = random.permutation(40)[:k], random.random(40) < 0.3
    listed = choices(IDS, chosen, scores=random.random(40), reasons={"bad": bad})
    assert len(listed.kept) + sum(listed.dropped.values()) == 40
    found = select(POOL, listed.kept)
    assert len(found.kept) + sum(found.dropped.values()) == 40
    ranked = sorted(zip(found.kept["rank"].to_pylist(), found.kept["id"].to_pylist(), strict=True))
    assert [one for _, one in ranked] == [IDS[i] for i in chosen]
    left = set(range(40)) - set(chosen.tolist())
    assert found.dropped.get("bad", 0) == sum(bool(bad[i]) for i in left)


def test_the_first_reason_counts() -> None:
    """A row with two reasons is counted once, under the first; chosen rows under none."""
    both = np.array([True, True, False])
    listed = choices(["a", "b", "c"], np.array([2]), reasons={"one": both, "two": both}, mark="xyz")
    assert listed.kept["reason"].to_pylist() == [None, "one", "one"]
    assert listed.kept["mark"].to_pylist() == ["z", "x", "y"]


@verifier(needs=("messages",))
def turns(rows: pa.Table, *, scale: float = 1.0) -> pa.Array:
    """Count turns: a scorer for the tests."""
    return pa.array([scale * len(one) for one in rows["messages"].to_pylist()], pa.float64())


@verifier(needs=("absent",))
def needy(rows: pa.Table) -> pa.Array:
    """Read a column that no pool has."""
    return rows["absent"]


@verifier()
def short(rows: pa.Table) -> pa.Array:
    """Give one value too few."""
    return pa.array([1.0] * (len(rows) - 1))


def test_a_scorer_gives_one_float_column() -> None:
    """The column is named after the scorer, settings reach it, and rows keep their order."""
    found = score(POOL, scorer=turns, settings={"scale": 2.0})
    assert found.column_names == ["id", "turns"] and found["turns"].to_pylist() == [4.0] * 40
    assert found["id"].to_pylist() == IDS


@pytest.mark.parametrize(
    ("scorer", "said"), [(needy, "reads absent; there is: id"), (short, "gave 39 values")]
)
def test_a_faulty_scorer_is_named(scorer: Scorer, said: str) -> None:
    """A scorer without its columns, or with a value too few, is refused with the numbers."""
    with pytest.raises(UserError, match=said):
        score(POOL, scorer=scorer)


def test_rows_become_a_training_set() -> None:
    """What is kept is SFT with the pool's ids as parents and all that was said of a row."""
    kept = select(POOL, choices(IDS, np.array([3, 1]), cluster=np.arange(40)).kept).kept
    found = check(to_rows(kept, recipe="r"), SFT, where="test")
    assert found["parents"].to_pylist() == [[IDS[1]], [IDS[3]]]
    assert found["rank"].to_pylist() == [1, 0] and found["cluster"].to_pylist() == [1, 3]


@pytest.mark.usefixtures("prefect_server")
def test_shards_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of many shards gives the rows that one of a single shard gives."""
    outcomes = []
    for shard_rows in (7, 1000):
        monkeypatch.setattr("pipeline.choices._POOL_ROWS", shard_rows)
        with running(Run(tmp_path / str(shard_rows))):
            pool = load_pool("nano_world", limit=40)
            some = sample(pool, most=20, seed=1)
            light = facts(some)
            rows = light.table()
            picked = choices(rows["id"].to_pylist(), np.argsort(rows["id"].to_numpy(False))[:5])
            chosen = Shards.write(tmp_path / f"c{shard_rows}", picked)
            kept = to_rows(select(pool, chosen), recipe="r")
            outcomes.append((len(pool), sorted(kept.table().to_pylist(), key=lambda r: r["id"])))
            assert kept.rows == 5 and sum(Shards.open(kept.path).lineage["dropped"].values()) == 0
    assert outcomes[0][0] > outcomes[1][0] == 1 and outcomes[0][1] == outcomes[1][1]
