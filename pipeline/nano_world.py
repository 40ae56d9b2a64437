"""The procedural world of the nano model: word problems and small Python tasks, with oracles.

Everything is a pure function of its seed. The test split is held out twice: by kind (some kinds are
never in the train split) and by number range (see `HELD_DIGITS` and `HELD_PARAMETERS`), so that the
two splits share no text whatever their seeds.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.nano_problems import Problem, Story, tell
from pipeline.nano_stories import STORIES
from pipeline.nano_tasks import KINDS, Kind
from pipeline.schema import PROMPTS, digest

LEVELS: tuple[int, ...] = tuple(sorted({story.level for story in STORIES}))
HELD_DIGITS = "456"  # test: the first two numbers begin with one of these and have an even sum
HELD_PARAMETERS = frozenset({5, 6, 7})  # test: a code task's {k} is one of these
PARAMETERS = range(2, 13)
TESTS_A_TASK = 5

_STRINGS = pa.list_(pa.string())
_TASKS_EXTRA = {"solution": pa.string(), "wrong_tests": _STRINGS, "wrong_solutions": _STRINGS}
_ASKS = (
    "Write a function {call} that {text}.",
    "Write {call} in Python. It {text}.",
    "Define {call}, a function that {text}.",
)
_PATIENCE = 1000  # draws in a row that bring nothing new, before the world counts as exhausted
_LETTERS = "abcdefghijklmnoprstuvw"


def word_problems(
    n: int, *, seed: int, levels: Sequence[int] = LEVELS, split: str = "train"
) -> pa.Table:
    """Draw n different word problems, spread evenly over the levels in turn.

    Returns a PROMPTS table with a column `answer` (string: "12", "7.05", "2/3" or "35%"); meta is
    JSON {"level": int, "kind": str, "steps": [str]}. Raises UserError for an unknown level or
    split, or when the levels hold fewer than n different texts.
    """
    _check(n, levels, LEVELS, "level")
    rng = _rng("word_problems", seed, split)

    def draw(index: int) -> dict[str, Any]:
        story = _choose(levels[index % len(levels)], split, rng)
        problem = _tell_in(split, story, rng)
        meta = {"level": story.level, "kind": story.kind, "steps": problem.steps}
        return _prompt(problem.text, meta) | {"answer": problem.answer}

    return _table(_distinct(n, draw), PROMPTS.append(pa.field("answer", pa.string())))


def worked_answer(row: Mapping[str, Any]) -> str:
    """Return the oracle's reply to a word problem: one step a line, then the boxed answer.

    The closing line has several forms, chosen by the row's id.
    """
    style = int(str(row["id"])[:8], 16)
    answer = str(row["answer"]).replace("%", "\\%")
    if "/" in answer and style % 2:
        top, bottom = answer.split("/")
        answer = f"\\frac{{{top}}}{{{bottom}}}"
    closing = ("The answer is {}.", "So the answer is {}.", "Answer: {}")[style % 3]
    return "\n".join([*json.loads(row["meta"])["steps"], closing.format(f"\\boxed{{{answer}}}")])


def code_tasks(n: int, *, seed: int, split: str = "train") -> pa.Table:
    """Draw n different Python tasks with reference solution, assertions and plausible mistakes.

    Returns a PROMPTS table with entry_point: string, tests: list<string> (5 correct assertions),
    solution: string, wrong_tests and wrong_solutions: list<string>. Every wrong solution fails at
    least one of the tests; the solution fails every wrong test. Raises UserError as above.
    """
    _check(n, [split], ["train", "test"], "split")
    rng = _rng("code_tasks", seed, split)
    kinds = [kind for kind in KINDS if _open(kind, split)]
    rows = _distinct(n, lambda _: _task(rng.choice(kinds), split, rng))
    extra = {"entry_point": pa.string(), "tests": _STRINGS, **_TASKS_EXTRA}
    return _table(rows, pa.schema([*PROMPTS, *extra.items()]))


def word_task(kind: Kind, k: int, rng: random.Random) -> tuple[str, str]:
    """Return a function's name and the text that asks for it: one kind of task with one number."""
    name = rng.choice((kind.name, f"{kind.name}_{k}", f"get_{kind.name}", f"{kind.name}_of"))
    text = rng.choice(_ASKS).format(call=f"{name}({kind.args})", text=kind.text.format(k=k))
    return name, text


def _open(item: Story | Kind, split: str) -> bool:
    return split == "test" or not item.held_out


def _choose(level: int, split: str, rng: random.Random) -> Story:
    """Draw a kind; half of the test problems are of held-out kinds, half in held-out ranges."""
    held = split == "test" and rng.random() < 0.5
    return rng.choice([s for s in STORIES if s.level == level and s.held_out == held])


def _tell_in(split: str, story: Story, rng: random.Random) -> Problem:
    while True:
        problem = tell(story, rng)
        if story.held_out or _is_held(*problem.numbers[:2]) == (split == "test"):
            return problem


def _is_held(a: int, b: int) -> bool:
    """Say whether these numbers are the test split's: in its ranges, with an even sum.

    Without the second condition a first number from the ranges would exclude a second one, and a
    small model learns that exclusion better than to copy what it reads.
    """
    return str(a)[0] in HELD_DIGITS and str(b)[0] in HELD_DIGITS and (a + b) % 2 == 0


def _task(kind: Kind, split: str, rng: random.Random) -> dict[str, Any]:
    held = split == "test" and not kind.held_out
    k = rng.choice([k for k in PARAMETERS if kind.held_out or (k in HELD_PARAMETERS) == held])
    name, text = word_task(kind, k, rng)
    solution, *wrong = (_source(name, kind.args, body, k) for body in (kind.body, *kind.wrong))
    tests, wrong_tests = _assertions(name, (kind.args, k), [solution, *wrong], rng)
    return _prompt(text, {"kind": kind.name, "k": k}) | {
        "entry_point": name,
        "tests": tests,
        "solution": solution,
        "wrong_tests": wrong_tests,
        "wrong_solutions": wrong,
    }


def _source(name: str, args: str, body: str, k: int) -> str:
    body = body.replace("{k}", str(k))
    lines = body.split("\n") if "return " in body else [f"return {body}"]
    return "\n".join([f"def {name}({args}):", *(f"    {line}" for line in lines)])


def _assertions(
    name: str, call: tuple[str, int], sources: list[str], rng: random.Random
) -> tuple[list[str], list[str]]:
    """Draw calls until every wrong program is caught; return correct and wrong assertions."""
    solution, *wrong = [_load(name, source) for source in sources]
    while True:
        calls = {repr(c): c for c in (_call(*call, rng) for _ in range(8))}
        truth = {shown: solution(*call) for shown, call in calls.items()}
        shown = list(truth)[:TESTS_A_TASK]
        others = [{key: _result(f, calls[key]) for key in shown} for f in wrong]
        if len(shown) == TESTS_A_TASK and all(
            any(not _same(o[key], truth[key]) for key in shown) for o in others
        ):
            break
    tests = [_assertion(name, calls[key], truth[key]) for key in shown]
    mistakes = (
        _assertion(name, calls[key], o[key])
        for key in shown
        for o in others
        if not isinstance(o[key], Exception) and o[key] != truth[key]
    )
    return tests, list(dict.fromkeys(mistakes))[:TESTS_A_TASK]


def _load(name: str, source: str) -> Callable[..., Any]:
    """Compile one of the world's own programs (never a model's: those go to the sandbox)."""
    space: dict[str, Any] = {}
    exec(source, space)
    function: Callable[..., Any] = space[name]
    return function


def _result(function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    try:
        return function(*call)
    except Exception as problem:
        return problem


def _same(a: Any, b: Any) -> bool:
    return not isinstance(a, Exception) and bool(a == b)


def _assertion(name: str, call: tuple[Any, ...], value: Any) -> str:
    return f"assert {name}({', '.join(map(repr, call))}) == {value!r}"


def _call(args: str, k: int, rng: random.Random) -> tuple[Any, ...]:
    return tuple(_argument(arg, k, rng) for arg in args.split(", "))


def _argument(arg: str, k: int, rng: random.Random) -> Any:
    """Draw a value by the argument's name; half of the numbers lie near k, where mistakes show."""

    def number(low: int, high: int) -> int:
        near = rng.random() < 0.5
        return max(low, k + rng.randint(-2, 2)) if near else rng.randint(low, high)

    if arg in ("x", "y"):
        return number(0, 40)
    if arg == "n":
        return rng.randint(1, 6)
    if arg in ("xs", "ys"):
        return [number(0, 24) for _ in range(rng.randint(2, 4))]
    if arg in ("s", "t"):
        return _word(rng, number(2, 12))
    return [_word(rng, number(1, 9)) for _ in range(rng.randint(1, 3))]


def _word(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(_LETTERS, k=length))


def _prompt(text: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": digest("nano_world", text),
        "messages": [{"role": "user", "content": text}],
        "source": "nano_world",
        "meta": json.dumps(meta),
    }


def _distinct(n: int, draw: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    in_vain = 0
    while len(rows) < n:
        row = draw(len(rows))
        in_vain = in_vain + 1 if row["id"] in rows else 0
        rows.setdefault(row["id"], row)
        if in_vain == _PATIENCE:
            raise UserError(f"nano_world: of {n} texts there are only {len(rows)}; ask for fewer")
    return list(rows.values())


def _check(n: int, wanted: Sequence[Any], known: Sequence[Any], what: str) -> None:
    unknown = [item for item in wanted if item not in known]
    if n < 0 or unknown or not wanted:
        raise UserError(f"nano_world: n={n}, {what} {unknown}: n >= 0 and {what} of {list(known)}")


def _rng(what: str, seed: int, split: str) -> random.Random:
    _check(0, [split], ["train", "test"], "split")
    return random.Random(f"{what}/{seed}/{split}")


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)
