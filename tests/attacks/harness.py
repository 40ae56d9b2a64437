"""Run the attack corpus against the sandbox, or against no sandbox, and say what got out.

    python tests/attacks/harness.py --tier A|A-|B|none [--as-user] [--only ID ...] [--json]

After each attack the same worker must still judge an honest program, so rows name the culprit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attack import Attack, load, staged_code
from bare import judge_bare
from fence import fence, interpreter
from stage import Stage, set_stage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sandbox import Limits, Outcome, Program, Sandbox  # noqa: E402

LIMITS = Limits(cpu_s=2.0, test_cpu_s=0.5, memory_mb=512)
PATIENCE_S = 60  # longer than any limit, on a loaded machine: a sandbox that takes longer hangs
SLOW_S = 20  # nothing in the corpus may hold a worker longer than its limits and some load allow
OUTPUT_MAX = 2 << 20
MESSAGE_MAX = 2000


class Box:
    """A sandbox of one worker, replaced when it is lost."""

    def __init__(self, tier: str) -> None:
        self.tier = tier
        self.sandbox = Sandbox(workers=1, limits=LIMITS, tier=tier).__enter__()
        self.honest = 0

    def run(self, program: Program) -> Outcome:
        """One outcome, or TimeoutError if the sandbox hangs."""
        with time_box(PATIENCE_S):
            (outcome,) = self.sandbox.run([program])
        return outcome

    def still_honest(self) -> list[str]:
        """Judge an honest program that no other could have prepared; problems, if any."""
        self.honest += 1
        code = f"def f(x):\n    return x * {self.honest} + 1\n"
        right, wrong = 5 * self.honest + 1, 5 * self.honest
        tests = (
            f"assert f(5) == {right}",
            f"y = f(5)\nassert y == {right}",
            f"assert f(5) == {wrong}",
        )
        outcome = self.run(Program(id=f"honest{self.honest}", code=code, tests=tests))
        statuses = [test.status for test in outcome.tests]
        return [] if statuses == ["pass", "pass", "fail"] else [f"dead: honest program {statuses}"]

    def replace(self) -> None:
        """Give the lost sandbox up for a new one."""
        with time_box(PATIENCE_S):
            self.sandbox.__exit__(None, None, None)
        self.sandbox = Sandbox(workers=1, limits=LIMITS, tier=self.tier).__enter__()


@contextmanager
def time_box(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attack_sandbox(box: Box, attack: Attack, stage: Stage) -> dict[str, object]:
    """Run one attack (a forgery in both kinds of test process) and collect what went wrong."""
    modes = (None, "split") if attack.id[0] == "F" else (None, None) if attack.twice else (None,)
    outcomes: list[Outcome] = []
    problems: list[str] = []
    try:
        for mode in modes:
            program = Program(
                id=attack.id,
                code=staged_code(attack, stage.facts),
                entry_point=attack.entry_point,
                tests=attack.tests,
                mode=mode,
            )
            start = time.monotonic()
            outcomes.append(box.run(program))
            problems += judge(attack, outcomes[-1])
            if time.monotonic() - start > SLOW_S:
                problems.append(f"dead: the worker was held for {time.monotonic() - start:.0f} s")
        if attack.twice and len({outcome.stdout for outcome in outcomes}) != 1:
            problems.append("misjudged: two runs print different things")
        problems += box.still_honest()
    except Exception as fault:
        problems.append(f"dead: {type(fault).__name__}: {fault}")
        box.replace()
    problems += [f"leak: {trace}" for trace in stage.traces()]
    return {
        "id": attack.id,
        "title": attack.title,
        "verdict": "/".join(dict.fromkeys(outcome.verdict for outcome in outcomes)),
        "statuses": [test.status for test in outcomes[0].tests] if outcomes else [],
        "wall_ms": round(sum(outcome.wall_ms for outcome in outcomes), 1),
        "cpu_ms": round(sum(outcome.cpu_ms for outcome in outcomes), 1),
        "problems": list(dict.fromkeys(problems)),
    }


def judge(attack: Attack, outcome: Outcome) -> list[str]:
    """What is wrong with the outcome of an attack."""
    statuses = [test.status for test in outcome.tests]
    texts = [outcome.stdout, outcome.stderr, outcome.exception or ""]
    texts += [text for test in outcome.tests for text in (test.exception, test.got) if text]
    problems = [f"leak: {line}" for text in texts for line in text.splitlines() if "LOOT" in line]
    if attack.id[0] == "F" and ("pass" in statuses or outcome.integrity != "isolated"):
        # A program must not be able to choose that its tests move in with it.
        return [*problems, f"forged: {statuses}, integrity {outcome.integrity}"]
    if outcome.verdict not in attack.expect:
        why = [test.exception for test in outcome.tests]
        problems.append(f"misjudged: {outcome.verdict} {statuses} {why} is not expected")
    if attack.statuses and statuses != list(attack.statuses):
        problems.append(f"misjudged: {statuses} instead of {list(attack.statuses)}")
    if len(statuses) != len(attack.tests):
        problems.append(f"misjudged: {len(statuses)} results for {len(attack.tests)} tests")
    if attack.keeps not in outcome.stdout:
        problems.append("misjudged: captured output is lost")
    if outcome.cpu_ms < attack.burns_s * 1000:
        problems.append(f"misjudged: {outcome.cpu_ms} ms of CPU time reported")
    if max(map(len, texts[:2])) > OUTPUT_MAX or max(map(len, texts[2:])) > MESSAGE_MAX:
        problems.append("misjudged: captured text is not bounded")
    return problems


def attack_bare(attack: Attack, stage: Stage) -> dict[str, object]:
    """The same attack on a judge without a sandbox."""
    folder = Path(tempfile.mkdtemp(dir=stage.root / "cwd"))
    kept = next(fd for fd in range(3, 100) if os.get_inheritable(fd))
    code = staged_code(attack, stage.facts)
    verdict, output = judge_bare(code, attack.tests, folder, kept)
    problems = [f"leak: {trace}" for trace in stage.traces()]
    problems += ["leak: " + line for line in output.splitlines() if "LOOT" in line][:1]
    if attack.id[0] == "F" and verdict == "correct":
        problems.append("forged")
    if verdict == "dead":
        problems.append("dead: the worker was killed")
    return {"id": attack.id, "title": attack.title, "verdict": verdict, "problems": problems}


def rows(attacks: Iterable[Attack], tier: str, stage: Stage) -> Iterator[dict[str, object]]:
    """One row per attack, as soon as it is known."""
    if tier == "none":
        yield from (attack_bare(attack, stage) for attack in attacks)
        return
    box = Box(tier)
    for attack in attacks:
        yield attack_sandbox(box, attack, stage)
    box.sandbox.__exit__(None, None, None)


def summary(found: list[dict[str, object]]) -> str:
    """The last line: of how many attacks each kind of evidence was found."""
    ids = [str(row["id"]) for row in found]
    forgeries = sum(name[0] == "F" for name in ids)

    def count(word: str) -> int:
        return sum(any(p.startswith(word) for p in list(row["problems"])) for row in found)

    total = len(ids)
    return (
        f"forged {count('forged')}/{forgeries} leaks {count('leak')}/{total} "
        f"dead {count('dead')}/{total} misjudged {count('misjudged')}/{total}"
    )


def run_inside(options: argparse.Namespace) -> int:
    """The harness proper, behind the fence."""
    attacks = [a for a in load() if not options.only or a.id in options.only]
    found = []
    with set_stage(options.shm, [ROOT / "sandbox" / "__init__.py", Path(__file__)]) as stage:
        for row in rows(attacks, options.tier, stage):
            found.append(row)
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                problems = "; ".join(row["problems"]) or "-"
                print(f"{row['id']:5} {row['verdict']:18} {problems}  ({row['title']})", flush=True)
    print(summary(found))
    return int(any(row["problems"] for row in found))


def run_fenced(options: argparse.Namespace) -> int:
    """Copy what is needed to where the attacker may read it, and go behind the fence."""
    prefix = fence()
    with tempfile.TemporaryDirectory(prefix="tamis-attacks-") as folder:
        Path(folder).chmod(0o755)
        for part in ("sandbox", "tests/attacks"):
            shutil.copytree(ROOT / part, Path(folder) / part)
        shm = Path(tempfile.mkstemp(prefix="tamis-shm-", dir="/dev/shm")[1])
        shm.write_text("world-readable")
        shm.chmod(0o644)
        script = str(Path(folder) / "tests/attacks/harness.py")
        flags = [*sys.argv[1:], "--inside", "--shm", str(shm)]
        command = [*prefix, interpreter(prefix), script, *flags]
        try:
            return subprocess.run(command, cwd=folder).returncode
        finally:
            shm.unlink()


def main() -> int:
    """Parse the command line; 1 if anything got out, 2 if the harness cannot run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tier", choices=["A", "A-", "B", "none"], default="A")
    parser.add_argument("--as-user", action="store_true", help="needed when called by root")
    parser.add_argument("--only", nargs="+", metavar="ID", default=[])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shm", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return run_inside(options)
    if os.getuid() == 0 and not options.as_user:
        parser.error("attack programs never run as root: add --as-user")
    return run_fenced(options)


if __name__ == "__main__":
    sys.exit(main())
