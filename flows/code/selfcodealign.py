"""SelfCodeAlign: a base model aligns itself on source code, and keeps what it can execute.

Wei et al., "SelfCodeAlign: Self-Alignment for Code Generation", NeurIPS 2024, arXiv 2410.24198 (and
StarCoder2-Instruct). One model does every step: functions of real code give concepts, concepts give
a task, the task gets responses that carry their own tests, and of what passes one a task stays.

Departures: the model is asked in chat form, without few-shot examples; seeds are checked by syntax
and names, not by Pyright; a response needs an assertion that is code (officially the word is
enough), and its assertions run one by one, so that ending early is no pass.

In:  source files or functions, each the prompt of a row (columns.prompt=content).
Out: SFT conversations: a task and a response without its tests. Decontaminate them before use.

Ran on: nano model on vLLM's CPU build
"""

import random
import re
from typing import Any

import pyarrow as pa

from pipeline.engines import Sampling
from pipeline.operators import generate, load_prompts, pick, to_sft
from pipeline.relations import parse, reader
from pipeline.schema import MESSAGES, trial_seed
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.assertions import extract_asserts
from scorers.code_blocks import fenced_blocks
from scorers.execution import as_programs, execute
from scorers.source_code import one_each, seed_functions
from scorers.task_matrix import judge

JUDGE = """\
{{ prompt }}

Could a programmer write this function again from its docstring alone, and does the docstring say \
what the function does? Whether the code is right does not matter. Answer Yes or No."""

CONCEPTS = """\
{{ prompt }}

Which programming concepts does this function use? Reply with one line, commas between them."""

INSTRUCT = """\
Concepts: {{ concepts | join(", ") }}
Kind: {{ category }}. Difficulty: {{ difficulty }}. Language: {{ language }}.

Write a new task for which a programmer would need these concepts, without naming them. Say what \
the code is called and what it must do. Reply with the task alone."""

RESPOND = """\
{{ prompt }}

Answer in one Python block. After it write a line that says Tests: and a second Python block with \
assertions that check the answer."""

SEPARATOR = "Tests:"
_UNFINISHED = re.compile(
    r"todo|fixme|(write )?your code( goes)? here|notimplemented", re.IGNORECASE
)
_CATEGORIES = ("function", "function", "class", "program")


@reader({})
def approved(row: dict[str, Any]) -> dict[str, Any] | str:
    """Keep a seed if the reply says yes more often than no."""
    words = re.findall(r"\b(yes|no)\b", row["completion"].lower())
    return {} if words.count("yes") > words.count("no") else "not_described"


@reader({"concepts": pa.list_(pa.string())})
def concepts(row: dict[str, Any]) -> dict[str, Any] | str:
    """Read the concepts of the reply's first line."""
    line = row["completion"].strip().partition("\n")[0]
    found = list(dict.fromkeys(word for part in line.split(",") if (word := part.strip(" ."))))
    return {"concepts": found} if found else "no_concepts"


@step()
def draw_kinds(rows: pa.Table, *, seed: int) -> pa.Table:
    """Draw what kind of task to ask for: half are functions, a quarter classes or programs each."""
    draws = [random.Random(trial_seed(seed, id_, "kind", 0)) for id_ in rows["id"].to_pylist()]
    rows = rows.append_column("category", pa.array([draw.choice(_CATEGORIES) for draw in draws]))
    levels = [draw.choice(("easy", "medium", "hard")) for draw in draws]
    rows = rows.append_column("difficulty", pa.array(levels, pa.string()))
    return rows.append_column("language", pa.array(["Python"] * len(rows), pa.string()))


@reader({"messages": MESSAGES})
def task(row: dict[str, Any]) -> dict[str, Any] | str:
    """Read a task: it is the next user message."""
    text = row["completion"].strip()
    return {"messages": [{"role": "user", "content": text}]} if text else "empty"


@reader({"completion": pa.string(), "code": pa.string(), "tests": pa.list_(pa.string())})
def response(row: dict[str, Any]) -> dict[str, Any] | str:
    """Take a reply apart into response and tests, or say what is wrong with its form."""
    parts = re.split(rf"^[^\w\n]*{SEPARATOR}[^\w\n]*$", row["completion"], flags=re.MULTILINE)
    if len(parts) != 2:
        return "no_separator" if len(parts) < 2 else "repeated_separator"
    if _UNFINISHED.search(row["completion"]):
        return "unfinished"
    code, checks = (
        "\n\n".join(b.text for b in fenced_blocks(part) if b.language == "python") for part in parts
    )
    if not code or not checks:
        return "no_python_block"
    starts = [line for line in checks.splitlines() if re.match(r"[^\W\d_]", line)]
    if all(re.match(r"(def|class|import|from)\b", line) for line in starts):
        return "nothing_called"
    tests = extract_asserts(f"```python\n{checks}\n```")
    return (
        {"completion": parts[0].strip(), "code": code, "tests": tests} if tests else "no_assertion"
    )


@recipe(paper="arXiv:2410.24198", output="sft")
def selfcodealign(
    prompts: str = "nano_snippets",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    judged: bool = True,
    responses: int = 10,
    temperature: float = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 320,
    names: bool = True,
    near: float | None = 0.7,
    seed: int = 0,
) -> Shards:
    """Functions to concepts to tasks to responses; keep one that passes its own tests a task.

    judged: ask the model first which functions their docstring describes. names, near: among what
    passes, no two rows with the same function names, nor as similar as this.
    """
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked: Any = {"model": model, "engine": engine, "sampling": sampling, "seed": seed}
    files = load_prompts(prompts, columns, subset, split, limit, True, seed, needs=())
    tasks = write_tasks(files, judged=judged, **asked)
    drawn = generate(tasks, RESPOND, n=responses, **asked)
    answers = parse(drawn, tasks, reader=response, into="responses")
    cells = execute(as_programs(answers), sandbox=sandbox)
    passing = pick(judge(answers, cells), at_most=None, near=None, seed=seed)
    chosen = one_each(passing, seed=seed, names=names, near=near)
    rows: Shards = to_sft(chosen, tasks, recipe="selfcodealign")
    return rows


def write_tasks(files: Shards, *, judged: bool = True, seed: int, **asked: Any) -> Shards:
    """Make tasks of source files: functions, their concepts, a new task from these."""
    seeds: Shards = seed_functions(files)
    if judged:
        greedy = asked | {"sampling": Sampling(0.0, max_tokens=32, stop=("\n",))}
        said = generate(seeds, JUDGE, into="judgements", seed=seed, **greedy)
        seeds = parse(said, seeds, reader=approved, into="approved")
    named = generate(seeds, CONCEPTS, into="named", seed=seed, **asked)
    kinds = draw_kinds(parse(named, seeds, reader=concepts, into="concepts"), seed=seed)
    posed = generate(kinds, INSTRUCT, into="posed", seed=seed, **asked)
    tasks: Shards = parse(posed, kinds, reader=task, into="tasks")
    return tasks
