"""How often each ranking chooses a right program, and makes a right pair, from untrusted tests.

    python -m tests.proof.code_ranking [--tasks 400] [--seeds 3] [--agree 0.5]

Claim under test: B4 >= CodeT >= MaxPass. Tasks of the nano world's test split; a task has 20
programs and 15 tests, right with the probabilities of a noise level. A wrong program is one of the
world's plausible mistakes, or the right one with another number in it; a wrong test expects what a
wrong program gives (a share `agree` of them), or a value that none gives. Each of the 20 counts as
a row of its own, as samples of a model do that differ in style. The truth: the reference, 60 calls.

A tie is broken at random: its members' mean counts. A pair is the best against the worst group
(DSTC: its own contrast). Intervals: bootstrap over tasks, 95 %; differences are paired.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.nano_tasks import KINDS
from pipeline.nano_world import _call, _load, code_tasks
from scorers.consensus import Ranking, b4, codedpo, codet, contrast, dstc, max_pass, mbr_exec

LEVELS = {"low": (0.7, 0.85), "middle": (0.4, 0.6), "high": (0.15, 0.4)}  # right programs, tests
PROGRAMS, TESTS, HIDDEN, RESAMPLES = 20, 15, 60, 2000
METHODS: dict[str, Callable[..., Ranking]] = {
    "MaxPass": max_pass,
    "MBR-exec": mbr_exec,
    "CodeT": codet,
    "B4": b4,
    "B4, firm": lambda passed: b4(passed, alpha_xy=1e3, beta_0=1e4),
    "CodeDPO": codedpo,
    "DSTC": dstc,
}
_ARGUMENTS = {kind.name: kind.args for kind in KINDS}


class Scene(NamedTuple):
    """One task's programs against its tests: bool [N, M], and the truth, bool [N]."""

    passed: NDArray[np.bool_]
    right: NDArray[np.bool_]


def scenes(n: int, seed: int, level: str, agree: float) -> Iterator[Scene]:
    """Draw n tasks with programs and tests of a noise level."""
    for row in code_tasks(n, seed=seed, split="test").to_pylist():
        yield _scene(row, random.Random(f"{row['id']}/{seed}/{level}"), *LEVELS[level], agree)


def _scene(
    row: Mapping[str, Any], rng: random.Random, p_code: float, p_test: float, agree: float
) -> Scene:
    meta = json.loads(row["meta"])
    calls = [_call(_ARGUMENTS[meta["kind"]], meta["k"], rng) for _ in range(HIDDEN)]
    name, solution = row["entry_point"], row["solution"]
    truth = _answers(name, solution, calls)
    wrong = [
        code for code in _mistakes(row, meta["k"], rng) if _answers(name, code, calls) != truth
    ]
    codes = [solution if rng.random() < p_code else rng.choice(wrong) for _ in range(PROGRAMS)]
    given = {code: _answers(name, code, calls) for code in {*codes, *wrong}}
    asked = rng.sample(range(HIDDEN), TESTS)
    expected = [
        truth[i]
        if rng.random() < p_test
        else _lie(truth[i], [given[w][i] for w in wrong], rng, agree)
        for i in asked
    ]
    passed = [[given[c][i] == want for i, want in zip(asked, expected, strict=True)] for c in codes]
    return Scene(np.array(passed), np.array([given[code] == truth for code in codes]))


def _answers(name: str, source: str, calls: Sequence[tuple[Any, ...]]) -> list[str]:
    function, found = _load(name, source), []
    for call in calls:
        try:
            found.append(repr(function(*call)))
        except Exception as problem:
            found.append(type(problem).__name__)
    return found


def _mistakes(row: Mapping[str, Any], k: int, rng: random.Random) -> list[str]:
    """Return the world's plausible mistakes, and the solution with other numbers."""
    head, _, body = row["solution"].partition("\n")
    others = rng.sample([n for n in range(1, 14) if n != k], 4)
    numbers = [f"{head}\n" + re.sub(rf"\b{k}\b", str(n), body) for n in others]
    return [*row["wrong_solutions"] * 2, *numbers]


def _lie(true: str, wrong: Sequence[str], rng: random.Random, agree: float) -> str:
    """Expect what a wrong program answers, in a share of `agree`; else what nobody answers."""
    lies = [one for one in wrong if one != true]
    return rng.choice(lies) if lies and rng.random() < agree else f"not {true}"


def measure(scene: Scene, name: str) -> tuple[float, float, float]:
    """Return accuracy of the chosen program, whether there is a pair, accuracy of the pair."""
    ranking = METHODS[name](scene.passed)
    best = [row for row in ranking.best if scene.passed[row].any()]
    chosen = float(scene.right[best].mean()) if best else 0.0
    if name == "DSTC":
        found = contrast(scene.passed)
        if found is None:
            return chosen, 0.0, 0.0
        return chosen, 1.0, float(scene.right[found.chosen] and not scene.right[found.rejected])
    worst = list(ranking.groups[-1])
    if not best or ranking.groups[-1] == ranking.groups[0]:
        return chosen, 0.0, 0.0
    return chosen, 1.0, chosen * float((~scene.right[worst]).mean())


def main() -> None:
    """Print one Markdown table of choices and pairs, and one of differences."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agree", type=float, default=0.5)
    args = parser.parse_args()
    print("| noise | method | chosen right | tasks with a pair | pair right |")
    print("| --- | --- | --- | --- | --- |")
    differences = []
    for level, (p_code, p_test) in LEVELS.items():
        drawn = [
            one for seed in range(args.seeds) for one in scenes(args.tasks, seed, level, args.agree)
        ]
        found = {name: np.array([measure(one, name) for one in drawn]) for name in METHODS}
        print(f"| {level} ({p_code:.0%} of programs, {p_test:.0%} of tests right) | one at random |"
              f" {interval(np.array([one.right.mean() for one in drawn]))} | | |")  # fmt: skip
        for name, values in found.items():
            pair = interval(values[:, 2], values[:, 1])
            print(f"| | {name} | {interval(values[:, 0])} | {values[:, 1].mean():.1%} | {pair} |")
        for one, other in (("B4", "CodeT"), ("CodeT", "MaxPass"), ("B4", "MaxPass")):
            apart = interval(found[one][:, 0] - found[other][:, 0])
            differences.append(f"| {level} | {one} - {other} | {apart} |")
    print("\n| noise | difference | chosen right |\n| --- | --- | --- |")
    print("\n".join(differences))


def interval(values: NDArray[np.float64], counted: NDArray[np.float64] | None = None) -> str:
    """Write the mean (over what is counted) and its bootstrap interval over tasks, in percent."""
    weights = np.ones(len(values)) if counted is None else counted
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    with np.errstate(invalid="ignore"):
        means = values[draws].sum(axis=1) / weights[draws].sum(axis=1)
        mean = values.sum() / weights.sum()
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
