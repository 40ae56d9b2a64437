"""One pipeline, written for one library each; run as `python overhead_contenders.py NAME IN OUT`.

Read the rows of IN (Parquet: id, instruction, text), add the text column `prompt`, keep rows whose
`text` has at least 400 characters, write them below OUT. Each function imports what it needs, calls
`mark("imports")` and does the work. Prints JSON: rows, and [user, system] CPU seconds of each part,
children included.
Only `tamis` needs this repository; the others run in a venv of their own.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

LEAST = 400
_marks: dict[str, tuple[float, float]] = {}
_facts: dict[str, float] = {}


def cpu_s() -> tuple[float, float]:
    """User and system seconds of this process and of its children that have ended."""
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime


def mark(name: str) -> None:
    """Note the CPU used so far: a part of the run ends here."""
    _marks[name] = cpu_s()


def tamis(source: str, out: Path) -> int:
    """Two steps on shards, as a recipe would; the server's CPU is noted apart."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")  # as the command `tamis` does
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import pandas  # noqa: F401  # pyarrow imports it at the first array made of Python values
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipeline.schema import Sifted
    from pipeline.shards import Shards, read_rows
    from pipeline.steps import Run, active_run, recipe, running, step

    @step()
    def add_prompt(rows: pa.Table) -> pa.Table:
        text = pc.binary_join_element_wise(pa.scalar("Answer: "), rows["instruction"], "")
        return rows.append_column("prompt", text)

    @step()
    def keep_long(rows: pa.Table, *, least: int) -> Sifted:
        kept = rows.filter(pc.greater_equal(pc.utf8_length(rows["text"]), least))
        return Sifted(kept, {"short": len(rows) - len(kept)})

    @recipe(paper="none", output="scores")
    def overhead() -> Shards:
        pool = Shards.write(active_run().claim("pool"), read_rows(source))
        kept: Shards = keep_long(add_prompt(pool), least=LEAST)
        return kept

    @recipe(paper="none", output="scores")
    def nothing() -> None:
        """Bring in what Prefect imports at its first flow."""

    mark("imports")
    with running(Run(out)):
        nothing()
        _facts["server_start"] = _server_cpu_s()
        mark("start")
        rows = overhead().rows
        mark("work")
        _facts["server"] = _server_cpu_s() - _facts["server_start"]
    return rows


def _server_cpu_s() -> float:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ticks = 0
    for child in children:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def polars(source: str, out: Path) -> int:
    """Scan to sink; this is the floor that others are compared with."""
    import polars as pl

    mark("imports")
    joined = pl.concat_str(pl.lit("Answer: "), "instruction").alias("prompt")
    rows = pl.scan_parquet(source).with_columns(joined)
    rows.filter(pl.col("text").str.len_chars() >= LEAST).sink_parquet(out / "rows.parquet")
    return int(pl.scan_parquet(out / "rows.parquet").select(pl.len()).collect().item())


def datasets(source: str, out: Path) -> int:
    """Hugging Face datasets: `map` and `filter`, batched, their cache in OUT."""
    import datasets as hf

    hf.disable_progress_bars()
    mark("imports")
    rows = hf.load_dataset("parquet", data_files=source, split="train", cache_dir=str(out / "c"))
    rows = rows.map(
        lambda batch: {"prompt": [f"Answer: {text}" for text in batch["instruction"]]}, batched=True
    )
    rows = rows.filter(lambda batch: [len(text) >= LEAST for text in batch["text"]], batched=True)
    rows.to_parquet(str(out / "rows.parquet"))
    return len(rows)


def datatrove(source: str, out: Path) -> int:
    """Reader, two steps, writer, one task in this process."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    def add_prompt(rows, rank=0, world_size=1):
        for row in rows:
            row.metadata["prompt"] = f"Answer: {row.metadata['instruction']}"
            yield row

    mark("imports")
    folder, name = os.path.split(source)
    steps = [
        ParquetReader(folder, glob_pattern=name),
        add_prompt,
        LambdaFilter(lambda row: len(row.text) >= LEAST),
        ParquetWriter(str(out / "rows")),
    ]
    done = LocalPipelineExecutor(steps, logging_dir=str(out / "logs"), skip_completed=False).run()
    return int(done.stats[2].stats["total"].total)


def distilabel(source: str, out: Path) -> int:
    """Three steps in batches of 1,000 (its default of 50 takes ten times as long), no cache."""
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromFileSystem
    from distilabel_steps import AddPrompt, KeepLong

    mark("imports")
    with Pipeline("overhead", cache_dir=str(out / "cache")) as pipeline:
        load = LoadDataFromFileSystem(data_files=source, batch_size=1000)
        load >> AddPrompt(input_batch_size=1000) >> KeepLong(input_batch_size=1000)
    made = pipeline.run(use_cache=False)["default"]["train"]
    made.to_parquet(str(out / "rows.parquet"))
    return len(made)


CONTENDERS: dict[str, Callable[[str, Path], int]] = {
    made.__name__: made for made in (polars, tamis, datasets, datatrove, distilabel)
}

if __name__ == "__main__":
    name, rows_file, folder = sys.argv[1:4]
    Path(folder).mkdir(parents=True, exist_ok=True)
    rows_out = CONTENDERS[name](rows_file, Path(folder))
    if "work" not in _marks:
        mark("work")
    parts, before = {}, (0.0, 0.0)
    for part, (user, system) in _marks.items():
        parts[part] = [user - before[0], system - before[1]]
        before = user, system
    print(json.dumps({"rows": rows_out, **parts, **_facts}))
