"""Runners: the same bytes from threads and from the processes of a real Dask cluster.

Ray has the same checks as a command, `python -m tests.benchmarks.cluster`: it is not in the lock.
"""

import os
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from pipeline.errors import UserError
from pipeline.journal import Journal
from pipeline.progress import read_progress
from pipeline.shards import Shards
from pipeline.steps import Run, running
from tests.toy_cluster import devoured, refused, squares

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def processes():
    """Two worker processes; both declare a core and a GPU."""
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parents[1]}{os.pathsep}{path}"
    words = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"})
    with LocalCluster(resources={"CPU": 1, "GPU": 1}, silence_logs=50, **words) as made:
        yield made
    os.environ["PYTHONPATH"] = path


@pytest.fixture
def cluster(processes):
    """The address of the two."""
    return processes.scheduler_address


def content(run: Path) -> dict[str, bytes]:
    """Every file of a run but the lock and the progress, which has clock times."""
    files = [file for file in sorted(run.rglob("*")) if file.is_file()]
    files = [file for file in files if file.name not in (".lock", "progress.jsonl")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def make(folder: Path, runner: str, deadly: str = "") -> tuple[dict[str, bytes], list[list[str]]]:
    """Run the squares; return the files and the (process, first row) of every call."""
    folder.mkdir()
    with running(Run(folder / "run", runner=runner)):
        squares(marks=str(folder), deadly=deadly)
    calls = [line.split() for line in (folder / "calls").read_text().splitlines()]
    return content(folder / "run"), calls


def test_dask_makes_the_same_bytes_as_threads(tmp_path, cluster):
    """Every file is equal; two other processes did the work; a second run does none."""
    whole, alone = make(tmp_path / "threads", "threads")
    found, calls = make(tmp_path / "dask", f"dask:{cluster}")
    assert found == whole
    processes = {process for process, _ in calls}
    assert str(os.getpid()) not in processes and {p for p, _ in alone} == {str(os.getpid())}
    assert len(calls) == 4
    with running(Run(tmp_path / "dask/run", runner=f"dask:{cluster}")):
        squares(marks=str(tmp_path / "dask"))
    assert len((tmp_path / "dask/calls").read_text().splitlines()) == 4


def test_workers_are_counted_where_the_flow_runs(tmp_path, cluster):
    """Two sessions on the same two workers: all that they drew is in the last line, once."""
    make(tmp_path / "both", f"dask:{cluster}")
    with running(Run(tmp_path / "both/run", "never", f"dask:{cluster}")):
        squares(marks=str(tmp_path / "both"))
    last = read_progress(tmp_path / "both/run")[-1]
    assert (last["prompts"], last["finished"], last["rollouts"]) == (100, 100, 400)
    assert not (tmp_path / "both/run/progress").exists()


def test_a_killed_worker_costs_its_shard_alone(tmp_path, cluster):
    """A worker that kills itself in one shard: that shard is made again, the bytes are the same."""
    whole, _ = make(tmp_path / "threads", "threads")
    found, calls = make(tmp_path / "dask", f"dask:{cluster}", deadly="r7")
    shards = [first for _, first in calls]
    assert found.keys() == whole.keys()
    rows = [Shards.open(tmp_path / name / "run/draw").table() for name in ("threads", "dask")]
    assert rows[0].equals(rows[1])
    assert len(set(shards)) == 4 and len(shards) <= 6  # at most what the dead worker held as well


def test_a_shard_that_no_worker_survives_is_a_sentence(tmp_path, processes, monkeypatch):
    """The run ends with what to do, not with a wait or a traceback; the other shards are kept."""
    monkeypatch.setattr(processes.scheduler, "allowed_failures", 1)
    with pytest.raises(UserError, match=r"devour: worker after worker died .* want of memory"):
        with running(Run(tmp_path / "run", runner=f"dask:{processes.scheduler_address}")):
            devoured()
    assert len(list((tmp_path / "run/devour/commits").glob("*.json"))) == 3


def test_a_users_fault_in_a_worker_is_his_sentence(tmp_path, cluster):
    """A UserError that a worker raises arrives as it is."""
    with pytest.raises(UserError, match="not with these rows"):
        with running(Run(tmp_path / "run", runner=f"dask:{cluster}")):
            refused()


def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    """An address where nobody answers is refused in words."""
    monkeypatch.setattr("pipeline.prefect_runners._CONNECT_S", 0.5)
    with pytest.raises(UserError, match=r"no cluster answers at tcp://127\.0\.0\.1:9"):
        with running(Run(tmp_path / "run", runner="dask:tcp://127.0.0.1:9")):
            pass


def test_a_journal_has_one_writer(tmp_path):
    """A worker that was given up for dead and lives cannot write beside its successor."""
    journal = Journal.open(tmp_path / "j")
    with pytest.raises(BlockingIOError, match="another process still writes"):
        Journal.open(tmp_path / "j")
    journal.close()
    Journal.open(tmp_path / "j").close()
