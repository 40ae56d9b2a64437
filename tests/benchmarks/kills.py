"""SIGKILL at random instants of `tamis run RECIPE`, and what the same command makes of it.

    python -m tests.benchmarks.kills                     20 kills of DART-Math on replay:, threads
    python -m tests.benchmarks.kills --kinds sampling code selection --runners threads dask ray \
        --kills 7                                        7 kills of each of the nine
    python -m tests.benchmarks.kills --model data/nano   5 kills on vLLM
    python -m tests.benchmarks.kills -- RECIPE --set prompts=... --set model=...

The last form records that run of any recipe and replays it. A selection asks no model: it runs as
it is, its instants fall by the clock and at files. Ray needs `pip install -e .[cluster]`.

Each kill strikes a fresh run, at the process that was typed; then the same command runs to its end.
Instants are spread over the whole run by its own progress, so that a busy machine does not shift
them: a fifth falls by the clock before the first request, the others when so many rollouts were
asked, one drawn from each equal part; every fourth waits for a file of a late stage instead, since
commit and export take milliseconds. Checked each time: no process is left, no finished rollout is
asked again and each is kept as it was, no committed shard is made again; but for vLLM also that the
files are those of the undisturbed run on threads, byte for byte (all but report.html, the lock,
surplus rollouts in aside/ and the commit records that name those).
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import kill_checks as disk

ROOT = Path(__file__).resolve().parents[2]
ASKED = "TAMIS_REQUESTS"
KINDS = ("sampling", "code", "selection")
GONE_WITHIN_S = 20
START_SHARE = 0.2
Command = Callable[[Path], list[str]]


def recipe_of(kind: str, place: Path) -> tuple[list[str], str]:
    """Write a kind's input; return the words of its run and the scripted model, if it asks one."""
    if kind == "code":
        return ["plum", "--limit", "60", "--set", "k=6"], "tests.scripts_for_code:world"
    rows = [{"prompt": f"What is {a} + {b}?", "answer": str(a + b)} for a, b in pairs()]
    if kind == "selection":
        rows = [{"prompt": row["prompt"], "completion": f"It is {row['answer']}."} for row in rows]
    source = place / f"{kind}.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if kind == "selection":
        return ["rds_plus", "--set", f"pool={source}", "--set", "n=200"], ""
    words = ["dart_math", "--set", f"prompts={source}", "--set", "k=3", "--set", "max_trials=8"]
    return words, "tests.scripts_for_engines:adds"


def pairs() -> Iterator[tuple[int, int]]:
    """1,200 sums: two shards of prompts."""
    return product(range(10, 50), range(30))


def replayed(place: Path, words: list[str], script: str, delay_s: float) -> Command:
    """Record a run on `script` (empty: on the model in `words`); return what replays it."""
    recorded = place / "recorded"
    command = [sys.executable, "-m", "pipeline", "run", *words, "--out", str(recorded)]
    command += ["--set", f"model=scripted:{script}"] if script else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    again = list(words)
    if disk.rows_of(recorded):
        again += ["--set", f"engine={{delay_s: {delay_s}, slots: 64}}"]
        again += ["--set", f"model=replay:{recorded}"]
    return lambda out: ["run", *again, "--out", str(out)]


def served(model: str) -> Command:
    """Return the command that samples 120 prompts of the built-in world on vLLM."""
    sizes = ["--limit", "120", "--set", "k=4", "--set", "max_trials=12", "--set", "max_tokens=200"]
    words = ["run", "dart_math", *sizes, "--set", f"model=vllm:{model}"]
    return lambda out: [*words, "--out", str(out)]


def start(command: Command, out: Path, log: Path, mark: str, runner: str) -> Any:
    """Start a run whose descendants all carry `mark` and note in `log` what they ask."""
    noting = os.pathsep.join([str(ROOT / "tests/benchmarks/asked"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command(out), "--runner", runner],
        cwd=ROOT,
        env={**os.environ, disk.MARK: mark, ASKED: str(log), "PYTHONPATH": noting},
        stdout=subprocess.DEVNULL,
        stderr=log.with_suffix(".err").open("ab"),
        start_new_session=True,
    )


class Instant(NamedTuple):
    """When to kill: at a file, or after so many requests, and so many seconds later."""

    file: str = ""
    asked: int = 0
    after_s: float = 0.0

    def __str__(self) -> str:
        where = self.file or (f"request {self.asked}" if self.asked else "start")
        return f"{where} + {self.after_s:.2f} s"


class Undisturbed(NamedTuple):
    """A run that nobody killed: seconds to its first request (or its end), requests, files."""

    start_s: float
    requests: int
    late: list[str]
    files: dict[str, bytes]


def observe(command: Command, place: Path, runner: str) -> Undisturbed:
    """Run to the end; exit with its words if it fails."""
    out, log = place / runner, place / f"{runner}.asked"
    began = time.monotonic()
    child = start(command, out, log, uuid.uuid4().hex, runner)
    while child.poll() is None and not reached(Instant(asked=1), out, log):
        time.sleep(0.01)
    start_s = time.monotonic() - began
    if child.wait():
        sys.exit(log.with_suffix(".err").read_text())
    requests = len(log.read_text().split()) if log.exists() else 0
    said = f"{start_s:.1f} s before the first of {requests} requests"
    print(f"Undisturbed on {runner}: {time.monotonic() - began:.1f} s, {said}.\n")
    return Undisturbed(start_s, requests, disk.late_files(out), disk.content(out))


def choose(i: int, kills: int, draw: random.Random, whole: Undisturbed) -> Instant:
    """Draw the i-th of a run's instants."""
    if i % 4 == 3 or (i % 2 and not whole.requests):
        return Instant(file=draw.choice(whole.late), after_s=draw.random() * 0.02)
    place = (i + draw.random()) / kills
    if not whole.requests:
        return Instant(after_s=place * whole.start_s)
    if place < START_SHARE:
        return Instant(after_s=place / START_SHARE * whole.start_s)
    share = (place - START_SHARE) / (1 - START_SHARE)
    return Instant(asked=1 + int(share * whole.requests), after_s=draw.random() * 0.05)


def kill(child: Any, out: Path, log: Path, instant: Instant, mark: str) -> float | None:
    """Kill at the instant; return the seconds until no process was left, None if one stays."""
    while child.poll() is None and not reached(instant, out, log):
        time.sleep(0.0005)
    time.sleep(instant.after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
    struck = time.monotonic()
    while disk.marked(mark):
        if time.monotonic() - struck > GONE_WITHIN_S:
            return None
        time.sleep(0.05)
    return time.monotonic() - struck


def reached(instant: Instant, out: Path, log: Path) -> bool:
    """Say whether a run has come to the instant's file or request (33 bytes each in its log)."""
    if instant.file:
        return (out / instant.file).exists()
    return not instant.asked or (log.exists() and log.stat().st_size >= 33 * instant.asked)


def trial(
    command: Command, out: Path, runner: str, instant: Instant, undisturbed: dict[str, bytes]
) -> list[str]:
    """Kill one run, finish it, print a line, return what was wrong; {} compares no bytes."""
    log, again, mark = out.with_suffix(".asked"), out.with_suffix(".again"), uuid.uuid4().hex
    gone = kill(start(command, out, log, mark, runner), out, log, instant, mark)
    came_to, finished = disk.stage(out), disk.finished_rollouts(out)
    made = disk.made_shards(out)
    wrong = [] if gone is not None else [f"left processes {disk.marked(mark)}"]
    if code := start(command, out, again, mark, runner).wait():
        wrong.append(f"the rerun ended with {code}: {again.with_suffix('.err').read_text()[-300:]}")
    asked = again.read_text().split() if again.exists() else []
    kept, now = disk.rows_of(out), disk.made_shards(out)
    counts = {
        "finished rollouts were asked again": len(set(asked) & set(finished)),
        "rollouts were asked twice by the rerun": len(asked) - len(set(asked)),
        "finished rollouts are gone or changed": sum(kept.get(k) != v for k, v in finished.items()),
        "committed shards were made again": sum(now.get(k) != v for k, v in made.items()),
    }
    wrong += [f"{count} {what}" for what, count in counts.items() if count]
    files = disk.content(out) if undisturbed else {}
    differ = sorted(f for f in {*files, *undisturbed} if files.get(f) != undisturbed.get(f))
    wrong += [f"other bytes: {differ}"] if differ else []
    print(
        f"| {out.name} | {instant} | {came_to} | {len(made)} | {len(finished)} | {len(asked)} | "
        f"{'never' if gone is None else f'{gone:.1f}'} | {'; '.join(wrong) or 'yes'} |",
        flush=True,
    )
    shutil.rmtree(out)
    return wrong


def main() -> None:
    """For each kind and runner kill and finish `--kills` runs; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model for vLLM; without it a recorded run is replayed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["sampling"])
    parser.add_argument("--runners", nargs="+", default=["threads"])
    parser.add_argument("words", nargs="*", help="RECIPE and its --set, after --")
    parser.add_argument("--kills", type=int, help="of each kind on each runner")
    parser.add_argument("--delay-s", type=float, default=0.4, help="longest wait for a rollout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path("runs/kills"))
    chosen = parser.parse_args()
    kills = chosen.kills or (5 if chosen.model else 20)
    draw, wrong = random.Random(chosen.seed), []
    own = "vllm" if chosen.model else "own" if chosen.words else ""
    kinds = [own] if own else chosen.kinds
    for kind in kinds:
        place = chosen.place.absolute() / kind
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        words, script = (chosen.words, "") if own else recipe_of(kind, place)
        command = (
            served(chosen.model) if chosen.model else replayed(place, words, script, chosen.delay_s)
        )
        files: dict[str, bytes] = {}
        for runner in chosen.runners:
            print(f"\n## {kind} on {runner}\n")
            whole = observe(command, place, runner)
            files = {} if chosen.model else files or whole.files
            if files and whole.files != files:
                wrong.append(f"{kind}: {runner} makes other bytes")
                print(wrong[-1])
            print(
                "| kill | instant | stage | shards | finished | asked by rerun | gone, s | well |"
            )
            print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
            for i in range(kills):
                out = place / f"{runner}-{i + 1}"
                wrong += trial(command, out, runner, choose(i, kills, draw, whole), files)
    total = kills * len(kinds) * len(chosen.runners)
    print(f"\n{total} kills, {len(wrong)} faults. Load now: {os.getloadavg()[0]:.1f}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
