"""SIGKILL at random instants of `tamis run RECIPE`, and what the same command makes of it.

    python -m tests.benchmarks.kills                     20 kills on replay:, about 15 minutes
    python -m tests.benchmarks.kills --model data/nano   5 kills on vLLM
    python -m tests.benchmarks.kills --runner dask       or ray: kills the process that was typed
    python -m tests.benchmarks.kills -- RECIPE --set prompts=... --set model=...

The last form records that run of any recipe and replays it; a recipe that asks no model runs as it
is, and all its instants are those of files.

Each kill strikes a fresh run; then the same command runs to its end. Instants are spread over the
whole run by its own progress, so that a busy machine does not shift them: a fifth falls by the
clock before the first request, the others when so many rollouts were asked, one drawn from each
equal part; every fourth waits for a file of a late stage instead, since commit and export take
milliseconds. Checked each time: no process is left, no finished rollout is asked again, each is
kept as it was (which requests a Dask or Ray worker asks is not seen: there only what is kept is
compared); on replay also that the files are the undisturbed run's, byte for byte (all but
report.html, the lock, surplus rollouts in aside/ and the commit records that name those).
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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.journal import Journal
from pipeline.shards import read_parquet

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "scripted:tests.scripts_for_engines:adds"
MARK = "TAMIS_KILLS"
GONE_WITHIN_S = 20
START_SHARE = 0.2
Command = Callable[[Path], list[str]]


def replayed(place: Path, words: list[str], runner: str) -> Command:
    """Record a run (of 1,200 sums where `words` is empty); return the command that replays it."""
    common = words or sums(place)
    record = ["run", *common, "--out", str(place / "recorded")]
    model = [] if words else ["--set", f"model={SCRIPT}"]
    command = [sys.executable, "-m", "pipeline", *record, *model]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    again = [*common, "--runner", runner]
    if (place / "recorded/rollouts").exists():
        again += ["--set", "engine={delay_s: 0.4, slots: 64}"]
        again += ["--set", f"model=replay:{place / 'recorded'}"]
    return lambda out: ["run", *again, "--out", str(out)]


def sums(place: Path) -> list[str]:
    """Write the default prompts; return the words that run dart_math on them."""
    pairs = [(a, b) for a in range(10, 50) for b in range(30)]
    rows = [{"prompt": f"What is {a} + {b}?", "answer": str(a + b)} for a, b in pairs]
    source = place / "sums.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["dart_math", "--set", f"prompts={source}", "--set", "k=3", "--set", "max_trials=8"]


def served(model: str) -> Command:
    """Return the command that samples 120 prompts of the built-in world on vLLM."""
    sizes = ["--limit", "120", "--set", "k=4", "--set", "max_trials=12", "--set", "max_tokens=200"]
    return lambda out: [
        "run",
        "dart_math",
        "--out",
        str(out),
        *sizes,
        "--set",
        f"model=vllm:{model}",
    ]


def start(command: Command, out: Path, log: Path, mark: str) -> "subprocess.Popen[bytes]":
    """Start a run whose descendants all carry `mark` in their environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.asked", str(log), *command(out)],
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=log.with_suffix(".err").open("ab"),
        start_new_session=True,
    )


def marked(mark: str) -> list[int]:
    """Return the processes that carry `mark`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


class Instant(NamedTuple):
    """When to kill: at a file, or after so many requests, and so many seconds later."""

    file: str = ""
    asked: int = 0
    after_s: float = 0.0

    def __str__(self) -> str:
        where = self.file or (f"request {self.asked}" if self.asked else "start")
        return f"{where} + {self.after_s:.2f} s"


def late_files(out: Path) -> list[str]:
    """What a run makes after the engine, from its steps' folders to the dataset."""
    steps = json.loads((out / "manifest.json").read_text())["steps"]
    names = [step["name"] for step in steps if (out / step["name"]).exists()]
    places = [f"{name}/{part}" for name in names for part in ("data", "commits", "manifest.json")]
    return [*places, "manifest.json", "dataset"]


def choose(
    i: int, kills: int, draw: random.Random, start_s: float, requests: int, late: list[str]
) -> Instant:
    """Draw the i-th instant of a run that asks `requests`, the first after `start_s`."""
    if i % 4 == 3 or not requests:
        return Instant(file=draw.choice(late), after_s=draw.random() * 0.02)
    place = (i + draw.random()) / kills
    if place < START_SHARE:
        return Instant(after_s=place / START_SHARE * start_s)
    share = (place - START_SHARE) / (1 - START_SHARE)
    return Instant(asked=1 + int(share * requests), after_s=draw.random() * 0.05)


def kill(
    child: "subprocess.Popen[bytes]", out: Path, log: Path, instant: Instant, mark: str
) -> float | None:
    """Kill at the instant; return the seconds until no process was left, None if one stays."""
    while child.poll() is None and not reached(instant, out, log):
        time.sleep(0.0005)
    time.sleep(instant.after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
    struck = time.monotonic()
    while marked(mark):
        if time.monotonic() - struck > GONE_WITHIN_S:
            return None
        time.sleep(0.05)
    return time.monotonic() - struck


def reached(instant: Instant, out: Path, log: Path) -> bool:
    """Say whether a run has come to the instant's file or request (33 bytes each in its log)."""
    if instant.file:
        return (out / instant.file).exists()
    return not instant.asked or (log.exists() and log.stat().st_size >= 33 * instant.asked)


def finished_rollouts(out: Path) -> dict[str, tuple]:
    """What is safe on disk after a kill: rollout id -> text, finish reason, tokens."""
    found = {}
    for file in sorted((out / "rollouts" / "journal").glob("*.jsonl")):
        copy = out.with_suffix(".journal")
        shutil.copy(file, copy)  # opening cuts a torn tail
        journal = Journal.open(copy)
        for row in journal.records:
            if "text" in row:
                found[row["rollout_id"]] = row["text"], row["finish_reason"], row["n_tokens"]
        journal.close()
        copy.unlink()
    return found | rows_of(out)


def rows_of(out: Path) -> dict[str, tuple]:
    """Rollouts in the Parquet files of a run, surplus too."""
    found = {}
    for file in sorted((out / "rollouts").glob("*/[0-9]*.parquet")):
        for row in read_parquet(file).to_pylist():
            found[row["rollout_id"]] = row["completion"], row["finish_reason"], row["n_tokens"]
    return found


def content(out: Path) -> dict[str, bytes]:
    """The files that must be equal, by name."""
    names = ["config.yaml", "manifest.json", "dataset/**/*", "*/data/*", "*/manifest.json"]
    files = {file for name in names for file in out.glob(name) if file.is_file()}
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(files)}


def stage(out: Path) -> str:
    """Say how far a killed run had come."""
    for name in ("dataset", "to_sft", "pick"):
        if (out / name).exists():
            return name
    done = len(list((out / "rollouts" / "commits").glob("*.json")))
    if done or (out / "rollouts" / "journal").exists():
        return f"rollouts, {done} shards committed"
    return "prompts" if (out / "prompts").exists() else "start"


def trial(
    command: Command, place: Path, name: str, instant: Instant, undisturbed: dict | None
) -> list[str]:
    """Kill one run, finish it, print a line, return what was wrong."""
    out, log = place / name, place / f"{name}.asked"
    wrong = []
    mark = uuid.uuid4().hex
    gone = kill(start(command, out, log, mark), out, log, instant, mark)
    if gone is None:
        wrong.append(f"left processes {marked(mark)}")
    came_to, finished = stage(out), finished_rollouts(out)
    again = place / f"{name}.again"
    code = start(command, out, again, mark).wait()
    asked = again.read_text().split() if again.exists() else []
    kept = rows_of(out)
    if code:
        wrong.append(f"the rerun ended with {code}: {again.with_suffix('.err').read_text()[-300:]}")
    if repeated := set(asked) & set(finished):
        wrong.append(f"{len(repeated)} finished rollouts were asked again")
    if len(set(asked)) != len(asked):
        wrong.append(f"the rerun asked {len(asked) - len(set(asked))} rollouts twice")
    if lost := [one for one, row in finished.items() if kept.get(one) != row]:
        wrong.append(f"{len(lost)} finished rollouts are gone or changed")
    if undisturbed is not None:
        now = content(out)
        differ = [f for f in sorted({*now, *undisturbed}) if now.get(f) != undisturbed.get(f)]
        if differ:
            wrong.append(f"other bytes: {differ}")
    print(
        f"| {name} | {instant} | {came_to} | {len(finished)} | {len(asked)} | "
        f"{'never' if gone is None else f'{gone:.1f}'} | {'; '.join(wrong) or 'yes'} |",
        flush=True,
    )
    shutil.rmtree(out)
    return wrong


def main() -> None:
    """Run undisturbed, then kill and finish `--kills` runs; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model for vLLM; without it a recorded run is replayed")
    parser.add_argument("--runner", default="threads")
    parser.add_argument("words", nargs="*", help="RECIPE and its --set, after --")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path("runs/kills"))
    chosen = parser.parse_args()
    kills = chosen.kills or (5 if chosen.model else 20)
    place = chosen.place.absolute()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    command = served(chosen.model) if chosen.model else replayed(place, chosen.words, chosen.runner)
    began = time.monotonic()
    child = start(command, place / "undisturbed", place / "undisturbed.asked", "undisturbed")
    while child.poll() is None and not reached(
        Instant(asked=1), place, place / "undisturbed.asked"
    ):
        time.sleep(0.01)
    start_s = time.monotonic() - began
    if child.wait():
        sys.exit((place / "undisturbed.err").read_text())
    log = place / "undisturbed.asked"
    requests = len(log.read_text().split()) if log.exists() else 0
    late = late_files(place / "undisturbed")
    expected = None if chosen.model else content(place / "undisturbed")
    print(
        f"Undisturbed: {time.monotonic() - began:.1f} s, {start_s:.1f} before the first of", end=""
    )
    print(f" {requests} requests.\n")
    print("| kill | instant | stage | finished | asked by rerun | all gone, s | all well |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    draw = random.Random(chosen.seed)
    wrong = []
    for i in range(kills):
        instant = choose(i, kills, draw, start_s, requests, late)
        wrong += trial(command, place, f"{i + 1}", instant, expected)
    print(f"\n{kills} kills, {len(wrong)} faults. Load now: {os.getloadavg()[0]:.1f}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
