"""What our steps cost a row, beside what others cost: `python tests/benchmarks/overhead.py`.

100,000 rows (id, instruction, text; 58 MB) are read, get one text column, are filtered and written.
CPU seconds, user and system, of a process and its ended children; imports apart, medians of
`--runs`. Peers run where `--peers` has a venv of their name, made by (2 minutes each):

    python -m venv PEERS/datatrove && PEERS/datatrove/bin/pip install "datatrove[io]==0.10.1" regex
    python -m venv PEERS/distilabel && PEERS/distilabel/bin/pip install distilabel==1.5.3 requests
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = Path(__file__).with_name("overhead_contenders.py")
OURS, PEERS = ("polars", "tamis", "datasets"), ("datatrove", "distilabel")
ROWS = 100_000
LIMIT_S = 240


def make_rows(file: Path) -> None:
    """Write the rows: words of 2 to 9 letters, instructions of 15 to 35, texts of 40 to 85."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(4000)]
    columns = {"id": [f"row-{i:06d}" for i in range(ROWS)]}
    for name, least, most in (("instruction", 15, 35), ("text", 40, 85)):
        texts = (draw.choices(words, k=draw.randint(least, most)) for _ in range(ROWS))
        columns[name] = [" ".join(text) for text in texts]
    pq.write_table(pa.table(columns), file, compression="zstd")


def measure(python: str, name: str, place: Path) -> dict:
    """Run one contender in a fresh process; RuntimeError says why it could not."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [python, str(CONTENDERS), name, str(place / "rows.parquet"), str(out)]
    environment = {**os.environ, "PREFECT_HOME": str(place / "prefect"), "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=place, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not finished after {LIMIT_S} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, list[dict]]) -> str:
    """Medians as a markdown table, in microseconds a row."""
    scale = 1e6 / ROWS
    floor = statistics.median(sum(run["work"]) for run in results["polars"])
    lines = [
        "| pipeline | runs | µs a row | min to max | of it user | x polars | imports, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        totals = [sum(run["work"]) for run in runs]
        user = statistics.median(run["work"][0] for run in runs)
        imports = statistics.median(sum(run["imports"]) for run in runs)
        middle = statistics.median(totals)
        lines.append(
            f"| {name} | {len(runs)} | {middle * scale:.1f} | {min(totals) * scale:.1f} to "
            f"{max(totals) * scale:.1f} | {user * scale:.1f} | {middle / floor:.1f} | "
            f"{imports:.2f} |"
        )
    ours = results["tamis"]
    facts = {key: statistics.median(r[key] for r in ours) for key in ("server", "server_start")}
    start = statistics.median(sum(run["start"]) for run in ours)
    lines += [
        "",
        f"Not in it, for tamis: {start:.2f} s once a run to begin with Prefect, and its server's "
        f"{facts['server_start']:.1f} s to start and {facts['server']:.2f} s during the work.",
    ]
    return "\n".join(lines)


def import_times(runs: int) -> str:
    """CPU seconds of importing `pipeline` and of `tamis --help`, interpreter included."""
    parts = []
    for arguments in (["-c", "import pipeline"], ["-m", "pipeline", "--help"], ["-c", ""]):
        used = []
        for _ in range(runs):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        label = "python " + " ".join(arguments or ["(nothing)"])
        parts.append(f"{label}: {statistics.median(used):.3f} s")
    return "CPU, median: " + "; ".join(parts)


def main() -> None:
    """Measure everyone in turn, `--runs` times, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", type=Path, default=Path("PEERS"))
    chosen = parser.parse_args()
    pythons = {name: sys.executable for name in OURS}
    pythons |= {name: str(chosen.peers.absolute() / name / "bin" / "python") for name in PEERS}
    results: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory(prefix="tamis-overhead-") as folder:
        make_rows(Path(folder) / "rows.parquet")
        for _ in range(chosen.runs):
            for name, python in list(pythons.items()):
                try:
                    results.setdefault(name, []).append(measure(python, name, Path(folder)))
                except (RuntimeError, FileNotFoundError) as reason:
                    print(f"skipped {name}: {reason}")
                    del pythons[name]
    results = {name: runs for name, runs in results.items() if runs}
    counts = {run["rows"] for runs in results.values() for run in runs}
    print(table(results))
    print(f"\nRows out: {counts} (one number: all agree). Load now: {os.getloadavg()[0]:.1f}")
    print(import_times(2 * chosen.runs))


if __name__ == "__main__":
    main()
