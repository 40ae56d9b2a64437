"""The pool of slots: order, cancellation, lost slots, users, start-up."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox import Program, Sandbox, SandboxUnavailable
from tests.boxes import ADD, judge

ROOT = Path(__file__).parents[1]


def test_order_laziness_and_equality(box):
    """Outcomes come in input order, few programs are read ahead, and workers do not matter."""
    read = []

    def endless():
        for i in itertools.count():
            read.append(i)
            delay = "import time; time.sleep(0.3)\n" if i % 5 == 0 else ""
            yield Program(str(i), delay + ADD, tests=(f"assert add({i}, 1) == {i + 1 + i % 2}",))

    outcomes = list(itertools.islice(run := box.run(endless()), 20))
    run.close()
    assert [o.id for o in outcomes] == [str(i) for i in range(20)]
    assert [o.verdict for o in outcomes] == ["correct", "wrong"] * 10
    assert len(read) < 60


def test_closing_the_iterator_frees_the_slots(box):
    """Endless programs end with the iterator that asked for them."""
    endless = Program("loop", "def f():\n    while True: pass\n", tests=("assert f() == 1",))
    quick = Program("first", ADD, tests=("assert add(1, 2) == 3",))
    run = box.run([quick] + [endless] * 15)
    assert next(run).verdict == "correct"
    start = time.monotonic()
    run.close()
    assert judge(box, ADD, "assert add(2, 2) == 4").verdict == "correct"
    assert time.monotonic() - start < 5


def test_cancelling_a_coroutine_frees_the_slots(box):
    """A task that is cancelled while it waits for an endless program leaves nothing running."""
    endless = Program("loop", "def f():\n    while True: pass\n", tests=("assert f() == 1",))

    async def read():
        async for _ in box.stream([endless] * 10):
            raise AssertionError("an endless program has an outcome")

    async def cancel():
        task = asyncio.create_task(read())
        await asyncio.sleep(0.3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    start = time.monotonic()
    asyncio.run(cancel())
    assert judge(box, ADD, "assert add(2, 2) == 4").verdict == "correct"
    assert time.monotonic() - start < 5


def test_threads_and_asyncio_share_a_box(box):
    """Several threads and a coroutine use one sandbox at once, each with its own order."""
    programs = [Program(str(i), ADD, tests=(f"assert add({i}, 1) == {i + 1}",)) for i in range(20)]
    results = {}

    def work(name):
        results[name] = [(o.id, o.verdict) for o in box.run(programs)]

    async def stream():
        results["async"] = [(o.id, o.verdict) async for o in box.stream(programs)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(stream())
    for thread in threads:
        thread.join()
    expected = [(str(i), "correct") for i in range(20)]
    assert results == {name: expected for name in (0, 1, 2, "async")}


def test_a_dead_slot_is_infra_and_tried_again():
    """Killing the slot under a program costs an attempt, not the program."""
    with Sandbox(workers=1) as box:
        code = "import time\ntime.sleep(1)\n" + ADD
        run = box.run([Program("it", code, tests=("assert add(1, 2) == 3",))])
        killer = threading.Timer(0.5, lambda: [slot.abort() for slot in list(box._busy)])
        killer.start()
        outcome = next(run)
        killer.join()
    assert (outcome.verdict, outcome.attempts) == ("correct", 2)


def test_nothing_outlives_a_killed_supervisor(tmp_path):
    """After kill -9 of the user's process neither slots nor programs remain."""
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from sandbox import Program, Sandbox
box = Sandbox(workers=1); box.open()
print(box._idle[0]._process.pid, flush=True)
list(box.run([Program("loop", "while True: pass", tests=("assert f() == 1",))]))
"""
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    slot = int(started.stdout.readline())
    time.sleep(1)
    children = Path(f"/proc/{slot}/task/{slot}/children").read_text().split()
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    started.stdout.close()
    deadline = time.monotonic() + 10
    alive = [slot, *map(int, children)]
    while any(is_running(pid) for pid in alive) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    assert [pid for pid in alive if is_running(pid)] == []


def is_running(pid):
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_tier_is_refused_not_replaced(monkeypatch):
    """Asked for tier A- without bubblewrap, the sandbox gives nothing weaker or stronger."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SandboxUnavailable, match=r"tier A- here \(A-: bubblewrap is not installed"):
        Sandbox(tier="A-").open()


def test_what_cannot_be_had_is_refused_with_the_remedy():
    """An interpreter that will not start means no sandbox at all, and the message says why."""
    with pytest.raises(SandboxUnavailable, match=r"/bin/false ended at once.*Landlock"):
        Sandbox(python="/bin/false").open()


def test_twice_flags_what_differs():
    """A program whose verdict depends on chance is flagged, and is not correct."""
    code = "import os\ndef f():\n    return os.urandom(1)[0] % 2\n"
    programs = [Program(str(i), code, tests=("assert f() == 1",)) for i in range(40)]
    with Sandbox(workers=2, twice=True) as box:
        outcomes = list(box.run(programs))
    flaky = [o for o in outcomes if "flaky" in o.flags]
    assert flaky
    assert {o.verdict for o in flaky} == {"wrong"}


USER_SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from sandbox import Program, Sandbox, SandboxUnavailable
import sandbox.cache, sandbox.judge  # this interpreter may be where only root can read
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(20002, 20002, 20002); os.setresuid(20002, 20002, 20002)
code = "import os\\ndef f(): return [os.getuid() > 0, os.path.exists('/etc/passwd')]"
try:
    with Sandbox(workers=1, tier=sys.argv[1]) as box:
        test = "assert f()[0] is True"
        print(box.tier, *[o.verdict for o in box.run([Program("it", code, tests=(test,))])])
except SandboxUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("tier", ["A", "A-", "B"])
def test_works_as_an_ordinary_user(tier):
    """No root is needed: each tier starts under an ordinary uid, A- where bubblewrap is found."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=USER_SCRIPT.replace("sys.argv[1]", repr(tier)),
        capture_output=True,
        text=True,
    )
    if tier == "A-" and shutil.which("bwrap") is None:
        assert "bubblewrap is not installed); permit unprivileged" in done.stdout, done.stderr
    else:
        assert done.stdout.split() == [tier, "correct"], done.stderr


def test_import_is_fast_and_pulls_in_no_machinery(tmp_path):
    """`import sandbox`, once compiled, costs at most 50 ms of CPU and no ctypes or asyncio."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    script = (
        "import time, sys; t = time.process_time(); import sandbox; t = time.process_time() - t\n"
        "print(t, 'ctypes' in sys.modules, 'asyncio' in sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(15)
    ]
    assert min(float(run[0]) for run in runs) < 0.05
    assert {tuple(run[1:]) for run in runs} == {("False", "False")}
