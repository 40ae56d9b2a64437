"""prop2diff and uniform against fixed at equal rollouts: `python -m tests.benchmarks.coverage`.

Every problem gets `--trials` trials on vLLM through the sampling loop, with verdicts, for several
seeds (other problems, other samples). A trial is the same under any budget, so each adaptive budget
then reads off that pool which trials it would have counted; fixed gets exactly as many rollouts,
breadth first (a `max_rollouts` limit of that number). Coverage is the share of problems with at
least one, and with at least k, counted correct completions. Intervals: 95 %, of 2,000 bootstrap
draws of problems, stratified by level, paired for differences.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flows.rejection.dart_math import SOLVE
from pipeline.budgets import Budget
from pipeline.engines import Engine, Sampling
from pipeline.engines.host import close_engines, on_engine
from pipeline.journal import Journal
from pipeline.nano_world import LEVELS, word_problems
from pipeline.prompts import render
from pipeline.sampling import Problem, Trial, sample
from pipeline.schedule import Limits, Schedule
from pipeline.schema import Word

Words = list[list[Word]]  # by problem, by trial


class Pool(NamedTuple):
    """The verdicts of all trials of one seed, and the level of each problem."""

    words: Words
    levels: list[int]


def draw_pool(chosen: argparse.Namespace, seed: int) -> Pool:
    """Sample `--trials` trials of `--prompts` problems of one seed."""
    from scorers.answers import answers

    rows = word_problems(chosen.prompts, seed=seed, split=chosen.split).to_pylist()
    problems = [Problem(row, render(SOLVE, row)) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "journal.jsonl")

        async def work(engine: Engine) -> list[Trial]:
            return await sample(
                problems,
                Schedule(Budget("fixed", chosen.trials, chosen.trials), [None] * len(problems)),
                engine,
                answers,
                sampling=Sampling(chosen.temperature, 0.95, max_tokens=320),
                seed=seed,
                journal=journal,
                known={},
                note=lambda *_: None,
            )

        trials = on_engine(f"vllm:{chosen.model}", work)
        journal.close()
    words: Words = [[] for _ in problems]
    for trial in trials:  # by place, then by trial
        words[trial.place].append(trial.verdict.verdict)
    return Pool(words, [json.loads(row["meta"])["level"] for row in rows])


def count(budget: Budget, words: Words, limits: Limits) -> tuple[np.ndarray, int]:
    """Return the counted correct completions of each problem, int[n], and the rollouts spent."""
    schedule = Schedule(budget, [None] * len(words), limits)
    while (asked := schedule.next()) is not None:
        schedule.judge(*asked, words[asked[0]][asked[1]])
    counted = [schedule.counted(place) for place in range(len(words))]
    correct = [row[:n].count("correct") for row, n in zip(words, counted, strict=True)]
    return np.array(correct), sum(counted)


def compare(pools: Sequence[Pool], budget: Budget) -> tuple[np.ndarray, np.ndarray, int]:
    """Return correct completions a problem of `budget`, of fixed, and the rollouts of each."""
    ours, fixed, spent = [], [], 0
    for words, _ in pools:
        correct, rollouts = count(budget, words, Limits())
        k = budget.max_trials
        vanilla, same = count(Budget("fixed", k, k), words, Limits(rollouts=rollouts))
        if same != rollouts:
            raise RuntimeError(f"fixed used {same} rollouts, {budget.kind} {rollouts}")
        ours.append(correct)
        fixed.append(vanilla)
        spent += rollouts
    return np.concatenate(ours), np.concatenate(fixed), spent


def interval(values: np.ndarray, strata: np.ndarray) -> str:
    """Mean and bootstrap interval in percent."""
    draw = np.random.default_rng(0)
    means = np.zeros(2000)
    for level in np.unique(strata):
        mine = values[strata == level]
        picks = draw.integers(0, len(mine), (2000, len(mine)))
        means += mine[picks].mean(axis=1) * len(mine) / len(values)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.1%} [{low:.1%}, {high:.1%}]"


def report(pools: Sequence[Pool], budget: Budget, k: int) -> None:
    """Print one budget's table: a row a level, then all."""
    ours, fixed, rollouts = compare(pools, budget)
    levels = np.concatenate([pool.levels for pool in pools])
    right = np.concatenate([[row.count("correct") / len(row) for row in p.words] for p in pools])
    print(f"\n{budget}: {rollouts} rollouts each, {rollouts / len(levels):.1f} a problem\n")
    kind = budget.kind
    print(f"| level | problems | pass rate | {kind}, >= 1 | fixed, >= 1 | {kind}, >= {k} |", end="")
    print(f" fixed, >= {k} | difference, >= 1 | difference, >= {k} |")
    print("| --- " * 9 + "|")
    for level in (*LEVELS, None):
        here = levels == level if level else np.full(len(levels), True)
        if not here.any():
            continue
        cells = [level or "all", here.sum(), f"{right[here].mean():.2f}"]
        for least in (1, k):
            cells += [interval((x[here] >= least) * 1.0, levels[here]) for x in (ours, fixed)]
        for least in (1, k):
            gain = (ours[here] >= least) * 1.0 - (fixed[here] >= least)
            cells.append(interval(gain, levels[here]))
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> None:
    """Draw the pools, then print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="data/nano")
    parser.add_argument("--split", choices=["train", "test"], default="train")
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0)
    chosen = parser.parse_args()
    began = time.perf_counter()
    pools = [draw_pool(chosen, seed) for seed in range(1, chosen.seeds + 1)]
    close_engines()
    drawn = chosen.seeds * chosen.prompts * chosen.trials
    seconds = time.perf_counter() - began
    print(f"{drawn} rollouts in {seconds:.0f} s; load {os.getloadavg()[0]:.1f}")
    for budget in (
        Budget("prop2diff", 2 * chosen.k, chosen.trials, probe=4),
        Budget("uniform", chosen.k, chosen.trials),
    ):
        report(pools, budget, chosen.k)


if __name__ == "__main__":
    main()
