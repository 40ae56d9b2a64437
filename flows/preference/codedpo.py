"""CodeDPO: preferences from the model's own programs and the model's own tests of them.

Zhang et al., "CodeDPO: Aligning Code Models with Self Generated and Verified Source Code", 2024,
arXiv 2410.05605. Programs are good that pass good tests, and tests are good that good programs
pass: ten rounds of that score, best against worst for correctness, and fast against slow among
those that pass what the best passes.

The paper's text leaves open, and so are options: which programs are paired (`pairing`, with a least
`ratio` of scores) and how much faster is faster (`faster`; `repetitions`). Departures: tests that a
stub passes and equal programs count once or not at all, else trivial tests and copies win; a reply
holds three assertions, so `tests` replies make three times as many columns. The defaults suit a
laptop; the paper: 15 programs and 15 tests a task, temperature 1.5.

In:  programming tasks; with `from_code` source files, of which the tasks are made first.
Out: pairs of kind correctness and efficiency, the latter with both median times (CPU ms).

Ran on: nano model on vLLM's CPU build
"""

from typing import Any, Literal

from flows.code.selfcodealign import write_tasks
from pipeline.engines import Sampling
from pipeline.operators import generate, load_prompts
from pipeline.pair_matching import fast_against_slow
from pipeline.pair_rules import above_gap, extremes, top_against_bottom
from pipeline.pairs import make_pairs
from pipeline.prompts import WRITE_PROGRAM, WRITE_TESTS
from pipeline.relations import concat, parse
from pipeline.shards import Shards
from pipeline.steps import recipe
from scorers.execution import assertions, execute, grid, program
from scorers.task_matrix import score_programs
from scorers.timing import time_programs

_RULES = {"extremes": extremes, "top_against_bottom": top_against_bottom, "above_gap": above_gap}


@recipe(paper="arXiv:2410.05605", output="pairs")
def codedpo(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    from_code: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    programs: int = 15,
    tests: int = 5,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 320,
    rounds: int = 10,
    damping: float = 0.85,
    pairing: Literal["extremes", "top_against_bottom", "above_gap"] = "extremes",
    ratio: float = 0.0,
    repetitions: int = 5,
    faster: float = 1.1,
    seed: int = 0,
) -> Shards:
    """Let programs and tests of each task meet, score both by each other, pair best with worst.

    rounds, damping: of the mutual score. ratio: least quotient of the two scores (extremes).
    repetitions: timings of each right program, 0: no efficiency pairs. faster: least quotient of
    the two median times.
    """
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked: Any = {"model": model, "engine": engine, "sampling": sampling, "seed": seed}
    tasks = load_prompts(prompts, columns, subset, split, limit, True, seed, needs=())
    if from_code:
        tasks = write_tasks(tasks, **asked)
    codes = parse(generate(tasks, WRITE_PROGRAM, n=programs, **asked), tasks, reader=program,
                  into="codes")  # fmt: skip
    written = generate(tasks, WRITE_TESTS, n=tests, into="test_rollouts", **asked)
    suites = parse(written, tasks, reader=assertions, into="suites")
    met = grid(codes, suites)
    cells = execute(met, sandbox=sandbox)
    mutual = {"rounds": rounds, "damping": damping}
    scored = score_programs(codes, met, cells, method="codedpo", options=mutual)
    options = {"ratio": ratio} if pairing == "extremes" else {}
    about: Any = {"same": "code_id", "score": "score", "recipe": "codedpo", "seed": seed}
    correct: Shards = make_pairs(
        scored, tasks, rule=_RULES[pairing], options=options, kind="correctness", **about
    )
    if not repetitions:
        return correct
    timed = time_programs(scored, met, cells, repetitions=repetitions)
    clear = {"ratio": faster, "repetitions": repetitions}
    quick = make_pairs(timed, tasks, rule=fast_against_slow, options=clear, kind="efficiency",
                       into="efficiency_pairs", **about)  # fmt: skip
    both: Shards = concat([correct, quick])
    return both
