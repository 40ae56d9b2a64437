"""Find the program in a model's reply. Nothing is executed.

In order: the fenced Python blocks; else what of the text reads as a program. Of several blocks the
last that defines the entry point counts (without one: the last that defines anything and is not a
test), together with the definitions of the others that it needs. Of a reply that was cut off, the
statements that were finished count. A fenced program with a syntax error is returned as it is: it
is an answer, and a wrong one. After `</think>` only what follows is looked at.
"""

import ast
import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from scorers.program_text import Function, bound_names, free_names, parse, parse_or_fault

_LONGEST = 1 << 18  # characters of a reply that are looked at
_PYTHON = {"", "python", "py", "python3", "py3", "pycon", "ipython", "ipython3"}
_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})[ \t]*([^`\n]*?)[ \t]*$")
_START = re.compile(
    r"^[ \t]*((async )?def \w|class \w|import \w|from [\w.]+ import\b|@\w|\w+ *= *\S|if __name__)"
)
_CONTINUES = re.compile(r"[ \t)\]}]|(else|elif|except|finally)\b|$")
_CUTS = 64  # times that a broken program is cut shorter
_STARTS = 8  # lines at which a program may begin in running text


class Block(NamedTuple):
    """A fenced block: the first word after the fence, the text, whether the fence was closed."""

    language: str
    text: str
    closed: bool = True


def extract_code(reply: str, entry_point: str | None = None) -> str | None:
    """Return the program of a reply, or None; `entry_point` is a function or `Class().method`."""
    text = spoken(reply)
    blocks = fenced_blocks(text)
    if not blocks:
        return _bare_program(text)
    sources = [_source(block) for block in blocks if block.language in _PYTHON]
    return _choose([source for source in sources if source.strip()], entry_point)


def spoken(reply: str) -> str:
    """Return the part of a reply that is meant for the reader, bounded."""
    text = reply.rpartition("</think>")[2][:_LONGEST]
    return text.encode("utf-8", "replace").decode()  # lone surrogates are no source


def fenced_blocks(text: str) -> list[Block]:
    """Return the blocks between fences, dedented; the last may lack its closing fence.

    A fence with a language inside an open block starts the next one: the other was forgotten.
    """
    blocks: list[Block] = []
    fence, language, lines = "", "", list[str]()
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if not fence:
            if mark:
                fence, language, lines = mark[1], _language(mark[2]), []
        elif mark and mark[1].startswith(fence) and (not mark[2] or _language(mark[2]) in _PYTHON):
            blocks.append(Block(language, textwrap.dedent("\n".join(lines))))
            fence, language, lines = (mark[1] if mark[2] else ""), _language(mark[2]), []
        else:
            lines.append(line)
    if fence:
        blocks.append(Block(language, textwrap.dedent("\n".join(lines)), closed=False))
    return blocks


def _language(info: str) -> str:
    words = info.strip("{}. ").lower().split()
    return words[0] if words else ""


def _source(block: Block) -> str:
    text = without_prompts(block.text)
    return text if block.closed else whole_statements(text) or text


def without_prompts(text: str) -> str:
    """Return the input of an interactive session without its prompts and outputs."""
    if not re.search(r"^[ \t]*>>>", text, re.MULTILINE):
        return text
    lines = [re.match(r"[ \t]*(?:>>>|\.\.\.) ?(.*)", line) for line in text.splitlines()]
    return "\n".join(line[1] for line in lines if line)


def whole_statements(source: str) -> str | None:
    """Return the top-level statements before the first that does not parse; None if none does."""
    lines = source.splitlines()
    for _ in range(_CUTS):
        tree, fault = parse_or_fault("\n".join(lines))
        if tree is not None:
            return "\n".join(lines) if tree.body else None
        cut = min(fault, len(lines)) - 1
        while cut > 0 and (_CONTINUES.match(lines[cut]) or lines[cut - 1].startswith("@")):
            cut -= 1
        if cut <= 0:
            return None
        lines = lines[:cut]
    return None


def _choose(sources: Sequence[str], entry_point: str | None) -> str | None:
    """Return the block that counts, with what it needs of the others."""
    trees = [parse(source) for source in sources]
    parsed = [i for i, tree in enumerate(trees) if tree is not None and tree.body]
    if not parsed:
        return sources[-1] if sources else None
    known = {i: tree for i in parsed if (tree := trees[i]) is not None}
    defining = [i for i in parsed if entry_point and _defines(known[i], entry_point)]
    others = [i for i in parsed if _has_definitions(known[i])]
    main = (defining or others or parsed)[-1]
    support = _support(known[main], [known[i] for i in parsed if i != main])
    return "\n".join([*support, sources[main]])


def _defines(tree: ast.Module, entry_point: str) -> bool:
    return entry_point.partition("().")[0] in bound_names(tree)


def _has_definitions(tree: ast.Module) -> bool:
    """Whether a block defines anything but tests."""
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef | Function)]
    return any(not name.lower().startswith("test") and name != "check" for name in names)


def _support(main: ast.Module, others: Sequence[ast.Module]) -> list[str]:
    """Return the definitions of other blocks that `main` needs, the latest of each name."""
    kinds = ast.ClassDef | Function | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
    nodes = [node for tree in others for node in tree.body if isinstance(node, kinds)]
    homes = {name: place for place, node in enumerate(nodes) for name in bound_names(node)}
    wanted, found = free_names(main) - bound_names(main), set[int]()
    while wanted:
        place = homes.get(wanted.pop())
        if place is not None and place not in found:
            found.add(place)
            wanted |= free_names(nodes[place])
    return [ast.unparse(nodes[place]) for place in sorted(found)]


def _bare_program(text: str) -> str | None:
    """Return the program in a text without fences: from a line that reads as code, to its end."""
    text = without_prompts(text)
    lines = text.splitlines()
    fallback = None
    for start in [i for i, line in enumerate(lines) if _START.match(line)][:_STARTS]:
        found = whole_statements(_unindented(lines[start:]))
        tree = parse(found) if found else None
        if found is None or tree is None:
            continue
        found = _without_words(found, tree)
        if found and any(isinstance(node, ast.ClassDef | Function) for node in tree.body):
            return found
        fallback = fallback or found
    whole = parse(text)
    calls = whole is not None and any(isinstance(node, ast.Call) for node in ast.walk(whole))
    return fallback or (text if calls else None)


def _unindented(lines: Sequence[str]) -> str:
    """Take the first line's indentation off, up to the first line that has less."""
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    kept: list[str] = []
    for line in lines:
        if line.strip() and not line.startswith(indent):
            break
        kept.append(line[len(indent) :])
    return "\n".join(kept)


def _without_words(source: str, tree: ast.Module) -> str | None:
    """Cut what follows a program and only looks like code: "Enjoy", "Output: 3"."""
    last = len(tree.body)
    while last and _is_word(tree.body[last - 1]):
        last -= 1
    if last == len(tree.body):
        return source
    end = tree.body[last - 1].end_lineno if last else 0
    return "\n".join(source.splitlines()[:end]) or None


def _is_word(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        return node.value is None and isinstance(node.target, ast.Name)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant)
