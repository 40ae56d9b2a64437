"""LeTI, Condor and MORepair end to end on a scripted model and the real sandbox."""

import polars as pl
import pyarrow as pa
import pytest

from flows.code.condor import condor
from flows.code.leti import GOOD, leti
from flows.code.morepair import morepair, two_targets
from pipeline.nano_repair import complaint
from pipeline.runs import execute
from pipeline.shards import Shards
from pipeline.steps import Run
from tests.scripts_for_repair import TASKS, known

MODEL = "scripted:tests.scripts_for_repair:imperfect"
REPAIRS = pa.Table.from_pylist(
    [
        {
            "id": "pair",
            "rollout_id": "r",
            "messages": [{"role": "user", "content": "Add."}],
            "buggy": "a - b",
            "fixed": "a + b",
            "rationale": "The sign.",
            "model": "m",
            "led_by": ["c", "w", "task"],
        }
    ]
)
GIVEN = {"limit": TASKS, "model": MODEL, "n": 6}


def made(tmp_path, recipe, kind, **given):
    """Run a recipe; return the rows of one kind that it emitted."""
    execute(recipe, {**GIVEN, **given}, Run(tmp_path))
    return pl.read_parquet(tmp_path / "dataset" / kind / "data" / "*.parquet").to_dicts()


def adds_up(folder, *, rows_in):
    """Whether a step's kept and dropped rows are those that came in."""
    lineage = Shards.open(folder).lineage
    return rows_in == Shards.open(folder).rows + sum(lineage["dropped"].values())


def right(task: str, code: str) -> bool:
    """Whether a program passes all five tests of the task."""
    return all(complaint(code, test) is None for test in known()[task]["tests"])


def test_leti_writes_what_the_interpreter_said(tmp_path, prefect_server) -> None:
    """Good rows are right programs, bad ones hold a traceback with its line; all are counted."""
    rows = made(tmp_path, leti, "sft", iteration=1)
    assert {row["success"] for row in rows} == {True, False}
    for row in rows:
        question, answer = row["messages"][0]["content"], row["messages"][-1]["content"]
        task = question.split('"""\n')[1].rpartition("\nassert")[0]
        assert right(task, answer) == row["success"] == question.startswith(GOOD)
        assert row["text"] == f"{question}\n{answer}"
        failed = "<|bad|><|feedback|>Traceback (most recent call last):\n" in row["text"]
        assert failed != row["success"] and "SyntaxError" not in row["text"]
        assert row["success"] or row["feedback"].split("\n")[2].startswith("    assert ")
    assert adds_up(tmp_path / "rewarded", rows_in=Shards.open(tmp_path / "add_feedback").rows)
    coarse = made(tmp_path, leti, "sft", coarse=True)
    assert not any("feedback" in row["text"] for row in coarse)


def test_condor_labels_by_running(tmp_path, prefect_server) -> None:
    """Every label is true, both labels occur, and the pairs differ by few tokens."""
    rows = made(tmp_path, condor, "unpaired")
    assert {row["label"] for row in rows} == {True, False}
    assert all(right(row["prompt"], row["completion"]) == row["label"] for row in rows)
    assert len({(row["id"], row["completion"]) for row in rows}) == len(rows)
    pairs = pl.read_parquet(tmp_path / "dataset/pairs/data/*.parquet").to_dicts()
    assert pairs and all(row["chosen"] != row["rejected"] for row in pairs)
    sampled = {row["completion"] for row in rows if row["kind"] == "sampled"}
    assert sampled == {row[side] for row in pairs for side in ("chosen", "rejected")}


@pytest.mark.parametrize(("beta", "weights"), [(1.0, [0.5]), (0.5, [1 / 3, 2 / 3]), (0.0, [1.0])])
def test_morepair_weighs_two_answers(tmp_path, prefect_server, beta, weights) -> None:
    """Each repair is a right program for a wrong one; weights give the card's losses."""
    rows = made(tmp_path, morepair, "sft", beta=beta)
    assert sorted({row["weight"] for row in rows}) == pytest.approx(weights)
    for row in rows:
        question, answer = (turn["content"] for turn in row["messages"])
        task = question.partition("\n\n")[0]
        buggy, fixed = (
            text.split("```")[1].removeprefix("python\n") for text in (question, answer)
        )
        assert right(task, fixed) and not right(task, buggy)
        assert answer.endswith("wrong.") == (row["objective"] == "explain")
    dropped = Shards.open(tmp_path / "rationales").lineage["dropped"]
    assert dropped["has_code_block"] > 0


@pytest.mark.parametrize(("beta", "loss"), [(1.0, 1.0), (0.5, 1.066667), (0.0, 1.2)])
def test_morepair_loss_is_the_cards(beta, loss) -> None:
    """With losses 1.2 and 0.8 the weights of the two rows give the card's mixed loss."""
    rows = two_targets(REPAIRS, beta=beta, longest=1000).kept.to_pylist()
    losses = {"fix": 1.2, "explain": 0.8}
    assert sum(row["weight"] * losses[row["objective"]] for row in rows) == pytest.approx(
        loss, abs=1e-6
    )
    kept, dropped, *_ = two_targets(REPAIRS, beta=beta, longest=5)
    assert len(kept) == 0 and dropped == {"too_long": 1}
