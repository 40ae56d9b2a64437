"""Steps for the tests of runners: importable by name, as those of a recipe are."""

import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.progress import track
from pipeline.shards import Shards
from pipeline.steps import active_run, recipe, step


def numbers(folder, shard_rows):
    """A hundred rows: id 'r0' ... 'r99', x 0 ... 99."""
    table = pa.table({"id": [f"r{i}" for i in range(100)], "x": list(range(100))})
    return Shards.write(folder, table, shard_rows=shard_rows)


@step(free=("marks",))
def square(rows, *, marks, deadly=""):
    """Add y = x * x; note the process; the first to see row `deadly` kills itself."""
    ids = rows["id"].to_pylist()
    with (Path(marks) / "calls").open("a") as file:
        file.write(f"{os.getpid()} {min(ids)}\n")
    if deadly in ids and not (Path(marks) / "dead").exists():
        (Path(marks) / "dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rows.append_column("y", pc.multiply(rows["x"], rows["x"]))


@step(expands=True, journal=True)
def draw(rows, *, journal, previous):
    """Two rows a row, through the journal, as a step does that asks an engine."""
    ids = [f"{one}/{n}" for one in rows["id"].to_pylist() for n in range(2)]
    journal.append([{"id": one} for one in ids])
    progress = track(journal.path.parents[2])
    progress.begin(100, journal.path.parents[1])
    progress.add(finished=len(rows), rollouts=len(ids))
    return pa.table({"id": pa.array(ids, pa.string())})


@step()
def devour(rows):
    """Be killed, as the kernel does when memory runs out, at row r7 each time."""
    if "r7" in rows["id"].to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


@step()
def refuse(rows):
    """Refuse every shard."""
    raise UserError("not with these rows")


@recipe(paper="none", output="scores")
def squares(marks: str, deadly: str = "") -> Shards:
    """A hundred numbers in four shards, squared, then drawn from."""
    hundred = numbers(active_run().claim("numbers"), shard_rows=32)
    return draw(square(hundred, marks=marks, deadly=deadly))


@recipe(paper="none", output="scores")
def devoured() -> Shards:
    """Four shards, one of which no worker survives."""
    return devour(numbers(active_run().claim("numbers"), shard_rows=32))


@recipe(paper="none", output="scores")
def refused() -> Shards:
    """A step that refuses."""
    table = pa.table({"id": ["a"], "x": [1]})
    return refuse(Shards.write(active_run().claim("numbers"), table))
