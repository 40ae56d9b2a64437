"""Selectors beside what one would otherwise use; each subcommand prints a JSON line a contender.

    python -m tests.benchmarks.selection kmeans --rows 1000000
    python -m tests.benchmarks.selection deita --rows 300000
    python -m tests.benchmarks.selection minhash --rows 1000000 [--peers rensa datasketch]
    python -m tests.benchmarks.selection exponent FILE      (slope of log seconds in log rows)

Data are made from a seed. CPU seconds and wall seconds of the work itself, resident memory before
it and its peak during it. `--only NAME` runs one contender, so that each command stays short.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], dict[str, Any]]
_WIDTH = 384
_PART = 20_000  # rows of text made together


def near_centres(rows: int, centres: int, noise: float, seed: int = 0) -> np.ndarray:
    """Return unit rows about random unit centres, float32; a smaller noise, a larger cosine."""
    random = np.random.default_rng(seed)
    middle = random.standard_normal((centres, _WIDTH), dtype=np.float32)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    found = np.empty((rows, _WIDTH), dtype=np.float32)
    for start in range(0, rows, 65_536):
        part = found[start : start + 65_536]
        random.standard_normal(part.shape, dtype=np.float32, out=part)
        part *= noise / math.sqrt(_WIDTH)
        part += middle[random.integers(0, centres, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return found


def kmeans(rows: int) -> Iterator[tuple[str, Work]]:
    """1,024 clusters and kMQ's draw; inertia is the mean squared distance of all rows."""
    from pipeline.selection.clusters import assign, k_means
    from pipeline.selection.strata import draw_by_cluster

    k = min(1024, rows // 100)
    vectors = near_centres(rows, 2 * k, 1.0)

    def inertia(centroids: np.ndarray, labels: np.ndarray) -> float:
        parts = [
            ((vectors[i : i + 65_536] - centroids[labels[i : i + 65_536]]) ** 2).sum(dtype=float)
            for i in range(0, rows, 65_536)
        ]
        return round(sum(parts) / rows, 5)

    def ours() -> dict[str, Any]:
        centroids = k_means(vectors, k)
        labels = assign(vectors, centroids)
        quality = np.random.default_rng(1).random(rows)
        middle = time.process_time()
        picked = draw_by_cluster(quality, labels, rows // 10, seed=0)
        drawn = time.process_time() - middle
        return {
            "inertia": lambda: inertia(centroids, labels),
            "draw_cpu_s": round(drawn, 2),
            "picked": len(picked),
        }

    def plain_faiss() -> dict[str, Any]:
        import faiss

        trained = faiss.Kmeans(_WIDTH, k, niter=25, seed=0)
        trained.train(vectors)
        labels = trained.index.search(vectors, 1)[1][:, 0]
        return {"inertia": lambda: inertia(trained.centroids, labels)}

    def scikit() -> dict[str, Any]:
        from sklearn.cluster import MiniBatchKMeans

        found = MiniBatchKMeans(k, batch_size=4096, n_init=1, random_state=0).fit(vectors)
        return {"inertia": lambda: inertia(found.cluster_centers_, found.labels_)}

    yield from (("ours", ours), ("faiss", plain_faiss), ("scikit-learn", scikit))


def deita(rows: int) -> Iterator[tuple[str, Work]]:
    """The filter down a ranking at tau 0.9; every row looked at, about one in 40 kept."""
    from pipeline.selectors import spread

    vectors = near_centres(rows, rows // 40, 0.2)
    scores = np.random.default_rng(1).random(rows)

    def ours() -> dict[str, Any]:
        return {"kept": len(spread(vectors, scores))}

    def loop() -> dict[str, Any]:
        """The official algorithm at batch 1: each row against all kept, one product a row."""
        kept, count = np.empty_like(vectors), 0
        for row in np.argsort(-scores):
            if not count or (kept[:count] @ vectors[row]).max() <= 0.9:
                kept[count], count = vectors[row], count + 1
        return {"kept": count}

    yield from (("ours", ours), ("official loop", loop))


def short_texts(rows: int) -> tuple[list[str], list[int]]:
    """Return texts of 26 words; one in 20 repeats the one 10 before it but for its last word."""
    words = np.array([f"w{i:05d}" for i in range(20_000)])
    texts: list[str] = []
    for start in range(0, rows, _PART):
        random = np.random.default_rng([0, start])
        chosen = words[random.zipf(1.3, (min(_PART, rows - start), 26)) % len(words)]
        for row in range(20, len(chosen), 20):
            chosen[row, :25] = chosen[row - 10, :25]
        texts += [" ".join(line) for line in chosen.tolist()]
    return texts, [row for row in range(rows) if row % _PART and row % 20 == 0]


def minhash(rows: int) -> Iterator[tuple[str, Work]]:
    """Near-duplicates at Jaccard 0.8 of word 5-grams, 112 values in 14 bands; planted at 0.91.

    All are given texts; the others' grams are cut by the shortest Python, told apart (`cut_cpu_s`).
    """
    texts, twins = short_texts(rows)

    def cut() -> tuple[list[list[str]], float]:
        start = time.process_time()
        words = (text.split() for text in texts)
        grams = [[" ".join(w[i : i + 5]) for i in range(len(w) - 4)] for w in words]
        return grams, round(time.process_time() - start, 2)

    def ours() -> dict[str, Any]:
        from pipeline.selection.minhash import NearIndex

        found = NearIndex(0.8).add([f"{i:08d}" for i in range(rows)], texts)
        hits = sum(found[t] is not None for t in twins)
        return {"recall": hits / len(twins), "found": sum(m is not None for m in found)}

    def rensa() -> dict[str, Any]:
        from rensa import RMinHash, RMinHashLSH

        index, hits, found = RMinHashLSH(0.8, 112, 14), 0, 0
        grams, seconds = cut()
        twin = set(twins)
        for i, own in enumerate(grams):
            one = RMinHash(112, 1)
            one.update(own)
            near = index.query(one)
            found += bool(near)
            hits += bool(near) and i in twin
            if not near:
                index.insert(i, one)
        return {"recall": hits / len(twins), "found": found, "cut_cpu_s": seconds}

    def datasketch() -> dict[str, Any]:
        from datasketch import MinHash, MinHashLSH

        index, hits, found = MinHashLSH(num_perm=112, params=(14, 8)), 0, 0
        grams, seconds = cut()
        twin = set(twins)
        for i, own in enumerate(grams):
            one = MinHash(112)
            one.update_batch([gram.encode() for gram in own])
            near = index.query(one)
            found += bool(near)
            hits += bool(near) and i in twin
            if not near:
                index.insert(i, one)
        return {"recall": hits / len(twins), "found": found, "cut_cpu_s": seconds}

    yield from (("ours", ours), ("rensa", rensa), ("datasketch", datasketch))


def exponent(file: Path) -> None:
    """Print, for each contender, the slope of log CPU seconds in log rows."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if line[:1] == "{"]
    for key in sorted({(line["what"], line["who"]) for line in lines}):
        own = [one for one in lines if (one["what"], one["who"]) == key]
        rows, seconds = (np.log([one[name] for one in own]) for name in ("rows", "cpu_s"))
        if len(set(rows)) > 1:
            print(
                json.dumps(
                    {"of": key, "exponent": round(float(np.polyfit(rows, seconds, 1)[0]), 2)}
                )
            )


def forget_peak() -> int:
    """Begin a new peak of resident memory; return what is resident now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """Return an entry of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


def main() -> None:
    """Make the data, run the contenders, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["kmeans", "deita", "minhash", "exponent"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", help="contenders by name")
    chosen = parser.parse_args()
    if chosen.what == "exponent":
        exponent(chosen.file)
        return
    contenders = {"kmeans": kmeans, "deita": deita, "minhash": minhash}[chosen.what]
    for name, work in contenders(chosen.rows):
        if chosen.only and name not in chosen.only:
            continue
        before = forget_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        facts = {"what": chosen.what, "who": name, "rows": chosen.rows}
        facts |= {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "rss_before_mb": before,
            "peak_rss_mb": memory("VmHWM"),
        }
        facts |= {k: value() if callable(value) else value for k, value in found.items()}
        print(json.dumps(facts))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
