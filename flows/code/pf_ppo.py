"""PF-PPO: of a prompt's programs, those whose reward can be trusted, with how often to use them.

Zhang et al., "Policy Filtration for RLHF to Mitigate Noise in Reward Models", ICML 2025, arXiv
2409.06957. Rewards are unreliable in the middle of their range and better at its ends, so a policy
learns from the best and the worst (or a random) reply of each prompt; which filter to use is told
by how well rewards explain true scores on what it keeps.

Departures: the reward is the share of the model's own tests that a program passes (tests that a
stub passes are left out), where the paper has a reward model; the true score is the verdict of the
prompt's `tests`, used for the choice of filter only. The filter is by prompt, its weights mean the
same for any n, and a prompt without contrast has no weight; the paper's regression was not found,
so R2 is the squared correlation. Advantages are the trainer's business.

In:  tasks with `tests`.
Out: rewards with weights and draws for reinforcement learning (scores), best against worst (pairs).

Ran on: nano model on vLLM's CPU build
"""

import logging
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.engines import Sampling
from pipeline.operators import generate, load_prompts, sample_until
from pipeline.pair_rules import extremes
from pipeline.pairs import make_pairs
from pipeline.prompts import WRITE_PROGRAM, WRITE_TESTS
from pipeline.relations import parse
from pipeline.reward_filters import Strategy, explained_share, filter_weights, resample
from pipeline.schema import MESSAGES, SCORES, digest
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.execution import assertions, execute, grid, program
from scorers.programs import programs
from scorers.task_matrix import task_matrices

_log = logging.getLogger(__name__)
_OUT = [("id", pa.string()), ("prompt", MESSAGES), ("completion", pa.string()),
        ("reward", pa.float64()), ("true_score", pa.float64()), ("strategy", pa.string()),
        ("weight", pa.float64()), ("draws", pa.int64()), ("model", pa.string())]  # fmt: skip


@step()
def reward_by_tests(rollouts: pa.Table, grid: pa.Table, cells: pa.Table) -> pa.Table:
    """Add `reward`: the share of the task's tests that the program passes, of those judged.

    A reply without a program has 0; null where nothing could be judged, and for cut off replies.
    """
    shares: dict[str, float] = {}
    tested = set[str]()
    for matrix in task_matrices(grid, cells):
        tested |= {matrix.id} if matrix.tests else set()
        for row, own in zip(matrix.programs, matrix.passed, strict=True):
            judged = own[own >= 0]
            if len(judged):
                shares |= dict.fromkeys(row["rollout_ids"], float(judged.mean()))
    rewards = [
        None
        if row["finish_reason"] != "stop" or row["id"] not in tested
        else shares.get(row["rollout_id"], None if row["extracted"] else 0.0)
        for row in rollouts.to_pylist()
    ]
    return rollouts.append_column("reward", pa.array(rewards, pa.float64()))


@step(scope="dataset")
def filtered(rollouts: pa.Table, tasks: pa.Table, *, strategy: str, seed: int) -> pa.Table:
    """Weigh every rollout by the strategy and draw as many as there are; those of 0 stay, marked.

    "calibrated" takes the strategy whose R2 on the rows it keeps is highest; undefined ones never.
    """
    groups = rollouts["id"].to_pylist()
    rewards = np.array(rollouts["reward"].to_pylist(), np.float64)
    scores = np.array([_TRUE.get(word, np.nan) for word in rollouts["verdict"].to_pylist()])
    if strategy == "calibrated":
        strategy = _calibrate(rewards, scores, groups)
    weights = filter_weights(rewards, groups, strategy)  # type: ignore[arg-type]
    draws = resample(weights, seed=seed)
    asked = {row["id"]: row["messages"] for row in tasks.select(["id", "messages"]).to_pylist()}
    facts = zip(rollouts.to_pylist(), scores, weights, draws, strict=True)
    rows = [_row(row, asked, strategy, *numbers) for row, *numbers in facts]
    return pa.Table.from_pylist(rows, pa.schema([*SCORES, *_OUT]))


_TRUE = {"correct": 1.0, "wrong": 0.0, "unparsable": 0.0, "timeout": 0.0, "error": 0.0}


def _calibrate(rewards: Any, scores: Any, groups: list[str]) -> str:
    found: dict[str, float] = {}
    for strategy in get_args(Strategy):
        weights = filter_weights(rewards, groups, strategy)
        share = explained_share(rewards, scores, weights)
        _log.info("%s explains %s of the true score", strategy, share)
        if share is not None and strategy != "all":
            found[strategy] = share
    return max(found, key=lambda name: found[name]) if found else "best_worst"


def _row(
    row: Mapping[str, Any], asked: Any, strategy: str, true: float, weight: float, draws: int
) -> dict[str, Any]:
    return {
        "row_id": digest("pf_ppo", row["rollout_id"]),
        "parents": [row["rollout_id"], row["id"]],
        "recipe": "pf_ppo",
        "id": row["id"],
        "prompt": asked[row["id"]],
        "completion": row["prefix"] + row["completion"],
        "reward": row["reward"],
        "true_score": None if np.isnan(true) else float(true),
        "strategy": strategy,
        "weight": float(weight),
        "draws": int(draws),
        "model": row["model"],
    }


@recipe(paper="arXiv:2409.06957", output="scores")
def pf_ppo(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    strategy: Literal[
        "best", "best_random", "best_worst", "power", "all", "calibrated"
    ] = "calibrated",
    n: int = 5,
    test_replies: int = 3,
    temperature: float = 1.0,
    max_tokens: int = 200,
    seed: int = 0,
) -> dict[str, Shards]:
    """Sample programs and tests, reward programs by the tests, filter by the rank of the reward.

    strategy: which replies have weight; calibrated measures all on the true scores. n: programs of
    a prompt; test_replies: replies with tests of a prompt.
    """
    tasks = load_prompts(prompts, columns, subset, split, limit, skip_bad, seed, needs=("tests",))
    sampling = Sampling(temperature, max_tokens=max_tokens)
    asked: Any = {"model": model, "engine": engine, "sampling": sampling, "seed": seed}
    written = generate(tasks, WRITE_TESTS, n=test_replies, into="test_rollouts", **asked)
    suites = parse(written, reader=assertions, into="suites")
    budget = Budget("fixed", n, n)
    drawn = sample_until(tasks, WRITE_PROGRAM, budget=budget, verifier=programs, **asked)
    met = grid(parse(drawn, reader=program, into="codes"), suites)
    rewarded = reward_by_tests(drawn, met, execute(met, sandbox=sandbox))
    pairs = make_pairs(
        rewarded, tasks, rule=extremes, score="reward", kind="best_worst", recipe="pf_ppo"
    )
    return {"scores": filtered(rewarded, tasks, strategy=strategy, seed=seed), "pairs": pairs}
