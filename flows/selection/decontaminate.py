"""Decontamination: rows that hold a benchmark item leave, and say which item and where.

Publications define "holds" differently, so the rule is a parameter and stands beside each hit:
tulu3 (more than half of the item's tokens lie in shared 8-grams, user turns; arXiv 2411.15124),
any_13gram (GPT-3 style), qwen_math (a shared 13-gram and a long common subsequence, arXiv
2409.12122), selfcodealign (the item is a substring, arXiv 2410.24198). See
`pipeline.decontaminate` for each rule to the letter.

Departures: an item shorter than the rule's run counts when a text is equal to it; Tulu 3 removes a
whole source when it hits more than 2 % of an evaluation, here the report says the share and the
matching rows leave.

In:  a pool; benchmarks with `bench, item_id, prompt` (and `answer`: for code give it too), or the
     built-in world's test split.
Out: the clean rows; the others lie in `aside`, with rule, item and matching span.

Ran on: built-in world
"""

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa

from pipeline import decontaminate as rules
from pipeline.choices import load_pool, to_rows
from pipeline.errors import UserError
from pipeline.nano_world import code_tasks, word_problems
from pipeline.schema import Sifted, digest
from pipeline.shards import Shards
from pipeline.sources import BUILT_IN, read_source
from pipeline.steps import active_run, recipe, step

_BUILT_IN_ITEMS = 240


@step(whole=("items",))
def clean(pool: pa.Table, items: pa.Table, *, rule: rules.Rule, exempt: Sequence[str]) -> Sifted:
    """Drop the rows that hold an item, by the rule; they lie aside."""
    columns = [name for name in ("prompt", "answer") if name in items.column_names]
    return rules.decontaminate(pool, items, rule=rule, exempt=exempt, item_columns=columns)


def load_benchmarks(source: str, subset: str = "", split: str = "test", seed: int = 0) -> Shards:
    """Read benchmark items into the run; UserError for a missing column."""
    rows = _built_in(seed) if source == BUILT_IN[0] else read_source(source, subset, split)
    lacking = [name for name in ("bench", "item_id", "prompt") if name not in rows.column_names]
    if lacking:
        raise UserError(
            f"benchmarks '{source}' lack {', '.join(lacking)}; they have: "
            f"{', '.join(rows.column_names)}; rename the columns of the file"
        )
    names = zip(rows["bench"].to_pylist(), rows["item_id"].to_pylist(), strict=True)
    ids = pa.array([digest(bench, str(item)) for bench, item in names])
    table = rows.drop_columns(["id"] if "id" in rows.column_names else []).add_column(0, "id", ids)
    return Shards.write(active_run().claim("benchmarks"), table, step="benchmarks")


def _built_in(seed: int) -> pa.Table:
    math = word_problems(_BUILT_IN_ITEMS, seed=seed, split="test").to_pylist()
    code = code_tasks(_BUILT_IN_ITEMS // 4, seed=seed, split="test").to_pylist()
    named = [("nano_math", row) for row in math] + [("nano_code", row) for row in code]
    texts = [row["messages"][0]["content"] for _, row in named]
    return pa.table(
        {
            "bench": [bench for bench, _ in named],
            "item_id": [row["id"] for _, row in named],
            "prompt": texts,
        }
    )


@recipe(paper="arXiv:2411.15124", output="sft")
def decontaminate(
    pool: str = "nano_world",
    benchmarks: str = "nano_world",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    benchmark_subset: str = "",
    benchmark_split: str = "test",
    limit: int = 0,
    rule: Literal["tulu3", "any_13gram", "qwen_math", "selfcodealign"] = "tulu3",
    exempt: list[str] | None = None,
    seed: int = 0,
) -> Shards:
    """Drop the rows that hold a benchmark item.

    exempt: texts that match nothing, such as one-line solutions that everybody writes. Run it with
    a benchmark's answers too where they are programs, and once per rule that you will report.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    items = load_benchmarks(benchmarks, benchmark_subset, benchmark_split, seed)
    kept = clean(rows, items, rule=rule, exempt=exempt or [])
    result: Shards = to_rows(kept, recipe="decontaminate")
    return result
