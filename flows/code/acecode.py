"""ACECode: a reward that correctness must earn before speed counts, for RL or for pairs.

Yang et al., "ACECode: A Reinforcement Learning Framework for Aligning Code Efficiency and
Correctness in Code Language Models", 2024, arXiv 2412.17264. Wrong programs are punished by how far
they came; right ones are rewarded around 1 by their run time relative to a reference program.

Departures: the paper's levels and breakpoints were not found; ours are options (the levels below
zero are CodeRL's) under the rule that no wrong program beats a right one. Times are CPU time on one
core, repeated in turns with the reference; a gain within the reference's own spread is none, and a
reference that takes less than `least_ms` or fails its tests leaves correctness alone. Times of
different machines must not be compared: `host` says where.

In:  tasks with `tests` and a `solution`, the reference.
Out: rewards with both times (scores), best against worst (pairs: correctness or efficiency).

Ran on: nano model on vLLM's CPU build
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.engines import Sampling
from pipeline.operators import load_prompts, sample_until
from pipeline.pair_rules import extremes
from pipeline.pairs import make_pairs
from pipeline.prompts import WRITE_PROGRAM
from pipeline.relations import parse
from pipeline.schema import MESSAGES, SCORES, digest
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.execution import execute, grid, program
from scorers.programs import programs
from scorers.run_times import Levels, check_levels, reference_noise, run_time_reward
from scorers.timing import time_programs

_TIMES = pa.list_(pa.float64())
_REWARD = {"reward": pa.float64(), "reward_kind": pa.string(), "time_ms": pa.float64(),
           "reference_ms": pa.float64(), "times_ms": _TIMES}  # fmt: skip
_OUT = [("id", pa.string()), ("prompt", MESSAGES), ("completion", pa.string()),
        ("verdict", pa.string()), *_REWARD.items(), ("host", pa.string())]  # fmt: skip

Row = Mapping[str, Any]


@step(expands=True)
def with_references(codes: pa.Table, tasks: pa.Table) -> pa.Table:
    """Add each task's solution to its programs, to be timed among them; right ones score 1."""
    words = {"correct": 1.0, "infra": None, "unverified": None}
    score = [words.get(word, 0.0) for word in codes["verdict"].to_pylist()]
    table = codes.select(["id", "rollout_id", "code"])
    table = table.append_column("score", pa.array(score, pa.float64()))
    own = [
        {"id": row["id"], "rollout_id": _name(row["id"]), "code": row["solution"], "score": 1.0}
        for row in tasks.to_pylist()
    ]
    return pa.concat_tables([table, pa.Table.from_pylist(own, table.schema)])


@step()
def rewarded(
    rollouts: pa.Table, timed: pa.Table, *, levels: Mapping[str, float], least_ms: float
) -> pa.Table:
    """Add `reward` (null: not judged), `reward_kind`, both median times in ms, and `times_ms`."""
    times = dict(zip(timed["rollout_id"].to_pylist(), timed["times_ms"].to_pylist(), strict=True))
    found = [_reward(row, times, Levels(**levels), least_ms) for row in rollouts.to_pylist()]
    for name, kind in _REWARD.items():
        rollouts = rollouts.append_column(name, pa.array([one[name] for one in found], kind))
    return rollouts


def _reward(row: Row, times: Mapping[str, Any], levels: Levels, least_ms: float) -> Row:
    own, reference = times.get(row["rollout_id"]), times.get(_name(row["id"]))
    time, base = (median(one) if one else None for one in (own, reference))
    verdict = "unverified" if row["finish_reason"] == "length" else row["verdict"]
    noise = reference_noise(reference or ())
    value, kind = run_time_reward(verdict, time, base, noise=noise, least=least_ms, levels=levels)
    return {"reward": value, "reward_kind": kind, "time_ms": time, "reference_ms": base,
            "times_ms": own}  # fmt: skip


def _name(task: str) -> str:
    return f"reference {task}"


@step()
def reward_table(rollouts: pa.Table, tasks: pa.Table) -> pa.Table:
    """Write every rollout with its prompt and reward, for a trainer of another kind."""
    asked = {row["id"]: row["messages"] for row in tasks.to_pylist()}
    host = _host()
    rows = [
        {
            **{name: row[name] for name in ("id", "verdict", *_REWARD)},
            "row_id": digest("acecode", row["rollout_id"]),
            "parents": [row["rollout_id"], row["id"]],
            "recipe": "acecode",
            "prompt": asked[row["id"]],
            "completion": row["prefix"] + row["completion"],
            "host": host,
        }
        for row in rollouts.to_pylist()
    ]
    return pa.Table.from_pylist(rows, pa.schema([*SCORES, *_OUT]))


def _host() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


@step()
def name_kinds(pairs: pa.Table, *, slowest: float) -> pa.Table:
    """Call a pair efficiency if both sides are right: neither has less than the `slowest` right."""
    kinds = [
        "efficiency" if score >= slowest else "correctness"
        for score in pairs["score_rejected"].to_pylist()
    ]
    place = pairs.schema.get_field_index("kind")
    return pairs.set_column(place, "kind", pa.array(kinds, pa.string()))


@recipe(paper="arXiv:2412.17264", output="scores")
def acecode(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    n: int = 8,
    repetitions: int = 5,
    least_ms: float = 1.0,
    gap: float = 0.5,
    levels: dict[str, float] | None = None,
    temperature: float = 1.0,
    max_tokens: int = 160,
    seed: int = 0,
) -> dict[str, Shards]:
    """Sample programs, test them, time the right ones beside the reference, reward all.

    repetitions: timings of each right program. least_ms: shorter references are not timed against.
    gap: least difference of a pair's rewards. levels: of `scorers.run_times.Levels`.
    """
    steps = check_levels(Levels(**(levels or {})))
    tasks = load_prompts(
        prompts, columns, subset, split, limit, skip_bad, seed, needs=("tests", "solution")
    )
    drawn = sample_until(
        tasks,
        WRITE_PROGRAM,
        model=model,
        engine=engine,
        budget=Budget("fixed", n, n),
        verifier=programs,
        sampling=Sampling(temperature, max_tokens=max_tokens),
        seed=seed,
    )
    both = with_references(parse(drawn, reader=program, into="codes"), tasks)
    met = grid(both, tasks)
    timed = time_programs(both, met, execute(met, sandbox=sandbox), repetitions=repetitions)
    rewards = rewarded(drawn, timed, levels=steps._asdict(), least_ms=least_ms)
    pairs = make_pairs(
        rewards, tasks, rule=extremes, options={"gap": gap - 1e-9}, score="reward", recipe="acecode"
    )
    slowest = steps.equal - steps.spread
    return {"scores": reward_table(rewards, tasks), "pairs": name_kinds(pairs, slowest=slowest)}
