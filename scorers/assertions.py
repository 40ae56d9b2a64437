"""Split a model's reply into single assertions, each a test of its own. Nothing is executed.

Taken: asserts at top level, in test functions, in `check(candidate)` and under the main guard;
the assert methods of unittest; `with raises(...)`; doctest examples with a literal result; assert
lines in lists and running text. Each comes with the assignments and imports that it needs. Left:
what needs fixtures or `self`. A function that the reply itself defines under the entry point's name
is never taken along: a test must not bring its own solution.
"""

import ast
import doctest
import re
from collections.abc import Iterator, Sequence

from scorers.code_blocks import fenced_blocks, spoken, whole_statements
from scorers.program_text import Function, bound_names, free_names, parse

_MOST = 1000  # assertions of one reply
_LINE = re.compile(r"^\s*(?:[-*+]|\d+[.)])?\s*`{0,2}(assert\b.*?)`{0,2}\s*$")
_PYTHON = {"", "python", "py", "python3", "py3", "pycon"}
_CONTINUED = 20  # lines that one assert may take in running text
_METHODS = {
    "assertTrue": "{}",
    "assertFalse": "not {}",
    "assertIsNone": "{} is None",
    "assertIsNotNone": "{} is not None",
    "assertEqual": "{} == {}",
    "assertEquals": "{} == {}",
    "assertListEqual": "{} == {}",
    "assertDictEqual": "{} == {}",
    "assertTupleEqual": "{} == {}",
    "assertSetEqual": "{} == {}",
    "assertNotEqual": "{} != {}",
    "assertIn": "{} in {}",
    "assertNotIn": "{} not in {}",
    "assertIs": "{} is {}",
    "assertIsInstance": "isinstance({}, {})",
    "assertGreater": "{} > {}",
    "assertGreaterEqual": "{} >= {}",
    "assertLess": "{} < {}",
    "assertLessEqual": "{} <= {}",
    "assertAlmostEqual": "round({} - {}, 7) == 0",
}


def extract_asserts(reply: str, entry_point: str | None = None) -> list[str]:
    """Return the assertions of a reply in order, repetitions included, at most 1000.

    `candidate` becomes `entry_point` (a function or `Class().method`) where one is given.
    """
    text = spoken(reply)
    blocks = [block.text for block in fenced_blocks(text) if block.language in _PYTHON]
    found = [test for block in blocks for test in _from_text(block, entry_point)]
    return (found or list(_from_text(text, entry_point)))[:_MOST]


def _from_text(text: str, entry_point: str | None) -> Iterator[str]:
    """Yield what the parsable beginning holds, then what the lines after it say."""
    if parse(text) is None and re.search(r"^\s*>>>", text, re.MULTILINE):
        yield from _from_session(text)
        return
    head = whole_statements(text) or ""
    tree = parse(head)
    if tree is not None:
        yield from _from_body(tree.body, [], entry_point)
    yield from _from_lines(text.splitlines()[len(head.splitlines()) :])


def _from_session(text: str) -> Iterator[str]:
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:  # prompts that do not line up
        return
    for example in examples:
        source = parse(example.source)
        try:
            expected = ast.literal_eval(example.want)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if source is not None and len(source.body) == 1 and isinstance(source.body[0], ast.Expr):
            yield f"assert {ast.unparse(source.body[0])} == {expected!r}"


def _from_lines(lines: Sequence[str]) -> Iterator[str]:
    """Yield the asserts that stand on lines of their own, among anything else."""
    for place, line in enumerate(lines):
        if not (start := _LINE.match(line)):
            continue
        text = start[1]
        for more in [*lines[place + 1 : place + _CONTINUED], None]:
            tree = parse(text.rstrip(" `"))
            if tree is not None and tree.body and isinstance(tree.body[0], ast.Assert):
                yield _bare(tree.body[0])
                break
            if more is None or _LINE.match(more):
                break
            text += "\n" + more


def _bare(node: ast.Assert) -> str:
    return ast.unparse(ast.Assert(node.test))


def _from_body(
    body: Sequence[ast.stmt], before: Sequence[ast.stmt], entry_point: str | None
) -> Iterator[str]:
    """Yield the tests of a block of statements; `before` is what ran earlier."""
    context = list(before)
    for node in body:
        if isinstance(node, ast.ClassDef) or (isinstance(node, Function) and _is_test(node)):
            yield from _from_body(node.body, context, entry_point)
        elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield from _from_body(node.body, context, entry_point)
        elif (test := _as_test(node)) is not None:
            made = _with_context(test, context, entry_point)
            yield from [made] if made else []
        elif not isinstance(node, Function) or _may_come_along(node, entry_point):
            context.append(node)


def _is_test(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return node.name.startswith("test") or node.name == "check"


def _may_come_along(node: ast.stmt, entry_point: str | None) -> bool:
    """Whether a definition is a helper: only the entry point's name tells it from the solution."""
    return entry_point is not None and not _owner(entry_point) & bound_names(node)


def _owner(entry_point: str) -> set[str]:
    return {entry_point.partition("().")[0]}


def _as_test(node: ast.stmt) -> ast.stmt | None:
    """Return the statement as a test that stands alone, None if it tests nothing."""
    if isinstance(node, ast.Assert):
        return ast.Assert(node.test)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _from_method(node.value)
    if isinstance(node, ast.With) and (error := _expected_error(node)) is not None:
        refuse = ast.parse("raise AssertionError").body
        handler = ast.ExceptHandler(error, None, [ast.Pass()])
        return ast.Try(node.body, [handler], refuse, [])
    compound = isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try)
    if compound and any(isinstance(one, ast.Assert) for one in ast.walk(node)):
        return node
    return None


def _from_method(call: ast.Call) -> ast.stmt | None:
    """Return `self.assertEqual(a, b)` and its like as an assert."""
    pattern = _METHODS.get(call.func.attr) if isinstance(call.func, ast.Attribute) else None
    if pattern is None or len(call.args) < pattern.count("{}"):
        return None
    arguments = [f"({ast.unparse(argument)})" for argument in call.args]
    return ast.parse("assert " + pattern.format(*arguments)).body[0]


def _expected_error(node: ast.With) -> ast.expr | None:
    """Return E of `with pytest.raises(E)` or `with self.assertRaises(E)`."""
    call = node.items[0].context_expr
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
        return None
    named = call.func.attr in ("raises", "assertRaises") and node.items[0].optional_vars is None
    return call.args[0] if named else None


def _with_context(
    test: ast.stmt, context: Sequence[ast.stmt], entry_point: str | None
) -> str | None:
    """Return the test after the earlier statements that it needs; None if it needs a fixture."""
    taken: list[ast.stmt] = [test]
    needed = free_names(test)
    local = {name for node in context for name in bound_names(node)}
    for node in reversed(context):
        touches = free_names(node) & needed & local if isinstance(node, ast.Expr) else set()
        if bound_names(node) & needed or touches:
            taken.insert(0, node)
            needed |= free_names(node)
    if "self" in needed or any(isinstance(node, ast.Return) for node in taken):
        return None
    for name in (one for node in taken for one in ast.walk(node) if isinstance(one, ast.Name)):
        if name.id == "candidate" and entry_point and "candidate" not in local:
            name.id = entry_point  # written out as it is, also where it is no identifier
    return "\n".join(ast.unparse(node) for node in taken)
