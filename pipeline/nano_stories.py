"""The stories of the word problems: eight levels, two to eight kinds a level, as one table."""

from pipeline.nano_problems import Ranges, Story


def _span(**ranges: tuple[int, int] | tuple[int, int, int]) -> Ranges:
    return {name: (r[0], r[1], r[2] if len(r) == 3 else 1) for name, r in ranges.items()}


_ONE_STEP: tuple[tuple[str, str, bool, tuple[str, ...]], ...] = (
    ("find", "a + b", False, (
        "{n} has {a} {t} and finds {b} more. How many {t} does {n} have now?",
        "{n} had {a} {t}. Then {n} found {b} more {t}. How many {t} are there now?",
    )),
    ("gift_in", "a + b", False, (
        "{n} has {a} {t}. {m} gives {n} {b} more. How many {t} does {n} have now?",
        "{m} gave {n} {b} {t}. Before that {n} had {a} {t}. How many {t} does {n} have?",
    )),
    ("together", "a + b", False, (
        "{n} has {a} {t} and {m} has {b} {t}. How many {t} do they have together?",
        "There are {a} {t} from {n} and {b} {t} from {m}. How many {t} are there in all?",
    )),
    ("lose", "a - b", False, (
        "{n} has {a} {t} and loses {b}. How many {t} are left?",
        "{n} had {a} {t} but lost {b} of them. How many {t} does {n} still have?",
    )),
    ("gift_out", "a - b", False, (
        "{n} has {a} {t} and gives {b} to {m}. How many {t} does {n} have left?",
        "Of {a} {t}, {n} gives {b} to {m}. How many {t} are left?",
    )),
    ("compare", "a - b", False, (
        "{n} has {a} {t} and {m} has {b}. How many more {t} does {n} have?",
        "{m} has {b} {t}. {n} has {a}. How many more {t} does {n} have than {m}?",
    )),
    ("put", "a + b", True, (
        "{n} puts {a} {t} on a table. {m} puts {b} more {t} there. How many {t} are there in all?",
    )),
    ("drop", "a - b", True, (
        "{n} has {a} {t} and loses {b} of them. How many {t} are left?",
        "Of {a} {t}, {n} loses {b}. How many {t} are left?",
    )),
    ("count_both", "a + b", True, (
        "{n} sees {a} {t} on the way and {m} sees {b}. How many {t} do they see in all?",
    )),
    ("sell", "a - b", True, (
        "{n} had {a} {t} and sold {b} to {m}. How many {t} does {n} keep?",
    )),
)  # fmt: skip

_DEEP: tuple[Story, ...] = (
    Story("find_lose", 3, _span(a=(11, 60), b=(3, 39), c=(3, 39)), "a + b; s1 - c", (
        "{n} has {a} {t}, finds {b} more and then loses {c}. How many {t} are left?",
        "{n} had {a} {t}. {m} gave {n} {b} more, and {n} lost {c}. How many {t} does {n} have?",
    )),
    Story("lose_find", 3, _span(a=(21, 90), b=(3, 39), c=(3, 39)), "a - b; s1 + c", (
        "{n} has {a} {t}, gives {b} to {m} and finds {c} more. How many {t} does {n} have now?",
        "Of {a} {t}, {n} loses {b}. Then {m} brings {c} more. How many {t} are there now?",
    )),
    Story("three_piles", 3, _span(a=(5, 40), b=(5, 40), c=(5, 40)), "a + b; s1 + c", (
        "There are {a} red, {b} blue and {c} green {t}. How many {t} are there in all?",
        "{n} counts {a} {t} on Monday, {b} on Tuesday and {c} on Friday. How many in all?",
    )),
    Story("more_than", 3, _span(a=(5, 40), b=(3, 30)), "a + b; a + s1", (
        "{n} has {a} {t}. {m} has {b} more than {n}. How many {t} do they have together?",
        "{m} has {b} more {t} than {n}, who has {a}. How many {t} do both have together?",
    )),
    Story("lose_twice", 3, _span(a=(31, 99), b=(3, 39), c=(3, 39)), "a - b; s1 - c", (
        "{n} has {a} {t}, gives {b} to {m} and then loses {c}. How many {t} are left?",
    ), held_out=True),
    Story("brought_twice", 3, _span(a=(5, 40), b=(5, 40), c=(5, 40)), "a + b; s1 + c", (
        "{n} had {a} {t}. {m} brings {b} and later {c} more. How many {t} does {n} have now?",
    ), held_out=True),
    Story("groups", 4, _span(a=(2, 9), b=(2, 9)), "a * b", (
        "{n} has {a} {box} with {b} {t} each. How many {t} are there in all?",
        "There are {b} {t} in each of {a} {box}. How many {t} is that?",
    )),
    Story("groups_more", 4, _span(a=(2, 9), b=(2, 9), c=(3, 30)), "a * b; s1 + c", (
        "{n} has {a} {box} with {b} {t} each and {c} loose {t}. How many {t} are there in all?",
        "{n} fills {a} {box} with {b} {t} each and has {c} more. How many {t} does {n} have?",
    )),
    Story("share", 4, _span(a=(6, 81), b=(2, 9)), "a / b", (
        "{n} shares {a} {t} equally among {b} friends. How many {t} does each friend get?",
        "{a} {t} go into {b} {box}, the same number in each. How many {t} are in each?",
    )),
    Story("groups_lose", 4, _span(a=(3, 9), b=(3, 9), c=(2, 9)), "a * b; s1 - c", (
        "{n} has {a} {box} with {b} {t} each and loses {c}. How many {t} are left?",
    ), held_out=True),
    Story("buy", 5, _span(a=(2, 9), P=(105, 995, 5)), "P * a", (
        "One {item} costs ${P}. How many dollars do {a} of them cost?",
        "{n} buys {a} of the same {item} for ${P} each. How many dollars does {n} pay?",
    )),
    Story("change", 5, _span(a=(10, 60, 5), P=(105, 1995, 5)), "a - P", (
        "{n} pays for a {item} that costs ${P} with ${a}. How many dollars come back?",
        "A {item} costs ${P}. {n} has ${a}. How many dollars are left after buying it?",
    )),
    Story("two_prices", 5, _span(P=(105, 995, 5), Q=(105, 995, 5)), "P + Q", (
        "A {item} costs ${P} and a bag costs ${Q}. How many dollars do both cost?",
        "{n} spends ${P} and {m} spends ${Q}. How many dollars do they spend together?",
    )),
    Story("fraction", 5, _span(a=(2, 45), b=(4, 60)), "a ~ b", (
        "{a} of the {b} {t} are red. What fraction is red, in lowest terms?",
        "{n} sells {a} of {b} {t}. What fraction does {n} sell? Give it in lowest terms.",
    )),
    Story("fraction_of", 5, _span(a=(2, 7), b=(3, 9), c=(6, 90)), "c / b; s1 * a; c - s2", (
        "{n} has {c} {t} and gives {a}/{b} of them to {m}. How many {t} does {n} keep?",
        "Of {c} {t}, {a}/{b} are sold. How many {t} are not sold?",
    )),
    Story("fraction_lost", 5, _span(a=(2, 45), b=(4, 60)), "a ~ b", (
        "{n} had {b} {t} and lost {a} of them. What fraction is lost, in lowest terms?",
    ), held_out=True),
    Story("percent_of", 6, _span(a=(20, 900, 10), b=(5, 95, 5)), "a * b; s1 / 100", (
        "{b}% of the {a} {t} are red. How many {t} are red?",
        "{n} has {a} {t} and sells {b}% of them. How many {t} does {n} sell?",
    )),
    Story("percent_off", 6, _span(a=(20, 700, 10), b=(5, 70, 5)),
        "a * b; s1 / 100; a - s2", (
        "A {item} costs {a} dollars. The price falls by {b}%. What is the new price in dollars?",
        "{n} has {a} {t} and loses {b}% of them. How many {t} are left?",
    )),
    Story("what_percent", 6, _span(a=(3, 90), b=(10, 200, 10)), "a * 100; s1 / b", (
        "{a} of the {b} {t} are green. What percent of the {t} is green?",
        "{n} sells {a} of {b} {t}. What percent of the {t} does {n} sell?",
    ), unit="%"),
    Story("mean", 6, _span(a=(11, 90), b=(11, 90), c=(11, 90)), "a + b; s1 + c; s2 / 3", (
        "{n} counts {a}, {b} and {c} {t} on three days. What is the mean number a day?",
        "Three {box} hold {a}, {b} and {c} {t}. What is the mean number of {t}?",
    )),
    Story("bill", 6, _span(a=(2, 9), P=(105, 995, 5), b=(50, 90, 10)), "P * a; b - s1", (
        "{n} buys {a} of the same {item} for ${P} each and pays with ${b}. "
        "How many dollars come back?",
        "One {item} costs ${P}. {n} has ${b} and buys {a} of them. How many dollars are left?",
    )),
    Story("percent_more", 6, _span(a=(20, 700, 10), b=(5, 70, 5)), "a * b; s1 / 100; a + s2", (
        "A {item} costs {a} dollars. The price rises by {b}%. What is the new price in dollars?",
    ), held_out=True),
    Story("crates", 7, _span(a=(12, 69), b=(12, 69), c=(100, 999)), "a x b; s1 + c", (
        "{n} has {b} {box} with {a} {t} each and {c} loose {t}. How many {t} are there in all?",
        "Each of {b} {box} holds {a} {t}, and {c} {t} lie beside them. How many {t} is that?",
    )),
    Story("crates_sold", 7, _span(a=(21, 69), b=(21, 69), c=(100, 400)), "a x b; s1 - c", (
        "{n} fills {b} {box} with {a} {t} each and sells {c} {t}. How many {t} are left?",
        "There are {a} {t} in each of {b} {box}. {c} are sold. How many {t} are left?",
    )),
    Story("area_tiles", 7, _span(a=(12, 69), b=(12, 69), c=(2, 9)), "a x b; s1 * c", (
        "A wall has {b} rows of {a} bricks. How many bricks do {c} such walls need?",
        "{n} lays {b} rows of {a} stones a day. How many stones are that in {c} days?",
    )),
    Story("crates_shared", 7, _span(a=(12, 69), b=(12, 69), c=(2, 9)), "a x b; s1 / c", (
        "{n} shares {b} {box} of {a} {t} equally among {c} friends. "
        "How many {t} does each friend get?",
    ), held_out=True),
    Story("factory", 8, _span(a=(123, 987), b=(13, 68), c=(6, 29), d=(1001, 9999)),
        "a * b; s1 * c; s2 - d", (
        "A factory makes {a} {box} of {b} {t} a day for {c} days. Then {d} {t} are lost. "
        "How many {t} are left?",
        "Every day {n} packs {a} {box} with {b} {t} each. After {c} days {m} takes {d} {t}. "
        "How many {t} are left?",
    )),
    Story("two_mills", 8, _span(a=(123, 987), b=(13, 68), c=(123, 987), d=(13, 68)),
        "a * b; c * d; s1 + s2", (
        "One mill fills {a} {box} with {b} {t} each, another {c} {box} with {d} each. "
        "How many {t} do both fill in all?",
        "{n} sells {b} {t} on each of {a} days, and {m} sells {d} on each of {c} days. "
        "How many {t} do both sell together?",
    )),
    Story("profit", 8, _span(a=(123, 987), b=(41, 68), e=(13, 29), c=(4, 9)),
        "b - e; a * s1; s2 * 12; s3 / c", (
        "{n} buys a {item} for {e} dollars, sells it for {b}, and sells {a} a month. "
        "The profit of 12 months is shared equally by {c} people. How many dollars is a share?",
        "A {item} is made for {e} dollars and sold for {b}. A shop sells {a} a month for 12 "
        "months and {c} owners share the profit equally. How many dollars does each get?",
    )),
    Story("grain", 8, _span(a=(123, 987), b=(13, 68), c=(6, 29), d=(3, 9)),
        "a * b; s1 * c; s2 / d", (
        "{a} farms send {b} sacks of {c} kilos each. {d} mills share the grain equally. "
        "How many kilos does each mill get?",
    ), held_out=True),
)  # fmt: skip


def _one_step(level: int, low: int, high: int) -> tuple[Story, ...]:
    ranges = _span(a=(low, high), b=(low, high))
    return tuple(Story(k, level, ranges, step, t, "", held) for k, step, held, t in _ONE_STEP)


STORIES: tuple[Story, ...] = _one_step(1, 2, 9) + _one_step(2, 11, 79) + _DEEP
