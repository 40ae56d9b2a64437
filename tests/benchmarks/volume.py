"""Many rollouts of an instant engine through journal, verdicts and shards.

    python -m tests.benchmarks.volume --prompts 100000
    python -m tests.benchmarks.volume --prompts 1000000 --part-s 540          (the issue's figure)
    python -m tests.benchmarks.volume --prompts 1000000 --part-s 540 --more   (until it ends)

Samples PROMPTS sums x 4 rollouts with `scripted:`, which answers at once, then starts the same
command again on the finished run. Prints rollouts/s of the sampling step, the resident memory of
the process against rollouts done (slope over the last half of this process), and how long the
second start takes. `--part-s` kills the run (SIGKILL) after so many seconds; `--more` goes on with
what lies there, with the first command or, where that is finished, the second.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import orjson

from pipeline.engines import Completion, Request

ROOT = Path(__file__).resolve().parents[2]
EACH = 4
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def adds(request: Request) -> Completion:
    """Add two numbers, rightly in three of four trials."""
    a, b = request.messages[-1][1][8:].partition("?")[0].split(" + ")
    text = f"{a} + {b} = \\boxed{{{int(a) + int(b) + (request.seed % 4 == 0)}}}"
    return Completion(request.rollout_id, text, "stop", n_tokens=12, n_prompt_tokens=12)


def write_prompts(file: Path, prompts: int) -> None:
    """Write sums as JSON lines."""
    with file.open("wb") as out:
        for i in range(prompts):
            row = {"id": f"p{i}", "prompt": f"What is {i} + {i % 97}?", "answer": str(i + i % 97)}
            out.write(orjson.dumps(row) + b"\n")


def watch(run: Path, seen: list[tuple[float, int, float]], done: threading.Event) -> None:
    """Note seconds, rollouts and resident MB once a second."""
    began = time.monotonic()
    while not done.wait(1.0) and not (run / "rollouts" / "manifest.json").exists():
        try:
            last = (run / "progress.jsonl").read_bytes().splitlines()[-1]
            rollouts = orjson.loads(last)["rollouts"]
        except (OSError, IndexError, orjson.JSONDecodeError):
            continue
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MB
        seen.append((time.monotonic() - began, rollouts, resident))


def run_here(words: list[str], out: Path, part_s: float) -> None:
    """Run the command in this process and print what was measured; die after `part_s` seconds."""
    from pipeline.__main__ import main

    seen: list[tuple[float, int, float]] = []
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(out, seen, done))
    watcher.start()
    death = threading.Timer(part_s, die, (seen,))
    death.daemon = True
    death.start()
    began, cpu = time.monotonic(), time.process_time()
    code = main(words)
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    death.cancel()
    done.set()
    watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"exit {code}; whole command {seconds:.1f} s wall, {used:.1f} s CPU in this process")
    print(f"peak {peak:.0f} MB over the whole command")
    report(seen)


def die(seen: list[tuple[float, int, float]]) -> None:
    """Print what was measured so far and kill this process."""
    report(seen)
    print("killed at the end of this part; --more goes on", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def report(seen: list[tuple[float, int, float]]) -> None:
    """Print throughput and the slope of memory while rollouts grew."""
    growing = [one for i, one in enumerate(seen) if i and one[1] > seen[i - 1][1]]
    if len(growing) < 4:
        return
    (from_s, from_n, _), (to_s, to_n, peak) = growing[0], growing[-1]
    half = np.array([one for one in growing if one[1] >= to_n / 2])
    slope = np.polyfit(half[:, 1] / 1e5, half[:, 2], 1)[0] if len(half) > 2 else float("nan")
    print(f"rollouts/s while sampling: {(to_n - from_n) / (to_s - from_s):,.0f} by wall time")
    growth = f"{slope:+.1f} MB per 100,000 rollouts (last half)"
    print(f"resident {peak:.0f} MB at the end of sampling; {growth}")


def main_() -> None:
    """Make the prompts, run twice, each in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--place", type=Path, default=Path("runs/volume"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part-s", type=float, default=86_400)
    parser.add_argument("--more", action="store_true", help="go on with what --place holds")
    parser.add_argument("--here", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    place = chosen.place.absolute()
    if chosen.here:
        return run_here(chosen.here, place / "run", chosen.part_s)
    if not chosen.more:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_prompts(place / "prompts.jsonl", chosen.prompts)
    sets = [f"prompts={place / 'prompts.jsonl'}", "model=scripted:tests.benchmarks.volume:adds"]
    sets += ["budget=fixed", f"k={EACH}", "engine={slots: 256}"]
    words = ["run", "dart_math", "--out", str(place / "run"), "--workers", str(chosen.workers)]
    words += [word for one in sets for word in ("--set", one)]
    command = [sys.executable, "-m", "tests.benchmarks.volume", "--place", str(place)]
    command += ["--part-s", str(chosen.part_s), "--here", *words]
    for _ in range(2):
        name = "again" if (place / "run" / "summary.md").exists() else "first"
        print(f"--- {name}: {chosen.prompts:,} prompts x {EACH}", flush=True)
        if subprocess.run(command, cwd=ROOT).returncode or name == "again":
            break
    print(f"Load now: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main_()
