"""Seeds out of source files, what makes two programs alike, and the form of a reply."""

import pyarrow as pa
import pytest

from flows.code.selfcodealign import approved, concepts, response
from pipeline.schema import MESSAGES
from scorers.source_code import defined_names, one_each, representation, seed_functions


def files(*sources):
    """Source files as prompts."""
    messages = [[{"role": "user", "content": source}] for source in sources]
    names = [f"f{i}" for i in range(len(sources))]
    return pa.table(
        {"id": names, "messages": pa.array(messages, MESSAGES), "source": names, "meta": names}
    )


GOOD = 'def area(r):\n    """Return the area."""\n    return math.pi * r * r'


def test_a_seed_is_a_function_with_its_imports() -> None:
    """Each documented function becomes a row with the imports it needs, its file as parent."""
    made = seed_functions(files(f"import math\nimport json\n\n{GOOD}\n\nx = 1\n"))
    [row] = made.kept.to_pylist()
    assert row["messages"][0]["content"] == f"import math\n\n{GOOD}"
    assert row["parents"] == ["f0"] and row["id"] != "f0" and made.dropped == {}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "unparsable"),
        ("x = 1", "without_functions"),
        ("def f(x):\n    return x", "no_docstring"),
        ('def f(x):\n    """D."""\n    print(x)', "returns_nothing"),
        ('def f():\n    """D."""\n    return 1', "no_arguments"),
        ('def f(x):\n    """D."""\n    return x  # TODO later', "banned_word"),
        ('def f(x):\n    """D."""\n    import os\n    return os.sep + x', "banned_import"),
        ('def f(x):\n    """D."""\n    return g(x)', "undefined_name"),
        ('def f(x):\n    """D."""\n' + "    x += 1\n" * 150 + "    return x", "too_long"),
    ],
)
def test_why_a_function_is_no_seed(source: str, reason: str) -> None:
    """Each filter of the paper has its reason, counted."""
    made = seed_functions(files(source))
    assert len(made.kept) == 0 and made.dropped == {reason: 1}


def test_bans_are_words_not_parts_of_words() -> None:
    """A debug flag and an import that begins like a banned one are no reason (the card's trap)."""
    source = 'def f(x, debug=()):\n    """D."""\n    import oslo\n    return oslo.run(x, debug)'
    assert len(seed_functions(files(source)).kept) == 1


def test_equal_functions_are_one_seed() -> None:
    """The same function in two files, whatever its layout, is taken once."""
    other = GOOD.replace(" * ", "*")
    made = seed_functions(files(f"import math\n{GOOD}", f"import math\n{other}"))
    assert len(made.kept) == 1 and made.dropped == {"duplicate": 1}


def test_names_and_representation_of_the_card() -> None:
    """The card's two literal examples: names without underscores, code without what is beside."""
    source = "class Foo_Bar:\n    def get_x(self): pass\n\ndef Main_Fn(): pass"
    assert defined_names(source) == ({"getx", "mainfn"}, {"foobar"})
    block = 'import os\nx=1\ndef f(a):\n    """Doc."""\n    # note\n    return a\n'
    assert representation(block) == "def f(a):\n    return a"
    assert representation("def f(:") is None


CODE, CHECK = "```python\ndef add(a, b):\n    return a + b\n```", "assert add(1,2)==3"
UNCALLED = "def test():\n    assert add(1,2)==3"


def said(answer=CODE, tests=CHECK, separator="Tests:"):
    """What the reader makes of a reply."""
    found = response({"completion": f"{answer}\n\n{separator}\n\n```python\n{tests}\n```"})
    return found if isinstance(found, str) else "kept"


def test_the_form_of_a_reply() -> None:
    """The card's rows: what the official filter keeps and drops; its hole, a mere word, is shut."""
    assert said() == "kept"
    assert said(separator="") == "no_separator"
    assert said(separator="Tests:\n\nTests:") == "repeated_separator"
    assert said(answer=CODE.replace("a + b", "a + b  # TODO later")) == "unfinished"
    assert said(tests=UNCALLED) == "nothing_called"
    assert said(tests=f"{UNCALLED}\ntest()") == "kept"
    assert said(answer=CODE.replace("```python", "```")) == "no_python_block"
    assert said(tests='print("We assert it")\nprint(add(1,2))') == "no_assertion"


def test_a_reply_is_taken_apart() -> None:
    """The response goes into the data, the tests beside it, one by one."""
    reply = f"Sure.\n{CODE}\n\n**Tests:**\n\n```python\n{CHECK}\nassert add(0, 0) == 0\n```"
    found = response({"completion": reply})
    assert found["completion"] == f"Sure.\n{CODE}" and len(found["tests"]) == 2
    assert found["code"] == "def add(a, b):\n    return a + b"


def test_short_replies_are_read() -> None:
    """More yes than no keeps a seed, a tie does not; concepts are the first line's, each once."""
    assert approved({"completion": "Yes, yes. No."}) == {}
    assert approved({"completion": "yes or no"}) == "not_described"
    assert concepts({"completion": "loops, sums , loops.\nMore"}) == {"concepts": ["loops", "sums"]}
    assert concepts({"completion": " , "}) == "no_concepts"


def rows(*given):
    """Passing responses: (task, response, code)."""
    return pa.Table.from_pylist(
        [
            {
                "rollout_id": f"r{i}",
                "messages": [{"role": "user", "content": task}],
                "completion": reply,
                "code": code,
            }
            for i, (task, reply, code) in enumerate(given)
        ]
    )


def test_one_response_a_task_stays() -> None:
    """Of a task, a response and a set of names one row stays, the same for the same seed."""
    table = rows(
        ("Write a", "ra", "def a(): pass"),
        ("Write  a", "rb", "def b(): pass"),
        ("Write c", "r a", "def c(): pass"),
        ("Write d", "rd", "def A(): pass"),
        ("word " * 201, "re", "def e(): pass"),
        ("Write f", "rf", "def f(:"),
    )
    made = one_each(table, seed=1, near=None)
    assert made.dropped["long_task"] == made.dropped["unparsable"] == 1
    assert sum(made.dropped.values()) + len(made.kept) == 6
    assert made.kept.equals(one_each(table, seed=1, near=None).kept)
    outcomes = {tuple(one_each(table, seed=s, near=None).kept["rollout_id"].to_pylist())
                for s in range(20)}  # fmt: skip
    assert len(outcomes) > 1 and all({"r0", "r1", "r2", "r3"} & set(one) for one in outcomes)


def test_near_duplicates_leave_by_three_texts() -> None:
    """Tasks, responses and codes that are nearly equal leave, each for its own reason."""
    long = " ".join(f"word{i}" for i in range(40))
    body = "def {}(x):\n" + "".join(f"    x = x + {i} * x\n" for i in range(30)) + "    return x"
    table = rows(
        (f"{long} one", "first reply", "def a(): pass"),
        (f"{long} two", "second answer here", "def b(): pass"),
        ("Other task", "third", body.format("c")),
        ("Third thing", "fourth", body.format("d")),
    )
    made = one_each(table, seed=0, near=0.7)
    assert made.dropped == {"near_task": 1, "near_code": 1} and len(made.kept) == 2
    assert len(one_each(table, seed=0, near=None).kept) == 4
