"""The batch form of the answer verifier: real workers, hostile formulas, the audit, throughput."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schema import WORDS, Case, Verdict
from scorers.answers import answers, audit, verify

MIXED = [
    ("5", r"\boxed{5}"),
    ("5", r"\boxed{6}"),
    ("x+1", r"\boxed{1+x}"),
    ("x+1", r"\boxed{1-x}"),
    ("5", "I have no idea\nat all"),
    ("", r"\boxed{5}"),
    ("1/0", r"\boxed{5}"),
    (r"\sqrt2", r"\boxed{1.414214}"),
    ("5", r"\boxed{\frac{1}{}}"),
]


def cases(rows: list[tuple[str, str]]) -> list[Case]:
    """Make cases of (reference, response)."""
    return [Case({"id": str(n), "answer": ref}, text) for n, (ref, text) in enumerate(rows)]


def test_a_batch_is_its_rows() -> None:
    """The batch says what `verify` says row by row, in order, and leaves its input as it was."""
    batch = cases(MIXED)
    before = copy.deepcopy(batch)
    assert answers(batch) == [verify(ref, text) for ref, text in MIXED]
    assert [answers([case])[0] for case in batch] == answers(batch)
    assert batch == before
    assert answers([]) == []
    assert answers([Case({"answer": None}, "5")]) == [Verdict("unverified", "reference_empty")]


def test_a_hostile_formula_is_a_timeout_and_harms_no_other() -> None:
    """A number too large to write is cut off in its worker; the rest of the batch is served."""
    hostile = ("1" + "0" * 21, r"\boxed{10^{10^{10}}}")
    found = answers(cases([MIXED[0], hostile, MIXED[2]]))
    assert [verdict.verdict for verdict in found] == ["correct", "timeout", "correct"]
    assert found[1].reason in ("cpu_limit", "memory_limit")


def test_threads_may_call_at_once() -> None:
    """Algebra works off the main thread, where `signal.alarm` would not, and batches do not mix."""
    expected = [verify(ref, text) for ref, text in MIXED]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(answers, [cases(MIXED)] * 8)) == [expected] * 8


def test_ten_megabytes_are_read_from_the_end() -> None:
    """The work on a response is bounded by its tail."""
    start = time.process_time()
    assert verify("5", "x" * 10_000_000 + r" \boxed{5}").verdict == "correct"
    assert verify("5", r"\boxed{5} " + "x" * 10_000_000).verdict == "unparsable"
    assert verify("5", r"\boxed{" + "9" * 3000 + "}").reason == "answer_too_long"
    assert time.process_time() - start < 1


def test_plain_integers_are_cheap() -> None:
    """At least 10,000 plain cases a second and core, without algebra or a worker."""
    batch = [
        Case({"answer": str(n)}, f"Some steps, $2+2=4$.\nSo it is \\boxed{{{n + n % 2}}}.")
        for n in range(10_000)
    ]
    start = time.process_time()
    found = answers(batch)
    assert time.process_time() - start < 1
    assert [verdict.verdict for verdict in found] == ["correct", "wrong"] * 5000


COMMANDS = r"\ \frac \sqrt \{ \} \pi \text \boxed \le \in \cup \infty ½ − ° km and no a $5 1,000"
LATEX = st.lists(
    st.sampled_from([*"0123456789xyn+-*/^_=<>(),.[]{}$%!| :", *COMMANDS.split(" ")]), max_size=12
).map("".join)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(LATEX, LATEX), min_size=8, max_size=8))
def test_nothing_in_a_text_raises(rows: list[tuple[str, str]]) -> None:
    """Any text gets one of the words, and none of it takes a worker down."""
    found = answers(cases([(ref, rf"\boxed{{{answer}}}") for ref, answer in rows]))
    assert {verdict.verdict for verdict in found} <= set(WORDS) - {"infra"}


def test_audit_names_the_golds_that_do_not_verify() -> None:
    """One row a prompt, in order; each gold is tried boxed and bare."""
    golds = [
        "72",
        "1,080",
        "",
        None,
        r"\frac{1}{",
        "x+1",
        "a b c d e f g h",
        "work\n#### -3",
        "1/0",
    ]
    table = pa.table({"id": [f"p{n}" for n in range(len(golds))], "answer": golds})
    found = audit(table)
    assert found.schema.names == ["id", "answer", "verdict", "reason"]
    assert found["id"] == table["id"]
    assert list(zip(found["verdict"].to_pylist(), found["reason"].to_pylist(), strict=True)) == [
        ("correct", "amount"),
        ("correct", "amount"),
        ("unverified", "reference_empty"),
        ("unverified", "reference_empty"),
        ("unverified", "reference_unparsable"),
        ("correct", "formula"),
        ("correct", "text"),
        ("correct", "amount"),
        ("unverified", "reference_unparsable"),
    ]
    assert audit(table.slice(0, 0)).num_rows == 0
