"""Pairs from scored rollouts: what is never paired, how it is counted, what the pairs favour."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.pair_matching import fast_against_slow, length_matched, minimal_edit
from pipeline.pair_rules import (
    above_gap,
    crossed,
    extremes,
    first_round,
    top_against_bottom,
    tournament,
)
from pipeline.pairs import length_bias, make_pairs, to_pairs, to_unpaired
from pipeline.schema import MESSAGES, PAIRS, UNPAIRED, check
from pipeline.shards import Shards
from pipeline.steps import Run, running

RULES = [extremes, top_against_bottom, above_gap, crossed, first_round, tournament]
RULES += [length_matched, minimal_edit, fast_against_slow]
PROMPTS = pa.table(
    {
        "id": ["p", "q"],
        "messages": pa.array([[{"role": "user", "content": text}] for text in "pq"], MESSAGES),
    }
)
_TYPES = pa.schema(
    [
        ("rollout_id", pa.string()),
        ("id", pa.string()),
        ("prefix", pa.string()),
        ("completion", pa.string()),
        ("finish_reason", pa.string()),
        ("model", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("code_id", pa.string()),
        ("times_ms", pa.list_(pa.float64())),
    ]
)


def rollouts(*rows, **columns) -> pa.Table:
    """Rollouts of prompt p with distinct texts, unless said otherwise."""
    usual = {"id": "p", "prefix": "", "finish_reason": "stop", "model": "m", "verdict": "correct"}
    listed = [
        usual | columns | {"rollout_id": f"r{i}", "completion": f"text {i}"} | row
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(listed, schema=_TYPES)


def scored(*scores, **columns) -> pa.Table:
    """Rollouts with these scores."""
    return rollouts(*({"score": score} for score in scores), **columns)


def made(table, rule=extremes, **more):
    """Pairs of rollout ids with the reasons."""
    found = make_pairs(table, PROMPTS, rule=rule, recipe="toy", **{"score": "score"} | more)
    return [tuple(p[:2]) for p in found.kept["parents"].to_pylist()], dict(found.dropped)


def test_a_pair_says_where_it_is_from() -> None:
    """Every column of PAIRS is filled, with model, prompt and parents."""
    table = rollouts({"verdict": "correct"}, {"verdict": "wrong"}, prefix="So")
    found = make_pairs(table, PROMPTS, rule=extremes, recipe="toy")
    (row,) = found.kept.to_pylist()
    assert row["prompt"] == [{"role": "user", "content": "p"}]
    assert (row["prefix"], row["chosen"], row["rejected"]) == ("So", "text 0", "text 1")
    assert (row["score_chosen"], row["score_rejected"]) == (1, 0)
    assert (row["kind"], row["recipe"], row["id"], row["model"]) == ("extremes", "toy", "p", "m")
    assert row["parents"] == ["r0", "r1", "p"] and len(row["row_id"]) == 32
    assert row["time_chosen"] is None and found.dropped == {}


def test_what_is_never_paired() -> None:
    """Infra, scores that are no numbers, cut-off and repeated texts leave, each for its reason."""
    table = rollouts(
        {"score": 1.0},
        {"score": 0.0},
        {"score": 9.0, "verdict": "infra"},
        {"score": None},
        {"score": float("nan")},
        {"score": float("-inf")},
        {"score": 8.0, "finish_reason": "length"},
        {"score": -5.0, "completion": "text 0\n"},
    )
    assert made(table) == ([("r0", "r1")], {"duplicate": 1, "not_judged": 4, "truncated": 1})
    verdicts = rollouts(*({"verdict": v} for v in ("unverified", "infra", "timeout", "correct")))
    assert made(verdicts, score="verdict") == ([("r3", "r2")], {"not_judged": 2})


def test_ties_and_the_lonely() -> None:
    """Equal scores make no pair by any rule of scores; a rollout alone cannot."""
    for rule in RULES[:-1]:
        assert made(scored(2, 2, 2), rule) == ([], {"tie": 3})
    assert made(scored(1)) == ([], {"alone": 1})
    assert made(scored()) == ([], {})
    assert made(scored(2, 1, 1, 2), first_round) == ([("r0", "r1"), ("r3", "r2")], {})
    assert made(scored(2, 1, 1.5)) == ([("r0", "r1")], {"not_paired": 1})


def test_prompts_and_prefixes_stay_apart() -> None:
    """Rollouts of another prompt or prefix are not compared."""
    rows = [
        {"score": 2, "id": "p"},
        {"score": 1, "id": "q"},
        {"score": 0, "id": "p", "prefix": "x"},
    ]
    assert made(rollouts(*rows)) == ([], {"alone": 3})


def test_the_same_program_is_the_same_text() -> None:
    """With `same`, rollouts of one code id are one; without an id they are compared by text."""
    rows = [{"score": 2, "code_id": "a"}, {"score": 1, "code_id": "a"}, {"score": 0}, {"score": -1}]
    assert made(rollouts(*rows)) == ([("r0", "r3")], {"not_paired": 2})
    found = made(rollouts(*rows), above_gap, same="code_id")
    assert found == ([("r0", "r3"), ("r0", "r2"), ("r2", "r3")], {"duplicate": 1})


def test_length_penalty_card() -> None:
    """The RLHF-Workflow card: penalised order is kept, (0, 4) by 6.0, not swapped by raw reward."""
    rewards = [1.0, 2.5, -0.5, 0.2, 3.0, 1.0, -1.5, 2.0]
    lengths = [100, 400, 200, 50, 900, 100, 150, 300]
    rows = [
        {"score": reward, "completion": str(i) * length}
        for i, (reward, length) in enumerate(zip(rewards, lengths, strict=True))
    ]
    found = make_pairs(
        rollouts(*rows), PROMPTS, rule=extremes, score="score", length_penalty=0.01, recipe="toy"
    )
    (row,) = found.kept.to_pylist()
    assert row["parents"][:2] == ["r0", "r4"]
    assert round(row["score_chosen"] - row["score_rejected"], 9) == 6.0


def test_fast_against_slow_keeps_times() -> None:
    """Efficiency pairs join equally right programs and carry both times."""
    fast, slow = [10.0, 10.1, 9.9, 10.0, 10.2], [20.0, 20.1, 19.9, 20.0, 20.2]
    table = rollouts({"times_ms": slow}, {"times_ms": fast}, {"times_ms": None})
    found = make_pairs(table, PROMPTS, rule=fast_against_slow, kind="efficiency", recipe="toy")
    (row,) = found.kept.to_pylist()
    assert (row["chosen"], row["rejected"], row["kind"]) == ("text 1", "text 0", "efficiency")
    assert (row["time_chosen"], row["time_rejected"]) == (10.0, 20.0)
    assert row["score_chosen"] == row["score_rejected"] == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p", "q"]),
            st.sampled_from([0.0, 0.5, 1.0, None, float("nan")]),
            st.sampled_from(["a b", "a b c", "a c", "b" * 30]),
            st.sampled_from(["correct", "wrong", "infra"]),
            st.sampled_from([None, [1.0] * 5, [3.0] * 5]),
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_laws_of_every_rule(rule, rows, draw) -> None:
    """No ties, no equal texts, no infra; each rollout in a pair or counted; order is nothing."""
    names = ("id", "score", "completion", "verdict", "times_ms")
    table = rollouts(*(dict(zip(names, row, strict=True)) for row in rows))
    asked = {"rule": rule, "score": "score", "recipe": "toy"}
    kept, dropped, *_ = make_pairs(table, PROMPTS, **asked)
    assert kept.schema.names[: len(PAIRS)] == PAIRS.names
    used = {parent for pair in kept["parents"].to_pylist() for parent in pair[:2]}
    assert len(used) + sum(dropped.values()) == len(rows)
    verdicts = dict(zip(table["rollout_id"].to_pylist(), table["verdict"].to_pylist(), strict=True))
    assert not any(verdicts[rollout] == "infra" for rollout in used)
    for row in kept.to_pylist():
        assert row["chosen"] != row["rejected"]
        assert row["score_chosen"] > row["score_rejected"] or rule is fast_against_slow
    assert len(set(kept["row_id"].to_pylist())) == len(kept)
    order = list(range(len(rows)))
    draw.shuffle(order)
    assert make_pairs(table.take(pa.array(order, pa.int64())), PROMPTS, **asked).kept.equals(kept)


def test_faults_are_one_sentence() -> None:
    """A column that is not there and a prompt that is not there are named."""
    with pytest.raises(UserError, match="lack reward; they have: rollout_id"):
        made(scored(1, 2), score="reward")
    with pytest.raises(UserError, match="lack times_ms"):
        made(scored(1, 2).drop_columns(["times_ms"]), fast_against_slow)
    with pytest.raises(UserError, match="prompt z of the rollouts is not among the 2 prompts"):
        made(scored(1, 2, id="z"))


def test_length_bias() -> None:
    """The measure sees longer chosen texts, is zero for matched ones, None for no pairs."""
    texts = {"completion": "a" * 200, "score": 1.0}, {"completion": "b" * 100, "score": 0.0}
    biased = make_pairs(rollouts(*texts), PROMPTS, rule=extremes, score="score", recipe="toy").kept
    found = length_bias(biased)
    assert (found["pairs"], found["longer"], found["shorter"]) == (1, 1.0, 0.0)
    assert (found["mean_chosen"], found["mean_rejected"]) == (200, 100)
    assert 0.68 < found["log_ratio"] < 0.70
    even = make_pairs(scored(1, 0), PROMPTS, rule=extremes, score="score", recipe="toy").kept
    assert length_bias(even)["log_ratio"] == 0
    empty = length_bias(even.slice(0, 0))
    assert empty.pop("pairs") == 0 and set(empty.values()) == {None}


@pytest.mark.usefixtures("prefect_server")
def test_as_a_step(tmp_path) -> None:
    """On datasets it is a step: a rule and its options are parameters, and nothing runs twice."""
    prompts = Shards.write(tmp_path / "in", PROMPTS, step="prompts")
    found = Shards.write(tmp_path / "rollouts", scored(2, 1, 0), step="rollouts")
    for _ in range(2):
        with running(Run(tmp_path / "run")):
            asked = {"rule": extremes, "options": {"against": "second"}, "score": "score"}
            pairs = make_pairs(found, prompts, recipe="toy", **asked)
    assert pairs.table()["parents"].to_pylist() == [["r0", "r1", "p"]]
    assert pairs.lineage["dropped"] == {"not_paired": 1}
    assert pairs.lineage["parameters"]["rule"] == "extremes@1"


def test_own_pairs_get_their_columns() -> None:
    """A recipe's own pairs become PAIRS with prompt, parents and extra columns; equals leave."""
    rows = pa.Table.from_pylist(
        [
            {"id": "p", "chosen": a, "rejected": b, "kind": "joined", "parents": ["r1"], "test": t}
            for a, b, t in [("x", "y", 1), ("same", "same\n", 2)]
        ]
    )
    table, dropped, *_ = to_pairs(rows, PROMPTS, recipe="toy")
    (row,) = check(table, PAIRS, where="test").to_pylist()
    assert row["prompt"] == [{"role": "user", "content": "p"}] and row["prefix"] == ""
    assert row["parents"] == ["r1", "p"] and row["score_chosen"] is None and row["test"] == 1
    assert dropped == {"equal": 1}


def test_unpaired_rows_are_what_was_judged() -> None:
    """Correct is good, every other judgement bad; what was not judged is neither, all counted."""
    verdicts = ["correct", "wrong", "timeout", "infra", "unverified", "correct", "correct"]
    table = rollouts(*({"verdict": verdict} for verdict in verdicts), prefix="So ")
    table = table.set_column(
        table.column_names.index("completion"),
        "completion",
        pa.array(["a", "b", "c", "d", "e", "a", "f"]),
    )
    made, dropped, *_ = to_unpaired(table, PROMPTS, recipe="toy")
    rows = check(made, UNPAIRED, where="test").to_pylist()
    assert [(row["completion"], row["label"]) for row in rows] == [
        ("So a", True), ("So b", False), ("So c", False), ("So f", True),
    ]  # fmt: skip
    assert {row["prompt"] for row in rows} == {"p"} and rows[0]["parents"] == ["r0", "p"]
    assert dropped == {"not_judged": 2, "duplicate": 1}


def test_unpaired_rows_of_a_column_of_labels() -> None:
    """A column of booleans may say what is good; null is not judged, a cut off reply leaves."""
    table = rollouts({}, {}, {}, {"finish_reason": "length"})
    table = table.append_column("good", pa.array([True, False, None, False]))
    made, dropped, *_ = to_unpaired(table, PROMPTS, recipe="toy", label="good")
    assert made["label"].to_pylist() == [True, False]
    assert dropped == {"not_judged": 1, "truncated": 1}
