"""Selection recipes from end to end: the nano model, its world's rows in the user's files."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.selection.color_filter import color_filter
from flows.selection.deita import deita
from flows.selection.got_d import got_d
from flows.selection.grape import grape
from flows.selection.ifd import ifd
from flows.selection.kmq import kmq
from flows.selection.kmq_iterative import kmq_iterative
from flows.selection.less import less
from flows.selection.meta_ranking import meta_ranking
from flows.selection.projektor import projektor
from flows.selection.rds_plus import rds_plus
from flows.selection.sftmix import sftmix
from pipeline.nano_pool import nano_pool, nano_queries
from pipeline.runs import execute
from pipeline.shards import Shards
from pipeline.steps import Run

pytestmark = pytest.mark.usefixtures("prefect_server")

LONG = {"role": "user", "content": "One and one and " * 400}  # beyond the nano model's context
Row = dict[str, Any]


def write(file: Path, rows: Sequence[Row]) -> str:
    """Write rows as a user's JSONL; columns of theirs lie beside the text."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def as_user_rows(rows: Sequence[Row]) -> list[Row]:
    """The world's rows as a user may have them: text, source, task, a label and a grade."""
    facts = [json.loads(row["meta"]) for row in rows]
    return [
        {"messages": row["messages"], "source": row["source"], "task": row["task"]}
        | {"sound": fact["sound"], "grade": 1 + len(row["messages"][-1]["content"]) % 5}
        for row, fact in zip(rows, facts, strict=True)
    ]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty-four rows of three sources and one whose prompt is longer than the model reads."""
    found = nano_pool(96).to_pylist()
    worked, wrong, code = found[:12], found[72:78], found[84:90]
    rows = as_user_rows([*worked, *wrong, *code])
    for place, row in enumerate(rows):
        row["source"] = ("worked", "worked", "wrong", "code")[place // 6]
    too_long = rows[0] | {"messages": [LONG, rows[0]["messages"][-1]]}
    return write(tmp_path_factory.mktemp("pool") / "pool.jsonl", [*rows, too_long])


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two queries of each of the world's two kinds of task."""
    found = nano_queries(6).to_pylist()
    return write(tmp_path_factory.mktemp("queries") / "q.jsonl", as_user_rows(found[2:]))


@pytest.fixture
def run(pool: str, tmp_path: Path) -> Callable[..., list[Row]]:
    """Run a recipe on the pool; return its rows, whose funnel adds up and which load again."""

    def chosen(recipe: Any, **given: Any) -> list[Row]:
        dataset = execute(recipe, {"pool": pool, **given}, Run(tmp_path / "run"))
        rows = Shards.open(tmp_path / "run" / "to_rows").table().to_pylist()
        assert len({row["row_id"] for row in rows}) == len(rows) > 0
        assert dataset.name == "sft" and (dataset / "README.md").is_file()
        return rows

    return chosen


def step(tmp_path: Path, name: str) -> list[Row]:
    """Rows that a step of the test's run wrote."""
    return Shards.open(tmp_path / "run" / name).table().to_pylist()


def test_less(run: Callable[..., list[Row]], queries: str, tmp_path: Path) -> None:
    """Six rows by score, tasks named, the row that does not fit counted; again costs nothing."""
    how = {"queries": queries, "n": 6, "epochs": 1, "rank": 2, "width": 64, "batch": 2}
    rows = run(less, **how)
    scores = [row["score"] for row in sorted(rows, key=lambda row: row["rank"])]
    assert len(rows) == 6 and scores == sorted(scores, reverse=True) and scores[0] > 0
    assert {row["best_task"] for row in rows} <= {row["task"] for row in step(tmp_path, "queries")}
    assert Shards.open(tmp_path / "run" / "select").lineage["dropped"] == {
        "no_gradient": 1,
        "not_chosen": 18,
    }
    found = [*tmp_path.rglob("*.npy"), *tmp_path.rglob("*.safetensors")]
    made = {file: file.stat().st_mtime_ns for file in found}
    assert run(less, **how) == rows and len(made) == 4  # vectors of both sides, weights, moments
    assert all(file.stat().st_mtime_ns == when for file, when in made.items())


def test_kmq_iterative(run: Callable[..., list[Row]], tmp_path: Path) -> None:
    """Both rounds draw their half, no row twice; weights follow the mean gains of the first."""
    how = {"n": 8, "rounds": 2, "clusters": 3, "column": "grade", "max_tokens": 12}
    rows = run(kmq_iterative, **how)
    assert Counter(row["round"] for row in rows) == {1: 4, 2: 4}
    assert len({row["id"] for row in rows}) == 8
    gained = step(tmp_path, "gains_1")
    weights = step(tmp_path, "weights_1")
    assert sum(row["rows"] for row in weights) == len(gained) == 4
    for one in weights:
        own = [row["gain"] for row in gained if row["cluster"] == one["cluster"]]
        assert one["gain"] == (pytest.approx(np.mean(own)) if own else None)
    moved = [one for one in weights if one["gain"] is not None]
    assert sum(one["weight"] for one in weights) == pytest.approx(1)
    order = sorted(moved, key=lambda one: one["gain"])
    assert order == sorted(moved, key=lambda one: one["weight"])
    assert all(one["weight"] == pytest.approx(1 / 3) for one in weights if one not in moved)


def test_projektor(run: Callable[..., list[Row]], queries: str, tmp_path: Path) -> None:
    """Four pilots are tuned and scored; rows are drawn from the sources by the best shares."""
    how = {"queries": queries, "n": 9, "pilots": 2, "small": 4, "large": 8, "climb": 12}
    rows = run(projektor, **how)
    pilots = step(tmp_path, "pilots")
    assert [one["size"] for one in pilots] == [4, 4, 8, 8]
    assert all(np.isfinite(one["score"]) and one["score"] < 0 < one["distance"] for one in pilots)
    assert all(sum(one["shares"]) == pytest.approx(1) for one in pilots)
    counts = Counter(row["source"] for row in rows)
    shares = {row["source"]: row["share"] for row in rows}
    assert sum(counts.values()) == 9 and all(abs(counts[s] - 9 * shares[s]) < 1 for s in counts)


def test_sftmix(run: Callable[..., list[Row]]) -> None:
    """The whole set but what does not fit, in equal halves, every row with one of the other."""
    rows = {row["id"]: row for row in run(sftmix, checkpoints=2)}
    assert Counter(row["half"] for row in rows.values()) == {"confident": 12, "unconfident": 12}
    least = min(row["score"] for row in rows.values() if row["half"] == "confident")
    for row in rows.values():
        other = rows[row["partner"]]
        assert other["partner"] == row["id"] and other["half"] != row["half"]
        assert row["half"] == "confident" or row["score"] <= least


def test_meta_ranking(run: Callable[..., list[Row]], tmp_path: Path) -> None:
    """A share of the judged rows by votes; references are balanced; the long row is not judged."""
    rows = run(meta_ranking, count=2, share=0.5)
    assert len(rows) == 12 and all(-2 <= row["score"] <= 2 for row in rows)
    assert [row["reliable"] for row in step(tmp_path, "references")] == [True, False]
    dropped = Shards.open(tmp_path / "run" / "select").lineage["dropped"]
    assert dropped == {"not_judged": 1, "unreliable": 12}


@pytest.mark.parametrize(
    ("recipe", "given", "dropped"),
    [
        (rds_plus, {"n": 5}, {"not_chosen": 20}),
        (color_filter, {"n": 5, "batch": 2}, {"no_loss": 1, "not_chosen": 19}),
        (got_d, {"n": 5}, {"not_chosen": 20}),
        (deita, {"n": 5, "tau": 0.999}, {"no_score": 1, "not_chosen": 19}),
        (ifd, {"n": 5}, None),
        (kmq, {"n": 5, "clusters": 3, "column": "grade"}, {"not_chosen": 20}),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_choosing_five(
    run: Callable[..., list[Row]],
    queries: str,
    tmp_path: Path,
    recipe: Any,
    given: dict[str, Any],
    dropped: dict[str, int] | None,
) -> None:
    """A method asked for five rows writes five, best first, and counts why the others left."""
    aimed = {"queries": queries} if recipe in (rds_plus, color_filter, got_d) else {}
    rows = run(recipe, **aimed, **given)
    found = Shards.open(tmp_path / "run" / "select").lineage["dropped"]
    assert len(rows) == 5 and sorted(row["rank"] for row in rows) == [0, 1, 2, 3, 4]
    assert sum(found.values()) == 20 and (dropped is None or found == dropped)


def test_grape(run: Callable[..., list[Row]], tmp_path: Path) -> None:
    """Prompts with a sound and a wrong reply keep one of them, those with one reply none."""
    rows = run(grape)
    asked = {json.dumps(row["messages"][:-1]) for row in rows}
    dropped = Shards.open(tmp_path / "run" / "select").lineage["dropped"]
    assert len(asked) == len(rows) == dropped["less_likely"]
    assert dropped["one_reply"] + dropped.get("no_loss", 0) == 25 - 2 * len(rows)
