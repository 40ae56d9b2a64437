"""The killable workers, with real processes; the function is `eval`, so an item can do anything."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scorers.workers import Lost, Workers

SPIN = "sum(iter(lambda: 0, 1))"
SPIN_IN_C = "pow(7, 10**9)"  # never lets go of the interpreter lock
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two workers with a CPU limit of half a second."""
    pool = Workers("builtins:eval", count=2, cpu_s=0.5, wall_s=60, memory_bytes=1 << 30)
    yield pool
    pool.close()


def children(pid: int) -> list[int]:
    """List the living child processes of a process."""
    found = (Path(p).read_text().split() for p in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for group in found for child in group]


def alive(pid: int) -> bool:
    """Tell a living process from a dead or a zombie one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_results_keep_the_order_of_items(workers: Workers) -> None:
    """Each result stands where its item stood, whichever worker had it."""
    assert workers.map([f"{n} ** 2" for n in range(50)]) == [n**2 for n in range(50)]


def test_empty_batch_starts_nothing() -> None:
    """No items, no processes."""
    pool = Workers("builtins:eval")
    assert pool.map([]) == []
    assert not pool._alive
    pool.close()


@pytest.mark.parametrize("spin", [SPIN, SPIN_IN_C])
def test_an_item_over_its_cpu_limit_is_lost_alone(workers: Workers, spin: str) -> None:
    """The kernel ends a worker that computes too long, even inside C; its neighbours are served."""
    lost = Lost("timeout", "cpu_limit")
    assert workers.map(["1", spin, "2", "3", spin, "4"]) == [1, lost, 2, 3, lost, 4]


def test_an_item_that_sleeps_meets_the_wall_clock() -> None:
    """A worker that uses no CPU time is killed by the parent."""
    pool = Workers("time:sleep", count=1, wall_s=0.3)
    assert pool.map([0, 60, 0]) == [None, Lost("timeout", "wall_limit"), None]
    pool.close()


def test_an_item_that_takes_the_memory_is_a_timeout(workers: Workers) -> None:
    """The address space limit ends the item and not the machine."""
    lost = Lost("timeout", "memory_limit")
    assert workers.map(["1", "bytearray(1 << 34)", "2"]) == [1, lost, 2]


def test_an_item_that_raises_is_an_error(workers: Workers) -> None:
    """An exception comes back by name, and the worker lives on."""
    assert workers.map(["1 / 0", "5"]) == [Lost("error", "raised: ZeroDivisionError"), 5]


def test_a_dead_worker_is_tried_once_more(workers: Workers, tmp_path: Path) -> None:
    """An item whose worker dies is given to a fresh one, exactly once, then lost as infra."""
    log = tmp_path / "log"
    die = f"open({str(log)!r}, 'a').write('x') and __import__('os')._exit(3)"
    results = workers.map(["1", die, "2"])
    assert results == [1, Lost("infra", "worker_died: status 3"), 2]
    assert log.read_text() == "xx"


def test_a_worker_that_dies_once_costs_nothing(workers: Workers, tmp_path: Path) -> None:
    """The second try succeeds where the first was killed from outside."""
    flag = str(tmp_path / "flag")
    item = f"7 if __import__('os').path.exists({flag!r}) else (open({flag!r}, 'w'), "
    item += "__import__('os').kill(__import__('os').getpid(), 9))"
    assert workers.map([item]) == [7]


def test_several_threads_share_the_pool(workers: Workers) -> None:
    """Batches of four threads at once do not mix, nor does a time-out in one touch the others."""
    batches = [[f"({n}, {m})" for m in range(20)] for n in range(4)]
    batches[2][5] = SPIN
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(workers.map, batches))
    expected: list[list[object]] = [[(n, m) for m in range(20)] for n in range(4)]
    expected[2][5] = Lost("timeout", "cpu_limit")
    assert found == expected


def test_close_leaves_no_process() -> None:
    """After `close` every worker is dead and reaped."""
    pool = Workers("builtins:eval", count=2)
    before = set(children(os.getpid()))
    pool.map(["1"] * 8)
    started = set(children(os.getpid())) - before
    assert started
    pool.close()
    assert not any(alive(pid) for pid in started)


@pytest.mark.parametrize("item", ["1", SPIN_IN_C])
def test_workers_die_with_a_killed_parent(item: str) -> None:
    """SIGKILL of the parent takes idle and busy workers along, though no clean-up can run."""
    script = f"""
        import threading
        from scorers.workers import Workers
        pool = Workers("builtins:eval", count=2, cpu_s=600, wall_s=600)
        pool.map(["__import__('time').sleep(0.2)"] * 2)
        print("ready", flush=True)
        pool.map([{item!r}] * 2)
        threading.Event().wait()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout and parent.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    workers = children(parent.pid)
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, workers))
