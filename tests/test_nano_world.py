"""The procedural world: splits that never meet, oracles that are right, mistakes caught."""

import json
import re
from collections import Counter
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import nano_world
from pipeline.errors import UserError
from pipeline.nano_stories import STORIES
from pipeline.nano_tasks import KINDS
from pipeline.nano_world import LEVELS, code_tasks, word_problems, worked_answer
from pipeline.schema import PROMPTS, check

SPLITS = ("train", "test")


def texts(table: pa.Table) -> list[str]:
    """Return the problem texts."""
    return [messages[0]["content"] for messages in table["messages"].to_pylist()]


def verdicts(program: str, assertions: list[str]) -> list[bool]:
    """Run the world's own program against assertions."""
    results = []
    for assertion in assertions:
        space: dict[str, object] = {}
        exec(program, space)
        try:
            exec(assertion, space)
            results.append(True)
        except Exception:
            results.append(False)
    return results


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**63), n=st.integers(0, 60), split=st.sampled_from(SPLITS))
def test_problems_are_prompts_evenly_spread_and_repeatable(seed, n, split):
    """Any seed gives n distinct rows of the schema, levels in turn, and the same rows again."""
    table = check(word_problems(n, seed=seed, split=split), PROMPTS, where="test")
    levels = [json.loads(meta)["level"] for meta in table["meta"].to_pylist()]
    assert levels == [LEVELS[i % len(LEVELS)] for i in range(n)]
    assert len(set(table["id"].to_pylist())) == len(set(texts(table))) == n
    assert table.equals(word_problems(n, seed=seed, split=split))


def test_splits_share_no_problem_text():
    """Two thousand problems of each split, with several seeds, have no text in common."""
    seen = {
        split: {t for seed in range(4) for t in texts(word_problems(500, seed=seed, split=split))}
        for split in SPLITS
    }
    assert not seen["train"] & seen["test"]


def test_splits_share_no_code_task_text():
    """Neither the held-out kinds nor the held-out parameters leak into the train split."""
    seen = {
        split: {t for seed in range(3) for t in texts(code_tasks(200, seed=seed, split=split))}
        for split in SPLITS
    }
    assert not seen["train"] & seen["test"]


def test_held_out_kinds_are_in_the_test_split_only():
    """Every level has a held-out kind; the test split shows it and the train split never does."""
    held = {(story.level, story.kind) for story in STORIES if story.held_out}
    found = {}
    for split in SPLITS:
        metas = map(json.loads, word_problems(1200, seed=1, split=split)["meta"].to_pylist())
        found[split] = {(meta["level"], meta["kind"]) for meta in metas}
    assert {level for level, _ in held} == set(LEVELS)
    assert held <= found["test"]
    assert not held & found["train"]


@pytest.mark.parametrize("level", LEVELS)
def test_every_worked_step_is_true_and_leads_to_the_box(level):
    """Each line of the oracle's reply is a true equation and the box holds the reference answer."""
    for row in word_problems(200, seed=3, levels=[level]).to_pylist():
        *lines, closing = worked_answer(row).split("\n")
        for line in lines:
            a, operator, b, equals, result = line.split(" ")
            left, right, out = (Fraction(value) for value in (a, b, result))
            true = {"+": left + right, "-": left - right, "*": left * right, "/": left / right}
            assert true[operator] == out and equals == "="
        boxed = re.search(r"\\boxed\{(.*)\}\.?$", closing)[1].replace("\\%", "%")
        assert re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", boxed) == row["answer"]
        if "/" not in row["answer"]:
            assert lines[-1].endswith(f"= {row['answer'].rstrip('%')}")


def test_answers_are_of_several_types():
    """Integers, money, fractions and percentages all occur, so that a typed verifier has work."""
    answers = word_problems(800, seed=5)["answer"].to_pylist()
    shapes = Counter(re.sub(r"\d+", "1", answer) for answer in answers)
    assert set(shapes) == {"1", "1.1", "1/1", "1%"}
    assert min(shapes.values()) >= 10


def test_a_problem_is_what_it_was():
    """A literal row: changing the world by accident would change every id made from it."""
    [row] = word_problems(1, seed=0, levels=[3]).to_pylist()
    assert row["messages"] == [
        {
            "role": "user",
            "content": (
                "There are 25 red, 13 blue and 28 green apples. How many apples are there in all?"
            ),
        }
    ]
    assert (row["answer"], row["id"]) == ("66", "e04a6cfc474a2285ac4eb5689428070a")


@pytest.mark.parametrize("split", SPLITS)
def test_solutions_pass_and_mistakes_fail(split):
    """Solutions pass all tests and fail all wrong tests; wrong solutions fail at least one test."""
    for row in code_tasks(400, seed=7, split=split).to_pylist():
        assert len(row["tests"]) == len(set(row["tests"])) == 5
        assert all(verdicts(row["solution"], row["tests"]))
        assert row["wrong_tests"] and not any(verdicts(row["solution"], row["wrong_tests"]))
        assert row["wrong_solutions"]
        assert not any(all(verdicts(wrong, row["tests"])) for wrong in row["wrong_solutions"])


def test_there_are_at_least_sixty_kinds_of_task_and_all_are_drawn():
    """Every kind of the table turns up, each with a name of its own."""
    names = [kind.name for kind in KINDS]
    drawn = {
        json.loads(meta)["kind"]
        for split in SPLITS
        for meta in code_tasks(800, seed=0, split=split)["meta"].to_pylist()
    }
    assert len(names) == len(set(names)) >= 60
    assert drawn == set(names)


@pytest.mark.parametrize(
    "call",
    [
        lambda: word_problems(1, seed=0, levels=[9]),
        lambda: word_problems(1, seed=0, levels=[]),
        lambda: word_problems(-1, seed=0),
        lambda: word_problems(1, seed=0, split="dev"),
        lambda: code_tasks(1, seed=0, split="dev"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(call):
    """Unknown levels and splits, and negative counts raise UserError."""
    with pytest.raises(UserError, match="nano_world"):
        call()


def test_more_tasks_than_exist_are_refused(monkeypatch):
    """One kind has 8 train parameters, 3 phrasings and 4 names: 96 texts, and no 97th."""
    monkeypatch.setattr(nano_world, "KINDS", KINDS[:1])
    assert code_tasks(96, seed=0).num_rows == 96
    with pytest.raises(UserError, match="of 97 texts there are only 96"):
        code_tasks(97, seed=0)
