import os, signal
from pipeline.steps import active_run, recipe, step
from pipeline.shards import Shards
from tests.toy_cluster import numbers
@step()
def die(rows):
    if "r7" in rows["id"].to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return rows
@recipe(paper="none", output="scores")
def fatal():
    return die(numbers(active_run().claim("numbers"), shard_rows=32))
