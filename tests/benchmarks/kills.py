"""SIGKILL at random instants of `tamis run dart_math`, and what the same command makes of it.

    python -m tests.benchmarks.kills                     20 kills on replay:, about 15 minutes
    python -m tests.benchmarks.kills --model data/nano   5 kills on vLLM

Each kill strikes a fresh run; then the same command runs to its end. Most instants are spread over
the time of the undisturbed run, one drawn from each equal part; every fourth waits for a file of a
late stage instead, since commit and export take milliseconds. Checked each time: no process is
left, no finished rollout is asked again, each finished rollout is kept as it was; on replay also
that the files are the undisturbed run's, byte for byte (all but report.html, the lock, surplus
rollouts in aside/ and the commit records that name those).
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

from pipeline.journal import Journal
from pipeline.shards import Shards, read_parquet

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "scripted:tests.scripts_for_engines:adds"
LATE = ("rollouts/manifest.json", "pick/data", "to_sft/commits", "manifest.json", "dataset")
MARK = "TAMIS_KILLS"
GONE_WITHIN_S = 20
Command = Callable[[Path], list[str]]


def replayed(place: Path) -> Command:
    """Record a run of 1,200 prompts with a scripted model; return the command that replays it."""
    pairs = [(a, b) for a in range(10, 50) for b in range(30)]
    rows = [{"prompt": f"What is {a} + {b}?", "answer": str(a + b)} for a, b in pairs]
    source = place / "sums.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--set", f"prompts={source}", "--set", "k=3", "--set", "max_trials=8"]
    record = ["run", "dart_math", "--out", str(place / "recorded"), *common]
    command = [sys.executable, "-m", "pipeline", *record, "--set", f"model={SCRIPT}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    slow = ["--set", "engine.delay_s=0.4", "--set", "engine.slots=64"]
    model = ["--set", f"model=replay:{place / 'recorded'}"]
    return lambda out: ["run", "dart_math", "--out", str(out), *common, *slow, *model]


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


def kill(
    child: "subprocess.Popen[bytes]", out: Path, after_s: float, late: str, mark: str
) -> float | None:
    """Kill at the instant; return the seconds until no process was left, None if one stays."""
    began = time.monotonic()
    while child.poll() is None:
        if late and (out / late).exists():
            break
        if not late and time.monotonic() - began >= after_s:
            break
        time.sleep(0.0005 if late else 0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    struck = time.monotonic()
    while marked(mark):
        if time.monotonic() - struck > GONE_WITHIN_S:
            return None
        time.sleep(0.05)
    return time.monotonic() - struck


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
    command: Command, place: Path, name: str, after_s: float, late: str, undisturbed: dict | None
) -> list[str]:
    """Kill one run, finish it, print a line, return what was wrong."""
    out, log = place / name, place / f"{name}.asked"
    wrong = []
    mark = uuid.uuid4().hex
    gone = kill(start(command, out, log, mark), out, after_s, late, mark)
    if gone is None:
        wrong.append(f"left processes {marked(mark)}")
    reached, finished = stage(out), finished_rollouts(out)
    again = place / f"{name}.again"
    code = start(command, out, again, mark).wait()
    asked = again.read_text().split() if again.exists() else []
    kept = rows_of(out)
    Shards.open(out / "rollouts")
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
    when = f"at {late}" if late else f"after {after_s:.1f} s"
    print(
        f"| {name} | {when} | {reached} | {len(finished)} | {len(asked)} | "
        f"{'never' if gone is None else f'{gone:.1f}'} | {'; '.join(wrong) or 'yes'} |",
        flush=True,
    )
    shutil.rmtree(out)
    return wrong


def main() -> None:
    """Run undisturbed, then kill and finish `--kills` runs; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model for vLLM; without it a recorded run is replayed")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path("runs/kills"))
    chosen = parser.parse_args()
    kills = chosen.kills or (5 if chosen.model else 20)
    place = chosen.place.absolute()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    command = served(chosen.model) if chosen.model else replayed(place)
    began = time.monotonic()
    child = start(command, place / "undisturbed", place / "undisturbed.asked", "undisturbed")
    if child.wait():
        sys.exit((place / "undisturbed.err").read_text())
    length = time.monotonic() - began
    expected = None if chosen.model else content(place / "undisturbed")
    print(f"Undisturbed: {length:.1f} s, {len(rows_of(place / 'undisturbed'))} rollouts.\n")
    print("| kill | instant | stage | finished | asked by rerun | all gone, s | all well |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    draw = random.Random(chosen.seed)
    wrong = []
    for i in range(kills):
        late = LATE[i // 4 % len(LATE)] if i % 4 == 3 else ""
        after_s = (i + draw.random()) / kills * length
        wrong += trial(command, place, f"{i + 1}", after_s, late, expected)
    print(f"\n{kills} kills, {len(wrong)} faults. Load now: {os.getloadavg()[0]:.1f}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
