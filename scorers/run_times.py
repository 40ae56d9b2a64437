"""A reward for run time that correctness must earn first (ACECode).

Yang et al., arXiv 2412.17264, say: a step function that punishes wrong programs and follows the run
time of right ones. Levels and breakpoints were not to be found; these are ours and configurable.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from pipeline.errors import UserError


class Levels(NamedTuple):
    """Rewards of what is not right, from bad to less bad (CodeRL's), and of equal speed."""

    unparsable: float = -1.0
    error: float = -0.6
    wrong: float = -0.3
    equal: float = 1.0
    spread: float = 0.5  # the most that speed adds or takes


class Reward(NamedTuple):
    """A program's reward, and what it is for: a verdict's word, or correct, faster, slower."""

    value: float | None
    kind: str


def check_levels(levels: Levels) -> Levels:
    """Return levels under which no wrong program beats a right one; UserError for others."""
    rising = levels.unparsable <= levels.error <= levels.wrong < levels.equal - levels.spread
    if not rising or levels.spread < 0:
        raise UserError(
            f"levels {tuple(levels)}: give unparsable <= error <= wrong < equal - spread, "
            "spread 0 or more"
        )
    return levels


def run_time_reward(
    verdict: str,
    time: float | None = None,
    reference: float | None = None,
    *,
    noise: float = 0.0,
    least: float = 0.0,
    levels: Levels | None = None,
) -> Reward:
    """Return the reward of one program.

    verdict: a word of `pipeline.schema.WORDS`; time, reference: any one unit. Right programs get
    equal + spread * log2(reference / time), the logarithm within [-1, 1]; a logarithm within
    `noise` counts as 0, and without both times, or with a reference below `least`, right is equal.
    What was not judged has no reward (None).
    """
    levels = levels or Levels()
    if verdict in ("infra", "unverified"):
        return Reward(None, verdict)
    if verdict == "unparsable":
        return Reward(levels.unparsable, verdict)
    if verdict != "correct":
        return Reward(levels.wrong if verdict == "wrong" else levels.error, verdict)
    if not time or not reference or reference < least:
        return Reward(levels.equal, "correct")
    gain = math.log2(reference / time)
    if gain == 0 or abs(gain) < noise:
        return Reward(levels.equal, "correct")
    value = levels.equal + levels.spread * max(-1.0, min(1.0, gain))
    return Reward(value, "faster" if gain > 0 else "slower")


def reference_noise(times: Sequence[float]) -> float:
    """Return how far log2 of the reference's own repetitions lies from their median, at most."""
    if len(times) < 2 or min(times) <= 0:
        return 0.0
    middle = median(times)
    return max(abs(math.log2(middle / one)) for one in times)
