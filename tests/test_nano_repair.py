"""The nano world's broken code and features: every oracle's reply is true, and fits the model."""

import json
import random

import pytest

from flows.synthesis.repair_stages import REPAIR_STAGES
from pipeline.feature_tree import leaves
from pipeline.nano_features import extended_tree, features_of, named_features, task_of_features
from pipeline.nano_repair import broken_task, complaint, explained_repair, program_with_tests
from pipeline.nano_world import code_tasks
from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code

DRAWS = 120


def drawn(oracle):
    """Draws of one oracle, repeatable."""
    rng = random.Random(7)
    return [oracle(rng) for _ in range(DRAWS)]


def passes(program, tests):
    """Whether a program of the world passes all tests."""
    return all(complaint(program, test) is None for test in tests)


def test_a_broken_task_fails_and_its_repair_passes() -> None:
    """The shown test fails as said; with the mended block in its place every test passes."""
    kinds = set()
    for row, reply in drawn(broken_task):
        assert complaint(row["program"], row["failing"]) == row["complaint"] is not None
        assert row["failing"] in row["tests"] and len(row["tests"]) == 3
        mended_tests = extract_asserts(reply)
        if mended_tests:
            assert passes(row["program"], mended_tests) and mended_tests != row["tests"]
        else:
            assert passes(extract_code(reply), row["tests"])
        kinds.add(bool(mended_tests))
    assert kinds == {True, False}


def test_programs_come_with_tests_that_they_pass() -> None:
    """The oracle's reply reads as a program and three tests that agree."""
    for row, reply in drawn(program_with_tests):
        assert passes(extract_code(reply, row["entry_point"]), extract_asserts(reply))
        assert len(extract_asserts(reply)) == 3


def test_an_explanation_quotes_what_changed() -> None:
    """Every quoted piece stands in the wrong or in the right program."""
    for row, reply in drawn(explained_repair):
        quoted = reply.split("`")[1::2]
        assert quoted and all(part in row["buggy"] or part in row["fixed"] for part in quoted)


def test_features_are_those_of_the_program() -> None:
    """A task has one operation and one constant, and the reply is their tree as JSON."""
    for row, reply in drawn(named_features):
        found = leaves(json.loads(reply))
        assert found == leaves(features_of(row))
        assert [path[0] for path in found] == ["operation", "constant"]


def test_an_extended_tree_keeps_what_was_there_and_grows() -> None:
    """No feature is lost, and at least one is new."""
    for row, reply in drawn(extended_tree):
        before, after = leaves(json.loads(row["features"])), leaves(json.loads(reply))
        assert set(before) < set(after) and len(set(after)) == len(after)


def test_a_composed_task_uses_what_it_was_given() -> None:
    """The features named are in the tree, one of those that must appear too; the task is one."""
    known = {t[-1]["content"] for t in code_tasks(3000, seed=5)["messages"].to_pylist()}
    hits = 0
    for row, reply in drawn(task_of_features):
        lines = dict(line.split(": ", 1) for line in reply.split("\n"))
        named = lines["Features"].split(", ")
        tree = {path[-1] for path in leaves(json.loads(row["features"]))}
        assert set(named) <= tree
        assert set(named) & set(json.loads(row["mandatory"]))
        hits += lines["Task"] in known
    assert hits > DRAWS // 4


@pytest.mark.parametrize("name, share, draw", REPAIR_STAGES, ids=[s[0] for s in REPAIR_STAGES])
def test_a_stage_fits_the_nano_context(name, share, draw) -> None:
    """Prompt and reply of every stage stay under 400 tokens of the model's own tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("data/nano")
    rng = random.Random(name)
    for messages, reply in (draw(rng) for _ in range(60)):
        text = tokenizer.apply_chat_template(messages, tokenize=False) + reply
        assert 0 < len(tokenizer(text).input_ids) < 400
    assert 0 < share < 0.2
