"""EpiCoder: tasks from a tree of features, whose breadth and depth set how hard they are.

Wang et al., "EpiCoder: Encompassing Diversity and Complexity in Code Generation", ICML 2025, arXiv
2501.04694. Features named in real code make a tree with frequencies; the model extends subtrees of
it; a subtree drawn with a temperature becomes a task; the solution comes with tests and is mended
by what executing them says.

Departures: one function and its assertions instead of several files; no analysis before the code;
green means that all tests ran and passed in the sandbox, at least one of them no stub passes (the
official check reads stderr); an evolution round draws all its subtrees from the same tree; a row
for which only tests were changed leaves (`keep_weakened`). Choose core files with `tamis select`.

In:  source code in column `solution` (columns.solution=content).
Out: SFT conversations: a task and the program, without its tests.

Ran on: nano model on vLLM's CPU build
"""

from typing import Any

from pipeline.engines import Sampling
from pipeline.feature_rows import (
    as_seeds,
    build_tree,
    draw_subtrees,
    draw_tasks,
    feature_json,
    grow_tree,
    task,
)
from pipeline.operators import generate, load_prompts, to_sft
from pipeline.relations import concat, parse
from pipeline.shards import Shards
from pipeline.steps import recipe
from scorers.execution import execute, grid
from scorers.mending import failing, mended, passing, solution

EXTRACT = """\
```python
{{ code }}
```

Name the features of this code as a JSON tree: what it does to which input, and its constants."""

EVOLVE = """\
{{ features }}

This is a tree of features of programs. Add at least two new features beside those of every list, \
and deepen them where you can. Reply with the larger tree as JSON."""

COMPOSE = """\
Features: {{ features }}
Must appear: {{ mandatory }}

Choose features that go together, all that must appear among them if they do. Think of a scenario \
and write a programming task for them. Reply in three lines: Features, Scenario, Task."""

SOLVE = """\
{{ prompt }}

Write the function in one Python block, then three assertions that check it in another."""

REPAIR = """\
{{ prompt }}

```python
{{ program }}
```

```python
{{ tests | join("\n") }}
```

Failed: {{ failing }}
Because: {{ complaint }}

Say whether the function or a test is wrong. Then give the corrected function, or all the tests \
with the wrong one corrected, in one Python block. Drop and weaken no test."""

_SHAPE = (5, 2, 1, 1)  # children a level of a task's subtree, as in the official driver
_GROW = (2, 1, 2, 1)  # and of an evolved one


@recipe(paper="arXiv:2501.04694", output="sft")
def epicoder(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    evolutions: int = 1,
    subtrees: int = 64,
    tasks: int = 256,
    shape: list[int] | None = None,
    flatness: float = 10.0,
    repairs: int = 3,
    keep_weakened: bool = False,
    temperature: float = 0.7,
    top_p: float = 0.95,
    max_tokens: int = 240,
    seed: int = 0,
) -> Shards:
    """Code to features to a tree, extended; subtrees to tasks to programs that pass their tests.

    evolutions: rounds of extension, of so many `subtrees` each. shape: children a level of a task's
    subtree. flatness: the temperature under which frequent features lose their lead (100: all are
    alike). repairs: rounds in which a failing program may be mended.
    """
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens)
    asked: Any = {"model": model, "engine": engine, "sampling": sampling, "seed": seed}
    files = load_prompts(
        prompts, columns, subset, split, limit, skip_bad, seed, needs=("solution",)
    )
    seeds = as_seeds(files)
    named = generate(seeds, EXTRACT, into="named", **asked)
    tree: Shards = build_tree(parse(named, reader=feature_json, into="features"))
    for i in range(evolutions):
        some = draw_subtrees(tree, n=subtrees, shape=list(_GROW), seed=seed + i, into=f"parts_{i}")
        grown = generate(some, EVOLVE, into=f"evolved_{i}", **asked)
        more = parse(grown, some, reader=feature_json, into=f"extended_{i}")
        tree = grow_tree(tree, more, into=f"tree_{i}")
    drawn = draw_tasks(tree, n=tasks, shape=shape or list(_SHAPE), flatness=flatness, seed=seed)
    posed = parse(generate(drawn, COMPOSE, into="posed", **asked), drawn, reader=task, into="tasks")
    answers = parse(generate(posed, SOLVE, **asked), posed, reader=solution, into="answers")
    green = []
    for i in range(repairs + 1):
        met = grid(answers, answers, into=f"grid_{i}")
        cells = execute(met, sandbox=sandbox, into=f"executions_{i}")
        green.append(passing(answers, met, cells, weakened=keep_weakened, into=f"passing_{i}"))
        if i < repairs:
            red = failing(answers, met, cells, into=f"failing_{i}")
            if not red.rows:
                break
            replies = generate(red, REPAIR, into=f"repairs_{i}", **asked)
            answers = parse(replies, red, reader=mended, into=f"mended_{i}")
    rows: Shards = to_sft(concat(green), posed, recipe="epicoder")
    return rows
