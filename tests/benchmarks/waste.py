"""Rollouts beyond the sequential optimum: `python tests/benchmarks/waste.py`, about 10 minutes.

The real sampling loop over 1,000 prompts, 64 in flight, and a scripted engine in this process whose
answers depend on the rollout alone. A slot is busy from submit to completion; a request lasts 1 to
`--latency` ms, long tail included, and correct answers are as slow as wrong ones. The optimum is
the number of counted trials: what a run that waits for each verdict would have asked. Idle share:
of 64 slots times the time from the first submit to the last completion.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.budgets import Budget
from pipeline.engines import Completion, Request, Sampling
from pipeline.journal import Journal
from pipeline.prompts import Rendered
from pipeline.sampling import Problem, sample
from pipeline.schedule import Schedule
from pipeline.schema import Case, Verdict, verifier

SLOTS = 64


def flat(draw: random.Random) -> float:
    """Any pass rate equally often."""
    return draw.random()


def mostly_hard(draw: random.Random) -> float:
    """Beta(0.5, 2): half of the prompts below 0.1."""
    return draw.betavariate(0.5, 2)


def mostly_easy(draw: random.Random) -> float:
    """Beta(4, 1): half of the prompts above 0.84."""
    return draw.betavariate(4, 1)


def two_camps(draw: random.Random) -> float:
    """Beta(0.2, 0.2): nearly always right or nearly never."""
    return draw.betavariate(0.2, 0.2)


def with_unsolvable(draw: random.Random) -> float:
    """A fifth is never solved, the others lie anywhere."""
    return 0.0 if draw.random() < 0.2 else draw.random()


MIXES = (flat, mostly_hard, mostly_easy, two_camps, with_unsolvable)
BUDGETS = (
    Budget("uniform", 4, 48),
    Budget("prop2diff", 8, 48, probe=4),
    Budget("band", 1, 32, probe=4),
)


class Slow:
    """Answers after a while; notes how long its slots were busy."""

    name = model = "scripted:waste"
    batch_invariant, slots, shared, dead = True, SLOTS, "", ""

    def __init__(self, rates: Sequence[float], latency_s: float) -> None:
        self.rates, self.latency_s = rates, latency_s
        self.busy_s = self.first = self.last = 0.0
        self.asked = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: Request, inbox: "asyncio.Queue[Completion]") -> None:
        """Take a request."""
        self.asked += 1
        self.first = self.first or time.perf_counter()
        task = asyncio.get_running_loop().create_task(self._answer(request, inbox))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request, inbox: "asyncio.Queue[Completion]") -> None:
        begun = time.perf_counter()
        draw = random.Random(request.seed)
        right = draw.random() < self.rates[int(request.text)]
        await asyncio.sleep(0.001 + draw.random() ** 3 * self.latency_s)
        self.last = time.perf_counter()
        self.busy_s += self.last - begun
        inbox.put_nowait(Completion(request.rollout_id, "right" if right else "wrong", "stop", 10))

    def idle(self) -> float:
        """Share of slot time in which nothing was in flight."""
        return 1 - self.busy_s / (SLOTS * (self.last - self.first))


@verifier()
def says_right(cases: Sequence[Case]) -> list[Verdict]:
    """Judge by the text alone."""
    return [Verdict("correct" if case.completion == "right" else "wrong") for case in cases]


async def run(budget: Budget, mix, seed: int, prompts: int, latency_s: float) -> dict[str, float]:
    """Sample one set of prompts to its end."""
    draw = random.Random(f"{mix.__name__} {seed}")
    engine = Slow([mix(draw) for _ in range(prompts)], latency_s)
    schedule = Schedule(budget, [None] * prompts)
    problems = [Problem({"id": f"p{i}"}, Rendered((), str(i), "d")) for i in range(prompts)]
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "journal.jsonl")
        trials = await sample(
            problems,
            schedule,
            engine,
            says_right,
            sampling=Sampling(),
            seed=seed,
            journal=journal,
            known={},
            note=lambda *_: None,
        )
        journal.close()
    counted = sum(trial.counted for trial in trials)
    return {"optimum": counted, "waste": engine.asked / counted - 1, "idle": engine.idle()}


def main() -> None:
    """Run every budget on every mix and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--latency", type=float, default=200, help="of the slowest, ms")
    chosen = parser.parse_args()
    print("| budget | pass rates | optimum, rollouts | waste | worst seed | idle slots |")
    print("| --- | --- | --- | --- | --- | --- |")
    for budget in BUDGETS:
        for mix in MIXES:
            runs = [
                asyncio.run(run(budget, mix, seed, chosen.prompts, chosen.latency / 1000))
                for seed in range(chosen.seeds)
            ]
            middle = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
            worst = max(one["waste"] for one in runs)
            name = f"{budget.kind} {budget.k if budget.kind != 'band' else ''}".strip()
            print(
                f"| {name}, at most {budget.max_trials} | {mix.__name__.replace('_', ' ')} | "
                f"{middle['optimum']:.0f} | {middle['waste']:.2%} | {worst:.2%} | "
                f"{middle['idle']:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
