"""Which trial to start next, and which trials count: the sequential part of adaptive sampling.

No engine, no clock, no text in here: trials go out, verdict words come in. Trials that a prompt is
certain to need go first, breadth first over the prompts. Only when there are none may a prompt run
ahead of its verdicts, the likeliest to be needed first, so that easy prompts do not overshoot and
hard ones keep the engine full. What counts is decided in trial order alone: the trials before each
prompt's stopping point, whatever the order in which they finished.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.budgets import Budget, Tally, chance_needed, difficulty_target, enough, first_target
from pipeline.schema import Word

# A trial ahead of its prompt's verdicts starts only if it is at least this likely to be needed.
SPECULATE = 0.8


class Limits(NamedTuple):
    """What all prompts together may spend, in counted trials and in generated tokens.

    The limit falls in breadth-first order (trial 0 of every prompt, then trial 1, ...), so where
    it falls does not depend on the order in which trials finished.
    """

    rollouts: float = math.inf
    tokens: float = math.inf


UNLIMITED = Limits()
_NOTHING = Tally()


@dataclass(slots=True)
class _Course:
    """One prompt: `known` tallies all judged trials, `prefix` those without a gap before them."""

    target: int | None
    judged: dict[int, tuple[Word, int]] = field(default_factory=dict)  # trial -> word, tokens
    started: set[int] = field(default_factory=set)  # and not judged yet
    following: int = 0  # the lowest trial neither started nor judged
    known: Tally = _NOTHING
    prefix: Tally = _NOTHING
    done: bool = False
    version: int = 0  # of its newest entry in the queue


class Schedule:
    """The trials of many prompts, addressed by (prompt's place, trial number from 0)."""

    def __init__(
        self, budget: Budget, fail_rates: Sequence[float | None], limits: Limits = UNLIMITED
    ) -> None:
        self.budget, self.limits = budget, limits
        self.courses = [_Course(first_target(budget, rate)) for rate in fail_rates]
        self.open = len(self.courses)  # prompts that still need trials
        self._queue: list[tuple[float, int, int]] = []
        self._frontier = deque((0, place) for place in range(len(self.courses)))
        self._rollouts, self._tokens = 0, 0  # of the trials before the frontier
        self._cut: tuple[int, int] | None = None  # (trial, place): the first beyond the limit
        for place in range(len(self.courses)):
            self._advance(place)

    def next(self) -> tuple[int, int] | None:
        """Take the next trial to start now; None while nothing is worth starting."""
        while self._queue and self.open:
            _, place, version = heapq.heappop(self._queue)
            course = self.courses[place]
            if version == course.version and not course.done:
                trial = course.following
                self.start(place, trial)
                return place, trial
        return None

    def start(self, place: int, trial: int) -> None:
        """Mark a trial as under way (also one that was answered in an earlier run)."""
        course = self.courses[place]
        course.started.add(trial)
        while course.following in course.started or course.following in course.judged:
            course.following += 1
        self._enqueue(place)

    def judge(self, place: int, trial: int, word: Word, tokens: int = 0) -> None:
        """File the verdict of a started trial."""
        course = self.courses[place]
        course.started.remove(trial)
        course.judged[trial] = word, tokens
        course.known = _add(course.known, word)
        if not course.done and self._cut is None:
            self._advance(place)

    def target(self, place: int) -> int | None:
        """Return how many correct completions the prompt was to reach; None for fixed and band."""
        return self.courses[place].target

    def counted(self, place: int) -> int:
        """Return how many trials count: those before the stopping point and before the limit."""
        trials = self.courses[place].prefix.trials
        if self._cut is None:
            return trials
        trial, cut_place = self._cut
        return min(trials, trial + 1 if place < cut_place else trial)

    def _advance(self, place: int) -> None:
        course = self.courses[place]
        course.done = enough(self.budget, course.prefix, course.target)
        while not course.done and course.prefix.trials in course.judged:
            word, _ = course.judged[course.prefix.trials]
            course.prefix = _add(course.prefix, word)
            self._set_target(course)
            course.done = enough(self.budget, course.prefix, course.target)
        if course.done:
            self.open -= 1
        else:
            self._enqueue(place)
        if self.limits != UNLIMITED and self._cut is None:
            self._sum_up()

    def _set_target(self, course: _Course) -> None:
        probing = self.budget.kind == "prop2diff" and course.target is None
        if probing and course.prefix.trials == self.budget.probe:
            judged = course.prefix.correct + course.prefix.wrong
            rate = course.prefix.wrong / judged if judged else 1.0
            course.target = difficulty_target(self.budget, rate)

    def _enqueue(self, place: int) -> None:
        course = self.courses[place]
        course.version += 1
        chance = 0.0 if course.done else self._chance(course)
        if chance >= SPECULATE:
            certain = chance > 1 - 1e-9
            rank = float(course.following) if certain else 1e12 - chance * 1e6
            heapq.heappush(self._queue, (rank, place, course.version))

    def _chance(self, course: _Course) -> float:
        seen = len(course.judged) + len(course.started)
        if seen > course.following:
            return 1.0  # a gap below a known trial: without it the prefix cannot grow
        return chance_needed(self.budget, course.known, len(course.started), course.target)

    def _sum_up(self) -> None:
        """Add up the finished trials in breadth-first order; end everything where a limit falls."""
        while self._frontier:
            trial, place = self._frontier[0]
            course = self.courses[place]
            if trial < course.prefix.trials:
                _, tokens = course.judged[trial]
                if self._exceeds(tokens):
                    self._cut, self.open = (trial, place), 0
                    return
                self._rollouts += 1
                self._tokens += tokens
                self._frontier.append((trial + 1, place))
            elif not course.done:
                return
            self._frontier.popleft()

    def _exceeds(self, tokens: int) -> bool:
        over_rollouts = self._rollouts + 1 > self.limits.rollouts
        return over_rollouts or self._tokens + tokens > self.limits.tokens


def _add(tally: Tally, word: Word) -> Tally:
    """Count one verdict: everything that was judged and is not correct is wrong."""
    judged = word not in ("infra", "unverified")
    return Tally(
        tally.trials + 1,
        tally.correct + (word == "correct"),
        tally.wrong + (judged and word != "correct"),
    )
