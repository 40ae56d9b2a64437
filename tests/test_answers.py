"""The answer verifier: the errors of published graders, and its own rules."""

import os
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.schema import Verdict
from scorers.answers import verify
from scorers.formulas import parse_formula, same_formula
from scorers.quantities import read_quantity, same_quantity

# DART-Math's published grader says "correct" to these and "wrong" to the next ones.
FALSE_POSITIVES = [
    ("no", "unknown"),
    ("north", "no"),
    ("false", "another one"),
    ("Monday", "money"),
    ("Yes", "eyes"),
    ("60 minutes", "60 hours"),
    ("2", "200"),
    ("5", "0.05"),
    ("1/3", "33.33"),
    ("(0,1)", "[0,1]"),
    ("y=2x+1", "2x+1"),
]
FALSE_NEGATIVES = [
    ("0", "zero"),
    ("5 apples", "5"),
    ("$5", "5 dollars"),
    ("1000000", "1 million"),
    ("1 hour", "60 minutes"),
    ("0.333", "1/3"),
    ("22", "22.0002"),
]

CORRECT = {
    "numbers": r"""
        5 := 5. | 5.0 | \text{5} | $5$ | **5** | \(5\) | {5} | x = 5 | 2+3 = 5
        5 := five | \frac{10}{2} | +5
        -5 := −5 | - 5 | \frac{-10}{2}
        0 := -0 | 0.00
        1000 := 1,000 | 1{,}000 | 1\,000 | 1,\!000 | 10^3 | 1e3 | 1.0 \times 10^3 | one thousand
        1,234,567 := 1234567 | 1.234567 million
        1/2 := 0.5 | \frac12 | \dfrac{1}{2} | ½ | 2/4 | .5
        2.5 := 2\frac{1}{2} | 2 1/2 | 5/2 | 2.50
        105 := one hundred and five | one hundred five
        60 := five dozen | 5 dozen | 60 minutes
        3.14 := 22/7 | \pi | 3.14159
        3:30 := 3:30 pm""",
    "units": r"""
        $12.50 := 12.5 | \$12.50 | 12.50 dollars | 1250 cents | $12.50 USD
        5 cm := 5cm | 50 mm | 5 \text{ cm} | 0.05 meters | 5
        5 square meters := 5 \text{ m}^2 | 5 m² | 5 sq m
        10 mph := 10 miles per hour | 10 miles/hour
        90 minutes := 1 hour 30 minutes | 1 hour and 30 minutes | 1.5 hours
        30^\circ := 30 | 30° | 30 degrees
        12 years old := 12 | 12 years
        18 := 18 dollars per day | 18 \text{ apples left}
        12_7 := 12_{7} | 12""",
    "words": r"""
        yes := Yes. | \text{Yes} | true | Yes, it is
        Tuesday := tue | \textbf{Tuesday}
        3 pm := 3:00 p.m. | 15:00 | 3:00
        B := (B) | b | B. 12 apples
        New York := new york | New-York | \text{New York}
        no solution := \text{no solution} | No solution.""",
    "formulas": r"""
        \sqrt2 := \sqrt{2} | 1.414214 | \frac{2}{\sqrt{2}} | 2^{1/2}
        x^2+2x+1 := (x+1)^2 | 1+2x+x^2
        2x+1 := y=2x+1
        y=2x+1 := 2x+1=y | y-2x=1
        x=\sqrt2 := \sqrt2
        (1,2) := (1, 2) | \left(1,2\right) | 1,2
        \{1,2\} := \{2,1\} | 2,1 | 1 \text{ and } 2
        [0,1) := x\in[0,1) | [0, 1)
        x<5 := 5>x | (-\infty,5)
        3\pi := 9.42478
        \pm 3 := 3,-3
        \begin{pmatrix}1\\2\end{pmatrix} := \begin{bmatrix}1\\2\end{bmatrix}""",
}
WRONG = {
    "numbers": r"""
        22 := 22.4 | 23 | 22.01 | -22 | 2.2 | 22! | 22x | north | 22:00
        22 := 22 or 23 | \{22, 23\} | (22, 23)
        1000000 := 1000001 | 1000000.1
        0.3 := 0.34 | 1/3 | 3
        1/3 := 0.33 | 0.333 | 1/30
        12.5 := 12.54 | 12.4
        5 := 3+3 = 5 | 10^{10^{10}} | 3 to 7 | 5, 5, 6""",
    "units": r"""
        $5 := 5 cents | €5 | 5 apples
        5 apples := 5 oranges | 5 dozen apples
        5 square meters := 5 meters
        5 pairs of socks := 5 socks
        5 miles/hour := 5 km/h
        60 := 1 hour
        12_7 := 12_8""",
    "words": r"""
        no := on | north | 0
        stop := post
        gate -5 := gate 5
        gate 1 5 := gate 15
        3:30 pm := 3:30 am | 3.30 | 3:31 pm
        A := B | 1
        Saturday := Sunday""",
    "formulas": r"""
        x=5 := y=5
        2x=4 := 3x=4 | 4 | 2x
        x=\sqrt2 := y=\sqrt2
        \sqrt2 := 1.414 | 2 | \sqrt3
        (1,2) := (2,1) | \{1,2\} | [1,2] | (1,2]
        x<5 := x>5 | x\le 5 | 5
        x+1 := x+2 | y+1 | x
        2^{10^6} := 2^{10^6}+1
        \begin{pmatrix}1&2\\3&4\end{pmatrix} := \begin{pmatrix}1&2\\3&5\end{pmatrix} | 1""",
}


def pairs(tables: dict[str, str]) -> list[tuple[str, str]]:
    """Read "reference := response | response" lines."""
    lines = [line.split(" := ") for table in tables.values() for line in table.split("\n")[1:]]
    return [(ref.strip(), answer.strip()) for ref, row in lines for answer in row.split(" | ")]


def word(reference: str, answer: str) -> str:
    """Give the verdict on a boxed answer."""
    return verify(reference, f"It follows that the result is \\boxed{{{answer}}}.").verdict


@pytest.mark.parametrize(("reference", "answer"), FALSE_POSITIVES)
def test_published_false_positives_are_wrong(reference: str, answer: str) -> None:
    """What the grader of DART-Math takes for right is wrong, bare and boxed."""
    assert verify(reference, answer).verdict == "wrong"
    assert word(reference, answer) == "wrong"


@pytest.mark.parametrize(("reference", "answer"), FALSE_NEGATIVES)
def test_published_false_negatives_are_correct(reference: str, answer: str) -> None:
    """What that grader takes for wrong is right, bare and boxed.

    Debatable: 22.0002 for 22 is rounding noise (within 1e-5), which a computed answer may carry;
    and 1/3 for 0.333 takes the decimal for a rounded value, which only some references are.
    """
    assert verify(reference, answer).verdict == "correct"
    assert word(reference, answer) == "correct"


@pytest.mark.parametrize(("reference", "answer"), pairs(CORRECT))
def test_the_same_value_written_otherwise_is_correct(reference: str, answer: str) -> None:
    """Notation, units and wording do not change a verdict."""
    assert word(reference, answer) == "correct"


@pytest.mark.parametrize(("reference", "answer"), pairs(WRONG))
def test_another_value_or_kind_is_wrong(reference: str, answer: str) -> None:
    """A near miss is a miss: other value, unit, order, brackets or kind."""
    assert word(reference, answer) == "wrong"


@pytest.mark.parametrize("answer", ["50%", r"50\%", "50", "50 percent", "0.5", "1/2", r"50.0\%"])
def test_percentages(answer: str) -> None:
    """50% is 50 where percent was asked for, and it is one half; it is never 0.5% or 5000."""
    assert word("50%", answer) == "correct"
    assert {word("50%", other) for other in ("0.5%", "5000", "0.005", "50 apples")} == {"wrong"}


def test_no_answer_and_no_reference_are_not_wrong() -> None:
    """The response's silence is `unparsable`, the reference's fault is `unverified`."""
    assert verify("5", "I have no idea\nwhat to do") == Verdict("unparsable", "no_answer")
    assert verify("5", r"\boxed{5") == Verdict("unparsable", "no_answer")
    garbled = r"\frac{1}{}"
    assert verify("5", rf"\boxed{{{garbled}}}") == Verdict(
        "unparsable", "answer_unparsable", garbled
    )
    assert word("5", "5 5") == "unparsable"  # a parser underneath reads 10
    assert verify("", "5") == Verdict("unverified", "reference_empty")
    assert verify("1/0", "5") == Verdict("unverified", "reference_unparsable", "5")
    assert verify(r"\frac{1}{", r"\boxed{5}") == Verdict("unverified", "reference_unparsable", "5")


def test_a_worked_reference_is_read_at_its_mark() -> None:
    """A gold solution that ends in a box or after #### serves as a reference as it is."""
    assert word("2+3 = <<2+3=5>>5\nSo 5.\n#### 5", "5") == "correct"
    assert word(r"We get $2+3=\boxed{5}$.", "6") == "wrong"


INTEGERS = st.integers(-(10**12), 10**12)
DECIMALS = st.decimals(-(10**6), 10**6, places=3).map(str)
FRACTIONS = st.fractions(max_denominator=999).map(lambda f: f"{f.numerator}/{f.denominator}")
UNITS = st.sampled_from(["apples", "cm", "hours", "km/h", "square feet", "%", "dollars"])
GOLDS = st.one_of(
    INTEGERS.map(str),
    DECIMALS,
    FRACTIONS,
    st.tuples(INTEGERS, UNITS).map(lambda parts: f"{parts[0]} {parts[1]}"),
    st.decimals(0, 10**6, places=2).map(lambda price: f"${price}"),
    st.sampled_from(["yes", "No", "Friday", "C", "7:45 am", "the red one"]),
)
FORMATS = [
    "{n}", "{n}.", "{n:,}", "${n}$", "$${n:,}$$", r"\text{{{n}}}", " {n} ", "{n}.00", r"\({n}\)",
    "**{n}**", "x={n}", r"\$ {n}", "{n} apples", r"{n}\text{{ cm}}", r"\frac{{{n}}}{{1}}", "{n}/1",
]  # fmt: skip


@given(GOLDS)
def test_a_gold_answer_verifies_itself(gold: str) -> None:
    """Each kind of reference accepts itself, bare and boxed."""
    assert verify(gold, gold).verdict == word(gold, gold) == "correct"


@given(INTEGERS, INTEGERS | st.none(), st.sampled_from(FORMATS), st.sampled_from(["{n}", "{n:,}"]))
def test_formatting_keeps_the_verdict(n: int, m: int | None, form: str, gold: str) -> None:
    """However an integer is dressed, it is right if it is the one and wrong if it is another."""
    m = n if m is None else m
    assert word(gold.format(n=n), form.format(n=m)) == ("correct" if n == m else "wrong")


@given(INTEGERS, st.integers(1, 10**6), st.sampled_from([1, -1, 1000, -1000]))
def test_an_integer_accepts_no_near_miss(n: int, step: int, sign: int) -> None:
    """Neighbours, and decimals that are off by a hundredth or more, are wrong."""
    assert word(str(n), str(n + step)) == "wrong"
    off = Fraction(n) + Fraction(step, 100) * (sign // abs(sign))
    assume(off != n)
    assert word(str(n), f"{float(off):.2f}") == "wrong"


@given(st.fractions(max_denominator=50), st.fractions(max_denominator=50))
def test_exact_numbers_compare_as_algebra_does(one: Fraction, other: Fraction) -> None:
    """The way without algebra agrees with SymPy on exact numbers, and is symmetric."""
    a, b = (f"\\frac{{{f.numerator}}}{{{f.denominator}}}" for f in (one, other))
    read = read_quantity(a), read_quantity(b)
    assert read[0] and read[1]
    assert same_quantity(*read) == same_quantity(*read[::-1]) == (one == other)
    assert same_formula(a, b) == (parse_formula(a) == parse_formula(b)) == (one == other)


@given(st.integers(100, 10**6), st.integers(0, 6))
def test_a_decimal_accepts_what_rounds_to_it(digits: int, places: int) -> None:
    """Half a unit of the last place is the limit, so a reference with more digits is stricter."""
    value = Fraction(digits, 10**places)
    gold = f"{digits / 10**places:.{places}f}" if places else f"{digits}."
    ulp = Fraction(1, 10**places)
    near, far = value + ulp * Fraction(1, 600), value + ulp * Fraction(3, 5)
    assume(places > 0)
    assert word(gold, f"{near.numerator}/{near.denominator}") == "correct"
    assert word(gold, f"{far.numerator}/{far.denominator}") == "wrong"


def test_the_parser_underneath_has_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison sets `signal.alarm`, which would break in a thread and outlive its purpose."""
    monkeypatch.setattr("signal.alarm", lambda seconds: os.abort())
    assert word("x^2-1", "(x-1)(x+1)") == "correct"
