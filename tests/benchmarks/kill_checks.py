"""What the folder of a killed run holds, and what its rerun did with it; `kills` asks."""

import json
import re
import shutil
from pathlib import Path

from pipeline.journal import Journal
from pipeline.shards import read_parquet

MARK = "TAMIS_KILLS"
_AGENTS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
_ROLLOUT = {"rollout_id", "completion", "finish_reason", "n_tokens"}
_MEASURED = {"wall_ms", "cpu_ms", "max_rss_kb"}
_EQUAL = ("config.yaml", "manifest.json", "dataset/**/*", "features/**/*", "*/data/*")


def marked(mark: str) -> list[int]:
    """Return the processes that carry `mark` in their environment.

    Ray's own two agents are left out: they see the end of their node and then try for a minute to
    report it to a server that is gone as well, before they end.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            ours = (place / "cmdline").read_bytes().partition(b"\0")[0] not in _AGENTS
            if ours and f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def finished_rollouts(out: Path) -> dict[str, tuple]:
    """What is safe on disk after a kill: rollout id -> text, finish reason, tokens."""
    found = {}
    for file in sorted(out.glob("*/journal/*.jsonl")):
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
    for file in sorted(out.glob("*/*/[0-9]*.parquet")):
        table = read_parquet(file)
        if _ROLLOUT <= set(table.column_names):
            for row in table.select(sorted(_ROLLOUT)).to_pylist():
                found[row["rollout_id"]] = row["completion"], row["finish_reason"], row["n_tokens"]
    return found


def made_shards(out: Path) -> dict[str, int]:
    """Return the commit records and feature shards of a run, each with the time of its writing.

    The source of a run is read anew each time; its records say nothing.
    """
    steps = [file for file in out.glob("*/commits/*.json") if not _is_source(file)]
    files = [*steps, *out.glob("features/*/[0-9]*")]
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in files}


def _is_source(record: Path) -> bool:
    return not json.loads(record.read_bytes())["made_by"].get("inputs")


def content(out: Path) -> dict[str, bytes]:
    """The files that must be equal, by name.

    Executions say how long each program took, which no two runs share: what was measured is left
    out of their rows, and checksums and sizes out of that run's manifests.
    """
    names = [*_EQUAL, "*/manifest.json"]
    found = {file for name in names for file in out.glob(name)}
    found = {file for file in found if file.is_file() and file.name != ".lock"}
    files = {str(file.relative_to(out)): file.read_bytes() for file in found}
    timed = [name for name in files if name.startswith("executions/data/")]
    for name in timed:
        table = read_parquet(out / name)
        rows = table.drop_columns(sorted(_MEASURED & set(table.column_names))).to_pylist()
        files[name] = json.dumps(rows).encode()
    for name in files if timed else ():
        if name.endswith("manifest.json"):
            files[name] = re.sub(rb'"[0-9a-f]{32}"|"size": ?\d+', b"", files[name])
    return files


def late_files(out: Path) -> list[str]:
    """What a run makes after the engine, from its steps' folders to the dataset."""
    steps = json.loads((out / "manifest.json").read_text())["steps"]
    names = [step["name"] for step in steps if (out / step["name"]).exists()]
    places = [f"{name}/{part}" for name in names for part in ("data", "commits", "manifest.json")]
    return [*places, "manifest.json", "dataset"]


def stage(out: Path) -> str:
    """Say how far a killed run had come: its newest folder, and what is committed of it."""
    if (out / "dataset").exists():
        return "dataset"
    steps = [place for place in out.glob("*") if place.is_dir() and place.name != "progress"]
    if not steps:
        return "start"
    last = max(steps, key=lambda place: place.stat().st_ctime_ns)
    if (last / "manifest.json").exists():
        return f"after {last.name}"
    done = len(list(last.glob("commits/*.json")))
    return f"{last.name}, {done} shards committed"
