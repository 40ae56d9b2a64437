"""The sequential part of adaptive sampling: stopping points, waste, limits, known faults."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.budgets import Budget, Tally, chance_needed, difficulty_target, wilson
from pipeline.errors import UserError
from pipeline.schedule import Limits, Schedule
from pipeline.schema import Word

EVERY = {"A": 1, "B": 2, "C": 4, "D": 10, "E": 0}  # the card's prompts: correct iff t mod m = 0


def card_word(place: int, trial: int) -> Word:
    """Verdict of a 0-based trial under the card's rule, whose trials count from 1."""
    every = list(EVERY.values())[place]
    return "correct" if every and (trial + 1) % every == 0 else "wrong"


def run(
    schedule: Schedule, word: Callable[[int, int], Word], slots: int, seed: int, tokens: int = 1
) -> int:
    """Drive a schedule, `slots` in flight finishing in random order; return trials started."""
    shuffle, flight, started = random.Random(seed), [], 0
    while schedule.open or flight:
        while schedule.open and len(flight) < slots and (pick := schedule.next()):
            flight.append(pick)
            started += 1
        place, trial = flight.pop(shuffle.randrange(len(flight)))
        schedule.judge(place, trial, word(place, trial), tokens)
    return started


def outcome(schedule: Schedule, word: Callable[[int, int], Word]) -> list[tuple[int, int]]:
    """Counted trials and correct ones among them, a prompt."""
    rows = []
    for place in range(len(schedule.courses)):
        n = schedule.counted(place)
        rows.append((n, sum(word(place, t) == "correct" for t in range(n))))
    return rows


FAIL = [0.0, 0.5, 0.75, 0.9, 1.0]  # of the card's prompts over n_d = 20


@pytest.mark.parametrize("slots", [1, 7, 64])
@pytest.mark.parametrize(
    ("budget", "rows"),
    [
        (Budget("uniform", 3, 20), [(3, 3), (6, 3), (12, 3), (20, 2), (20, 0)]),
        (Budget("prop2diff", 8, 20), [(1, 1), (8, 4), (20, 5), (20, 2), (20, 0)]),
        (Budget("prop2diff", 8, 80), [(1, 1), (8, 4), (24, 6), (80, 8), (80, 0)]),
        (Budget("fixed", 12, 80), [(12, 12), (12, 6), (12, 3), (12, 1), (12, 0)]),
    ],
)
def test_card_check(budget: Budget, rows: list[tuple[int, int]], slots: int) -> None:
    """The worked check of the DART-Math card comes out literally, however many are in flight."""
    schedule = Schedule(budget, FAIL)
    run(schedule, card_word, slots, seed=slots)
    assert outcome(schedule, card_word) == rows


def test_card_targets() -> None:
    """Prop2Diff targets are {1, 4, 6, 8, 8}, 0 for the easiest without cover, and never round."""
    budget = Budget("prop2diff", 8, 20)
    assert [difficulty_target(budget, f) for f in FAIL] == [1, 4, 6, 8, 8]
    assert difficulty_target(Budget("prop2diff", 8, 20, cover=False), 0.0) == 0
    assert difficulty_target(Budget("prop2diff", 10, 20), 1 - 0.9) == 1
    assert difficulty_target(Budget("prop2diff", 192, 20, hardest=0.5), 0.25) == 96


def test_probe_trials_count_and_set_the_target() -> None:
    """With a probe of 20 the fail rates of the card come out and every probe trial counts."""
    schedule = Schedule(Budget("prop2diff", 8, 80, probe=20), [None] * 5)
    run(schedule, card_word, 64, seed=1)
    assert [schedule.target(i) for i in range(5)] == [1, 4, 6, 8, 8]
    assert [n for n, _ in outcome(schedule, card_word)] == [20, 20, 24, 80, 80]


def test_target_is_reached_not_exceeded() -> None:
    """The published off-by-one (40 wanted, 41 drawn) is impossible: k correct of k end it."""
    schedule = Schedule(Budget("uniform", 40, 100), [None])
    run(schedule, lambda *_: "correct", 64, seed=0)
    assert schedule.counted(0) == 40


def test_easy_prompts_do_not_overshoot() -> None:
    """Targets 5 and 5 at pass rates 1.0 and 0.1 with 64 slots: the easy one draws 5, not 32."""
    schedule = Schedule(Budget("uniform", 5, 200), [None, None])
    run(schedule, lambda p, t: "correct" if p == 0 or t % 10 == 9 else "wrong", 64, seed=3)
    assert len(schedule.courses[0].judged) == 5


def test_end_on_a_batch_boundary() -> None:
    """Two prompts of one trial each with two slots end; the published loop crashed there."""
    schedule = Schedule(Budget("fixed", 1, 1), [None, None])
    assert run(schedule, lambda *_: "wrong", 2, seed=0) == 2
    assert schedule.next() is None


def test_nothing_to_do() -> None:
    """No prompts, or a target of zero without cover, is finished before it starts."""
    assert Schedule(Budget("fixed", 1, 1), []).open == 0
    assert Schedule(Budget("prop2diff", 8, 9, cover=False), [0.0]).open == 0


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["fixed", "uniform", "prop2diff", "band"]),
    rates=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    slots=st.integers(1, 40),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    limits=st.sampled_from([Limits(), Limits(rollouts=17), Limits(tokens=60), Limits(rollouts=0)]),
)
def test_order_never_matters(
    kind: str, rates: list[float], slots: int, seeds: tuple[int, int], limits: Limits
) -> None:
    """What counts is what one slot counts, for any order of completion and any number of slots."""

    def word(place: int, trial: int) -> Word:
        draw = random.Random(place * 1000 + trial).random()
        return "correct" if draw < rates[place] else "wrong"

    def counted(slots: int, seed: int) -> list[int]:
        budget = Budget(kind, 4, 30, probe=6 if kind == "prop2diff" else 0)  # type: ignore[arg-type]
        schedule = Schedule(budget, [None] * len(rates), limits)
        run(schedule, word, slots, seed, tokens=3)
        return [schedule.counted(i) for i in range(len(rates))]

    first = counted(slots, seeds[0])
    assert first == counted(1, 0) == counted(slots, seeds[1])
    assert sum(first) <= limits.rollouts and 3 * sum(first) <= limits.tokens


@settings(max_examples=40, deadline=None)
@given(known=st.sets(st.integers(0, 25), max_size=20), slots=st.integers(1, 20))
def test_earlier_answers_are_used_and_gaps_filled(known: set[int], slots: int) -> None:
    """Trials answered in an earlier run are not started again, gaps between them are."""

    def word(place: int, trial: int) -> Word:
        return "correct" if trial % 4 == 3 else "wrong"

    schedule = Schedule(Budget("uniform", 5, 30), [None])
    for trial in sorted(known):
        schedule.start(0, trial)
    for trial in sorted(known):
        schedule.judge(0, trial, word(0, trial))
    started = run(schedule, word, slots, seed=0)
    assert schedule.counted(0) == 20
    assert started + len(known) == len(schedule.courses[0].judged)
    assert set(range(20)) <= set(schedule.courses[0].judged)


def test_infra_is_neither_correct_nor_wrong() -> None:
    """Infrastructure failures use up trials but leave the measured fail rate alone."""
    words: list[Word] = ["infra", "correct", "infra", "wrong"]
    schedule = Schedule(Budget("prop2diff", 8, 4, probe=4), [None])
    run(schedule, lambda _, t: words[t], 1, seed=0)
    assert schedule.target(0) == 4


def test_band_spends_where_the_interval_straddles() -> None:
    """Hopeless and trivial prompts end early, one on the edge of the band draws until its cap."""
    rates = [0.0, 1.0, 0.1]

    def word(place: int, trial: int) -> Word:
        return "correct" if random.Random(place * 7919 + trial).random() < rates[place] else "wrong"

    schedule = Schedule(Budget("band", 1, 400, band=(0.1, 0.9)), [None] * 3)
    run(schedule, word, 8, seed=0)
    hopeless, trivial, edge = (schedule.counted(i) for i in range(3))
    assert hopeless < 40 and trivial < 40 and edge > 50


def test_waste_with_64_in_flight() -> None:
    """1,000 prompts of mixed pass rates, 64 in flight: at most 3 % beyond the optimum."""
    rates = [random.Random(i).betavariate(0.6, 0.8) for i in range(1000)]

    def word(place: int, trial: int) -> Word:
        return "correct" if random.Random(place * 7919 + trial).random() < rates[place] else "wrong"

    schedule = Schedule(Budget("uniform", 4, 64), [None] * 1000)
    started = run(schedule, word, 64, seed=0)
    optimum = sum(schedule.counted(i) for i in range(1000))
    assert optimum <= started <= 1.03 * optimum


@settings(max_examples=30, deadline=None)
@given(correct=st.integers(0, 20), wrong=st.integers(0, 20), pending=st.integers(0, 20))
def test_chance_falls_with_each_trial_ahead(correct: int, wrong: int, pending: int) -> None:
    """One more trial under way never makes the next one more likely to be needed."""
    budget, known = Budget("uniform", 5, 1000), Tally(correct + wrong, correct, wrong)
    here = chance_needed(budget, known, pending, 5)
    assert 0.0 <= chance_needed(budget, known, pending + 1, 5) <= here + 1e-9 <= 1.0 + 2e-9


def test_wilson_literal() -> None:
    """Wilson at z = 1.96 for 3 of 10 is (0.1078, 0.6032), the textbook value; of none (0, 1)."""
    low, high = wilson(3, 10, z=1.959964)
    assert (round(low, 4), round(high, 4)) == (0.1078, 0.6032)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Budget("fixed", 1, 0), "max_trials"),
        (lambda: Budget("best", 1, 1), "unknown"),  # type: ignore[arg-type]
        (lambda: Budget("prop2diff", 8, 4, probe=5), "exceeds"),
        (lambda: Budget("band", 1, 4, band=(0.9, 0.1)), "band"),
        (lambda: Schedule(Budget("prop2diff", 8, 4), [None]), "probe"),
    ],
)
def test_senseless_budgets_are_refused(make: Callable[[], object], says: str) -> None:
    """A budget that could never end or means nothing is refused in one sentence."""
    with pytest.raises(UserError, match=says):
        make()
