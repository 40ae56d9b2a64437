"""What a selection method's picks teach: the nano model tuned on equal budgets for one target.

    python -m tests.proof.selection [--seeds 0 1 2] [--out runs/proof-selection]

Claim under test: rows picked for a target teach it better than as many at random. The target: three
kinds of word problems that the nano model never saw (`TARGET`). A seed draws its own pool of 600
rows (the built-in pool of all levels, code, terse and wrong answers; 90 sound rows of the target
and 30 that answer another of its problems), 24 queries and 210 held-out problems. Each method picks
60 rows by its recipe at its defaults; `tune` takes 32 steps of at most 8 rows on them (4 epochs),
from data/nano. Greedy answers, judged by `scorers.answers`.

"full" takes as many steps, on 256 rows of the pool once each; "full, once" all 600 rows, 75 steps.
"sound target" draws 60 of the 90 by their labels: what a method that knew everything would pick.
Intervals: 95 %, bootstrap over seeds, then over problems of a seed; differences are paired.

A line a (method, seed) in results.jsonl; what is there is not redone.
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flows.rejection.dart_math import SOLVE
from flows.selection.baseline import baseline
from flows.selection.color_filter import color_filter
from flows.selection.deita import deita
from flows.selection.got_d import got_d
from flows.selection.ifd import ifd
from flows.selection.kmq import kmq
from flows.selection.less import less
from flows.selection.rds_plus import rds_plus
from flows.synthesis.measure_nano import open_model
from flows.synthesis.train_nano import ask
from pipeline.nano_pool import _answered, _worked, nano_pool
from pipeline.nano_world import word_problems, worked_answer
from pipeline.prefect_home import serving
from pipeline.prompts import WRITE_PROGRAM
from pipeline.schema import Case
from pipeline.selectors import draw
from pipeline.steps import Run, running
from scorers.answers import answers
from scorers.tuning import Schedule, tune

NANO = "data/nano"
TARGET = {"lose_twice": 3, "groups_lose": 4, "percent_more": 6}  # kind: level
POOL, SOUND, WRONG, QUERIES, HELD, N = 480, 90, 30, 24, 210, 60
EPOCHS, STEPS, RATE, BATCH, RESAMPLES = 4, 32, 5e-4, 8, 2000
AIMED: dict[str, Callable[..., Any]] = {
    "rds_plus": rds_plus,
    "less": less,
    "color_filter": color_filter,
    "got_d": got_d,
}
AIMLESS: dict[str, Callable[..., Any]] = {
    "random": baseline,
    "deita": deita,
    "ifd": ifd,
    "kmq": kmq,
}
PLAIN = ("untuned", "full", "full, once", "sound target")
Row = dict[str, Any]


class Scene(NamedTuple):
    """One seed's pool and queries (POOL rows) and its held-out problems (PROMPTS rows)."""

    pool: list[Row]
    queries: list[Row]
    held: list[Row]


def make_scene(seed: int) -> Scene:
    """Draw what one seed is played on; no text is in two of the three parts."""
    pool, queries, held = [_rendered(row) for row in nano_pool(POOL, seed=seed).to_pylist()], [], []
    for kind, level in TARGET.items():
        rows = _of_kind(kind, level, (SOUND + QUERIES + HELD) // len(TARGET), seed)
        sound, asked = SOUND // len(TARGET), QUERIES // len(TARGET)
        taught, queried = rows[:sound], rows[sound : sound + asked]
        pool += [_rendered(_worked(row, worked_answer(row))) for row in taught]
        pool += [_rendered(row) for row in _mistaken(taught, WRONG * sound // SOUND, seed)]
        queries += [_rendered(_worked(row, worked_answer(row))) for row in queried]
        held += rows[sound + asked :]
    return Scene(pool, queries, held)


def _of_kind(kind: str, level: int, n: int, seed: int) -> list[Row]:
    rows = word_problems(4 * n, seed=seed, levels=[level], split="test").to_pylist()
    return [row for row in rows if json.loads(row["meta"])["kind"] == kind][:n]


def _mistaken(rows: Sequence[Row], n: int, seed: int) -> list[Row]:
    """Give n of the problems the worked answer of another one of the same kind."""
    rng, found = random.Random(f"proof/{seed}"), []
    for row in rng.sample(rows, n):
        other = rng.choice([one for one in rows if one["answer"] != row["answer"]])
        found.append(_worked(row, worked_answer(other), sound=False))
    return found


def _rendered(row: Row) -> Row:
    """Ask as the nano model was asked in its training."""
    prompt, reply = row["messages"][:-1], row["messages"][-1]["content"]
    asked = ask(WRITE_PROGRAM if row["source"] == "code" else SOLVE, {"messages": prompt})
    meta = json.loads(row["meta"])
    made = _answered(
        {"messages": asked, "id": meta["prompt"], "meta": row["meta"]}, reply, "", meta["sound"]
    )
    return made | {"source": row["source"], "task": meta["kind"]}


def _write(rows: Sequence[Row], file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def pick(method: str, scene: Scene, seed: int, folder: Path) -> pa.Table:
    """Return the rows that a method would train on: `id`, `messages` and what is said of them."""
    if method not in AIMED | AIMLESS:
        return _plain(method, scene, seed)
    given = {"pool": _write(scene.pool, folder / "pool.jsonl"), "n": N, "seed": seed}
    if method in AIMED:
        given["queries"] = _write(scene.queries, folder / "queries.jsonl")
    with running(Run(folder / "run")):
        return (AIMED | AIMLESS)[method](**given).table()


def _plain(method: str, scene: Scene, seed: int) -> pa.Table:
    rows = scene.pool
    if method == "sound target":
        rows = [row for row in rows if _sort_of(row) == "target"]
    n = {"full": STEPS * BATCH, "full, once": len(rows), "sound target": N}[method]
    ids = [row["id"] for row in rows]
    return pa.Table.from_pylist([rows[i] for i in draw(np.ones(len(ids)), n, seed=seed, ids=ids)])


def _sort_of(row: Row) -> str:
    meta = json.loads(row["meta"])
    if meta["kind"] not in TARGET:
        return "other"
    return "target" if meta["sound"] else "mistaken"


def play(method: str, seed: int, folder: Path) -> Row:
    """Pick, tune and measure once (after a kill, what is left of it); a line of results.jsonl."""
    scene, begun, model = make_scene(seed), time.process_time(), NANO
    line: Row = {}
    if method != "untuned":
        rows = pick(method, scene, seed, folder)
        sorts = {row["id"]: _sort_of(row) for row in scene.pool}
        own = [sorts[one] for one in rows["id"].to_pylist()]
        line |= {"n": len(own)} | {name: own.count(name) for name in ("target", "mistaken")}
        line["picked_s"] = round(time.process_time() - begun, 1)
        schedule = Schedule(1 if method.startswith("full") else EPOCHS, RATE, BATCH, seed=seed)
        [model] = tune(NANO, rows, folder / "model", schedule)
    right = measure(model, scene.held)
    shutil.rmtree(folder, ignore_errors=True)
    cpu = round(time.process_time() - begun, 1)
    return {"method": method, "seed": seed, **line, "cpu_s": cpu, "right": right}


def measure(model: str, held: Sequence[Row]) -> list[int]:
    """Answer held-out problems greedily; 1 where the answer is correct."""
    reply = open_model(Path(model), 0.0, 0)
    said = [one for i in range(0, len(held), 105) for one in _answer(reply, held[i : i + 105])]
    cases = [Case(row, text) for row, text in zip(held, said, strict=True)]
    return [int(verdict.verdict == "correct") for verdict in answers(cases)]


def _answer(reply: Callable[..., list[str]], rows: Sequence[Row]) -> list[str]:
    return reply([ask(SOLVE, row) for row in rows])


def interval(values: NDArray[np.float64]) -> str:
    """Write the mean of float64[seeds, problems] and its bootstrap interval, in percent."""
    rng, means = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        seeds = rng.integers(0, len(values), len(values))
        columns = rng.integers(0, values.shape[1], values.shape)
        means.append(values[seeds[:, None], columns].mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * values.mean():.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def tell(lines: Sequence[Mapping[str, Any]]) -> str:
    """Write the Markdown table of methods, best first, over the seeds that each has run."""
    of: dict[str, dict[int, Mapping[str, Any]]] = {}
    for line in lines:
        of.setdefault(line["method"], {})[line["seed"]] = line
    right = {
        m: {s: np.array(one["right"], float) for s, one in own.items()} for m, own in of.items()
    }
    table = [
        "| picked by | seeds | rows | sound / mistaken target rows | CPU s to pick "
        f"| held-out accuracy | minus random | {' / '.join(TARGET)} |",
        "| --- " * 8 + "|",
    ]
    chance = right.get("random", {})
    for method in sorted(right, key=lambda m: -float(np.mean(list(right[m].values())))):
        own, shared = right[method], sorted(right[method].keys() & chance.keys())
        apart = interval(np.stack([own[s] - chance[s] for s in shared])) if shared else ""
        every = np.stack(list(own.values()))
        kinds = every.reshape(len(own), len(TARGET), -1).mean(axis=(0, 2))
        mean = {
            key: float(np.mean([one.get(key, 0) for one in of[method].values()]))
            for key in ("n", "target", "mistaken", "picked_s")
        }
        table.append(
            f"| {method} | {len(own)} | {mean['n']:.0f} | {mean['target']:.1f} / "
            f"{mean['mistaken']:.1f} | {mean['picked_s']:.0f} "
            f"| {interval(every)} | {apart if method != 'random' else ''} "
            f"| {' / '.join(f'{one:.0%}' for one in kinds)} |"
        )
    return "\n".join(table)


def main() -> None:
    """Play what is missing, seed by seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=[*PLAIN, *AIMLESS, *AIMED])
    parser.add_argument("--out", type=Path, default=Path("runs/proof-selection"))
    args = parser.parse_args()
    results = args.out / "results.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    lines = (
        [json.loads(one) for one in results.read_text().splitlines()] if results.exists() else []
    )
    done = {(line["method"], line["seed"]) for line in lines}
    todo = [(m, seed) for seed in args.seeds for m in args.methods if (m, seed) not in done]
    with serving():
        for method, seed in todo:
            lines.append(play(method, seed, args.out / f"{method}-{seed}"))
            with results.open("a") as opened:
                opened.write(json.dumps(lines[-1]) + "\n")
    sys.stdout.write(tell(lines) + "\n")


if __name__ == "__main__":
    main()
