"""When a prompt has had enough trials: the stopping rules of adaptive sampling.

A rule looks at one prompt's verdicts in trial order and at nothing else, so where it stops depends
only on what the engine answered. `fixed` is vanilla rejection sampling; `uniform` and `prop2diff`
are the two DARS rules (DART-Math, arXiv 2407.13690, section 3); `band` spends only while the
pass-rate interval still straddles an edge of a band.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.errors import UserError

Kind = Literal["fixed", "uniform", "prop2diff", "band"]

# Two-sided 90 %: a prompt is dropped from a band early only on fair evidence.
_Z = 1.6449


@dataclass(frozen=True, slots=True)
class Budget:
    """A stopping rule and its numbers.

    k:          fixed: trials a prompt; uniform: correct completions wanted a prompt;
                prop2diff: correct completions wanted of the hardest prompt.
    max_trials: trial cap a prompt; there is always one, since some prompts are never solved.
    probe:      prop2diff: trials that estimate the fail rate f; they count like all others.
    cover:      prop2diff: ask at least one correct completion of every prompt (the paper's Cover).
    hardest:    prop2diff: the fail rate that receives k; 1 gives K = ceil(k f), the largest fail
                rate of the set gives K = ceil(k f / max f).
    band:       band: (low, high) pass rates.
    """

    kind: Kind
    k: int
    max_trials: int
    probe: int = 0
    cover: bool = True
    hardest: float = 1.0
    band: tuple[float, float] = (0.1, 0.9)

    def __post_init__(self) -> None:
        if self.kind not in ("fixed", "uniform", "prop2diff", "band"):
            raise UserError(
                f"budget '{self.kind}' is unknown; choose fixed, uniform, prop2diff or band"
            )
        if self.k < 1 or self.max_trials < 1:
            raise UserError(
                f"budget {self.kind}: k = {self.k} and max_trials = {self.max_trials} "
                "must both be at least 1; without a trial cap an unsolvable prompt never ends"
            )
        if not 0.0 <= self.band[0] < self.band[1] <= 1.0:
            raise UserError(f"band {self.band} is not (low, high) with 0 <= low < high <= 1")
        if self.kind == "prop2diff" and self.probe > self.max_trials:
            raise UserError(
                f"probe = {self.probe} exceeds max_trials = {self.max_trials}; lower one"
            )


class Tally(NamedTuple):
    """Verdicts of one prompt so far: trials >= correct + wrong, since infra is neither."""

    trials: int = 0
    correct: int = 0
    wrong: int = 0


def first_target(budget: Budget, fail_rate: float | None) -> int | None:
    """Return the number of correct completions wanted before any trial; None while unknown."""
    if budget.kind == "uniform":
        return budget.k
    if budget.kind == "prop2diff" and fail_rate is not None:
        return difficulty_target(budget, fail_rate)
    if budget.kind == "prop2diff" and budget.probe == 0:
        raise UserError("prop2diff needs probe >= 1, or prompts with a column 'fail_rate'")
    return None


def difficulty_target(budget: Budget, fail_rate: float) -> int:
    """K = ceil(k f / hardest), at least 1 with cover; floats such as 1 - 0.9 must not add one."""
    wanted = math.ceil(budget.k * min(1.0, fail_rate / budget.hardest) - 1e-9)
    return max(1 if budget.cover else 0, wanted)


def enough(budget: Budget, tally: Tally, target: int | None) -> bool:
    """Say whether a prompt stops after these trials. `target` is None while it is unknown."""
    if tally.trials >= budget.max_trials:
        return True
    if budget.kind == "fixed":
        return tally.trials >= budget.k
    if budget.kind == "band":
        return tally.trials >= max(1, budget.probe) and settled(tally, budget.band)
    return target is not None and tally.correct >= target and tally.trials >= budget.probe


def settled(tally: Tally, band: tuple[float, float]) -> bool:
    """Say whether the pass-rate interval lies wholly inside the band or wholly outside of it."""
    low, high = wilson(tally.correct, tally.correct + tally.wrong)
    return high < band[0] or low > band[1] or (band[0] <= low and high <= band[1])


def wilson(correct: float, judged: int, z: float = _Z) -> tuple[float, float]:
    """Return the Wilson score interval of a pass rate; (0, 1) when nothing was judged."""
    if judged == 0:
        return 0.0, 1.0
    rate, shrink = correct / judged, z * z / judged
    centre = (rate + shrink / 2) / (1 + shrink)
    half = z * math.sqrt(rate * (1 - rate) / judged + shrink / (4 * judged)) / (1 + shrink)
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_needed(budget: Budget, known: Tally, pending: int, target: int | None) -> float:
    """Return the probability that one more trial is needed once the pending ones are judged.

    `known` counts every judged trial, whatever its place. The pending verdicts are predicted by the
    beta-binomial of a Beta(1/2, 1/2) prior on the pass rate: 1.0 means that the sequential rule
    cannot stop before that trial, so starting it now wastes nothing.
    """
    launched = known.trials + pending
    if launched >= budget.max_trials:
        return 0.0
    if budget.kind == "fixed":
        return 1.0 if launched < budget.k else 0.0
    if launched < budget.probe:
        return 1.0
    if budget.kind == "prop2diff" and target is None:
        return 0.0  # the probes are all under way; they decide
    if target is not None and known.correct + pending < target:
        return 1.0
    return sum(
        weight
        for hits, weight in enumerate(_beta_binomial(pending, known.correct, known.wrong))
        if not enough(
            budget,
            Tally(launched, known.correct + hits, known.wrong + pending - hits),
            target,
        )
    )


def _beta_binomial(n: int, correct: int, wrong: int) -> list[float]:
    """Return P(j correct of the next n), j = 0..n, after these verdicts."""
    a, b = correct + 0.5, wrong + 0.5
    weight = math.exp(
        math.lgamma(b + n) - math.lgamma(a + b + n) + math.lgamma(a + b) - math.lgamma(b)
    )
    weights = [weight]
    for j in range(n):
        weight *= (n - j) / (j + 1) * (a + j) / (b + n - j - 1)
        weights.append(weight)
    return weights
