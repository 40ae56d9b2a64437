r"""The math answer verifier: does a response end in the reference's answer?

The reference decides what kind of value is meant, and an answer of another kind is wrong:

* amount: integer, decimal, fraction, percentage, money, number with a unit (`scorers.quantities`)
* time of day, truth word, weekday, option letter, plain text (`scorers.words`)
* formula: everything else, compared by algebra (`scorers.formulas`)

Verdicts: `correct`, `wrong`, `unparsable` (the response has no answer, or one that does not parse)
and `unverified` (the reference is empty or does not parse: never the response's fault; `audit`
finds such references before any token is spent). From `answers` also `timeout` (over the limit of
CPU time or memory), `error` and `infra`. The reason of `correct` and `wrong` is the kind.

The errors that published graders make are the test cases: DART-Math (arXiv:2407.13690).
"""

import atexit
import os
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import pyarrow as pa

from pipeline.schema import Case, Verdict, verifier
from scorers.extraction import extract
from scorers.formulas import close, evaluate, parse_formula, same_formula, same_value
from scorers.notation import clean
from scorers.quantities import Quantity, read_quantity, same_quantity
from scorers.words import Word, is_text, is_word, read_word, same_word
from scorers.workers import Lost, Workers

__all__ = ["answers", "audit", "extract", "verify"]

_LONGEST = 2000  # characters of an answer


class _Reference(NamedTuple):
    text: str  # cleaned
    kind: str  # "empty", "amount", "formula" or the kind of the word
    value: Quantity | Word | None = None


def verify(reference: str, response: str) -> Verdict:
    """Compare the final answer of `response` with `reference`, in this process.

    Never raises, but has no limit of its own: algebra on a hostile formula may take for ever, which
    is what `answers` is for. The reference is the bare answer, or a worked solution that marks it
    with a box or `####`.
    """
    verdict, expected, answer = _settle(reference, response)
    try:
        return verdict or _by_algebra(expected, answer)
    except Exception as error:  # whatever SymPy raises on a hostile formula
        return Verdict("error", f"raised: {type(error).__name__}", answer)


@verifier(needs=("answer",), version=1)
def answers(cases: Sequence[Case]) -> list[Verdict]:
    """Verify a batch: one verdict a case, in order; `prompt["answer"]` is the reference.

    What needs no algebra is settled at once, by the same code as in `verify`; the rest goes to a
    module-wide pool of killable processes. May be called from several threads at once.
    """
    verdicts: list[Verdict | None] = []
    hard: list[tuple[str, str]] = []
    for case in cases:
        reference = case.prompt["answer"]
        reference = "" if reference is None else str(reference)
        verdict, _, answer = _settle(reference, case.completion)
        verdicts.append(verdict)
        if verdict is None:
            hard.append((reference, answer))
    solved = iter(_pool(os.getpid()).map(hard) if hard else ())
    return [verdict or _verdict(next(solved)) for verdict in verdicts]


def audit(prompts: pa.Table) -> pa.Table:
    """Verify each gold `answer` against itself, boxed and bare; one row a prompt.

    Returns `id, answer, verdict, reason`: the worse of both verdicts, where the reason of the bare
    one starts with "bare: ". All but `correct` call for a look: `unverified` at the answer itself.
    """
    golds = ["" if gold is None else str(gold) for gold in prompts["answer"].to_pylist()]
    finals = [_final(gold) for gold in golds]
    boxed = answers(
        [Case({"answer": g}, rf"\boxed{{{f}}}") for g, f in zip(golds, finals, strict=True)]
    )
    bare = answers([Case({"answer": g}, f) for g, f in zip(golds, finals, strict=True)])
    found = [_worse(*pair) for pair in zip(boxed, bare, strict=True)]
    columns = {
        "id": prompts["id"],
        "answer": pa.array(golds, pa.string()),
        "verdict": pa.array([verdict.verdict for verdict in found], pa.string()),
        "reason": pa.array([verdict.reason for verdict in found], pa.string()),
    }
    return pa.table(columns)


def _worse(boxed: Verdict, bare: Verdict) -> Verdict:
    if "unverified" in (boxed.verdict, bare.verdict):  # a broken gold may also break its box
        return bare if bare.verdict == "unverified" else boxed
    if boxed.verdict != "correct" or bare.verdict == "correct":
        return boxed
    return bare._replace(reason="bare: " + bare.reason)


def _settle_by_algebra(case: tuple[str, str]) -> Verdict:
    """Decide what `answers` could not without algebra: (reference, answer as extracted)."""
    reference, answer = case
    return _by_algebra(_read_reference(reference), answer)


@cache
def _pool(pid: int) -> Workers:
    """Return the pool of this process: one that was forked must not share its parent's pipes."""
    workers = Workers("scorers.answers:_settle_by_algebra")
    atexit.register(lambda: workers.close() if os.getpid() == pid else None)
    return workers


def _verdict(result: Verdict | Lost) -> Verdict:
    return Verdict(result.word, result.reason) if isinstance(result, Lost) else result


def _settle(reference: str, response: str) -> tuple[Verdict | None, _Reference, str]:
    """Return the verdict if no algebra is needed, else None; and what was read on the way."""
    expected = _read_reference(reference)
    if expected.kind == "empty":
        return Verdict("unverified", "reference_empty"), expected, ""
    answer = extract(response)
    if answer is None:
        return Verdict("unparsable", "no_answer"), expected, ""
    if len(answer) > _LONGEST:
        return Verdict("unparsable", "answer_too_long", answer[:_LONGEST]), expected, ""
    same = _same(expected, clean(answer))
    verdict = None if same is None else _judged(same, expected, answer)
    return verdict, expected, answer


def _same(expected: _Reference, answer: str) -> bool | None:
    """Compare a cleaned answer without algebra; None if that cannot decide."""
    if isinstance(expected.value, Word):
        return same_word(expected.value, answer)
    if expected.value is None:
        return None
    if amount := read_quantity(answer):
        return same_quantity(expected.value, amount)
    return False if is_text(answer) or is_word(answer) else None


def _by_algebra(expected: _Reference, answer: str) -> Verdict:
    """Compare an answer that `_settle` left open. Slow, and without a limit."""
    text = clean(answer)
    if expected.value is None and parse_formula(expected.text) is None:
        return Verdict("unverified", "reference_unparsable", answer)
    if isinstance(expected.value, Quantity):
        same = same_value(expected.value.number, text)
    elif is_text(text) or is_word(text):
        same = False
    else:
        same = _same_formula(expected.text, text)
    if same is None:
        return Verdict("unparsable", "answer_unparsable", answer)
    return _judged(same, expected, answer)


def _same_formula(reference: str, answer: str) -> bool | None:
    """Compare formulas; a closed form also with an amount as it may be written (1,000.5 cm)."""
    amount, constant = read_quantity(answer), evaluate(parse_formula(reference))
    if amount and constant:
        return close(constant._replace(places=None), amount.number)
    return same_formula(reference, answer)


def _judged(same: bool, expected: _Reference, answer: str) -> Verdict:
    return Verdict("correct" if same else "wrong", expected.kind, answer)


@lru_cache(maxsize=4096)
def _read_reference(reference: str) -> _Reference:
    text = clean(_final(reference))
    if not text:
        return _Reference(text, "empty")
    amount = None if is_word(text) else read_quantity(text)  # "3 pm" is no amount
    if amount:
        return _Reference(text, "amount", amount)
    if is_text(text) or is_word(text):
        word = read_word(text)
        return _Reference(text, word.kind, word)
    return _Reference(text, "formula")


def _final(reference: str) -> str:
    """Return the answer of a worked solution; a bare answer as it is."""
    worked = "####" in reference or r"\boxed" in reference
    return (extract(reference) or "") if worked else reference
