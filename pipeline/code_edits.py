"""Programs between a wrong and a right one: the same text with some of the changes made (Condor).

Liang et al., IEEE TSE 2025, arXiv 2412.17429. The paper uses versions of the modification process;
its rule was not found. Ours: every proper, non-empty subset of the line hunks. What such a program
is worth, only running it tells.
"""

import difflib
import random
from collections.abc import Iterable
from itertools import combinations

from pipeline.pair_matching import edit_distance


def hunk_versions(wrong: str, right: str, *, at_most: int = 14, seed: int = 0) -> list[str]:
    """Return the distinct programs that lie between, at most so many, drawn by seed.

    Subsets of few changes come first. Above 12 hunks the subsets are drawn, not listed.
    """
    before, after = wrong.split("\n"), right.split("\n")
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    codes = matcher.get_opcodes()
    hunks = [place for place, code in enumerate(codes) if code[0] != "equal"]
    found: dict[str, None] = {}
    for chosen in _subsets(hunks, at_most, random.Random(seed)):
        lines = [
            line
            for place, (_, a, b, c, d) in enumerate(codes)
            for line in (after[c:d] if place in chosen else before[a:b])
        ]
        found["\n".join(lines)] = None
    return [text for text in found if text not in (wrong, right)]


def _subsets(hunks: list[int], at_most: int, rng: random.Random) -> Iterable[tuple[int, ...]]:
    if len(hunks) > 12:
        sizes = range(1, len(hunks))
        return {tuple(sorted(rng.sample(hunks, rng.choice(sizes)))): None for _ in range(at_most)}
    every = [one for size in range(1, len(hunks)) for one in combinations(hunks, size)]
    taken = set(rng.sample(every, min(at_most, len(every))))
    return [one for one in every if one in taken]


def relative_distance(one: list[str], other: list[str]) -> float:
    """Return the edit distance of two token lists over their mean length; 0 for two empty ones.

    The authors' notebook divides by len(one) + len(other) / 2: brackets are missing.
    """
    mean = (len(one) + len(other)) / 2
    return edit_distance(one, other) / mean if mean else 0.0
