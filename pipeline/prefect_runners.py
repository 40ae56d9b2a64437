"""Where shards are made: threads here, or the processes of a Dask or Ray cluster. Same bytes.

    threads                    in this process
    dask, ray                  a cluster of `workers` processes on this machine, for this run
    dask:ADDRESS, ray:ADDRESS  a cluster that is there (tcp://HOST:8786, ray://HOST:10001)

A worker that dies costs its shard, which another one goes on with from the journal. Its workers
need this repository on their path and the run's folder under the same name.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.checkout import ROOT
from pipeline.errors import UserError

# What a shard of a step takes, where workers declare that they have it: GPUs for steps that ask an
# engine, cores for the others. Dask: `dask worker --resources "GPU=1 CPU=8"`; Ray: its own counts.
_GPU, _CPU = "GPU", "CPU"
_CONNECT_S = 10
_DEATHS = ("KilledWorker", "WorkerCrashedError", "OutOfMemoryError", "CrashedRun")


@contextmanager
def open_runner(name: str, workers: int) -> Iterator[Any]:
    """Give the block Prefect's task runner for a runner's name; UserError if it cannot be had."""
    kind, _, address = name.partition(":")
    makers = {"threads": _threads, "dask": _dask, "ray": _ray}
    if kind not in makers or (kind == "threads" and address):
        raise UserError(
            f"runner '{name}' is not known; use --runner threads, dask, ray, dask:ADDRESS or "
            "ray:ADDRESS"
        )
    with ExitStack() as held:
        try:
            runner = makers[kind](address, workers)
            opened = held.enter_context(runner)
        except ImportError as fault:
            raise UserError(
                f"runner '{name}' needs a package that is not here ({fault.name}); install the "
                "extra with pip install -e .[cluster], or use --runner threads"
            ) from None
        except (OSError, TimeoutError, ConnectionError) as fault:
            raise UserError(f"runner '{name}': no cluster answers at {address} ({fault})") from None
        yield opened


@contextmanager
def taking(runner: Any, *, engine: bool) -> Iterator[None]:
    """Tag what is submitted in this block with the resource that it takes, if workers declare it.

    `engine`: it asks a model. Undeclared resources are not asked for: nobody would ever come.
    """
    kind, resource = type(runner).__name__, _GPU if engine else _CPU
    if kind == "DaskTaskRunner" and resource in _offered(runner):
        import dask

        with dask.annotate(resources={resource: 1}):
            yield
    elif kind == "RayTaskRunner":
        import ray
        from prefect_ray.context import remote_options

        gpus = 1 if engine and ray.cluster_resources().get(_GPU) else 0
        with remote_options(num_cpus=1, num_gpus=gpus):
            yield
    else:
        yield


@contextmanager
def naming_dead_workers(folder: Path) -> Iterator[None]:
    """Say in one sentence that the workers died on a shard of `folder` again and again."""
    try:
        yield
    except Exception as fault:
        if type(fault).__name__ not in _DEATHS:
            raise
        raise UserError(
            f"{folder}: worker after worker died on the same shard ({type(fault).__name__}), most "
            "often for want of memory; give a worker more of it, or use fewer --workers: the same "
            "command goes on, and finished shards are kept"
        ) from fault


def _threads(address: str, workers: int) -> Any:
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=workers)


def _dask(address: str, workers: int) -> Any:
    from prefect_dask import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.ERROR)  # else every worker says hello
    if address:
        from distributed import Client

        Client(address, timeout=_CONNECT_S, set_as_default=False).close()  # else it waits for ever
        return DaskTaskRunner(address=address)
    import dask

    # A worker that died is given up if it is not back in time, 15 s by default: too few for its
    # imports on a busy machine. With the last one given up a run would wait for ever.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"})
    _share_path()
    # A free port of its own: None would take 8787 on every interface, and complain at a second run.
    words = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    return DaskTaskRunner(cluster_class="distributed.LocalCluster", cluster_kwargs=words)


def _ray(address: str, workers: int) -> Any:
    from prefect_ray import RayTaskRunner

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _share_path()
    words: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        return RayTaskRunner(address=address, init_kwargs=words)
    words |= {"num_cpus": workers, "include_dashboard": False}
    return RayTaskRunner(init_kwargs=words)


def _offered(runner: Any) -> set[str]:
    found = runner.client.scheduler_info(n_workers=-1)["workers"].values()
    return {name for worker in found for name in worker.get("resources", {})}


def _share_path() -> None:
    """Let workers that we start import the repository, wherever the command was typed."""
    known = os.environ.get("PYTHONPATH", "")
    if str(ROOT) not in known.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), known]))
