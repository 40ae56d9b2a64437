"""Time the random sign projection of LESS beside traker's BasicProjector, on one core.

    pip install --no-deps --target /tmp/trak traker
    OMP_NUM_THREADS=1 python tests/benchmarks/projection.py --trak /tmp/trak

By default 64 gradients of 1,000,000 parameters to 8,192, in float32, Rademacher. Each contender
runs in a process of its own, which prints rows a second of CPU time, peak resident memory and the
error of cosines: of the gradients before and after, whose expected size is 1 / sqrt(8192). Ours
also against the exact product with the same signs, in float64, made here from their definition.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np


def gradients(rows: int, parameters: int) -> np.ndarray:
    """Rows that share a direction, so that cosines spread around 0.5."""
    draw = np.random.default_rng(0)
    found = draw.standard_normal((rows, parameters), dtype=np.float32)
    found += draw.standard_normal(parameters, dtype=np.float32)
    return found


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosines of all pairs, float64."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True, ord=2)
    return np.asarray(unit, np.float64) @ np.asarray(unit, np.float64).T


def ours(rows: np.ndarray, width: int) -> np.ndarray:
    """Project with `scorers.gradients`."""
    from scorers.gradients import project

    return project(rows, width)


def with_trak(rows: np.ndarray, width: int, block: int) -> np.ndarray:
    """Project with BasicProjector, its constructor's draw included."""
    import torch
    from trak.projectors import BasicProjector

    torch.set_num_threads(1)
    made = BasicProjector(rows.shape[1], width, 0, "rademacher", "cpu", block_size=block)
    return made.project(torch.from_numpy(rows), model_id=0).numpy()


def exact(rows: np.ndarray, width: int) -> np.ndarray:
    """Multiply by the signs that `project` documents, in float64; width a multiple of 256."""
    found = np.zeros((len(rows), width))
    for start in range(0, rows.shape[1], 1024):
        part = rows[:, start : start + 1024].astype(np.float64)
        counter = start * width // 256
        drawn = np.random.Philox(key=0, counter=counter).random_raw(part.shape[1] * width // 64)
        bits = np.unpackbits(drawn.view(np.uint8)).reshape(-1, width)
        found += part @ (bits * 2.0 - 1.0)
    return found


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure one contender in this process."""
    rows = gradients(options.rows, options.parameters)
    if options.only == "trak":
        sys.path.append(options.trak)
        import trak.projectors  # noqa: F401 - torch's import is not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    if options.only == "trak":
        found = with_trak(rows, options.width, options.block)
    else:
        found = ours(rows, options.width)
    used = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = np.abs(cosines(found) - cosines(rows))
    figures: dict[str, object] = {
        "projector": options.only,
        "cpu_s": round(used, 2),
        "rows_a_cpu_s": round(options.rows / used, 2),
        "peak_mb": peak // 1024,
        "of_it_before_projecting_mb": before // 1024,
        "cosine_error_rms": float(f"{np.sqrt((error**2).mean()):.2g}"),
        "cosine_error_max": float(f"{error.max():.2g}"),
    }
    if options.only == "ours" and options.exact:
        whole = exact(rows, options.width)
        apart = np.abs(cosines(found) - cosines(whole)).max()
        figures["cosine_error_to_exact_product"] = float(f"{apart:.2g}")
    return figures


def main() -> None:
    """Run each contender in a process of its own; print one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 64), ("parameters", 1_000_000), ("width", 8192)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--block", type=int, default=128, help="BasicProjector's; LESS takes 128")
    parser.add_argument("--trak", default="", help="folder that traker was installed to")
    parser.add_argument("--exact", action="store_true", help="also compare with float64")
    parser.add_argument("--only", choices=("ours", "trak"))
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(options)))
        return
    for only in ("ours", "trak") if options.trak else ("ours",):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", only], check=True)


if __name__ == "__main__":
    main()
