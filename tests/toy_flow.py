"""A toy flow of three steps for the crash tests; run as `python toy_flow.py FOLDER MARKS FACTOR`.

Each executed shard adds a line to the file MARKS. TOY_WAIT_S is how long a shard of `widen` takes.
"""

import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import Sifted
from pipeline.shards import Shards
from pipeline.steps import Run, active_run, recipe, running, step


def mark(marks: str, word: str) -> None:
    """Add one line to the file of executed shards."""
    with Path(marks).open("a") as file:
        file.write(word + "\n")


@step(free=("marks",), journal=True)
def widen(rows, *, factor, marks, journal, previous):
    """Add a column y = factor * x, through the journal as a generation step would."""
    mark(marks, "widen")
    journal.append([{"id": row_id} for row_id in rows["id"].to_pylist()])
    time.sleep(float(os.environ.get("TOY_WAIT_S", "0.02")))
    return rows.append_column("y", pc.multiply(rows["x"], factor))


@step(free=("marks",))
def keep_even(rows, *, marks):
    """Keep the rows with even x; the others go aside."""
    mark(marks, "keep_even")
    odd = pc.equal(pc.bit_wise_and(rows["x"], 1), 1)
    kept, others = rows.filter(pc.invert(odd)), rows.filter(odd)
    return Sifted(kept, {"odd": len(others)} if len(others) else {}, aside=others)


@step(scope="dataset", free=("marks",))
def gather(rows, *, marks):
    """Put every row into one shard, ordered by x."""
    mark(marks, "gather")
    return rows.sort_by("x")


def chain(marks: str, factor: int) -> Shards:
    """What the recipe does: import, widen, keep the even ones, gather."""
    table = pa.table({"id": [f"r{i}" for i in range(200)], "x": list(range(200))})
    prompts = Shards.write(active_run().claim("prompts"), table, shard_rows=100)
    return gather(keep_even(widen(prompts, factor=factor, marks=marks), marks=marks), marks=marks)


@recipe(paper="none", output="scores")
def toy(marks: str, factor: int = 2) -> Shards:
    """Run the chain as a flow."""
    return chain(marks, factor)


if __name__ == "__main__":
    folder, marks, factor = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with running(Run(folder)):
        sys.stdout.write("started\n")
        sys.stdout.flush()
        toy(marks, factor)
