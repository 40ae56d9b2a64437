"""DART-Math: rejection sampling that spends its trials where the model fails.

Tong et al., "DART-Math: Difficulty-Aware Rejection Tuning for Mathematical Problem-Solving",
NeurIPS 2024, arXiv 2407.13690. Vanilla rejection sampling draws equally often for every prompt and
so keeps many answers of easy prompts and few of hard ones. Here a prompt is sampled until it owns a
target number of correct completions: the same for all (uniform), or in proportion to its measured
fail rate (prop2diff). `budget="fixed"` is the vanilla baseline (VRT), k trials a prompt.

Departures: correct completions are deduplicated, and which k of them stay is drawn by seed, not by
arrival; a prompt ends at its k-th correct trial (the official code needs one more); each trial has
a seed of its own. The defaults suit a laptop; the paper: T 1.6, top-p 0.95, 2048 tokens, uniform
k = 40, prop2diff k = 192, max_trials in the thousands, vanilla k = 52.

In:  prompts with a reference `answer`: the built-in world, a local file or a hub dataset.
Out: SFT conversations, harder prompts with more answers; all rollouts beside them.
"""

from dataclasses import replace
from typing import Literal

from pipeline.budgets import Budget
from pipeline.engines import Sampling
from pipeline.operators import hardest_fail_rate, load_prompts, pick, sample_until, to_sft
from pipeline.shards import Shards
from pipeline.steps import recipe
from scorers.answers import answers

SOLVE = """\
{{ prompt }}

Work through it one step at a time. End with the final answer in \\boxed{}."""


@recipe(paper="arXiv:2407.13690", output="sft")
def dart_math(
    prompts: str = "nano_world",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    budget: Literal["prop2diff", "uniform", "fixed"] = "prop2diff",
    k: int = 8,
    probe: int = 4,
    max_trials: int = 48,
    scale: Literal["one", "hardest"] = "one",
    cover: bool = True,
    max_rollouts: int = 0,
    max_tokens_total: int = 0,
    temperature: float = 1.0,
    top_p: float = 0.95,
    max_tokens: int = 320,
    near: float | None = None,
    seed: int = 0,
) -> Shards:
    """Sample until each prompt owns its share of correct answers; keep distinct ones.

    k: correct completions wanted (uniform: of each prompt; prop2diff: of the hardest; fixed: trials
    of each). probe: trials that measure difficulty. scale: the fail rate that receives k, 1 or the
    largest in the set. near: also drop near-duplicates of this 5-gram Jaccard similarity.
    """
    problems = load_prompts(prompts, columns, subset, split, limit, skip_bad, seed)
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked = {"model": model, "engine": engine, "sampling": sampling, "verifier": answers}
    rule = Budget(budget, k, max_trials, probe if budget == "prop2diff" else 0, cover)
    probes = None
    if budget == "prop2diff" and scale == "hardest":
        measure = Budget("fixed", probe, max_trials)
        probes = sample_until(problems, SOLVE, budget=measure, seed=seed, into="probes", **asked)
        rule = replace(rule, hardest=hardest_fail_rate(probes))
    drawn = sample_until(
        problems,
        SOLVE,
        probes,
        budget=rule,
        seed=seed,
        max_rollouts=max_rollouts,
        max_tokens=max_tokens_total,
        **asked,
    )
    kept = pick(drawn, at_most=None if budget == "fixed" else "target", near=near, seed=seed)
    rows: Shards = to_sft(kept, problems, recipe="dart_math")
    return rows
