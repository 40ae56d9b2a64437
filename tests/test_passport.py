"""The passport of rows, rollouts and prompts, and why a prompt has the rows it has."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.funnel import read_record
from pipeline.lookup import find_id
from pipeline.passport import passport, trace
from pipeline.picking import reasons_to_leave
from pipeline.schema import Sifted
from pipeline.shards import Shards
from pipeline.why_not import explain, why_not
from tests.toy_runs import build, commit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, read by many tests and changed by none."""
    return build(tmp_path_factory.mktemp("runs") / "run")


def rows_of(run: Path, step: str) -> list[dict]:
    """Read a step's rows, those aside left out."""
    return Shards.open(run / step).table().to_pylist()


def test_row_leads_back_to_everything(run: Path) -> None:
    """From an emitted row to its prompt, rollout, verdict, model, seed, template and steps."""
    row = rows_of(run, "sft")[5]
    facts = passport(run, row["row_id"])
    (rollout,) = facts["rollouts"]
    assert (facts["kind"], facts["id"], facts["row"]) == ("row", row["row_id"], row)
    assert facts["prompt"]["messages"] == row["messages"][:-1]
    assert rollout["completion"] == row["messages"][-1]["content"]
    assert rollout["verdict"] == "correct"
    assert rollout["path"] == {"picked": True, "sft": True}
    assert [one["name"] for one in facts["steps"]] == ["prompts", "rollouts", "picked", "sft"]
    text = trace(run, row["row_id"])
    wanted = [str(rollout[name]) for name in ("model", "sampling", "seed", "prompt_digest")]
    fingerprint = Shards.open(run / "picked").fingerprint
    assert all(word in text for word in [*wanted, fingerprint, facts["prompt"]["answer"]])


def test_rollouts_that_left(run: Path) -> None:
    """A wrong and a surplus rollout are found, and their path says where they ended."""
    wrong = next(row for row in rows_of(run, "rollouts") if row["verdict"] == "wrong")
    facts = passport(run, wrong["rollout_id"])
    assert (facts["kind"], facts["row"]) == ("rollout", None)
    assert facts["rollouts"][0]["path"] == {"picked": False, "sft": False}
    surplus = Shards.open(run / "rollouts").aside().collect().row(0, named=True)
    assert "counted: False" in trace(run, surplus["rollout_id"])


def test_prompt_has_all_its_trials(run: Path) -> None:
    """The passport of a prompt lists every trial, the surplus ones marked."""
    text = trace(run, "prompt-004")
    count = sum(row["id"] == "prompt-004" for row in rows_of(run, "rollouts"))
    assert f"{count + 1} rollouts" in text
    assert "(surplus)" in text


@given(length=st.integers(1, 32))
def test_any_unique_beginning_will_do(run: Path, length: int) -> None:
    """A beginning of a row id finds that row, or names those that it begins."""
    ids = [row["row_id"] for row in rows_of(run, "sft")]
    wanted, record = ids[0], read_record(run)
    if sum(one.startswith(wanted[:length]) for one in ids) == 1:
        assert find_id(record, wanted[:length], ("row",)) == ("row", wanted)
    else:
        with pytest.raises(UserError, match="give more of it"):
            find_id(record, wanted[:length], ("row",))


def test_id_that_begins_another(run: Path, tmp_path: Path) -> None:
    """An id that is the beginning of another one is found by itself."""
    own = build(tmp_path / "run", prompts=2)
    prompts = pl.from_arrow(Shards.open(own / "prompts").table())
    renamed = prompts.with_columns(id=pl.Series(["q1", "q10"])).to_arrow()
    commit(own / "prompts", Sifted(renamed), "import", {})
    assert find_id(read_record(own), "q1", ("prompt",)) == ("prompt", "q1")


def test_unknown_ids(run: Path) -> None:
    """What is not there is answered with how many ids there are and the nearest of them."""
    with pytest.raises(UserError, match=r"none of 40 ids of a prompt is 'prompt-04x'.*prompt-0"):
        why_not(run, "prompt-04x")
    with pytest.raises(UserError, match="none of"):
        trace(run, "")


def test_nothing_to_trace_yet(tmp_path: Path) -> None:
    """In a run without rows the user is told that there are none yet."""
    young = build(tmp_path / "run", prompts=0, until="prompts")
    with pytest.raises(UserError, match="none yet"):
        trace(young, "abc")


def test_losses_agree_with_the_step(run: Path) -> None:
    """Over all prompts the reasons given for lost correct rollouts are those the step counted."""
    lost = Counter(
        loss["reason"] for i in range(40) for loss in explain(run, f"prompt-{i:03d}")["lost"]
    )
    dropped = Shards.open(run / "picked").lineage["dropped"]
    assert lost == {why: n for why, n in dropped.items() if not why.startswith("verdict_")}
    assert lost["duplicate"] > 0


def test_why_not_counts_trials(run: Path) -> None:
    """Verdicts, target, rows and what was said instead, against the tables themselves."""
    for i in range(0, 40, 9):
        facts = explain(run, f"prompt-{i:03d}")
        mine = [row for row in rows_of(run, "rollouts") if row["id"] == facts["id"]]
        assert facts["verdicts"] == Counter(row["verdict"] for row in mine)
        assert facts["trials"] == len(mine)
        assert facts["rows"] == sum(row["id"] == facts["id"] for row in rows_of(run, "sft"))
        assert facts["target"] == 4
        assert all(one["verdict"] not in ("correct", "infra") for one in facts["wrong"])


def test_why_not_without_success(tmp_path: Path) -> None:
    """A prompt that was never solved says what it was answered instead, and that the cap came."""
    run = build(tmp_path / "run", rates={1: 0.0})
    text = why_not(run, "prompt-003")
    assert "Target: 4 correct, 0 found: not reached" in text
    assert "Answers instead of the reference 6:" in text
    assert "Rows: 0." in text


def test_why_not_before_sampling(tmp_path: Path) -> None:
    """Prompts that were not sampled, in a run that goes on and in one that left them out."""
    young = build(tmp_path / "young", until="prompts")
    assert "not finished yet" in why_not(young, "prompt-001")
    left_out = build(tmp_path / "left")
    rollouts = pl.from_arrow(Shards.open(left_out / "rollouts").table())
    commit(
        left_out / "rollouts",
        Sifted(rollouts.filter(pl.col("id") != "prompt-001").to_arrow()),
        "rollouts",
        {},
    )
    assert "never sampled" in why_not(left_out, "prompt-001")


def test_step_that_says_no_reason(tmp_path: Path) -> None:
    """Of a step whose rule is not known, the reasons that it counted are given."""
    run = build(tmp_path / "run", until="picked")
    picked = Shards.open(run / "picked")
    half = picked.table().slice(0, 1)
    dropped = {"too_long": picked.rows - 1}
    commit(run / "short", Sifted(half, dropped), "cut", {}, [picked])
    gone = picked.table()["id"].to_pylist()[-1]
    assert {"short: too_long"} <= {
        f"{loss['step']}: {loss['reason']}" for loss in explain(run, gone)["lost"]
    }


def test_picking_ignores_order(run: Path) -> None:
    """Which rollouts leave, and why, depends on their ids and not on the order of the table."""
    table = Shards.open(run / "rollouts").table()
    backwards = table.take(list(range(len(table)))[::-1])
    rule = {"at_most": 2, "near": None, "seed": 3}
    there = reasons_to_leave(table, **rule)
    assert there == reasons_to_leave(backwards, **rule)[::-1]
    assert {None, "beyond_k", "duplicate", "verdict_wrong"} <= set(there)
