"""The cache of outcomes: what is kept, what never is, what a crash or a neighbour does to it."""

import multiprocessing
import time
from dataclasses import replace

import pytest

from sandbox import Limits, Program, Sandbox, StdioTest
from sandbox.cache import Cache, make_key
from sandbox.outcomes import Outcome, TestResult

# The program says when it ran, so that a second run cannot go unnoticed.
CLOCK = "import time\nprint(time.time_ns())\ndef f(x):\n    return x\n"
QUICK = Limits(test_cpu_s=0.3, cpu_s=1.0)


def judge(folder, program, **settings):
    """The outcome of one program in a new sandbox with that cache."""
    with Sandbox(workers=1, limits=QUICK, cache=folder, **settings) as box:
        (outcome,) = box.run([program])
        return outcome


def test_a_verdict_is_found_again(tmp_path):
    """The same program, under another id and in another sandbox, has the first one's outcome."""
    program = Program("one", CLOCK, tests=("assert f(1) == 1", "assert f(1) == 2"))
    first = judge(tmp_path, program)
    again = judge(tmp_path, replace(program, id="two"))
    assert again == replace(first, id="two")
    assert first.verdict == "wrong" and first.stdout


OTHERS = {
    "code": {"code": CLOCK + "#"},
    "tests": {"tests": ("assert f(2) == 2",)},
    "stdin": {"stdin": "x"},
    "limits": {"limits": Limits(memory_mb=512)},
    "mode": {"mode": "split"},
}


@pytest.mark.parametrize("change", OTHERS)
def test_whatever_changes_is_run_again(tmp_path, change):
    """A change of anything that a verdict may depend on is another key."""
    program = Program("it", CLOCK, tests=("assert f(1) == 1",))
    first = judge(tmp_path, program)
    assert judge(tmp_path, replace(program, **OTHERS[change])).stdout != first.stdout
    assert judge(tmp_path, program, tier="B").stdout != first.stdout
    assert judge(tmp_path, program).stdout == first.stdout


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("a", "timeout", "isolated", "A", (TestResult("timeout"),)),
        Outcome("a", "infra", "isolated", "A", (TestResult("infra"),)),
        Outcome("a", "wrong", "isolated", "A", (TestResult("fail"), TestResult("timeout"))),
        Outcome("a", "error", "isolated", "A", (TestResult("oom"),)),
        Outcome("a", "wrong", "isolated", "A", (TestResult("fail"),), flags=("flaky",)),
        Outcome("a", "infra", "isolated", "A"),
    ],
)
def test_what_may_change_is_not_kept(tmp_path, outcome):
    """Timeouts, infrastructure, memory and flaky verdicts are forgotten at once."""
    cache = Cache(tmp_path)
    cache.keep("k", outcome)
    assert cache.find("k", "a") is None
    cache.keep("k", Outcome("a", "correct", "isolated", "A", (TestResult("pass"),)))
    assert cache.find("k", "b") == Outcome("b", "correct", "isolated", "A", (TestResult("pass"),))
    cache.close()


def fill(folder, writer, count):
    """Add outcomes, each under a key of its own, as one of several processes."""
    cache = Cache(folder)
    for i in range(count):
        cache.keep(f"{writer}-{i}", Outcome(str(i), "wrong", "isolated", "A", stdout="x" * 3000))
    cache.close()


def test_several_processes_write_at_once(tmp_path):
    """Four writers at a time lose nothing, and a reader that was there before finds it all."""
    reader = Cache(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=fill, args=(tmp_path, n, 100)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [reader.find(f"{n}-{i}", str(i)) for n in range(4) for i in range(100)]
    assert [outcome.id for outcome in found] == [str(i) for _ in range(4) for i in range(100)]
    reader.close()


@pytest.mark.parametrize("cut", [2, 30, 200])
def test_a_torn_or_changed_line_is_skipped(tmp_path, cut):
    """A last line that a crash cut short is lost, those before and after it are not."""
    fill(tmp_path, "a", 2)
    log = tmp_path / "outcomes.log"
    whole = log.read_bytes()
    log.write_bytes(whole[:-cut])
    fill(tmp_path, "b", 1)
    cache = Cache(tmp_path)
    assert cache.find("a-0", "0") and cache.find("b-0", "0") and cache.find("a-1", "1") is None
    cache.close()
    log.write_bytes(log.read_bytes().replace(b'"wrong"', b'"right"', 1))
    cache = Cache(tmp_path)
    assert cache.find("a-0", "0") is None and cache.find("b-0", "0")
    cache.close()


def test_keys_are_of_content():
    """The id is no part of the key, the machine and every field of a test are."""
    program = Program("a", "x", tests=(StdioTest("1", "2"),))
    key = make_key(program, Limits(), "A")
    assert make_key(replace(program, id="b", limits=Limits()), Limits(), "A") == key
    others = [StdioTest("1", "3"), StdioTest("1", "2", "exact"), StdioTest("1", "2", checker="")]
    keys = {make_key(replace(program, tests=(test,)), Limits(), "A") for test in others}
    assert len(keys | {key, make_key(program, Limits(), "B")}) == 5
    assert make_key(program, Limits(cpu_s=time.monotonic() + 11), "A") != key
