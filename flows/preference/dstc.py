"""DSTC: preference pairs of a program and a test, both the model's own, joined in one text.

Liu et al., "DSTC: Direct Preference Learning with Only Self-Generated Tests and Code to Improve
Code LMs", 2024, arXiv 2411.13611. The program that passes most tests is chosen, with a test
that tells it from another; that other is rejected, with the same test. Whether the joined text runs
through is a fact about that text, where "the program is right" would rest on a doubtful test.

The paper's minimax rule was not found. Reconstructed: of the tests that the chosen program passes
and some program fails, the one most programs pass (`test_rule=most_agreed`) or fewest (`hardest`);
of the programs that fail it the one that passes fewest tests (`rejected_rule=clear_gap`) or most
(`near_miss`). Both sides carry the same test, so that its length decides nothing.

In:  programming tasks with an `entry_point`.
Out: pairs for DPO, labelled texts for KTO. A model trained on them appends a test: cut it off.

Ran on: nano model on vLLM's CPU build
"""

from typing import Any, Literal

from pipeline.engines import Sampling
from pipeline.operators import generate, load_prompts
from pipeline.pairs import to_pairs, to_unpaired
from pipeline.relations import parse
from pipeline.shards import Shards
from pipeline.steps import recipe
from scorers.execution import as_programs, assertions, execute, grid, program
from scorers.joined import face, join_sides
from scorers.task_matrix import judge

CODE = """\
{{ prompt }}

The function is called {{ entry_point }}. Reply with all of it in one Python block."""

TESTS = """\
{{ prompt }}

The function is called {{ entry_point }} and exists already. Write three assertions that call it, \
one a line, in one Python block."""


@recipe(paper="arXiv:2411.13611", output="pairs")
def dstc(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    programs: int = 10,
    tests: int = 4,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 320,
    test_rule: Literal["most_agreed", "hardest"] = "most_agreed",
    rejected_rule: Literal["clear_gap", "near_miss"] = "clear_gap",
    seed: int = 0,
) -> dict[str, Shards]:
    """Let programs and tests meet, choose two programs and a test a task, join, run once more.

    programs, tests: replies a task; a reply holds three tests. test_rule, rejected_rule: see above.
    """
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked: Any = {"model": model, "engine": engine, "sampling": sampling, "seed": seed}
    needs = ("entry_point",)
    tasks = load_prompts(prompts, columns, subset, split, limit, True, seed, needs=needs)
    drawn = generate(tasks, CODE, n=programs, **asked)
    codes = parse(drawn, tasks, reader=program, into="codes")
    written = generate(tasks, TESTS, n=tests, into="test_rollouts", **asked)
    suites = parse(written, tasks, reader=assertions, into="suites")
    met = grid(codes, suites)
    cells = execute(met, sandbox=sandbox)
    sides = join_sides(codes, met, cells, test_rule=test_rule, rejected_rule=rejected_rule)
    again = execute(as_programs(sides), sandbox=sandbox, into="joined_executions")
    judged = judge(sides, again)
    pairs = to_pairs(face(judged), tasks, recipe="dstc")
    return {"pairs": pairs, "unpaired": to_unpaired(judged, tasks, recipe="dstc")}
