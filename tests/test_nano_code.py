"""The world as source code, and the stages that the code recipes ask of a model."""

import ast
import json
import random

import pytest

from flows.code.selfcodealign import SEPARATOR
from flows.synthesis.code_stages import CODE_STAGES
from pipeline.nano_code import concepts_of, snippets
from pipeline.nano_model import CONTEXT
from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code

DRAWS = {name: draw for name, _, draw in CODE_STAGES}


@pytest.mark.parametrize(
    ("source", "concepts"),
    [
        ("def f(x):\n    return x % 3", ["numbers", "remainders"]),
        ("def f(xs):\n    return [x for x in xs if x > 2]",
         ["lists", "comprehensions", "comparison", "filtering"]),
        ("def f(s, t):\n    return s + str(4) + t", ["strings", "addition", "text conversion"]),
    ],
)  # fmt: skip
def test_concepts_are_read_off_the_program(source: str, concepts: list[str]) -> None:
    """Inputs, operators and calls name the concepts, each once."""
    assert sorted(concepts_of(source)) == sorted(concepts)


def test_snippets_are_functions_with_docstrings() -> None:
    """Each snippet parses, has a docstring, is drawn from its seed alone; some describe nothing."""
    rows = snippets(60, seed=3).to_pylist()
    assert rows == snippets(60, seed=3).to_pylist() and len({row["id"] for row in rows}) == 60
    described = [json.loads(row["meta"])["described"] for row in rows]
    assert 0.6 < sum(described) / 60 < 1
    for row in rows:
        [function] = ast.parse(row["messages"][0]["content"]).body
        assert ast.get_docstring(function)


@pytest.mark.parametrize("name", DRAWS)
def test_stages_fit_the_model(name: str) -> None:
    """Question and reply of a stage lie well inside the context, drawn from the seed alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("data/nano")
    rng, again = random.Random(name), random.Random(name)
    for _ in range(20):
        messages, reply = DRAWS[name](rng)
        assert (messages, reply) == DRAWS[name](again)
        text = "".join(turn["content"] for turn in messages) + reply
        assert len(tokenizer(text)["input_ids"]) < 400 < CONTEXT


@pytest.mark.parametrize("name", ["respond", "solve_and_test"])
def test_oracles_pass_their_own_tests(name: str) -> None:
    """The reply's program passes the reply's assertions, as recipes would read both."""
    rng = random.Random(name)
    for _ in range(20):
        _, reply = DRAWS[name](rng)
        code, tests = extract_code(reply), extract_asserts(reply)
        assert code is not None and len(tests) == (3 if name == "respond" else 5)
        exec("\n".join([code, *tests]), {})  # the world's own code
        assert reply.splitlines().count(SEPARATOR) == (name == "respond")
