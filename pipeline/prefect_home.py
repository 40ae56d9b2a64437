"""Where Prefect lives: its settings, its task for a shard, and a server that cannot outlive us.

With `steps` the only module that touches prefect. Prefect's ephemeral server is left behind as an
orphan when a run is killed; ours (`prefect_server`) dies with us, even by SIGKILL. It listens on a
socket that was bound before it started: there is no port to guess and nothing to poll.
"""

import fcntl
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError, TamisError, UserError
from pipeline.plans import Plan, finished, make_shard

RETRY_AFTER_S = 10  # then six times longer after each failure, ten minutes at most
_START_TIMEOUT_S = 180
STANDING: ContextVar[bool] = ContextVar("tamis_standing_server", default=False)
_log = logging.getLogger(__name__)
_OURS = r"exception (UserError|EngineError|Stopped):|aborted by an interrupt signal"
_SERVER = Path(__file__).with_name("prefect_server.py")
_SERVER_WORDS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


def settle_environment() -> None:
    """Choose what Prefect reads from the environment, unless the user did; before its import."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    defaults = {
        "PREFECT_HOME": str(cache / "tamis" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline,scorers,sandbox",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(_START_TIMEOUT_S),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


@contextmanager
def serving() -> Iterator[None]:
    """Give the block a Prefect API: the one PREFECT_API_URL names, else a server of our own.

    Flow heartbeats are off inside: each sync flow would end with up to a second of sleep.
    """
    settle_environment()
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    _hush()
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    if PREFECT_API_URL.value():
        token = STANDING.set(True)
        try:
            with temporary_settings(quiet):
                yield
        finally:
            STANDING.reset(token)
        return
    with _own_server() as url, temporary_settings({**quiet, PREFECT_API_URL: url}):
        try:
            yield
        finally:
            _drain()


def shard_task(plan: Plan, retries: int) -> Any:
    """Make Prefect's task for the shards of `plan`: `(folder, i)` to a commit record."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed

    def make(folder: str, i: int) -> Any:
        if (record := finished(plan, i)) is not None:  # a worker that was lost had made it
            return Completed(name="Cached", message=f"{folder}: already committed", data=record)
        try:
            return make_shard(plan, i)
        except (EngineError, OSError) as fault:
            _log.warning(
                "%s, shard %d: %s (it is tried again up to %d times)", folder, i, fault, retries
            )
            raise

    def is_infrastructure(task: Any, task_run: Any, state: Any) -> bool:
        return isinstance(state.data, EngineError | OSError)

    return task(
        make,
        name=plan.folder.name,
        task_run_name=plan.folder.name + " {i}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=[min(RETRY_AFTER_S * 6**n, 600) for n in range(retries)],
        retry_condition_fn=is_infrastructure,
    )


def show_cached(folder: Path, shards: int) -> None:
    """Make one task run "Cached" for all committed shards of a step: one for each costs 20 ms."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed

    def find(folder: str, shards: int) -> Any:
        return Completed(name="Cached", message=f"{folder}: {shards} shards committed already")

    task(
        find,
        name=folder.name,
        task_run_name=f"{folder.name}, {shards} committed",
        cache_policy=NO_CACHE,
        persist_result=False,
    )(folder=str(folder), shards=shards)


@contextmanager
def _own_server() -> Iterator[str]:
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    with ExitStack() as stack:
        with _turn(log.parent):
            with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
                server = _start(listener.fileno(), log)
            stack.callback(_end, server)
            _await_health(url, log)
        yield url


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    """Wait for the servers that start now: two at once would both make the home's database."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _start(listener: int, log: Path) -> "subprocess.Popen[bytes]":
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            # -P: that file's folder must not shadow top-level modules of the same names
            [sys.executable, "-P", str(_SERVER), str(listener), str(os.getpid())],
            env={**os.environ, **_SERVER_WORDS, **settings},
            pass_fds=[listener],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us; the server must see our last words
        )


def _await_health(url: str, log: Path) -> None:
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=_START_TIMEOUT_S) as client:
            client.get(f"{url}/health").raise_for_status()
    except httpx.HTTPError as fault:
        raise UserError(
            f"Prefect's server did not answer within {_START_TIMEOUT_S} s ({fault}); see {log}, or "
            "start one with 'prefect server start' and set PREFECT_API_URL"
        ) from fault


def _drain() -> None:
    """Send what Prefect still has in its queues before its server goes."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=5, at_exit=False)


def _hush() -> None:
    # Else a line for every call to the server, and one for each second of the last flush.
    for name, level in (("httpx", logging.WARNING), ("EventsWorker", logging.ERROR)):
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(level)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if _not_ours not in logger.filters:
            logger.addFilter(_not_ours)


def _not_ours(record: logging.LogRecord) -> bool:
    """Say whether a failure is a surprise: our own are one sentence, which the caller prints."""
    if record.exc_info and isinstance(record.exc_info[1], TamisError):
        return False
    return not re.search(_OURS, record.getMessage())
