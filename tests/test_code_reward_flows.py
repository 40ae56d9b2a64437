"""EpiCoder, PF-PPO and ACECode end to end on a scripted model and the real sandbox."""

import polars as pl
import pyarrow as pa
import pytest

from flows.code.acecode import acecode, name_kinds
from flows.code.epicoder import epicoder
from flows.code.pf_ppo import pf_ppo
from pipeline.nano_repair import complaint
from pipeline.pair_rules import extremes
from pipeline.pairs import make_pairs
from pipeline.runs import execute
from pipeline.shards import Shards
from pipeline.steps import Run
from tests.scripts_for_repair import TASKS, known

MODEL = "scripted:tests.scripts_for_repair:imperfect"


def made(tmp_path, recipe, kind, **given):
    """Run a recipe; return the rows of one kind that it emitted."""
    execute(recipe, {"limit": TASKS, "model": MODEL, **given}, Run(tmp_path))
    return pl.read_parquet(tmp_path / "dataset" / kind / "data" / "*.parquet").to_dicts()


def right(task: str, code: str) -> bool:
    """Whether a program passes all five tests of the task."""
    return all(complaint(code, test) is None for test in known()[task]["tests"])


def test_epicoder_emits_what_passes_and_mends_the_rest(tmp_path, prefect_server) -> None:
    """Every row is a task of the tree and a right program; some were mended; each is counted."""
    rows = made(tmp_path, epicoder, "sft", tasks=24, subtrees=3, repairs=1)
    assert len(rows) > 10 and len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        task, answer = (turn["content"] for turn in row["messages"])
        assert right(task, answer.removeprefix("```python\n").removesuffix("\n```"))
    first, second = (Shards.open(tmp_path / f"passing_{i}") for i in range(2))
    assert first.rows + second.rows == len(rows) and second.rows > 0
    answers = Shards.open(tmp_path / "answers")
    assert first.rows + sum(first.lineage["dropped"].values()) == answers.rows
    grown = {row["id"] for row in Shards.open(tmp_path / "tree_0").table().to_pylist()}
    assert "operation / list / new operation" in grown and "constant / 99" in grown


def test_pf_ppo_keeps_all_rows_and_draws_by_rank(tmp_path, prefect_server) -> None:
    """One row a rollout; weights are the strategy's by prompt; as many draws as rows."""
    rows = made(tmp_path, pf_ppo, "scores", n=5, strategy="best_worst")
    assert len(rows) == TASKS * 5 == sum(row["draws"] for row in rows)
    by_prompt = pl.DataFrame(rows).group_by("id").agg(pl.col("weight").sum())["weight"].to_list()
    assert set(by_prompt) <= {0.0, 2.0} and 2.0 in by_prompt
    assert all(row["weight"] > 0 for row in rows if row["draws"])
    pairs = pl.read_parquet(tmp_path / "dataset/pairs/data/*.parquet").to_dicts()
    assert pairs and all(row["score_chosen"] > row["score_rejected"] for row in pairs)


@pytest.mark.parametrize("n", [4])
def test_pf_ppo_chooses_its_filter_by_true_scores(tmp_path, prefect_server, n) -> None:
    """The calibrated filter is one that has contrast, and the same for all rows."""
    rows = made(tmp_path, pf_ppo, "scores", n=n)
    [strategy] = {row["strategy"] for row in rows}
    assert strategy in {"best_random", "best_worst", "power"}
    assert {row["true_score"] for row in rows} == {0.0, 1.0}


def test_acecode_rewards_right_programs_and_times_them(tmp_path, prefect_server) -> None:
    """Rewards follow the verdicts, right programs have both times, pairs keep the gap."""
    rows = made(tmp_path, acecode, "scores", n=5, least_ms=0.0, repetitions=2)
    assert len(rows) == TASKS * 5
    for row in rows:
        code = row["completion"].removeprefix("```python\n").removesuffix("\n```")
        assert right(row["prompt"][0]["content"], code) == (row["reward"] >= 0.5)
        assert row["reward"] >= 0.5 or row["time_ms"] is None
    assert {row["reward"] for row in rows if row["reward"] < 0.5} <= {-0.3, -0.6}
    pairs = pl.read_parquet(tmp_path / "dataset/pairs/data/*.parquet").to_dicts()
    assert {row["kind"] for row in pairs} == {"correctness"}
    assert all(row["score_chosen"] - row["score_rejected"] >= 0.5 for row in pairs)


SIDES = [
    ([-0.3, 0.5, 1.5], (1.5, -0.3, "correctness")),
    ([0.5, 1.5], (1.5, 0.5, "efficiency")),
    ([1.0, 1.4], None),
]


@pytest.mark.parametrize(("rewards", "expected"), SIDES)
def test_acecode_pairs_are_the_cards(rewards, expected) -> None:
    """Of the card's rewards with a gap of 0.5: which pair, and of which kind."""
    rollouts = pa.Table.from_pylist(
        [
            {"rollout_id": f"r{i}", "id": "t", "prefix": "", "completion": f"c{i}",
             "verdict": "correct", "finish_reason": "stop", "reward": value}
            for i, value in enumerate(rewards)
        ]
    )  # fmt: skip
    prompts = pa.table({"id": ["t"], "messages": [[{"role": "user", "content": "x"}]]})
    options = {"gap": 0.5 - 1e-9}
    found = make_pairs(
        rollouts, prompts, rule=extremes, options=options, score="reward", recipe="acecode"
    )
    rows = name_kinds(found.kept, slowest=0.5).to_pylist()
    sides = [(row["score_chosen"], row["score_rejected"], row["kind"]) for row in rows]
    assert sides == ([expected] if expected else [])
