"""Which program of a reply is the answer."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.code_blocks import Block, extract_code, fenced_blocks, whole_statements

ADD = "def add(a, b):\n    return a + b"
USAGE = "print(add(1, 2))"


def fence(code: str, language: str = "python") -> str:
    """A fenced block."""
    return f"```{language}\n{code}\n```\n"


@pytest.mark.parametrize(
    "reply",
    [
        fence(ADD),
        fence(ADD, ""),
        fence(ADD, "Python3 title=add.py"),
        f"Sure! Here it is:\n\n{fence(ADD)}\nIt adds two numbers.",
        f"~~~py\n{ADD}\n~~~",
        f"````python\n{ADD}\n````",
        f"```python\n{ADD}",
        f"{fence('def add(a, b): return a - b')}That was wrong. Again:\n{fence(ADD)}",
        f"{fence(ADD)}Use it like this:\n{fence(USAGE)}",
        f"{fence(ADD)}Its output:\n{fence('3', 'text')}",
        f"{fence('pip install nothing', 'bash')}{fence(ADD)}",
        f"{fence(ADD)}Tests:\n{fence('def test_add():' + chr(10) + '    assert add(1, 2) == 3')}",
        f"<think>{fence('def add(a, b): return 0')}</think>{fence(ADD)}",
        "1. First:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n",
        "> ```python\n> def add(a, b):\n".replace("> ", "") + "    return a + b\n```",
        f"The solution:\n{ADD}\n\nThis adds two numbers.",
        f"{ADD}\n\nOutput: 3\nEnjoy",
        "    def add(a, b):\n        return a + b\n",
        ">>> def add(a, b):\n...     return a + b\n",
        f"```python\n{ADD}\n\ndef other(x",
        f"```python\n{ADD}\n\n@cached\ndef other(x):\n    y = (x +",
    ],
)
def test_the_program_is_found(reply: str) -> None:
    """Fenced or not, once or twice, indented, cut off, with prose around: the same program."""
    for entry_point in (None, "add"):
        code = extract_code(reply, entry_point)
        assert code is not None
        assert ast.unparse(ast.parse(code)).startswith(ast.unparse(ast.parse(ADD)))
        space: dict = {}
        exec(code.replace(USAGE, ""), space)
        assert space["add"](1, 2) == 3


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot do that.",
        "42",
        "Enjoy",
        fence("function add(a, b) { return a + b }", "javascript"),
        "```python\n```",
        "def add(a, b",
        "```python\n\n\n",
    ],
)
def test_no_program_is_no_program(reply: str) -> None:
    """Prose, numbers, other languages, empty blocks and bare beginnings are no Python program."""
    assert extract_code(reply) is None


def test_broken_program_is_an_answer() -> None:
    """A closed block with a syntax error comes back as it is: its author meant it."""
    assert extract_code(fence("def add(a, b) return a")) == "def add(a, b) return a"
    assert extract_code(fence("def f(: pass") + fence(ADD)) == ADD


def test_a_program_over_several_blocks() -> None:
    """What the main block needs of the others comes along: imports, helpers, the latest of each."""
    blocks = ["import math", "def half(x): return 0", "def half(x): return x / two", "two = 2"]
    main = "def area(r):\n    return half(math.pi) * r"
    reply = "Then:\n".join(fence(block) for block in [*blocks, "unrelated = 1", main])
    code = extract_code(reply, "area")
    assert code is not None and "unrelated" not in code and "return 0" not in code
    space: dict = {}
    exec(code, space)
    assert round(space["area"](2), 4) == 3.1416


def test_the_entry_point_decides() -> None:
    """The last block that defines the entry point counts, not the last block."""
    reply = fence("class Solution:\n    def run(self): return 1") + fence("def other(): return 2")
    assert "run" in (extract_code(reply, "Solution().run") or "")
    assert "other" in (extract_code(reply) or "")


def test_forgotten_closing_fence() -> None:
    """A new language mark ends the block before it."""
    blocks = fenced_blocks(f"```python\n{ADD}\nAnd:\n```python\n{USAGE}\n```")
    assert blocks == [Block("python", f"{ADD}\nAnd:"), Block("python", USAGE)]


@given(st.integers(0, 40))
def test_cut_programs_keep_whole_statements(length: int) -> None:
    """However a program is cut, all that is left but its last statement is the program's own."""
    code = "import os\n\n@cache\ndef f(x):\n    return [\n        x\n    ]\n\n\ny = (\n 1\n)\n"
    kept = whole_statements(code[:length])
    full = [ast.unparse(node) for node in ast.parse(code).body]
    if kept is not None:
        found = [ast.unparse(node) for node in ast.parse(kept).body]
        assert found[:-1] == full[: len(found) - 1]


@given(st.text(alphabet="`~ \n>.def(x):=python1\x00\ud800", max_size=80))
def test_any_text_is_read(text: str) -> None:
    """No reply raises, and what comes back can be encoded."""
    code = extract_code(text)
    assert code is None or code.encode()


@pytest.mark.parametrize(
    "code",
    ["-" * 100_000 + "1", "a" + ".b" * 50_000, "x = " + "9" * 5000, "(" * 300, "\\\n" * 9999],
)
def test_hostile_sources(code: str) -> None:
    """Sources that exhaust the parser are a program that does not parse, not a crash."""
    assert extract_code(fence(code)) is not None
