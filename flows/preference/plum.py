"""PLUM: on-policy preferences from tests that a stronger model wrote and confirmed itself.

Zhang et al., "PLUM: Improving Code LMs with Execution-Guided On-Policy Preference Learning Driven
by Synthetic Test Cases", 2024, arXiv 2406.06887. A writer model gives solutions and tests of each
task; tests that its own solutions agree on judge the programs of the policy: one that passes all of
them is preferred to one that does not.

The paper's test filter was not found. Reconstructed: a test stays if more than half (or `share`) of
the writer's solutions pass it and no stub does, a task if `min_tests` stay and one solution passes
all of them; each program is in one pair at most.

In:  instructions that ask for a function and say its name.
Out: pairs for DPO and labelled completions for KTO, valid for the policy in column `model` only.

Ran on: nano model on vLLM's CPU build
"""

from typing import Any, Literal

import pyarrow as pa

from pipeline.engines import Sampling
from pipeline.operators import generate, load_prompts
from pipeline.pair_rules import crossed
from pipeline.pairs import make_pairs, to_unpaired
from pipeline.relations import parse, reader
from pipeline.shards import Shards
from pipeline.steps import recipe
from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code
from scorers.confirmed import label_by_tests
from scorers.execution import execute, grid, program

WRITE = """\
{{ prompt }}

Solve this in one Python block. Then write a second Python block with independent assertions, one \
a line, that every right solution passes and a wrong one does not."""

ASK = "{{ prompt }}"


@reader({"code": pa.string(), "tests": pa.list_(pa.string())})
def solution_and_tests(row: dict[str, Any]) -> dict[str, Any] | str:
    """Read the writer's own solution and its tests."""
    code, tests = extract_code(row["completion"]), extract_asserts(row["completion"])
    return {"code": code, "tests": tests} if code and tests else "no_code_or_tests"


@recipe(paper="arXiv:2406.06887", output="pairs")
def plum(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    model: str = "vllm:data/nano",
    writer: str = "",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    solutions: int = 3,
    k: int = 10,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 320,
    share: float | None = None,
    min_tests: int = 3,
    rule: Literal["all", "any"] = "all",
    pairs: int = 4,
    seed: int = 0,
) -> dict[str, Shards]:
    """Confirm the writer's tests by its solutions, judge the policy's programs by them, pair.

    model: the policy that is to be trained; writer: who writes tests (the policy, if empty).
    solutions: replies of the writer a task; k: programs of the policy. rule: preferred is who
    passes all confirmed tests, or any. pairs: at most so many a task.
    """
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked: Any = {"engine": engine, "sampling": sampling, "seed": seed}
    tasks = load_prompts(prompts, columns, subset, split, limit, True, seed, needs=())
    written = generate(
        tasks, WRITE, model=writer or model, n=solutions, into="writer_rollouts", **asked
    )
    suites = parse(written, tasks, reader=solution_and_tests, into="suites")
    drawn = generate(tasks, ASK, model=model, n=k, **asked)
    codes = parse(drawn, tasks, reader=program, into="codes")
    met = grid(codes, suites, suites)
    cells = execute(met, sandbox=sandbox)
    labelled = label_by_tests(codes, met, cells, share=share, min_tests=min_tests, rule=rule)
    options = {"label": rule, "at_most": pairs}
    about: Any = {"same": "code_id", "recipe": "plum"}
    made = make_pairs(
        labelled, tasks, rule=crossed, options=options, score="score", seed=seed, **about
    )
    return {"pairs": made, "unpaired": to_unpaired(labelled, tasks, recipe="plum")}
